"""Every arm on scans given as files: `<family>_d<dose>_{train,test}.npz`, the same photons for all.

Networks are trained once per family, on procedural objects under the family's probe and scan, for all its doses;
MAP and hybrid need no training. The test file's `objectGuess` is used for scoring alone.
"""

import re
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from ptychodose.errors import StudyError
from ptychodose.exchange.counts import of_intensities
from ptychodose.formats import npz
from ptychodose.networks import predict, training
from ptychodose.networks.procedural_scans import ProceduralScans
from ptychodose.physics import noise, simulate
from ptychodose.reconstruct import reconstructors
from ptychodose.scans.groups import covering, neighbour_groups
from ptychodose.scans.scan import Scan, of_arrays
from ptychodose.score import scoring
from ptychodose.score.region import Region, scored_region
from ptychodose.study.settings import Params, Train

KEYS = ("counts", "diffraction", "xcoords", "ycoords", "probeGuess", "objectGuess")
DETECTOR = ("background", "mask")  # optional: counts per pixel and pattern, a number or (N, N); (N, N), True = good
MAX_BYTES = 2**33  # of one array
SMALLEST, LARGEST = 1e-12, 1e12  # amplitudes whose squares single precision holds
LEVELS = (0.05, 2.0)  # mean amplitude of an object under its own probe: absorbing, and brighter than the probe allows
SPREAD = 0.2  # of a dose, by which the halves of an object differ from it: 5 % on the common workload
NETWORKS = {"baseline": 1, "dense": 4, "wide": 16}  # C by arm


def read(path: Path) -> tuple[Scan, NDArray[np.complex64]]:
    """The scan and the true object (H, W) of one file of the workload: `counts`, or `diffraction` = sqrt(counts),
    with background and mask where the file has them; other keys are ignored. The probe may have modes.

    Raises StudyError naming file and key for anything missing, of wrong shape or not finite, for waves that are dark, a
    probe that is not in photons, and for what is no count of photons (see `exchange.counts`).
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
    if (np.asarray(counts, np.float64) < 0).any():
        raise StudyError(f"{path}: negative {measured}; save detected photons")
    with np.errstate(over="ignore"):  # infinity is no count
        values = counts.astype(np.float64) ** 2 if measured == "diffraction" else counts
    photons = of_intensities(values, None, f"{path}: {measured}", "save the detected photons").astype(np.int64)
    scan = of_arrays(photons, _wave(path, "probeGuess", probe), positions, obj.shape)
    scan = replace(scan, **_detector(path, scan.size))
    _check_light(path, measured, scan)
    return scan, _wave(path, "objectGuess", obj)


def _wave(path: Path, key: str, wave: NDArray[np.generic]) -> NDArray[np.complex64]:
    """A wave of any shape in single precision. StudyError where that cannot hold its squares, and for darkness."""
    if not SMALLEST < max(float(np.abs(part).max(initial=0)) for part in (wave.real, wave.imag)) < LARGEST:
        raise StudyError(f"{path}: {key} is dark or overflows; save it in photons")
    return wave.astype(np.complex64)


def _check_light(path: Path, measured: str, scan: Scan) -> None:
    """StudyError unless there are photons, and the probe has about as many as they need: where it has not, the object's
    amplitude is far from 1, which no prior and no network expects (unit energy at 1e4 photons: 4 times the error)."""
    if scan.signal <= 0:
        raise StudyError(
            f"{path}: {measured} is dark: {scan.mean_pattern.sum():g} counts per pattern in good pixels, no more than "
            "the background; save detected photons, or correct background and mask"
        )
    if not LEVELS[0] < scan.level < LEVELS[1]:
        raise StudyError(
            f"{path}: probeGuess has {scan.incident:.3g} photons, a pattern {scan.signal:.3g}; scale it by about "
            f"{scan.level:.3g}, so that |probeGuess|^2 are photons, and objectGuess by the inverse"
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


def run(folder: Path, family: str, params: Params) -> dict[str, dict[str, dict[str, Any]]]:
    """{dose: {arm: {nrmse, phase_ssim, …, seconds}}}; seconds are CPU seconds, training (once for all doses) apart."""
    found = doses(folder, family)
    for dose in found:  # minutes of training come after
        for split in ("train", "test"):
            _check_dose(folder / f"{family}_d{dose}_{split}.npz", float(dose))
    first, _ = read(folder / f"{family}_d{found[0]}_train.npz")
    settings = replace(
        params.train,
        dose_low=min(params.train.dose_low, 0.5 * float(found[0])),
        dose_high=max(params.train.dose_high, 2 * float(found[-1])),
    )
    trained = {name: _train(first, name, settings, params) for name in NETWORKS}
    result = {}
    for dose in found:
        print(f"benchmark: {family}, {dose} photons per pattern", flush=True)
        result[dose] = _rows(*read(folder / f"{family}_d{dose}_test.npz"), trained, params)
    return result


def _check_dose(path: Path, dose: float) -> None:
    """StudyError when a file's counts are not of the dose in its name, by more than halves of an object differ.

    The true object says which share of them the mask hides.
    """
    scan, obj = read(path)
    rate = scan.expected(obj, slice(simulate.BLOCK)) - scan.background
    signal = scan.signal * float(rate.sum() / max(rate[:, scan.mask].sum(), SMALLEST))
    if not abs(signal / dose - 1) <= SPREAD:
        raise StudyError(
            f"{path}: its name says {dose:g} photons per pattern, and it has {signal:g}; rename it, or save photons"
        )


def _train(scan: Scan, name: str, settings: Train, params: Params) -> tuple[nn.Module, float]:
    """The network of an arm, and its CPU seconds."""
    started, seed, size = time.process_time(), params.seed_of("network"), NETWORKS[name]
    planned = replace(scan, probe=(scan.probe / np.sqrt(scan.incident)).astype(np.complex64), counts=None)
    source = ProceduralScans(planned, _groups(scan, size, params), settings, seed)
    trained = training.train(source, training.architecture(settings), settings, seed, label=f"train_{name}")
    return trained.network, time.process_time() - started


def _groups(scan: Scan, size: int, params: Params) -> NDArray[np.int64]:
    neighbours = min(max(params.overlap.neighbours, size), len(scan))
    rng = noise.stream(params.seed, "views")
    return neighbour_groups(scan.positions, np.zeros(len(scan), np.int32), size, neighbours, rng)


def _rows(
    scan: Scan, truth: NDArray[np.complex64], trained: Mapping[str, tuple[nn.Module, float]], params: Params
) -> dict[str, dict[str, Any]]:
    """All arms on one test file."""
    region = scored_region([scan.positions])
    rows = {"flat": _row(scan.flat(), truth, region, 0.0, 0.0)}
    for name, (net, train_seconds) in trained.items():
        started = time.process_time()
        groups = covering(_groups(scan, NETWORKS[name], params))
        obj, _ = predict.reconstruct(predict.by_network(net), scan, groups, params.compare.block_groups)
        rows[name] = _row(obj, truth, region, time.process_time() - started, train_seconds)
    found: dict[str, reconstructors.Reconstruction] = {}
    for name, entry in reconstructors.REGISTRY.items():
        started, rng = time.process_time(), noise.stream(params.seed, "solver", name)
        found[name] = reconstructors.run(name, scan, params, rng, found)
        seconds = time.process_time() - started
        start = getattr(entry, "start", None)
        rows[name] = _row(
            found[name].obj, truth, region, seconds + (rows[start]["seconds"] if start in rows else 0.0), 0.0
        )
    return rows


def _row(
    obj: NDArray[np.complex64], truth: NDArray[np.complex64], region: Region, seconds: float, train_seconds: float
) -> dict[str, Any]:
    scored = scoring.score(obj, truth, region, 1e-9)  # the files know no pixel size; no metric kept here needs one
    best = scored["aligned"]
    return {
        **scoring.headline(scored),
        "amplitude_ssim": best["amplitude"]["ssim"],
        "amplitude_mae": best["amplitude"]["mae"],
        "phase_mae": best["phase"]["mae"],
        "phase_psnr": best["phase"]["psnr"],
        "frc_area": best["frc"]["area"],
        "correlation": best["correlation"],
        "valid_fraction": scored["valid_fraction"],
        "seconds": round(seconds, 2),
        "train_seconds": round(train_seconds, 2),
    }
