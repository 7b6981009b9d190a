"""The files of a benchmark: `<family>_d<dose>_{train,test}.npz`, photon counts with the probe and the true object."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptychodose.errors import StudyError
from ptychodose.exchange import counts as photon_counts
from ptychodose.formats import npz
from ptychodose.physics import simulate
from ptychodose.scans.scan import Scan, of_arrays

KEYS = ("counts", "diffraction", "xcoords", "ycoords", "probeGuess", "objectGuess")
DETECTOR = ("background", "mask")  # optional: counts per pixel and pattern, a number or (N, N); (N, N), True = good
MAX_BYTES = 2**33  # of one array
SMALLEST, LARGEST = 1e-12, 1e12  # of amplitudes
LEVELS = (0.05, 2.0)  # mean amplitude of an object under its own probe: absorbing, and brighter than the probe allows
ALIKE = 1.25  # measured over named photons, or the inverse; the halves of the common workload are 5 % apart


def read(path: Path) -> tuple[Scan, NDArray[np.complex64]]:
    """The scan and the true object (H, W) of one file of the workload: `counts`, or `diffraction` = sqrt(counts),
    with background and mask where the file has them; other keys are ignored. The probe may have modes.

    Raises StudyError naming file and key for anything missing, of wrong shape or not finite, for what is no photon
    count, and for a probe that is not in photons.
    """
    arrays = _numbers(path)
    measured = "counts" if "counts" in arrays else "diffraction"
    counts, probe, obj = arrays[measured], arrays["probeGuess"], arrays["objectGuess"]
    fits = probe.ndim in (2, 3) and probe.shape[-2:] == counts.shape[1:] and probe.shape[-1] == probe.shape[-2]
    if counts.ndim != 3 or not fits or obj.ndim != 2:
        raise StudyError(
            f"{path}: counts {counts.shape}, probeGuess {probe.shape} and objectGuess {obj.shape} disagree"
        )
    if not len(counts) or any(arrays[key].shape != counts.shape[:1] for key in ("xcoords", "ycoords")):
        raise StudyError(f"{path}: xcoords, ycoords are not a number for each of {len(counts)} patterns")
    positions = np.stack([arrays["ycoords"], arrays["xcoords"]], -1).astype(np.float64)
    corners = np.rint(positions) - probe.shape[-1] // 2
    if (corners < 0).any() or (corners + probe.shape[-1] > obj.shape).any():
        raise StudyError(f"{path}: xcoords, ycoords are not the centres of {len(counts)} patches inside {obj.shape} px")
    if np.less(counts, 0).any():
        raise StudyError(f"{path}: negative {measured}; save detected photons")
    whole = photon_counts.of_amplitudes if measured == "diffraction" else photon_counts.of_intensities
    photons = whole(counts, None, f"{path}: {measured}", "save detected photons").astype(np.int64)
    scan = of_arrays(photons, _wave(path, "probeGuess", probe), positions, obj.shape)
    scan = replace(scan, **_detector(path, scan.size))
    _check_photons(path, scan)
    return scan, _wave(path, "objectGuess", obj)


def at_dose(folder: Path, family: str, dose: str, split: str) -> tuple[Scan, NDArray[np.complex64]]:
    """`read` of a file whose photons must be those that its name says. StudyError where they are not.

    The true object tells which share of them the mask hides.
    """
    path = folder / f"{family}_d{dose}_{split}.npz"
    scan, obj = read(path)
    rate = scan.expected(obj, slice(simulate.BLOCK)) - scan.background
    share = float(rate[:, scan.mask].sum() / rate.sum())
    if not 1 / ALIKE < scan.signal / (share * float(dose)) < ALIKE:
        raise StudyError(
            f"{path}: {scan.signal / share:.4g} photons per pattern, but its name says {dose}; save detected photons "
            "or name the file after their mean"
        )
    return scan, obj


def _wave(path: Path, key: str, wave: NDArray[np.generic]) -> NDArray[np.complex64]:
    """A wave of any shape that single precision holds, squares too. StudyError for others, and for darkness."""
    largest = max(float(np.abs(part).max(initial=0)) for part in (wave.real, wave.imag))
    if not SMALLEST < largest < LARGEST:
        raise StudyError(f"{path}: {key} is {largest:g} where it is brightest; save the wave in root photons")
    return wave.astype(np.complex64)


def _check_photons(path: Path, scan: Scan) -> None:
    """StudyError unless there is light, and the probe has about as many photons as it takes: where it has not, the
    object's amplitude is far from 1, which no prior expects."""
    if scan.signal <= 0:
        raise StudyError(f"{path}: no photons in good pixels beside the background; correct counts, background or mask")
    if not LEVELS[0] < scan.level < LEVELS[1]:
        raise StudyError(
            f"{path}: probeGuess has {scan.incident:.3g} photons, the patterns {scan.signal:.3g}; scale it by about "
            f"{scan.level:.3g} (its |P|^2 are photons) and objectGuess by the inverse"
        )


def _numbers(path: Path) -> dict[str, NDArray[np.generic]]:
    """The arrays of a file: all there, plain finite numbers."""
    arrays = npz.read(path, KEYS, MAX_BYTES, "benchmark")
    if not {"counts", "diffraction"} & set(arrays):
        raise StudyError(f"{path}: neither 'counts' nor 'diffraction' is there; add one")
    for key in KEYS[2:]:
        if key not in arrays:
            raise StudyError(f"{path}: key {key!r} is missing; add it")
    for key, values in arrays.items():
        kinds = "uifc" if key.endswith("Guess") else "uif"
        if values.dtype.kind not in kinds or not np.isfinite(values).all():
            raise StudyError(f"{path}: {key} is {values.dtype} or not finite; save plain finite numbers")
    return arrays


def _detector(path: Path, size: int) -> dict[str, Any]:
    """Background (N, N) and mask (N, N) of a file, as far as it has them."""
    made: dict[str, Any] = {}
    for key, found in npz.read(path, DETECTOR, MAX_BYTES, "benchmark").items():
        values: Any = found
        kinds, shapes = ("uif", ((), (size, size))) if key == "background" else ("b", ((size, size),))
        if values.dtype.kind not in kinds or values.shape not in shapes or not (values >= 0).all() or not values.size:
            raise StudyError(f"{path}: {key} is {values.dtype} {values.shape}; save counts or True = good, (N, N)")
        made[key] = np.broadcast_to(values, (size, size)).astype(np.float64 if key == "background" else bool)
    return made


def doses(folder: Path, family: str) -> list[str]:
    """The doses of a family, as spelt in the file names, in increasing order. StudyError when there is none."""
    pattern = re.compile(rf"{re.escape(family)}_d(\d+(?:\.\d+)?(?:[eE]\+?\d+)?)_train\.npz")
    names = sorted(p.name for p in folder.glob("*.npz")) if folder.is_dir() else []
    found = [match.group(1) for name in names if (match := pattern.fullmatch(name))]
    found = [dose for dose in found if (folder / f"{family}_d{dose}_test.npz").is_file()]
    if not found:
        raise StudyError(
            f"{folder}: no pair {family}_d<dose>_train.npz, {family}_d<dose>_test.npz; check DIR and family"
        )
    return sorted(found, key=float)
