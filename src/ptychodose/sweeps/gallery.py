"""The sweep's gallery: what every arm's phase looks like at every dose, from the objects of experiments."""

from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ptychodose.errors import StudyError
from ptychodose.formats.h5 import read_array
from ptychodose.score.align import align, clean
from ptychodose.score.metrics import phase_beside, phase_of
from ptychodose.score.region import Region
from ptychodose.sweeps.dvc_queue import DvcQueue

ARMS = ("baseline", "dense", "map", "hybrid")
TRUTH, OBJECTS = "data/scan/truth.h5", "data/reconstructions"
Images = dict[str, NDArray[np.complex64]]


def objects(queue: DvcQueue, ref: str) -> Images:
    """Truth and the objects of ARMS (H, W) of an experiment. Raises StudyError when DVC lost them."""
    remedy = f"`dvc exp remove {ref.rsplit('/', 1)[1]}`, and the gallery leaves it out"
    with TemporaryDirectory() as name:
        folder = Path(name)
        try:
            queue.fetch(ref, TRUTH, folder / "truth.h5")
            queue.fetch(ref, OBJECTS, folder / "arms")
        except StudyError as error:
            raise StudyError(f"{error}; {remedy}") from None
        paths = {"truth": folder / "truth.h5"} | {arm: folder / f"arms/{arm}.h5" for arm in ARMS}
        return {arm: read_array(path, "obj", remedy) for arm, path in paths.items() if path.is_file()}


def gallery(runs: Mapping[float, Images], regions: Mapping[float, Region], photons: Mapping[float, float]) -> Figure:
    """Phase (rad) of truth and ARMS (rows), all on one scale, at every dose (columns, photons per pattern).

    By dose: `runs` as from `objects`, the scored region, `photons` per object pixel. Raises StudyError without a run.
    """
    if not runs:
        raise StudyError("the experiments of the sweep's centre are not in this clone; `make sweep` makes them")
    doses = sorted(runs)
    truth = phase_of(clean(runs[doses[0]]["truth"][regions[doses[0]]]))
    names = ["truth", *(arm for arm in ARMS if any(arm in images for images in runs.values()))]
    height = 1.5 * truth.shape[0] / truth.shape[1]
    figure = Figure(figsize=(1.5 * len(doses) + 0.9, height * len(names) + 0.6), layout="constrained")
    grid = figure.subplots(len(names), len(doses), squeeze=False)
    low, high = np.percentile(truth, [0.5, 99.5])
    for axes_row, name in zip(grid, names, strict=True):
        axes_row[0].set_ylabel(name)
        for axes, dose in zip(axes_row, doses, strict=True):
            axes.set(xticks=[], yticks=[])
            if name not in runs[dose]:
                axes.axis("off")
                continue
            found = align(runs[dose][name], runs[dose]["truth"], regions[dose])
            phase = phase_beside(found.image, clean(runs[dose]["truth"])[found.region])
            drawn = axes.imshow(phase, cmap="cividis", vmin=low, vmax=high, interpolation="nearest")
    for axes, dose in zip(grid[0], doses, strict=True):
        axes.set_title(f"{dose:,.0f}\n({photons[dose]:,.{0 if photons[dose] >= 10 else 1}f} per px)", fontsize=9)
    figure.colorbar(drawn, ax=list(grid.ravel()), shrink=0.5, pad=0.01, label="phase (rad)")
    figure.suptitle("photons per pattern (per object pixel)", fontsize=10)
    return figure
