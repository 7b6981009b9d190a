"""Every picture of the study, as deterministic PNG bytes (Agg, matplotlib's own fonts, no software tag)."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, FigureBase
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from ptychodose.score.align import align, clean
from ptychodose.score.metrics import phase_beside, phase_of
from ptychodose.score.region import Region
from ptychodose.score.words import ssim_text

Complex = NDArray[np.complexfloating]
Real = NDArray[np.float64]
DPI = 100
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")  # Okabe & Ito
# Rows left to the tables, so that the pictures stay readable.
HIDDEN = ("flat", "oracle", "cnn", "own", "sparse", "dense_thinned", "map_sparse", "map_thinned", "hybrid_sparse",
          "hybrid_thinned")  # fmt: skip


def comparison(
    truth: Complex,
    arms: Mapping[str, tuple[Complex, Complex | None]],
    region: Region,
    pixel_m: float,
    scores: Mapping[str, Mapping[str, float | None]],
    titles: tuple[str, str],
) -> Figure:
    """Truth and arms on the region (h, w): amplitude, phase, their errors, and the standard error that an arm states
    for its phase; one colour scale per row, scale bar in um.

    `arms` holds objects (H, W), each with its standard error (H, W) or None; `scores` nrmse and phase_ssim per arm.
    They are aligned as in the scores; `titles`: of truth, of the picture.
    """
    target = clean(truth[region])
    rows = _panels(target, [_beside(obj, error, truth, region) for obj, error in arms.values()])
    cell = 2.6  # inches a panel is wide; a flat region still gets room for its labels
    tall = cell * max(target.shape[0] / target.shape[1], 0.5)
    figure = Figure(figsize=(cell * (len(arms) + 1) + 1.0, tall * len(rows) + 1.0), layout="constrained")
    grid = figure.subplots(len(rows), len(arms) + 1, squeeze=False)
    for axes_row, (label, colours, (low, high), *panels) in zip(grid, rows, strict=True):
        for axes, panel in zip(axes_row, panels, strict=True):
            axes.set(xticks=[], yticks=[])
            if panel is None:
                axes.axis("off")
                continue
            drawn = axes.imshow(panel, cmap=colours, vmin=low, vmax=high, interpolation="nearest")
        axes_row[next(i for i, panel in enumerate(panels) if panel is not None)].set_ylabel(label)
        figure.colorbar(drawn, ax=list(axes_row), shrink=0.85, pad=0.01)
    grid[0][0].set_title(titles[0], fontsize=10)
    for axes, name in zip(grid[0][1:], arms, strict=True):
        row = scores[name]
        axes.set_title(f"{name}\nNRMSE {row['nrmse']:.3f}, phase SSIM {ssim_text(row['phase_ssim'], 2)}", fontsize=10)
    scale_bar(grid[0][0], target.shape, pixel_m)
    figure.suptitle(titles[1], fontsize=11)
    return figure


def _beside(obj: Complex, error: Complex | None, truth: Complex, region: Region) -> list[Real | None]:
    """Amplitude, phase (rad) and their errors of one arm, aligned as in the scores; the standard error of its phase."""
    found = align(obj, truth, region)
    target = clean(truth)[found.region]
    amplitude, phase = np.abs(found.image), phase_beside(found.image, target)
    stated = None if error is None else error.imag[region] / np.maximum(np.abs(obj[region]), 1e-6)
    return [amplitude, phase, amplitude - np.abs(target), phase - phase_of(target), stated]


def _panels(target: NDArray[np.complex128], arms: list[list[Real | None]]) -> list[tuple[Any, ...]]:
    """The rows of the picture: label, colours, their range, truth's panel if any, the arms' panels; without those that
    no arm fills."""
    amplitude, phase = np.abs(target), phase_of(target)
    heads: list[tuple[Any, ...]] = [
        ("amplitude", "gray", _span(amplitude), amplitude),
        ("phase (rad)", "cividis", _span(phase), phase),
        ("amplitude error", "RdBu_r", (-0.3, 0.3), None),
        ("phase error (rad)", "RdBu_r", (-1.0, 1.0), None),
        ("phase error, stated (rad)", "magma", (0.0, _highest([arm[4] for arm in arms])), None),
    ]
    rows = [(*head, *(arm[i] for arm in arms)) for i, head in enumerate(heads)]
    return [row for row in rows if any(panel is not None for panel in row[3:])]


def _highest(panels: list[Real | None]) -> float:
    """The top of a scale from zero for panels, some of which may be missing."""
    return max([float(np.percentile(panel, 99)) for panel in panels if panel is not None], default=1.0)


def curves(
    arms: Mapping[str, Mapping[str, Sequence[float | None]]],
    histories: Mapping[str, Sequence[Mapping[str, float]]],
    bound: tuple[Sequence[float], Sequence[float]] | None = None,
) -> Figure:
    """FRC with truth of every arm (`arms`: frequency of Nyquist and correlation), beside the best that an unbiased
    method can reach (`bound`: frequency, correlation), and held-out loss while training on procedural objects
    (`histories`: rows of pattern_visits, heldout_loss)."""
    figure = Figure(figsize=(9.6, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    colours = dict(zip(dict.fromkeys([*arms, *histories]), COLOURS * 4, strict=False))  # an arm's is the same in both
    for name, row in arms.items():
        values = [np.nan if value is None else value for value in row["correlation"]]
        left.plot(row["frequency"], values, color=colours[name], label=name)
    left.axhline(0.5, color="black", lw=0.8, ls=":")
    if bound is not None:
        left.plot(*bound, color="black", lw=1.2, ls="--", label="limit without prior knowledge (Cramér–Rao)")
    left.set(xlabel="spatial frequency (of Nyquist)", ylabel="Fourier ring correlation", ylim=(-0.1, 1.05), xlim=(0, 1))
    if arms or bound is not None:
        left.legend(fontsize=8)
    for name, rows in histories.items():
        visits = [row["pattern_visits"] for row in rows]
        right.plot(visits, [row["heldout_loss"] for row in rows], "o-", ms=3, color=colours[name], label=name)
    right.set(xlabel="pattern visits", ylabel="log NRMSE, unseen procedural objects")
    if histories:  # a study may skip all its networks
        right.legend(fontsize=8)
    return figure


def _span(values: NDArray[np.float64]) -> tuple[float, float]:
    low, high = np.percentile(values, [0.5, 99.5])
    return float(low), float(max(high, low + 1e-3))


def wave(figure: FigureBase, image: Complex, pixel_m: float) -> None:
    """Amplitude and phase of one image (h, w) side by side, each with its colours and a scale bar."""
    panels = {"amplitude": (np.abs(image), "gray"), "phase (rad)": (phase_of(image.astype(np.complex128)), "cividis")}
    for axes, (name, (values, colours)) in zip(figure.subplots(1, 2), panels.items(), strict=True):
        low, high = _span(values)
        drawn = axes.imshow(values, cmap=colours, vmin=low, vmax=high, interpolation="nearest")
        axes.set(xticks=[], yticks=[], title=name)
        figure.colorbar(drawn, ax=axes, shrink=0.8)
        scale_bar(axes, image.shape, pixel_m)


def scale_bar(axes: Axes, shape: tuple[int, ...], pixel_m: float) -> None:
    """A bar of a round length, about a quarter of the width."""
    room = shape[1] * pixel_m * 1e6 / 4
    power = 10 ** np.floor(np.log10(room))
    length = power * max(step for step in (1, 2, 5) if step * power <= room)
    pixels = length / (pixel_m * 1e6)
    x, y, thick = 0.05 * shape[1], 0.93 * shape[0], 0.02 * shape[0]
    axes.add_patch(Rectangle((x, y), pixels, thick, color="white", ec="black", lw=0.5))
    axes.text(x + pixels / 2, y - thick, f"{length:g} µm", color="white", ha="center", va="bottom", fontsize=8,
              bbox={"facecolor": "black", "alpha": 0.5, "pad": 1, "lw": 0})  # fmt: skip
