"""The sweep as Markdown: the answer of the README, and the longer tables behind it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ptychodose.errors import StudyError
from ptychodose.formats.atomic import atomic_path
from ptychodose.sweeps import statistics
from ptychodose.sweeps.design import DOSES, Run
from ptychodose.sweeps.records import Row, latest, select

ANSWER_DOSES = (1e3, 1e4, 1e5)
BEGIN, END = "<!-- answer:begin -->", "<!-- answer:end -->"
SEED = 2026  # of the bootstrap
LABELS = {  # in the order of the tables; an arm of another name goes to the end under its own
    "flat": "flat object (control)",
    "baseline": "baseline: network, 1 pattern",
    "dense": "**dense: network, 4 patterns**",
    "sparse": "sparse: network, 4 patterns, overlap {overlap:g}",
    "dense_thinned": "dense, photons thinned to those of sparse",
    "cnn": "one-shot CNN, 4 patterns",
    "map": "MAP: iterative, all patterns",
    "map_sparse": "MAP, overlap {overlap:g}",
    "map_thinned": "MAP, photons thinned to those of sparse",
    "hybrid": "hybrid: MAP, then learned steps",
}
SOURCES = {"object": "seed_object", "noise": "seed_noise", "network": "seed_network"}

Limits = Mapping[str, Any]


def answer(rows: Sequence[Row], limit: Limits | None) -> str:
    """The README's table from all rows of sweep.csv and limit.json (None: without limits). Ends in a newline.

    Raises StudyError when the sweep's star has no rows at the three doses.
    """
    return star_table(rows, limit, ANSWER_DOSES)


def star_table(rows: Sequence[Row], limit: Limits | None, doses: Sequence[float]) -> str:
    """Arms by doses over the runs of the star: NRMSE mean ± sd / phase SSIM, limits, ratio, paired difference."""
    mine = latest(rows, "star")
    doses = [dose for dose in doses if any(row.dose == dose for row in mine)]
    if not doses:
        raise StudyError("metrics/sweep/sweep.csv: no runs of the star at these doses; run `make sweep`")
    lines = [["arm", *(_dose_head(mine, dose) for dose in doses)]]
    for arm in arms_of(mine):
        lines.append([_label(mine, arm), *(_cell(select(mine, arm, dose)) for dose in doses)])
    lines += _limit_lines(limit, doses)
    lines += _ratio_lines(mine, limit, doses)
    lines.append(["collapsed runs", *(_collapsed(mine, dose) for dose in doses)])
    counts = sorted({len(select(mine, arm, dose)) for arm in arms_of(mine) for dose in doses} - {0})
    runs = "–".join(map(str, counts[:: max(1, len(counts) - 1)]))
    return _markdown(lines) + (
        f"\nComplex NRMSE, mean ± standard deviation over {runs} runs, / mean phase SSIM. The runs share a centre and"
        "\ndiffer from it in one seed: object, noise or networks (an arm without a trained network repeats itself,"
        "\nwhich counts once). In brackets: 95 % interval (percentile bootstrap over runs, too narrow for so few)."
        f"\nn̄ = detected photons per object pixel. Code `{mine[0].code}`.\n"
    )


def arms_of(rows: Sequence[Row]) -> list[str]:
    """Arms that were run, in the order of the tables; the oracle, which is exact, is left out."""
    present = {row.arm for row in rows} - {"oracle"}
    return [arm for arm in LABELS if arm in present] + sorted(present - set(LABELS))


def limit_at(limit: Limits | None, view: str, kind: str, dose: float) -> float | None:
    """Bound of the NRMSE of a view at a dose: kind "crb" (without bias) or "bayes" (Gaussian prior; see `limits`).

    Bayesian values between doses are interpolated on logarithmic axes; None where there is none.
    """
    document = ((limit or {}).get("views") or {}).get(view) or {}
    if kind == "crb":
        return document["crb"]["nrmse"] / np.sqrt(dose) if "crb" in document else None
    return _interpolate(document["bayes"]["dose"], document["bayes"]["nrmse"], dose) if "bayes" in document else None


def _interpolate(doses: Sequence[float], values: Sequence[float], dose: float) -> float | None:
    x = np.log(doses)
    if not x.min() - 1e-9 <= np.log(dose) <= x.max() + 1e-9:
        return None
    order = np.argsort(x)
    return float(np.exp(np.interp(np.log(dose), x[order], np.log(values)[order])))


def _dose_head(rows: Sequence[Row], dose: float) -> str:
    per_pixel = [row.nbar for row in rows if row.dose == dose and row.arm == "dense" and row.nbar is not None]
    return f"{dose:,.0f} per pattern" + (f", n̄ {_short(float(np.mean(per_pixel)))}" if per_pixel else "")


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:.1f}"


def _label(rows: Sequence[Row], arm: str) -> str:
    """The arm's name, with its overlap, and its share of the dense view's photons per pixel where that differs."""
    mine = [row for row in rows if row.arm == arm]
    overlap = next((row.overlap for row in mine if row.overlap is not None), None)
    text = LABELS.get(arm, arm).replace(", overlap {overlap:g}", "" if overlap is None else f", overlap {overlap:g}")
    share = statistics.ratio(_by_run(mine, "nbar"), _by_run([row for row in rows if row.arm == "dense"], "nbar"))
    return text if share is None or abs(share - 1) < 0.02 else f"{text} ({share:.2f} n̄)"


def _by_run(rows: Sequence[Row], column: str) -> dict[Run, float]:
    """A column by run, without empty cells."""
    return {row.run: getattr(row, column) for row in rows if getattr(row, column) is not None}


def _cell(rows: Sequence[Row]) -> str:
    if not rows:
        return "–"
    error = statistics.summarise([row.nrmse for row in rows])
    return f"{_spread(error)} / {np.mean([row.phase_ssim for row in rows]):.2f}"


def _spread(summary: statistics.Summary) -> str:
    digits = 3 if summary.mean >= 0.1 else 4
    return f"{summary.mean:.{digits}f}" + ("" if summary.sd is None else f" ± {summary.sd:.{digits}f}")


def _limit_lines(limit: Limits | None, doses: Sequence[float]) -> list[list[str]]:
    names = {
        "crb": "limit without bias (Cramér–Rao), all patterns",
        "bayes": "limit with a Gaussian prior (Bayes), all patterns",
    }
    lines = []
    for kind, name in names.items():
        values = [limit_at(limit, "dense", kind, dose) for dose in doses]
        if any(value is not None for value in values):
            lines.append([name, *("–" if v is None else _spread(statistics.Summary(v, None, 1)) for v in values)])
    return lines


def _ratio_lines(rows: Sequence[Row], limit: Limits | None, doses: Sequence[float]) -> list[list[str]]:
    """Dense against baseline: ratio, what information theory says of it, and the paired difference."""
    pairs = [[_by_run(select(rows, arm, dose), "nrmse") for arm in ("dense", "baseline")] for dose in doses]
    if not any(set(dense) & set(baseline) for dense, baseline in pairs):
        return []
    lines = [["dense : baseline, measured", *(_ratio(statistics.ratio(*pair)) for pair in pairs)]]
    theory = (limit or {}).get("ratio")
    if theory:
        values = [_interpolate(theory["dose"], theory["dense_over_baseline"], dose) for dose in doses]
        lines.append(["dense : baseline, limits of 4 patterns and 1", *map(_ratio, values)])
    return [*lines, ["dense − baseline, paired", *(_difference(statistics.paired(*pair)) for pair in pairs)]]


def _ratio(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


def _difference(differences: np.ndarray) -> str:
    if not len(differences):
        return "–"
    made = statistics.bootstrap_mean(differences, SEED)
    return f"{made.mean:.3f} [{made.low:.3f}, {made.high:.3f}]".replace("-", "−")


def _collapsed(rows: Sequence[Row], dose: float) -> str:
    """Which arms collapsed at a dose, and in how many of their runs."""
    found = []
    for arm in arms_of(rows):
        mine = select(rows, arm, dose)
        if lost := sum(row.collapsed for row in mine):
            found.append(f"{arm} {lost} of {len(mine)}")
    return ", ".join(found) or "none"


def source_table(rows: Sequence[Row]) -> str:
    """Standard deviation of the NRMSE over the runs that differ in one source of randomness, for every arm."""
    mine = latest(rows, "star")
    doses = [dose for dose in ANSWER_DOSES if any(row.dose == dose for row in mine)]
    lines = [["sd of the NRMSE from", *(f"{source}, {dose:,.0f}" for source in SOURCES for dose in doses)]]
    for arm in [arm for arm in arms_of(mine) if arm != "flat"]:
        cells = []
        for column in SOURCES.values():
            groups = [_family(select(mine, arm, dose), column) for dose in doses]
            cells += ["–" if len(g) < 2 else f"{statistics.summarise(g).sd:.4f}" for g in groups]
        lines.append([_label(mine, arm), *cells])
    return _markdown(lines)


def _family(rows: Sequence[Row], column: str) -> list[float]:
    """NRMSE of the centre and of the runs that differ from it in `column` only: the largest set of such runs."""
    sets: dict[tuple[int, ...], list[float]] = {}
    for row in rows:
        others = tuple(getattr(row, other) for other in SOURCES.values() if other != column)
        sets.setdefault(others, []).append(row.nrmse)
    return max(sets.values(), key=len, default=[])


def heat_table(rows: Sequence[Row], arm: str) -> str:
    """NRMSE (mean over runs) of an arm, overlap by dose, in the heat design."""
    mine = [row for row in latest(rows, "heat") if row.arm == arm]
    doses = [dose for dose in DOSES if any(row.dose == dose for row in mine)]
    lines = [[f"{arm}: overlap", *(f"{dose:,.0f}" for dose in doses)]]
    for overlap in sorted({row.overlap_dense for row in mine}, reverse=True):
        found = [[row.nrmse for row in select(mine, arm, dose) if row.overlap_dense == overlap] for dose in doses]
        lines.append([f"{overlap:g}", *(_spread(statistics.summarise(f)).split(" ")[0] if f else "–" for f in found)])
    return _markdown(lines)


def _markdown(lines: Sequence[Sequence[str]]) -> str:
    head, *body = lines
    return "".join(f"| {' | '.join(line)} |\n" for line in [head, ["---"] * len(head), *body])


def replace_block(path: Path, text: str, write: bool) -> bool:
    """Does the block between the markers of a document equal `text`? With `write` it is made so, atomically.

    Raises StudyError when the document lacks the pair of markers.
    """
    document = path.read_text(encoding="utf-8")
    parts = document.split(BEGIN)
    if len(parts) != 2 or parts[1].count(END) != 1:
        raise StudyError(f"{path}: needs one line {BEGIN} and, after it, one line {END}; the table goes between them")
    before, after = parts[0], parts[1].split(END)[1]
    wanted = f"{before}{BEGIN}\n{text}{END}{after}"
    if write and wanted != document:
        with atomic_path(path) as temporary:
            temporary.write_text(wanted, encoding="utf-8")
    return wanted == document
