"""Pictures of the sweep: quality against dose, photons per pixel, overlap and computing time; limits beside them."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from ptychodose.errors import StudyError
from ptychodose.sweeps.design import DOSES
from ptychodose.sweeps.markdown import Limits, arms_of, heat_means, limit_at
from ptychodose.sweeps.results_csv import Row, latest, select
from ptychodose.sweeps.statistics import mean_sd

BLUE, VERMILION, GREEN, PURPLE = "#0072B2", "#D55E00", "#009E73", "#CC79A7"  # Okabe & Ito: safe for the colour-blind
SKY, ORANGE, GREY = "#56B4E9", "#E69F00", "#777777"  # the first two are theirs as well
SOLID, DASHED, DOTTED = "-", (0, (5, 2)), (0, (1, 1.5))
STYLES: dict[str, tuple[str, str, str, Any]] = {  # colour = method, line and marker = view and photons
    "flat": ("flat object", GREY, "", DOTTED),
    "baseline": ("baseline (1 pattern)", VERMILION, "s", SOLID),
    "dense": ("dense (4 patterns)", GREEN, "o", SOLID),
    "wide": ("wide (16 patterns)", GREEN, "^", SOLID),
    "sparse": ("sparse (4 patterns)", GREEN, "v", DASHED),
    "dense_thinned": ("dense, thinned", GREEN, "D", DOTTED),
    "cnn": ("one-shot CNN", ORANGE, "P", SOLID),
    "map": ("MAP", BLUE, "o", SOLID),
    "map_sparse": ("MAP, sparse", BLUE, "v", DASHED),
    "map_thinned": ("MAP, thinned", BLUE, "D", DOTTED),
    "hybrid": ("hybrid", PURPLE, "o", SOLID),
}
METHODS = {"dense": ("dense", "sparse", "dense_thinned"), "map": ("map", "map_sparse", "map_thinned")}
MARKERS = {0.8: "o", 0.7: "D", 0.6: "s", 0.4: "^", 0.2: "v", 0.0: "X"}
NRMSE = "complex NRMSE"
COST_DOSE = 1e4  # photons per pattern


def _style(arm: str) -> tuple[str, str, str, Any]:
    """Name, colour, marker and line of an arm; of one that STYLES does not know yet, too."""
    return STYLES.get(arm, (arm, SKY, "x", SOLID))


def _need(rows: Sequence[Row], design: str) -> list[Row]:
    mine = latest(rows, design)
    if not mine:
        raise StudyError(f"metrics/sweep/sweep.csv has no runs of design {design}; run `make sweep`")
    return mine


def _values(rows: Sequence[Row], column: str) -> np.ndarray:
    return np.array([row[column] for row in rows if row[column] is not None], float)


def _finish(figure: Figure, panels: Sequence[Axes], columns: int) -> Figure:
    """A logarithmic x axis, a grid, and one legend below for all that the panels show."""
    found: dict[str, Any] = {}
    for axes in panels:
        axes.set_xscale("log")
        axes.grid(alpha=0.25)
        found |= dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True))
    figure.legend(found.values(), found.keys(), loc="outside lower center", ncols=columns, fontsize=8, frameon=False)
    return figure


def quality_vs_dose(rows: Sequence[Row], limit: Limits | None) -> Figure:
    """NRMSE and phase SSIM against dose, mean ± sd over the star's runs, with the dense view's limits."""
    mine = _need(rows, "star")
    figure = Figure(figsize=(9.0, 4.9), layout="constrained")
    left, right = figure.subplots(1, 2)
    for arm in arms_of(mine):
        _line(left, mine, arm, "nrmse")
        _line(right, mine, arm, "phase_ssim")
    for kind, name, line in (("crb", "Cramér–Rao limit", SOLID), ("bayes", "limit, Gaussian prior", DASHED)):
        _bound(left, [(dose, limit_at(limit, "dense", kind, dose)) for dose in DOSES], name, line)
    left.set(xlabel="photons per pattern", ylabel=NRMSE, yscale="log")
    right.set(xlabel="photons per pattern", ylabel="phase SSIM", ylim=(-0.03, 1.03))
    return _finish(figure, (left, right), 4)


def _line(axes: Axes, rows: Sequence[Row], arm: str, column: str) -> None:
    """Mean of an arm's runs at every dose, with its sd as error bar."""
    found = {dose: _values(select(rows, arm, dose), column) for dose in DOSES}
    means = {dose: mean_sd(values) for dose, values in found.items() if len(values)}
    name, colour, marker, line = _style(arm)
    axes.errorbar(
        list(means), [mean for mean, _ in means.values()], yerr=[sd or 0.0 for _, sd in means.values()], color=colour,
        marker=marker, ls=line, lw=1.4, ms=4.5, capsize=2, mfc="white" if line != SOLID else colour, label=name,
    )  # fmt: skip


def quality_vs_photons(rows: Sequence[Row], limit: Limits | None) -> Figure:
    """NRMSE against photons per object pixel for all overlaps and both dose conventions, network and MAP.

    Filled: every pattern at the dose. Hollow: photons thinned to the total of the sparse view. Colour and marker:
    overlap ratio of the view. Above about half an overlap the points should fall on one curve.
    """
    both = [*latest(rows, "star"), *latest(rows, "heat")]
    if not both:
        raise StudyError("metrics/sweep/sweep.csv is empty; run `make sweep`")
    figure = Figure(figsize=(9.0, 4.6), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    for axes, arms, title in zip(panels, METHODS.values(), ("network on groups of 4", "MAP (iterative)"), strict=True):
        clouds: dict[tuple[float, bool], list[Row]] = {}
        for row in both:
            if row["arm"] in arms and row["nbar"] is not None and row["overlap"] is not None:
                overlap = round(row["overlap"], 3) + 0.0  # without rounding noise and a negative zero
                clouds.setdefault((-overlap, row["share"] < 1), []).append(row)
        for (minus, thinned), mine in sorted(clouds.items()):
            _cloud(axes, mine, -minus, thinned)
        for view, line in (("dense", SOLID), ("sparse", DASHED)):
            per_pixel = (((limit or {}).get("views") or {}).get(view) or {}).get("photons_per_pixel_per_dose")
            points = [(dose * per_pixel, limit_at(limit, view, "crb", dose)) for dose in DOSES if per_pixel]
            _bound(axes, points, f"Cramér–Rao, {view} view", line)
        axes.set(xlabel="detected photons per object pixel, n̄", title=title, yscale="log")
    panels[0].set_ylabel(NRMSE)
    return _finish(figure, panels, 5)


def _cloud(axes: Axes, rows: Sequence[Row], overlap: float, thinned: bool) -> None:
    """Mean over independent runs at every dose, joined by a thin line; the darker, the less overlap."""
    arms = sorted({row["arm"] for row in rows})
    sets = [[row for arm in arms for row in select(rows, arm, dose)] for dose in DOSES]
    means = [(_values(mine, "nbar").mean(), _values(mine, "nrmse").mean()) for mine in sets if mine]
    colour = colormaps["viridis"](0.88 * min(overlap / 0.8, 1.0))
    axes.plot(
        *zip(*means, strict=True), marker=MARKERS.get(overlap, "p"), ms=6, lw=0.8, ls=DOTTED if thinned else SOLID,
        color=colour, mfc="white" if thinned else colour, mec=colour if thinned else "black", mew=0.5 + thinned,
        label=f"overlap {overlap:g}" + (", thinned" if thinned else ""),
    )  # fmt: skip


def _bound(axes: Axes, points: Sequence[tuple[float, float | None]], name: str, line: Any) -> None:
    """A limit where it is known."""
    known = [(x, y) for x, y in points if y is not None]
    if known:
        axes.plot(*zip(*known, strict=True), color="black", lw=1.2, ls=line, label=name, zorder=1)


def heat_maps(rows: Sequence[Row]) -> Figure:
    """NRMSE of the dense network and of MAP over dose and overlap: values, and one logarithmic colour scale."""
    arms = [arm for arm in METHODS if any(row["arm"] == arm for row in _need(rows, "heat"))]
    if not arms:
        raise StudyError("metrics/sweep/sweep.csv: design heat has neither dense nor map; run `make sweep`")
    found = {arm: heat_means(rows, arm) for arm in arms}
    lowest = min(np.nanmin(grid) for _, _, grid in found.values())
    norm = LogNorm(lowest, max(1.01 * lowest, *(np.nanmax(grid) for _, _, grid in found.values())))
    figure = Figure(figsize=(0.8 + 4.1 * len(arms), 3.3), layout="constrained")
    panels = figure.subplots(1, len(arms), squeeze=False, sharey=True)[0]
    for axes, (arm, (overlaps, doses, grid)) in zip(panels, found.items(), strict=True):
        drawn = axes.imshow(grid, cmap="cividis_r", norm=norm, origin="lower", aspect="auto")
        for i, j in zip(*np.isfinite(grid).nonzero(), strict=True):
            colour = "white" if norm(grid[i, j]) > 0.55 else "black"
            axes.text(j, i, f"{grid[i, j]:.3f}", ha="center", va="center", fontsize=8, color=colour)
        axes.set_xticks(range(len(doses)), [f"{dose:,.0f}" for dose in doses], fontsize=8)
        axes.set_yticks(range(len(overlaps)), [f"{overlap:g}" for overlap in overlaps])
        axes.set(xlabel="photons per pattern", title=_style(arm)[0])
    panels[0].set_ylabel("overlap ratio 1 − step / D90")
    figure.colorbar(drawn, ax=list(panels), label=NRMSE, pad=0.01)
    return figure


def quality_vs_cost(rows: Sequence[Row], bench: Mapping[str, Any] | None) -> Figure:
    """NRMSE at COST_DOSE against CPU seconds on one core: solving (filled) and, for networks, training too (hollow).

    `bench` is metrics/bench.json: {"arms": {arm: {"solve_cpu_s", "train_cpu_s" (0 or absent without training)}}}.
    """
    mine = _need(rows, "star")
    if not bench:
        raise StudyError("metrics/bench.json: not found; run `make bench`")
    figure = Figure(figsize=(9.0, 4.2), layout="constrained")
    axes = figure.subplots()
    for arm in arms_of(mine):
        cost, found = bench.get("arms", {}).get(arm, {}), select(mine, arm, COST_DOSE)
        if not found or not cost.get("solve_cpu_s"):
            continue
        label, colour, marker, _ = _style(arm)
        x, y = cost["solve_cpu_s"], _values(found, "nrmse").mean()
        axes.plot([x, x + (cost.get("train_cpu_s") or 0)], [y, y], marker, color=colour, mfc="white", ms=8, ls=DOTTED)
        axes.plot(x, y, marker, color=colour, ms=8, label=label)
    axes.set(xlabel="CPU seconds (filled: reconstruction; hollow: with training)", yscale="log")
    axes.set(ylabel=f"{NRMSE} at {COST_DOSE:,.0f} photons per pattern")
    axes.margins(0.12)
    _finish(figure, [axes], 6)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.set_major_formatter("{x:g}")
        axis.set_minor_formatter(NullFormatter())
    return figure
