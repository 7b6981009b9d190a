"""What was found of a scan beside its object, without its counts: probe, positions, background, bad pixels."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ptychodose.errors import StudyError
from ptychodose.scans.scan import Scan


def arrays(scan: Scan) -> dict[str, NDArray]:
    """`probe` (M, N, N), `positions` (n, 2) px, `background` (N, N), `mask` (N, N) uint8, 0 = good, to be written."""
    mask = (~scan.mask).astype(np.uint8)
    return {"probe": scan.probe, "positions": scan.positions, "background": scan.background, "mask": mask}


def onto(scan: Scan, found: Mapping[str, NDArray], path: Path, stage: str) -> Scan:
    """The scan as `arrays` says it is; counts, dose and frame stay. StudyError for arrays that are not of this
    scan, naming their file and the stage that made it."""
    size, number = scan.size, len(scan)
    shapes = {"probe": (size, size), "background": (size, size), "mask": (size, size), "positions": (number, 2)}
    for name, shape in shapes.items():
        if name not in found or found[name].shape[-2:] != shape or found[name].ndim > 3:
            raise StudyError(f"{path}: {name} is not {shape}; run `dvc repro {stage}`")
    return replace(
        scan,
        probe=found["probe"].reshape(-1, size, size).astype(np.complex64),
        positions=found["positions"].astype(np.float64),
        background=found["background"].astype(np.float64),
        mask=scan.mask & (found["mask"] == 0),
    )
