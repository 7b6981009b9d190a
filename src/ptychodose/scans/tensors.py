"""A scan in torch: its patterns on canvases, counts in the corner layout, the probe shifted to every position."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ptychodose.physics import forward
from ptychodose.physics.forward import Patterns
from ptychodose.scans.scan import Scan


def corners_of(scan: Scan, index: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
    """Window corners (..., 2) int64 on the object and sub-pixel remainders (..., 2) px of patterns `index` (...)."""
    return forward.split_positions(torch.as_tensor(scan.positions[index]), scan.size)


def place(scan: Scan, index: NDArray[np.int64]) -> tuple[Tensor, NDArray[np.int64], tuple[int, int]]:
    """Corners (B, C, 2) of groups `index` (B, C) on a common canvas, each group's canvas origin (B, 2) px, the canvas
    shape (H, W) that the widest group needs."""
    corners, _ = corners_of(scan, index)
    origin = corners.amin(1, keepdim=True)  # (B, 1, 2)
    local = corners - origin
    height, width = (local.amax((0, 1)) + scan.size).tolist()
    return local, origin[:, 0].numpy(), (height, width)


def patterns(
    scan: Scan,
    index: NDArray[np.int64],
    corners: Tensor,
    shape: tuple[int, int],
    counts: NDArray[np.integer] | None = None,
    known: tuple[float, float] | None = None,
) -> Patterns:
    """Patterns `index` (B, C) at `corners` (B, C, 2) of canvases of `shape`.

    `counts` (B, C, N, N) replaces the scan's own, which are read for these patterns alone; `known` = level and
    efficiency, where a simulator knows what else the scan's counts tell.
    """
    level, efficiency = (scan.level, scan.efficiency) if known is None else known
    photons = scan.read(index) if counts is None else counts
    return Patterns(
        corners=corners,
        probes=forward.shift_probe(torch.as_tensor(scan.probe), corners_of(scan, index)[1][:, :, None]),
        counts=forward.to_corner(torch.as_tensor(photons.astype(np.float32))),
        background=background(scan),
        mask=mask(scan),
        shape=shape,
        level=torch.full((len(index), 1, 1), level),
        efficiency=torch.full((len(index), 1, 1), efficiency),
        rim=scan.rim,
    )


def batch(scan: Scan, groups: NDArray[np.int64], shape: tuple[int, int]) -> tuple[Patterns, NDArray[np.int64]]:
    """Groups (B, C) with all their photons on canvases of `shape`, and the canvas origins (B, 2) px."""
    corners, origins, _ = place(scan, groups)
    return patterns(scan, groups, corners, shape), origins


def background(scan: Scan) -> Tensor:
    """Expected background (N, N) in the corner layout; a scalar where there is none, which costs no pass."""
    if not scan.background.any():
        return torch.zeros(())
    return forward.to_corner(torch.as_tensor(scan.background.astype(np.float32)))


def mask(scan: Scan) -> Tensor | None:
    """Good pixels (N, N) as 1.0 in the corner layout; None where all are."""
    if scan.mask.all():
        return None
    return forward.to_corner(torch.as_tensor(scan.mask.astype(np.float32)))
