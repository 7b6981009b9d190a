"""Scores in words; imports nothing, so that printing a table stays quick."""


def ssim_text(value: float | None, digits: int = 3) -> str:
    """An SSIM for people; None says that truth has no contrast."""
    return "no contrast" if value is None else f"{value:.{digits}f}"
