"""A trained network over a whole scan, in blocks of groups, stitched into one object."""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ptychodose.networks.stitch import stitch
from ptychodose.physics import forward
from ptychodose.physics.forward import Patterns
from ptychodose.scans import tensors
from ptychodose.scans.scan import Scan

Solver = Callable[[Patterns, NDArray[np.int64]], Tensor]


def reconstruct(
    solve: Solver,
    scan: Scan,
    groups: NDArray[np.int64],
    block: int,
    progress: Callable[[int], object] = lambda _: None,
) -> tuple[NDArray[np.complex64], NDArray[np.float64]]:
    """Object (H, W) and its weights from groups (n, C), `block` groups at a time.

    `solve(batch, origins)` gives canvases (B, h, w) of groups whose canvas starts at origins (B, 2) px: a network
    (`by_network`) or known patches (`by_object`). Every canvas has the size the widest group needs, so the
    result does not depend on `block`. Counts are read per block; pieces (about 45 kB a group)
    are kept until the phases agree.
    """
    pieces, weights, corners = [], [], []
    _, _, canvas_shape = tensors.place(scan, groups)
    for start in range(0, len(groups), block):
        part = groups[start : start + block]
        batch, origins = tensors.batch(scan, part, canvas_shape)
        with torch.no_grad():
            canvases = solve(batch, origins)
            photons = forward.illumination(batch.corners, batch.probes, batch.shape)
        extents = batch.corners.amax(1) + scan.size  # (B, 2): the lit part of each canvas
        for canvas, lit, origin, (height, width) in zip(canvases, photons, origins, extents.tolist(), strict=True):
            pieces.append(canvas[:height, :width].cpu().numpy())
            weights.append(lit[:height, :width].cpu().numpy())
            corners.append(origin)
        progress(len(part))
    return stitch(pieces, weights, corners, scan.shape, fill=scan.level)


def by_network(net: nn.Module) -> Solver:
    """Solve groups with a trained network."""
    return lambda batch, _: net(batch)[-1]


def by_object(obj: NDArray[np.complex64]) -> Solver:
    """Solve groups by cutting them out of a known object (H, W): the oracle that tests stitching alone."""

    def solve(batch: Patterns, origins: NDArray[np.int64]) -> Tensor:
        height, width = batch.shape
        padded = np.pad(obj, ((0, height), (0, width)), mode="edge")
        return torch.as_tensor(np.stack([padded[y : y + height, x : x + width] for y, x in origins]))

    return solve
