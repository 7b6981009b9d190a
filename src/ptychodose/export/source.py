"""A reconstruction from its file, checked, with what the file lacks taken from the scan."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ptychodose.errors import StudyError
from ptychodose.formats.h5 import read_arrays
from ptychodose.formats.hdf5_guard import within
from ptychodose.formats.untrusted import MAX_PIXELS
from ptychodose.physics.probes import Geometry
from ptychodose.scans import cxi
from ptychodose.scans.measured import REMEDY
from ptychodose.scans.scan import Scan

REMAKE = "make it anew: python src/study.py reconstruct --scan SCAN.cxi --out RECON.h5"
GEOMETRY = {"energy_ev": 1e7, "distance_m": 1e3, "detector_pixel_m": 1.0}  # attributes, and the most that each may be


@dataclass(frozen=True)
class Solution:
    """obj (H, W) complex64; probe (M, N, N) complex64, root photons; positions (n, 2) px, y then x, patch centres in
    the object's frame; geometry; pixel_m. All but the object are None where neither file nor scan knows them."""

    path: Path
    obj: NDArray[np.complex64]
    probe: NDArray[np.complex64] | None
    positions: NDArray[np.float64] | None
    geometry: Geometry | None
    pixel_m: float | None

    def need(self, *names: str) -> None:
        """StudyError, naming --scan, unless all of `names` are known."""
        missing = [name for name in names if getattr(self, name) is None]
        if missing:
            raise StudyError(f"{self.path}: does not hold {', '.join(missing)}; give --scan SCAN.cxi, which does")


def read(path: Path, scan: Path | None = None) -> Solution:
    """The reconstruction at `path`; what its file does not hold is the scan's, whose frame must be the object's.

    Raises StudyError in one line for a file that is none, and for anything absurd in it.
    """
    if path.suffix == ".cxi":
        raise StudyError(f"{path}: a scan has no object; reconstruct it first, or export it --as ptychopinn")
    arrays, attributes = read_arrays(path, REMAKE)
    try:
        solution = _checked(path, arrays, attributes)
    except ValueError as error:
        raise StudyError(f"{path}: {error}; {REMAKE}") from None
    if scan is None:
        return solution
    with cxi.dataset(scan, REMEDY) as stored:
        return _beside(solution, stored.copy(), scan)


def _checked(path: Path, arrays: Mapping[str, NDArray], attributes: Mapping[str, object]) -> Solution:
    obj, probe, positions = (arrays.get(name) for name in ("obj", "probe", "positions"))
    if obj is None or obj.ndim != 2 or obj.dtype.kind != "c" or not 0 < obj.size <= MAX_PIXELS:
        raise ValueError("no object `obj` (H, W) of complex numbers in it")
    if probe is not None and (probe.dtype.kind != "c" or probe.ndim != 3 or probe.shape[1] != probe.shape[2]):
        raise ValueError(f"probe is {probe.dtype} {probe.shape}, not complex (M, N, N)")
    if positions is not None:
        size = 0 if probe is None else probe.shape[-1]
        _check_places(positions, size, obj.shape)
    geometry = None
    if set(GEOMETRY) <= set(attributes):
        geometry = Geometry(*(within(attributes[name], name, 1e-12, most) for name, most in GEOMETRY.items()))
    pixel_m = within(attributes["pixel_m"], "pixel_m", 1e-12, 1.0) if "pixel_m" in attributes else None
    wave = None if probe is None else probe.astype(np.complex64)
    return Solution(path, obj.astype(np.complex64), wave, positions, geometry, pixel_m)


def _check_places(positions: NDArray, size: int, shape: tuple[int, ...]) -> None:
    if positions.ndim != 2 or positions.shape[1] != 2 or positions.dtype.kind != "f" or not len(positions):
        raise ValueError(f"positions are {positions.dtype} {positions.shape}, not (n, 2) floating point")
    corners = np.rint(positions) - size // 2
    if (corners < 0).any() or (corners + size > shape).any():
        raise ValueError(f"a position leaves the object of {shape} px")


def _beside(solution: Solution, scan: Scan, path: Path) -> Solution:
    """What the file has, else the scan's."""
    if scan.shape != solution.obj.shape:
        raise StudyError(f"{solution.path}: its object is {solution.obj.shape} px, that of {path} {scan.shape}; "
                         f"give the scan that it was made of")  # fmt: skip
    if solution.pixel_m is not None and abs(solution.pixel_m / scan.pixel_m - 1) > 1e-6:
        raise StudyError(f"{solution.path}: its pixel is {solution.pixel_m:g} m, that of {path} {scan.pixel_m:g} m")
    return Solution(
        solution.path,
        solution.obj,
        scan.probe if solution.probe is None else solution.probe,
        scan.positions if solution.positions is None else solution.positions,
        scan.geometry if solution.geometry is None else solution.geometry,
        scan.pixel_m,
    )
