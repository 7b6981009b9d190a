"""The sweep's gallery: what every arm's phase looks like at every dose, from the objects that experiments left."""

from collections.abc import Mapping

import numpy as np
import yaml
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ptychodose.formats.h5 import read_arrays
from ptychodose.integrity import lock
from ptychodose.score.align import align, clean
from ptychodose.score.metrics import phase_beside

ARMS = ("baseline", "dense", "map", "hybrid")
TRUTH, OBJECTS = "data/simulated/truth.h5", "data/reconstructions"
Images = dict[str, NDArray[np.complex64]]


def objects(lock_text: str, region: tuple[slice, slice]) -> Images:
    """Truth and the objects of ARMS on `region` (h, w), from DVC's cache, by the dvc.lock of an experiment.

    Raises StudyError when the cache no longer holds them.
    """
    outs = [out for stage in yaml.safe_load(lock_text)["stages"].values() for out in stage.get("outs", [])]
    digests = {str(out["path"]): str(out["md5"]) for out in outs}
    listing = dict(lock.listing(OBJECTS, digests[OBJECTS]))
    digests |= {f"{OBJECTS}/{name}": md5 for name, md5 in listing.items()}
    wanted = {"truth": TRUTH} | {arm: f"{OBJECTS}/{arm}.h5" for arm in ARMS if f"{arm}.h5" in listing}
    remedy = "its experiment's data left the cache: run `make sweep` again"
    return {
        name: read_arrays(lock.cache_path(digests[path]), remedy)[0]["obj"][region] for name, path in wanted.items()
    }


def gallery(runs: Mapping[float, Images], photons: Mapping[float, float]) -> Figure:
    """Phase (rad) of truth and ARMS (rows), all on one scale, at every dose (columns, photons per pattern).

    `runs` as from `objects`, by dose; `photons` per object pixel by dose.
    """
    doses, truth = sorted(runs), clean(next(iter(runs.values()))["truth"])
    names = ["truth", *(arm for arm in ARMS if any(arm in images for images in runs.values()))]
    height = 1.5 * truth.shape[0] / truth.shape[1]
    figure = Figure(figsize=(1.5 * len(doses) + 0.9, height * len(names) + 0.6), layout="constrained")
    grid = figure.subplots(len(names), len(doses), squeeze=False)
    low, high = np.percentile(np.angle(truth), [0.5, 99.5])
    for axes_row, name in zip(grid, names, strict=True):
        axes_row[0].set_ylabel(name)
        for axes, dose in zip(axes_row, doses, strict=True):
            axes.set(xticks=[], yticks=[])
            if name not in runs[dose]:
                axes.axis("off")
                continue
            target = clean(runs[dose]["truth"])
            phase = phase_beside(align(runs[dose][name], target).image, target)
            drawn = axes.imshow(phase, cmap="cividis", vmin=low, vmax=high, interpolation="nearest")
    for axes, dose in zip(grid[0], doses, strict=True):
        axes.set_title(f"{dose:,.0f}\n({photons[dose]:,.{0 if photons[dose] >= 10 else 1}f} per px)", fontsize=9)
    figure.colorbar(drawn, ax=list(grid.ravel()), shrink=0.5, pad=0.01, label="phase (rad)")
    figure.suptitle("photons per pattern (per object pixel)", fontsize=10)
    return figure
