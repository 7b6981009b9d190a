"""An object as a picture: amplitude and phase with colour bars and a scale bar."""

from functools import partial
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ptychodose.compare.figures import wave
from ptychodose.export.source import Solution
from ptychodose.formats.png import save_figure
from ptychodose.score.region import scored_region


def write(out: Path, solution: Solution) -> list[str]:
    """Draw what the scan's centres enclose, or the whole frame where they are not known. StudyError where the pixel is
    not known."""
    solution.need("pixel_m")
    assert solution.pixel_m is not None
    image, said = solution.obj, "the whole frame; with --scan, what its positions enclose"
    if solution.positions is not None:
        image, said = image[scored_region([solution.positions])], "what the positions enclose"
    save_figure(partial(_panels, image, solution.pixel_m), out)
    return [said]


def _panels(image: NDArray[np.complex64], pixel_m: float) -> Figure:
    figure = Figure(figsize=(10.0, 4.8), layout="constrained")
    wave(figure, image, pixel_m)
    return figure
