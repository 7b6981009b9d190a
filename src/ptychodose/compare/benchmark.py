"""Every arm on scans given as files: `<family>_d<dose>_{train,test}.npz`, the same photons for all.

Networks are trained once per family, on procedural objects under the family's probe and scan, for all its doses;
MAP and hybrid need no training. The test file's `objectGuess` is used for scoring alone.
"""

import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from ptychodose.compare import workload
from ptychodose.networks import predict, training
from ptychodose.networks.procedural_scans import ProceduralScans
from ptychodose.physics import noise
from ptychodose.reconstruct import reconstructors
from ptychodose.scans.groups import covering, neighbour_groups
from ptychodose.scans.scan import Scan
from ptychodose.score import scoring
from ptychodose.score.region import Region, scored_region
from ptychodose.study.settings import Params, Train

NETWORKS = {"baseline": 1, "dense": 4, "wide": 16}  # C by arm


def run(folder: Path, family: str, params: Params) -> dict[str, dict[str, dict[str, Any]]]:
    """{dose: {arm: {nrmse, phase_ssim, …, seconds}}}; seconds are CPU seconds, training (once for all doses) apart."""
    found = workload.doses(folder, family)
    first, _ = workload.at_dose(folder, family, found[0], "train")
    for dose in found:
        workload.at_dose(folder, family, dose, "test")  # refused before minutes of training
    settings = replace(
        params.train,
        dose_low=min(params.train.dose_low, 0.5 * float(found[0])),
        dose_high=max(params.train.dose_high, 2 * float(found[-1])),
    )
    trained = {name: _train(first, size, settings, params) for name, size in NETWORKS.items()}
    result = {}
    for dose in found:
        print(f"benchmark: {family}, {dose} photons per pattern", flush=True)
        result[dose] = _rows(*workload.at_dose(folder, family, dose, "test"), trained, params)
    return result


def _train(scan: Scan, size: int, settings: Train, params: Params) -> tuple[nn.Module, float]:
    """The network for groups of `size`, and its CPU seconds."""
    started, seed = time.process_time(), params.seed_of("network")
    planned = replace(scan, probe=(scan.probe / np.sqrt(scan.incident)).astype(np.complex64), counts=None)
    source = ProceduralScans(planned, _groups(scan, size, params), settings, seed)
    trained = training.train(source, training.architecture(settings), settings, seed)
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
