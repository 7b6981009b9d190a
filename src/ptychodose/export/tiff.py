"""An object as TIFF (6.0, Adobe 1992): page 1 its amplitude, page 2 its phase, float32, with the size of a pixel."""

from pathlib import Path

import numpy as np
import tifffile
from numpy.typing import NDArray

from ptychodose.export.source import Solution
from ptychodose.formats.atomic import atomic_path
from ptychodose.score.metrics import phase_of

CENTIMETRE = 0.01  # m; the larger of the two units that TIFF's resolution can have
PAGES = ("amplitude", "phase (rad) about its mean")


def write(out: Path, solution: Solution) -> list[str]:
    """Write both pages, the whole frame; StudyError where the pixel is not known."""
    solution.need("pixel_m")
    assert solution.pixel_m is not None
    per_cm = CENTIMETRE / solution.pixel_m
    pages: tuple[NDArray, NDArray] = (np.abs(solution.obj), phase_of(solution.obj.astype(np.complex128)))
    with atomic_path(out) as temporary, tifffile.TiffWriter(temporary) as file:
        for name, values in zip(PAGES, pages, strict=True):
            file.write(
                values.astype(np.float32),
                photometric="minisblack",
                resolution=(per_cm, per_cm),
                resolutionunit="CENTIMETER",
                description=f"{name}; pixel {solution.pixel_m * 1e9:.6g} nm",
                metadata=None,  # no clock, no name of a program
                software=False,
            )
    return [f"pages: {', '.join(PAGES)}; {per_cm:.6g} pixels per cm"]
