"""The picture of a measured scan: object, probe modes, background, where positions went, half-data FRC."""

from collections.abc import Callable
from functools import partial

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ptychodose.compare.figures import wave
from ptychodose.formats.png import COLOURS
from ptychodose.measured.quality import THRESHOLDS, in_region
from ptychodose.scans.scan import Scan
from ptychodose.score.frc import Curve

ARROWS = 600  # at most, evenly chosen: more hide each other
STRETCHES = (1, 2, 5, 10, 20, 50, 100, 200, 500)  # of arrows, so that the usual one is about a step long


def result(obj: NDArray[np.complex64], scan: Scan, recorded: Scan, curve: Curve, title: str) -> Figure:
    """All that there is of an object (H, W) and of a scan as found, beside the scan as recorded."""
    moved = not np.array_equal(scan.positions, recorded.positions)
    panels: list[Callable[[Axes], None]] = [partial(_frc, curve=curve)]
    modes = np.abs(scan.probe)
    shares = (modes**2).sum((1, 2)) / (modes**2).sum()
    for number in range(min(len(modes), 3)):
        panels.append(
            partial(_mode, amplitude=modes[number], title=f"probe, mode {number + 1}: {100 * shares[number]:.1f} %")
        )
    if not np.array_equal(scan.background, recorded.background):
        panels.append(partial(_background, scan=scan))
    if moved:
        panels.append(partial(_moves, recorded=recorded.positions, found=scan.positions))
    rows = 1 + -(-len(panels) // 3)
    figure = Figure(figsize=(10.8, 4.6 + 3.3 * (rows - 1)), layout="constrained")
    [[top], [below]] = figure.subfigures(2, 1, squeeze=False, height_ratios=(4.2, 3.3 * (rows - 1)))
    wave(top, in_region(obj, scan), scan.pixel_m)
    grid = below.subplots(rows - 1, 3, squeeze=False).ravel()
    for draw, axes in zip(panels, grid, strict=False):
        draw(axes)
    for axes in grid[len(panels) :]:
        axes.axis("off")
    top.suptitle(title, fontsize=11)
    return figure


def so_far(obj: NDArray[np.complex64], scan: Scan) -> Figure:
    """The object while a scan still grows; its title says that it is not the result."""
    figure = Figure(figsize=(10.0, 4.6), layout="constrained")
    wave(figure, in_region(obj, scan), scan.pixel_m)
    figure.suptitle(f"unfinished: MAP of the first {len(scan)} patterns, probe and positions as recorded", fontsize=11)
    return figure


def _frc(axes: Axes, curve: Curve) -> None:
    axes.plot(curve.frequency, curve.correlation, color=COLOURS[0])
    for name, threshold in THRESHOLDS.items():
        axes.axhline(threshold, color="black", lw=0.8, ls=":")
        axes.annotate(name, (0.99, threshold), ha="right", va="bottom", fontsize=8)
    axes.set(xlim=(0, 1), ylim=(-0.1, 1.05), xlabel="spatial frequency (of Nyquist)")
    axes.set_title("correlation of two halves of the photons", fontsize=10)


def _mode(axes: Axes, amplitude: NDArray[np.float32], title: str) -> None:
    axes.imshow(amplitude, cmap="magma", interpolation="nearest")
    axes.set(xticks=[], yticks=[])
    axes.set_title(title, fontsize=10)


def _background(axes: Axes, scan: Scan) -> None:
    shown = np.where(scan.mask, scan.background, np.nan)
    drawn = axes.imshow(shown, cmap="viridis", interpolation="nearest")
    axes.figure.colorbar(drawn, ax=axes, shrink=0.8)
    axes.set(xticks=[], yticks=[])
    axes.set_title("background (counts), bad pixels white", fontsize=10)


def _moves(axes: Axes, recorded: NDArray[np.float64], found: NDArray[np.float64]) -> None:
    """Arrows from positions recorded to found, stretched so that they can be seen, as the title says."""
    away = found - recorded
    away = away - away.mean(0)  # a shift of all is one of the object
    some = np.unique(np.linspace(0, len(recorded) - 1, ARROWS).astype(int))
    usual = max(float(np.sqrt((away**2).sum(1).mean())), 1e-6)
    room = float(np.ptp(recorded, axis=0).max()) / max(np.sqrt(len(recorded)), 1)
    stretch = max([step for step in STRETCHES if step * usual <= room], default=1)
    y, x = recorded[some].T
    dy, dx = stretch * away[some].T
    axes.quiver(x, y, dx, dy, angles="xy", scale_units="xy", scale=1, width=0.004, color=COLOURS[1])
    axes.set(aspect="equal", xlabel="x (object px)", ylabel="y (object px)")
    axes.margins(0.08)
    axes.invert_yaxis()
    axes.set_title(f"positions, recorded to found (rms {usual:.2f} px),\narrows {stretch} x too long", fontsize=10)
