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
    "baseline": ("baseline (1 pattern)", VERMILION, "s", SOLID),
    "dense": ("dense (4 patterns)", GREEN, "o", SOLID),
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


def _style(arm: str) -> tuple[str, str, str, Any]:
    """Name, colour, marker and line of an arm; of one that STYLES does not know yet, too."""
    return STYLES.get(arm, (arm, SKY, "x", SOLID))


def quality_vs_dose(rows: Sequence[Row], limit: Limits | None) -> Figure:
    """NRMSE and phase SSIM against dose, mean ± sd over the star's runs, with the dense view's limits."""
    mine = _need(rows, "star")
    figure = Figure(figsize=(9.0, 4.9), layout="constrained")
    left, right = figure.subplots(1, 2)
    for arm in arms_of(mine):
        for axes, column in ((left, "nrmse"), (right, "phase_ssim")):
            points = [(dose, _values(select(mine, arm, dose), column)) for dose in DOSES]
            _line(axes, [(dose, values) for dose, values in points if len(values)], arm)
    for kind, name, line in (("crb", "Cramér–Rao limit", SOLID), ("bayes", "limit, Gaussian prior", DASHED)):
        _bound(left, [(dose, limit_at(limit, "dense", kind, dose)) for dose in DOSES], name, line)
    for axes in (left, right):
        axes.set(xscale="log", xlabel="photons per pattern")
        axes.grid(alpha=0.25, which="major")
    left.set(yscale="log", ylabel=NRMSE)
    right.set(ylabel="phase SSIM", ylim=(-0.03, 1.03))
    figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=4, fontsize=8, frameon=False)
    return figure


def _need(rows: Sequence[Row], design: str) -> list[Row]:
    mine = latest(rows, design)
    if not mine:
        raise StudyError(f"metrics/sweep/sweep.csv has no runs of design {design}; run `make sweep`")
    return mine


def _values(rows: Sequence[Row], column: str) -> np.ndarray:
    return np.array([row[column] for row in rows], float)


def _line(axes: Axes, points: Sequence[tuple[float, np.ndarray]], arm: str) -> None:
    """Mean of every point with its sd as error bar; the flat object is a thin grey line."""
    if not points:
        return
    x = [dose for dose, _ in points]
    y, sd = zip(*(mean_sd(values) for _, values in points), strict=True)
    if arm == "flat":
        axes.plot(x, y, color=GREY, lw=1.0, ls=DOTTED, label="flat object")
        return
    name, colour, marker, line = _style(arm)
    axes.errorbar(
        x, y, yerr=[some or 0.0 for some in sd], color=colour, marker=marker, ls=line, lw=1.4, ms=4.5, capsize=2,
        mfc="white" if line != SOLID else colour, label=name,
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
    titles = ("network on groups of 4", "MAP (iterative)")
    for axes, arms, title in zip(panels, METHODS.values(), titles, strict=True):
        mine = [row for row in both if row["arm"] in arms and row["nbar"] is not None and row["overlap"] is not None]
        for overlap in sorted({_overlap(row) for row in mine}, reverse=True):
            for thinned in (False, True):
                chosen = [row for row in mine if _overlap(row) == overlap and (row["share"] < 1) == thinned]
                _cloud(axes, chosen, overlap, thinned)
        for view, line in (("dense", SOLID), ("sparse", DASHED)):
            per_pixel = (((limit or {}).get("views") or {}).get(view) or {}).get("photons_per_pixel_per_dose")
            points = [(dose * per_pixel, limit_at(limit, view, "crb", dose)) for dose in DOSES if per_pixel]
            _bound(axes, points, f"Cramér–Rao, {view} view", line)
        axes.set(xscale="log", yscale="log", xlabel="detected photons per object pixel, n̄", title=title)
        axes.title.set_fontsize(10)
        axes.grid(alpha=0.25, which="major")
    panels[0].set_ylabel(NRMSE)
    found: dict[str, Any] = {}
    for axes in panels:
        found |= dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True))
    figure.legend(found.values(), found.keys(), loc="outside lower center", ncols=5, fontsize=8, frameon=False)
    return figure


def _overlap(row: Row) -> float:
    """Overlap ratio of a row's view, without rounding noise and without a negative zero."""
    return round(row["overlap"] or 0.0, 3) + 0.0


def _shade(overlap: float) -> Any:
    """Colour of an overlap ratio: dark blue (none) to light (most), readable in grey, too."""
    return colormaps["viridis"](0.88 * min(overlap / 0.8, 1.0))


def _cloud(axes: Axes, rows: Sequence[Row], overlap: float, thinned: bool) -> None:
    """Mean over runs at every dose, joined by a thin line."""
    means = [(_values(mine, "nbar").mean(), _values(mine, "nrmse").mean()) for mine in _by_dose(rows)]
    if not means:
        return
    colour = _shade(overlap)
    axes.plot(
        *zip(*means, strict=True), marker=MARKERS.get(overlap, "p"), ms=6, lw=0.8, ls=DOTTED if thinned else SOLID,
        color=colour, mfc="white" if thinned else colour, mec=colour if thinned else "black", mew=0.5 + thinned,
        label=f"overlap {overlap:g}" + (", thinned" if thinned else ""),
    )  # fmt: skip


def _by_dose(rows: Sequence[Row]) -> list[list[Row]]:
    """Rows of one dose each, every independent run once, by increasing dose, none empty."""
    arms = sorted({row["arm"] for row in rows})
    sets = [[row for arm in arms for row in select(rows, arm, dose)] for dose in DOSES]
    return [mine for mine in sets if mine]


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
    every = np.concatenate([grid[np.isfinite(grid)] for _, _, grid in found.values()])
    norm = LogNorm(every.min(), max(every.max(), every.min() * 1.01))
    figure = Figure(figsize=(0.8 + 4.1 * len(arms), 3.3), layout="constrained")
    panels = figure.subplots(1, len(arms), squeeze=False, sharey=True)[0]
    for axes, (arm, (overlaps, doses, grid)) in zip(panels, found.items(), strict=True):
        drawn = axes.imshow(grid, cmap="cividis_r", norm=norm, origin="lower", aspect="auto")
        for (i, j), value in np.ndenumerate(grid):
            if np.isfinite(value):
                dark = norm(value) > 0.55
                axes.text(
                    j, i, f"{value:.3f}", ha="center", va="center", fontsize=8, color="white" if dark else "black"
                )
        axes.set_xticks(range(len(doses)), [f"{dose:,.0f}" for dose in doses], fontsize=8)
        axes.set_yticks(range(len(overlaps)), [f"{overlap:g}" for overlap in overlaps])
        axes.set_xlabel("photons per pattern")
        axes.set_title(_style(arm)[0], fontsize=10)
    panels[0].set_ylabel("overlap ratio 1 − step / D90")
    figure.colorbar(drawn, ax=list(panels), label=NRMSE, pad=0.01)
    return figure


def quality_vs_cost(rows: Sequence[Row], bench: Mapping[str, Any] | None, dose: float = 1e4) -> Figure:
    """NRMSE at a dose against CPU seconds on one core: solving (filled) and, for networks, training too (hollow).

    `bench` is metrics/bench.json: {"arms": {arm: {"solve_cpu_s", "train_cpu_s" (0 or absent without training)}}}.
    """
    mine = _need(rows, "star")
    if not bench:
        raise StudyError("metrics/bench.json: not found; run `make bench`")
    figure = Figure(figsize=(9.0, 4.2), layout="constrained")
    axes = figure.subplots()
    for number, arm in enumerate(arm for arm in arms_of(mine) if arm in bench.get("arms", {})):
        values, cost = _values(select(mine, arm, dose), "nrmse"), bench["arms"][arm]
        if not len(values) or not cost.get("solve_cpu_s"):
            continue
        label, colour, marker, _ = _style(arm)
        x, y = [cost["solve_cpu_s"]], [values.mean()]
        if cost.get("train_cpu_s"):
            x, y = [x[0], x[0] + cost["train_cpu_s"]], [y[0], y[0]]
            axes.plot(x, y, color=colour, lw=0.8, ls=DOTTED)
            axes.plot(x[1], y[1], marker=marker, color=colour, mfc="white", ms=8, ls="none")
        axes.plot(x[0], y[0], marker=marker, color=colour, ms=8, ls="none")
        axes.annotate(
            label, (x[0], y[0]), (0, 8 if number % 2 else -8), textcoords="offset points",
            ha="center", va="bottom" if number % 2 else "top", fontsize=9,
        )  # fmt: skip
    axes.set(xscale="log", yscale="log", xlabel="CPU seconds (filled: reconstruction; hollow: with training)")
    axes.set(ylabel=f"{NRMSE} at {dose:,.0f} photons per pattern")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.set_major_formatter("{x:g}")
        axis.set_minor_formatter(NullFormatter())
    axes.margins(0.12)
    axes.grid(alpha=0.25, which="both")
    return figure
