"""The study's answer as a table for the terminal."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ptychodose.bounds.lines import at_dose
from ptychodose.errors import StudyError
from ptychodose.formats.untrusted import DAMAGE, MAX_JSON, one_line, parse_json, read_text
from ptychodose.score.words import ssim_text


def read(headline: Path, details: Path) -> str:
    """`table` of metrics/compare.json and, where there is one, metrics/details.json. Raises StudyError when the first
    is absent or one of them says anything but a comparison."""
    path = headline
    try:
        first = parse_json(read_text(path, MAX_JSON))
        path = details
        second = parse_json(read_text(path, MAX_JSON)) if path.exists() else {}
        path = headline
        said = table(first, second)
        if not said.replace("\n", "").isprintable():
            raise ValueError("a name that cannot be printed")
    except FileNotFoundError:
        raise StudyError(f"{path}: not found; run `make repro`") from None
    except DAMAGE as error:
        reason = f"no entry {one_line(error)}" if isinstance(error, KeyError) else one_line(error)
        raise StudyError(f"{path}: not what `compare` writes ({reason}); `dvc repro compare` writes it anew") from None
    return said


def table(headline: Mapping[str, Any], details: Mapping[str, Any]) -> str:
    """Every arm of metrics/compare.json (`headline`), the limits at its dose, and the ratio dense : baseline."""
    dose, measured = headline["dose_requested"], "judged_by" in headline
    lines = [f"\ndose {dose:g}: {headline['photons_per_pixel']:.0f} photons per object pixel"]
    if measured:
        lines.append(f"beside no truth but a {headline['judged_by']}, which has errors of its own")
    more = "  correlation  half-data FRC 1/7  deviance of unseen photons" if measured else ""
    lines.append(f"{'arm':14} {'NRMSE':>7} {'phase SSIM':>11} {'FRC 0.5 (of Nyquist)':>21}{more}")
    for arm, row in headline.items():
        if isinstance(row, dict):
            lost = arm != "flat" and row["nrmse"] >= headline["flat"]["nrmse"]
            remark = "  NOT better than the flat object" if lost else ""
            ssim = ssim_text(row["phase_ssim"])
            unjudged = _without_truth(details["arms"][arm]) if measured else ""
            lines.append(f"{arm:14} {row['nrmse']:7.3f} {ssim:>11} {row['frc50']:21.2f}{unjudged}{remark}")
    return "\n".join(lines + _limits(headline, details.get("limit") or {}, dose))


def _without_truth(row: Mapping[str, Any]) -> str:
    """Correlation with the reference; and what needs none: where the FRC between two halves of the photons falls below
    1/7, and the deviance."""
    half = f"{row['half_data']['1/7']['first']:19.2f}" if "half_data" in row else f"{'':19}"
    return f"{row['aligned']['correlation']:13.3f}{half} {row['deviance']:27.3f}"


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
