"""The study's answer as a table for the terminal."""

from collections.abc import Mapping
from typing import Any

from ptychodose.bounds.lines import at_dose
from ptychodose.score.words import ssim_text


def table(headline: Mapping[str, Any], details: Mapping[str, Any]) -> str:
    """Every arm of metrics/compare.json (`headline`), the limits at its dose, and the ratio dense : baseline."""
    dose = headline["dose_requested"]
    lines = [f"\ndose {dose:g}: {headline['photons_per_pixel']:.0f} photons per object pixel"]
    lines.append(f"{'arm':14} {'NRMSE':>7} {'phase SSIM':>11} {'FRC 0.5 (of Nyquist)':>21}")
    for arm, row in headline.items():
        if isinstance(row, dict):
            lost = arm != "flat" and row["nrmse"] >= headline["flat"]["nrmse"]
            remark = "  NOT better than the flat object" if lost else ""
            ssim = ssim_text(row["phase_ssim"])
            lines.append(f"{arm:14} {row['nrmse']:7.3f} {ssim:>11} {row['frc50']:21.2f}{remark}")
    return "\n".join(lines + _limits(headline, details.get("limit") or {}, dose))


def _limits(headline: Mapping[str, Any], limit: Mapping[str, Any], dose: float) -> list[str]:
    """The bounds of each view at the dose, and the ratios; "not computed" outside the doses they were computed at."""
    lines = []
    for view, row in limit.get("views", {}).items():
        bayes, unbiased = (_text(at_dose(row[kind], dose)) for kind in ("bayes", "crb"))
        lines.append(f"limit, {view:7} {bayes} with a Gaussian prior, {unbiased} without (Cramér–Rao)")
    ratio = limit.get("ratio")
    if ratio and {"dense", "baseline"} <= set(headline):
        theory = _text(at_dose(ratio, dose, "dense_over_baseline"), 2)
        measured = headline["dense"]["nrmse"] / headline["baseline"]["nrmse"]
        lines.append(f"dense : baseline {measured:.2f} measured, {theory} by the bounds of groups and single patterns")
    return lines


def _text(value: float | None, digits: int = 3) -> str:
    return "not computed" if value is None else f"{value:.{digits}f}"
