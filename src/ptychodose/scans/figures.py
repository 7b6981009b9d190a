"""The picture of views: where patterns lie, which are grouped, how wide the probe is."""

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.patches import Circle

from ptychodose.formats.png import COLOURS
from ptychodose.scans.scan import Scan
from ptychodose.scans.views import View


def views(scans: Mapping[str, Scan], drawn: Mapping[str, Mapping[str, View]]) -> Figure:
    """Positions of every view (colour = interleaved scan), a few groups, and the probe's D90 disc to scale."""
    figure = Figure(figsize=(5.0 * max(1, len(drawn)), 8.2), layout="constrained")
    grid = figure.subplots(1, max(1, len(drawn)), squeeze=False)[0]
    for axes, (name, splits) in zip(grid, drawn.items(), strict=False):
        for split, view in splits.items():
            _positions(axes, scans[split], view, split)
        shape = scans["test"].shape
        axes.set(xlim=(0, shape[1]), ylim=(shape[0], 0), aspect="equal", xlabel="x (object px)", ylabel="y (object px)")
        counts = ", ".join(f"{len(view.index)} {split}" for split, view in splits.items())
        axes.set_title(f"{name}: {counts} patterns", fontsize=10)
    return figure


def _positions(axes: Axes, scan: Scan, view: View, split: str) -> None:
    positions = scan.positions[view.index]
    colours = [COLOURS[number % len(COLOURS)] for number in view.scan]
    axes.scatter(positions[:, 1], positions[:, 0], s=3, c=colours, linewidths=0)
    groups = view.groups[max(view.groups)]
    for group in groups[np.linspace(0, len(groups) - 1, 7).astype(int)[1:-1]]:
        lines = [[positions[group[0], ::-1], positions[i, ::-1]] for i in group[1:]]
        axes.add_collection(LineCollection(lines, colors="black", linewidths=1.0))
        axes.add_patch(Circle((positions[group[0], 1], positions[group[0], 0]), scan.diameter / 2, fill=False, lw=1.0))
    axes.annotate(split, (scan.shape[1] - 6, positions[:, 0].min()), ha="right", va="bottom", fontsize=9)
