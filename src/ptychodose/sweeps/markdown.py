"""The sweep as Markdown: the answer of the README, and the longer tables behind it."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ptychodose.bounds.lines import at_dose
from ptychodose.errors import StudyError
from ptychodose.formats.atomic import atomic_path
from ptychodose.score.words import ssim_text
from ptychodose.sweeps import statistics
from ptychodose.sweeps.design import DOSES, SOURCES, Run
from ptychodose.sweeps.results_csv import Row, latest, run_of, select

ANSWER_DOSES = (1e3, 1e4, 1e5)
BEGIN, END = "<!-- answer:begin -->", "<!-- answer:end -->"
SEED = 2026  # of the bootstrap
LABELS = {  # in the order of the tables; an arm of another name goes to the end under its own
    "flat": "flat object (control)",
    "baseline": "baseline: network, 1 pattern",
    "dense": "**dense: network, 4 patterns**",
    "wide": "wide: network, 16 patterns",
    "sparse": "sparse: network, 4 patterns, overlap {overlap:g}",
    "dense_thinned": "dense, photons thinned to those of sparse",
    "cnn": "one-shot CNN, 4 patterns",
    "map": "MAP: iterative, all patterns",
    "map_sparse": "MAP, overlap {overlap:g}",
    "map_thinned": "MAP, photons thinned to those of sparse",
    "hybrid": "hybrid: MAP, then learned steps",
}
LIMITS = {
    "crb": "limit without bias (Cramér–Rao), all patterns",
    "bayes": "limit with a Gaussian prior (Bayes), all patterns",
}
NOTHING, NOT_COMPUTED = "–", "not computed"

Limits = Mapping[str, Any]


def star_table(rows: Sequence[Row], limit: Limits | None, doses: Sequence[float] = ANSWER_DOSES) -> str:
    """Arms by doses over the star's runs: NRMSE mean ± sd / phase SSIM, limits, ratio, paired difference, collapses.

    With its own doses it is the answer of the README. `limit` is limit.json. Raises StudyError without a run at them.
    """
    mine = latest(rows, "star")
    doses = _measured(mine, doses)
    if not doses:
        raise StudyError("metrics/sweep/sweep.csv: no runs of the star at these doses; run `make sweep`")
    runs = {arm: [select(mine, arm, dose) for dose in doses] for arm in arms_of(mine)}
    lines = [["arm", *(_dose_head(mine, dose) for dose in doses)]]
    lines += [[_label(mine, arm), *map(_cell, found)] for arm, found in runs.items()]
    for kind, name in LIMITS.items():
        values = [limit_at(limit, "dense", kind, dose) for dose in doses]
        if any(values):
            lines.append([name, *_known(values, _error, NOT_COMPUTED)])
    lines += _dense_against_baseline(mine, limit, doses)
    lines.append(["collapsed runs", *(_collapsed(mine, dose) for dose in doses)])
    counts = {len(some) for found in runs.values() for some in found if some}
    count = "–".join(map(str, sorted({min(counts), max(counts)})))
    return _markdown(lines) + (
        f"\nComplex NRMSE, mean ± standard deviation over {count} runs, / mean phase SSIM. The runs share a centre and"
        "\ndiffer from it in one seed: object, noise or networks (an arm without a trained network repeats itself,"
        "\nwhich counts once). In brackets: 95 % interval (percentile bootstrap over runs, too narrow for so few)."
        f"\nn̄ = detected photons per object pixel. Code `{mine[0]['code']}`.\n"
    )


def arms_of(rows: Sequence[Row]) -> list[str]:
    """Arms that were run, in the order of the tables; the oracle, which is exact, is left out."""
    present = {row["arm"] for row in rows} - {"oracle"}
    return [arm for arm in LABELS if arm in present] + sorted(present - set(LABELS))


def limit_at(limit: Limits | None, view: str, kind: str, dose: float) -> float | None:
    """Bound of the NRMSE of a view at a dose (photons per pattern), None where it was not computed.

    Kind "crb" is without bias, "bayes" with a Gaussian prior (see bounds.lines).
    """
    bound = (((limit or {}).get("views") or {}).get(view) or {}).get(kind)
    return at_dose(bound, dose) if bound else None


def _measured(rows: Sequence[Row], doses: Sequence[float]) -> list[float]:
    return [dose for dose in doses if any(row["dose"] == dose for row in rows)]


def _dose_head(rows: Sequence[Row], dose: float) -> str:
    seen = [row["nbar"] for row in select(rows, "dense", dose) if row["nbar"] is not None]
    return f"{dose:,.0f} per pattern" + (f", n̄ {np.mean(seen):,.{0 if np.mean(seen) >= 10 else 1}f}" if seen else "")


def _label(rows: Sequence[Row], arm: str) -> str:
    """The arm's name, with its overlap, and its share of the dense view's photons per pixel where that differs."""
    mine = [row for row in rows if row["arm"] == arm]
    overlap = next((row["overlap"] for row in mine if row["overlap"] is not None), None)
    text = LABELS.get(arm, arm).replace(", overlap {overlap:g}", "" if overlap is None else f", overlap {overlap:g}")
    share = statistics.ratio(_by_run(mine, "nbar"), _by_run([row for row in rows if row["arm"] == "dense"], "nbar"))
    return text if share is None or abs(share - 1) < 0.02 else f"{text} ({share:.2f} n̄)"


def _by_run(rows: Sequence[Row], column: str) -> dict[Run, float]:
    """A column by run, without empty cells."""
    return {run_of(row): row[column] for row in rows if row[column] is not None}


def _cell(rows: Sequence[Row]) -> str:
    if not rows:
        return NOTHING
    mean, sd = statistics.mean_sd([row["nrmse"] for row in rows])
    known = [row["phase_ssim"] for row in rows if row["phase_ssim"] is not None]
    return f"{_error(mean, sd)} / {ssim_text(float(np.mean(known)) if known else None, 2)}"


def _error(mean: float, sd: float | None = None) -> str:
    digits = 3 if mean >= 0.1 else 4
    return f"{mean:.{digits}f}" + ("" if sd is None else f" ± {sd:.{digits}f}")


def _dense_against_baseline(mine: Sequence[Row], limit: Limits | None, doses: Sequence[float]) -> list[list[str]]:
    """Ratio over the runs both have, what information theory says of it, and the paired difference."""
    pairs = [[_by_run(select(mine, arm, dose), "nrmse") for arm in ("dense", "baseline")] for dose in doses]
    ratios = [statistics.ratio(*pair) for pair in pairs]
    if all(ratio is None for ratio in ratios):
        return []
    lines = [["dense : baseline, measured", *_known(ratios, "{:.2f}".format)]]
    if theory := (limit or {}).get("ratio"):
        values = [at_dose(theory, dose, "dense_over_baseline") for dose in doses]
        lines.append(["dense : baseline, limits of 4 patterns and 1", *_known(values, "{:.2f}".format, NOT_COMPUTED)])
    return [*lines, ["dense − baseline, paired", *(_difference(statistics.paired(*pair)) for pair in pairs)]]


def _known(values: Sequence[float | None], form: Callable[[float], str], otherwise: str = NOTHING) -> list[str]:
    return [otherwise if value is None else form(value) for value in values]


def _difference(differences: np.ndarray) -> str:
    if not len(differences):
        return NOTHING
    low, high = statistics.bootstrap_mean(differences, SEED)
    return f"{differences.mean():.3f} [{low:.3f}, {high:.3f}]".replace("-", "−")


def _collapsed(mine: Sequence[Row], dose: float) -> str:
    """Which arms collapsed at a dose, and in how many of their runs."""
    lost = {arm: [row["collapsed"] for row in select(mine, arm, dose)] for arm in arms_of(mine)}
    return ", ".join(f"{arm} {sum(flags)} of {len(flags)}" for arm, flags in lost.items() if any(flags)) or "none"


def source_table(rows: Sequence[Row]) -> str:
    """Standard deviation of the NRMSE over the runs that differ in one source of randomness, for every arm."""
    mine = latest(rows, "star")
    doses = _measured(mine, ANSWER_DOSES)
    lines = [["sd of the NRMSE from", *(f"{source}, {dose:,.0f}" for source in SOURCES for dose in doses)]]
    for arm in [arm for arm in arms_of(mine) if arm != "flat"]:
        families = [_family(select(mine, arm, dose), source) for source in SOURCES for dose in doses]
        spreads = [statistics.mean_sd(family)[1] if family else None for family in families]
        lines.append([_label(mine, arm), *_known(spreads, "{:.4f}".format)])
    return _markdown(lines)


def _family(rows: Sequence[Row], source: str) -> list[float]:
    """NRMSE of the centre and of the runs that differ from it in `source` only: the largest set of such runs."""
    sets: dict[tuple[int, ...], list[float]] = {}
    for row in rows:
        others = tuple(row[f"seed_{other}"] for other in SOURCES if other != source)
        sets.setdefault(others, []).append(row["nrmse"])
    return max(sets.values(), key=len, default=[])


def heat_means(rows: Sequence[Row], arm: str) -> tuple[list[float], list[float], np.ndarray]:
    """Overlaps, doses and the arm's mean NRMSE (overlaps, doses) in the heat design; NaN where nothing was run."""
    mine = latest(rows, "heat")
    doses, overlaps = _measured(mine, DOSES), sorted({row["overlap_dense"] for row in mine})
    means = np.full((len(overlaps), len(doses)), np.nan)
    for i, j in np.ndindex(means.shape):
        if found := [row["nrmse"] for row in select(mine, arm, doses[j]) if row["overlap_dense"] == overlaps[i]]:
            means[i, j] = np.mean(found)
    return overlaps, doses, means


def heat_table(rows: Sequence[Row], arm: str) -> str:
    """NRMSE (mean over runs) of an arm, overlap by dose, in the heat design."""
    overlaps, doses, means = heat_means(rows, arm)
    lines = [[f"{arm}: overlap", *(f"{dose:,.0f}" for dose in doses)]]
    for overlap, line in zip(overlaps[::-1], means[::-1], strict=True):
        lines.append([f"{overlap:g}", *(_error(mean) if np.isfinite(mean) else NOTHING for mean in line)])
    return _markdown(lines)


def _markdown(lines: Sequence[Sequence[str]]) -> str:
    head, *body = lines
    return "".join(f"| {' | '.join(line)} |\n" for line in [head, ["---"] * len(head), *body])


def replace_block(path: Path, text: str, write: bool) -> bool:
    """Does the block between the markers of a document equal `text`? With `write` it is made so, atomically.

    Raises StudyError when the document lacks the pair of markers.
    """
    document = path.read_text(encoding="utf-8")
    before, _, rest = document.partition(BEGIN)
    _, found, after = rest.partition(END)
    if not found or BEGIN in rest or END in after:
        raise StudyError(f"{path}: needs one line {BEGIN} and, after it, one line {END}; the table goes between them")
    wanted = f"{before}{BEGIN}\n{text}{END}{after}"
    if write and wanted != document:
        with atomic_path(path) as temporary:
            temporary.write_text(wanted, encoding="utf-8")
    return wanted == document
