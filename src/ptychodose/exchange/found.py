"""A foreign scan: as its file has it (`Raw`), as a study needs it (`Found`), what the user says (`Told`), and the Scan
made of it."""

from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ptychodose.errors import StudyError
from ptychodose.physics.probes import Geometry
from ptychodose.scans.scan import Scan, of_arrays

MARGIN = 32  # px of object beyond the outermost patch: room for positions that are 8 px rms off
SIZES = (32, 256)  # N: even and within these


@dataclass(frozen=True)
class Told:
    """What only the user can know; None where the file is to say. Files: positions (n, 2) px and a product's
    patterns."""

    energy_ev: float | None = None
    distance_m: float | None = None
    pixel_um: float | None = None
    per_unit: float | None = None
    zero: str | None = None
    values: str | None = None
    pattern_axis: str | None = None
    mask_good: int | None = None
    positions: Path | None = None
    patterns: Path | None = None
    product: Path | None = None
    orient: str | None = None


@dataclass(frozen=True)
class Raw:
    """A scan as its file has it. `where` names file and entry of the patterns (n, H, W), which are amplitudes or
    intensities by `kind` (None: the format does not say). places (n, 2), y then x: px, or metres if `metres`, in which
    case a patch centre is (place - origin) / pixel + offset px of the file's object. probe (M, H, W), obj (rows,
    columns), bad (H, W) True = bad, `zero` centre or corner, pixels of the detector and the object: None where the file
    has none. `how`: lines on all that."""

    name: str
    where: str
    patterns: NDArray
    kind: str | None
    places: NDArray[np.float64] | None
    metres: bool = False
    origin: tuple[float, float] = (0.0, 0.0)
    offset: tuple[float, float] = (0.0, 0.0)
    probe: NDArray | None = None
    obj: NDArray | None = None
    bad: NDArray[np.bool_] | None = None
    zero: str | None = None
    energy_ev: float | None = None
    distance_m: float | None = None
    pixel_m: float | None = None
    object_pixel_m: float | None = None
    how: tuple[str, ...] = ()


@dataclass(frozen=True)
class Found:
    """counts (n, H, W) centred, 0 where bad; positions (n, 2) px, y then x, patch centres in the frame of `obj`, the
    file's own object if it has one; probe (M, H, W) or None; mask (H, W) True = good; geometry, or the flags that it
    `lacks`; `how`: what was found, a line each."""

    counts: NDArray[np.unsignedinteger]
    positions: NDArray[np.float64]
    probe: NDArray[np.complex64] | None
    obj: NDArray[np.complex64] | None
    mask: NDArray[np.bool_]
    geometry: Geometry | None
    lacks: tuple[str, ...] = ()
    how: tuple[str, ...] = field(default=())


def to_scan(found: Found, geometry: Geometry | None) -> Scan:
    """The scan on a frame of its own, `MARGIN` px around the patches. Its probe is in photons: as the file's where
    that has their number, else scaled to the mean counts. StudyError without a probe."""
    if found.probe is None:
        raise StudyError("probe: the file has none; add a measured or simulated probe (N, N) to it")
    check_size(found.counts.shape, "patterns")
    size = found.counts.shape[-1]
    low = np.floor(found.positions.min(0)).astype(int) - size // 2 - MARGIN
    high = np.ceil(found.positions.max(0)).astype(int) + size // 2 + MARGIN
    shape = int(high[0] - low[0]), int(high[1] - low[1])
    scan = of_arrays(found.counts, in_photons(found.probe, found.counts), found.positions - low, shape)
    return replace(scan, geometry=geometry, mask=found.mask)


def in_photons(probe: NDArray[np.complex64], counts: NDArray[np.unsignedinteger]) -> NDArray[np.complex64]:
    """A probe (M, N, N) whose photons per pattern are at least the mean counts and at most five times these, as no
    sample emits light and few absorb more; one in other units is scaled to the mean counts."""
    photons, mean = float((np.abs(probe.astype(np.complex128)) ** 2).sum()), float(counts.sum() / len(counts))
    if mean <= 0 or photons <= 0:
        raise StudyError(f"{mean:g} counts per pattern and a probe of {photons:g} photons; one of them is dark")
    return probe if 0.9 * mean < photons < 5 * mean else (probe * np.sqrt(mean / photons)).astype(np.complex64)


def check_size(shape: tuple[int, ...], where: str) -> None:
    """StudyError unless patterns of `shape` (n, N, N) have a size that every arm takes."""
    size = shape[-1]
    if shape[-2] != size or size % 2 or not SIZES[0] <= size <= SIZES[1]:
        raise StudyError(
            f"{where}: patterns of {shape[-2]} x {size} px; give --crop N or --pad N, an even N from {SIZES[0]} to "
            f"{SIZES[1]}"
        )
