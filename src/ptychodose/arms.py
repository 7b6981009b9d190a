"""The rows of the comparison: control rows and trained bundles, all through one reconstruction path."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ptychodose import bundle, comparison, network, predict, progress, scan
from ptychodose.cxi import Header
from ptychodose.errors import StudyError
from ptychodose.groups import Patterns
from ptychodose.network import Batch
from ptychodose.settings import Arm
from ptychodose.views import View

Solver = Callable[[Batch, NDArray[np.int64]], Tensor]


@dataclass(frozen=True)
class Scan:
    """A test scan to reconstruct: its header, its counts (n, N, N) on disk, the views by name."""

    header: Header
    counts: h5py.Dataset
    views: Mapping[str, View]


def restore(job: Mapping[str, Any], size: int) -> nn.Module:
    """The network of a finished training job, for patches of `size` = N px.

    Raises StudyError for a bundle of another digest, group size or N, or with weights that do not fit.
    """
    path = Path(job["result"]["bundle_path"])
    meta, weights = bundle.load(path, job["result"]["bundle_sha256"])
    found, wanted = (meta.get("group_size"), meta.get("size")), (job["C"], size)
    if found != wanted:
        raise StudyError(
            f"{path}: trained on (C, N) = {found}, but this study needs {wanted}; run `dvc repro train_{job['arm']}`"
        )
    net = network.build(meta.get("architecture", {}))
    try:
        net.load_state_dict({name: torch.as_tensor(value) for name, value in weights.items()}, strict=True)
    except RuntimeError as error:
        raise StudyError(f"{path}: weights do not fit the network ({' '.join(str(error).split())[:100]})") from None
    return net.eval()


def reconstruct(
    test: Scan, arms: Mapping[str, Arm], jobs: list[dict[str, Any]], truth: NDArray[np.complex64], block: int
) -> dict[str, NDArray[np.complex64]]:
    """Objects (H, W) by row: flat and oracle (controls), then every trained arm, `block` groups at a time."""
    solvers: dict[str, tuple[Arm, Solver]] = {"oracle": (arms["dense"], predict.by_object(truth))}
    for job in jobs:
        solvers[job["arm"]] = (arms[job["arm"]], predict.by_network(restore(job, len(test.header.probe))))
    objects = {"flat": comparison.flat_object(test.header)}
    for name, (arm, solver) in solvers.items():
        objects[name] = _solve(test, arm, solver, name, block)
    return objects


def _solve(test: Scan, arm: Arm, solver: Solver, name: str, block: int) -> NDArray[np.complex64]:
    """One row: the arm's view of the scan, a covering set of its groups, stitched."""
    view = test.views[arm.view]
    groups = scan.covering(view.groups[arm.group_size])
    positions = test.header.positions[view.index]
    patterns = Patterns(test.counts, positions, test.header.probe, test.header.dose_measured, rows=view.index)
    with progress.bar(len(groups), f"compare {name}", "group") as bar:
        return predict.reconstruct(solver, patterns, groups, test.header.shape, block, bar.update)[0]
