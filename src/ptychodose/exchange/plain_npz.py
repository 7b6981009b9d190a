"""Two NPZ of few names, to read. PtychoNN: `reciprocal` (n, N, N) and `real`, complex patches, without positions.
tike: `scan` (n, 2) px, y then x, of the patches' first corner; `data` (n, N, N) intensities, zero frequency in the
corner; `probe` (1, 1, M, N, N) and `psi`; any of them may have leading axes of 1."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ptychodose.errors import StudyError
from ptychodose.exchange.found import Raw, Told
from ptychodose.exchange.ptychopinn import MAX_BYTES
from ptychodose.formats import npz

DATA, IMAGE = ("data", "diffraction"), ("psi", "object")


def knows_ptychonn(names: set[str]) -> bool:
    """Whether an archive of such `names` looks like PtychoNN's."""
    return "reciprocal" in names


def knows_tike(names: set[str]) -> bool:
    """Whether an archive of such `names` looks like tike's."""
    return "scan" in names and bool({*DATA} & names)


def read_ptychonn(path: Path, _: Told) -> Raw:
    """The entries of PtychoNN's file; raster scans (rows, columns, N, N) are taken row by row. Its patches say nothing
    that positions and patterns do not, and are left."""
    patterns = _entry(npz.read(path, ("reciprocal",), MAX_BYTES, "import"), ("reciprocal",), path)
    if patterns.ndim == 4 and patterns.size:
        patterns = patterns.reshape(-1, *patterns.shape[2:])
    return Raw("PtychoNN NPZ", f"{path}: reciprocal", patterns, None, None)


def read_tike(path: Path, _: Told) -> Raw:
    """The entries of tike's file. StudyError when one is missing or has no such shape."""
    arrays = npz.read(path, ("scan", *DATA, "probe", *IMAGE), MAX_BYTES, "import")
    patterns = _squeezed(_entry(arrays, DATA, path), 3)
    probe = arrays.get("probe")
    if probe is not None and probe.ndim > 3 and probe.shape[:-3].count(1) != probe.ndim - 3:
        raise StudyError(f"{path}: probe {probe.shape} varies from pattern to pattern; save the mean one, (M, N, N)")
    image = next((arrays[name] for name in IMAGE if name in arrays), None)
    half = tuple(side / 2 for side in patterns.shape[1:]) if patterns.ndim == 3 else (0.0, 0.0)
    return Raw(
        name="tike NPZ",
        where=f"{path}: data",
        patterns=patterns,
        kind="intensity",
        places=_squeezed(_entry(arrays, ("scan",), path), 2),
        offset=(half[0] // 1, half[-1] // 1),
        probe=probe,
        obj=None if image is None else _squeezed(image, 2),
        zero="corner",
        how=("axes: scan = (row, column) of a patch's first pixel, as tike has them",),
    )


def _entry(arrays: dict[str, NDArray[np.generic]], names: tuple[str, ...], path: Path) -> NDArray:
    found = next((arrays[name] for name in names if name in arrays), None)
    if found is None:
        raise StudyError(f"{path}: key {names[0]!r} is missing; add it")
    return found


def _squeezed(values: NDArray, dimensions: int) -> NDArray:
    """Without leading axes of 1, down to so many."""
    while values.ndim > dimensions and values.shape[0] == 1:
        values = values[0]
    return values
