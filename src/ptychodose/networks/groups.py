"""Patterns of a scan as torch batches: groups on their own canvases, and the unseen neighbours that judge them."""

from collections.abc import Sequence

import h5py
import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from torch import Tensor

from ptychodose.networks.unrolled import Batch
from ptychodose.physics import forward


class Patterns:
    """Counts (n, N, N) centred, positions (n, 2) px and the probe (N, N) of a scan, cut into batches.

    `counts` may be an HDF5 dataset with `rows` (n,) naming the kept patterns: only what a batch needs is read.
    """

    def __init__(
        self,
        counts: NDArray[np.integer] | h5py.Dataset,
        positions: NDArray[np.float64],
        probe: NDArray[np.complex64],
        dose: float,
        rows: NDArray[np.int64] | None = None,
        device: str = "cpu",
    ) -> None:
        self.counts, self.positions, self.device = counts, positions, device
        self.rows = np.arange(len(positions)) if rows is None else rows
        self.size = len(probe)
        self.probe = torch.as_tensor(probe)
        self.corners, self.offsets = forward.split_positions(torch.as_tensor(positions), self.size)
        photons = float((self.probe.abs() ** 2).sum())
        self.start = (dose / photons) ** 0.5  # amplitude of the flat object that transmits the mean counts

    def read(self, index: NDArray[np.int64]) -> NDArray[np.int64]:
        """Counts (..., N, N) of patterns `index` (...), centred layout; each needed pattern is read once."""
        wanted, place = np.unique(self.rows[index], return_inverse=True)  # HDF5 wants increasing rows
        return self.counts[wanted][place.reshape(index.shape)].astype(np.int64)

    def tensors(self, index: NDArray[np.int64], counts: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        """Shifted probes and corner-layout counts, both (B, C, N, N), of patterns `index` (B, C)."""
        offsets = self.offsets[torch.as_tensor(index)]
        probes = forward.shift_probe(self.probe, offsets)
        layout = forward.to_corner(torch.as_tensor(counts.astype(np.float32)))
        return probes.to(self.device), layout.to(self.device)

    def place(self, index: NDArray[np.int64]) -> tuple[Tensor, NDArray[np.int64], tuple[int, int]]:
        """Corners (B, C, 2) on a common canvas, each group's canvas origin (B, 2) px, the canvas shape (H, W)."""
        corners = self.corners[torch.as_tensor(index)]
        origin = corners.amin(1, keepdim=True)  # (B, 1, 2)
        local = corners - origin
        height, width = (local.amax((0, 1)) + self.size).tolist()
        return local.to(self.device), origin[:, 0].numpy(), (height, width)

    def starts(self, number: int) -> Tensor:
        """The flat object's amplitude for `number` groups: (B, 1, 1)."""
        return torch.full((number, 1, 1), self.start, device=self.device)

    def batch(self, groups: NDArray[np.int64], shape: tuple[int, int]) -> tuple[Batch, NDArray[np.int64]]:
        """Groups (B, C) with all their photons on canvases of `shape`, and the canvas origins (B, 2) px."""
        corners, origins, _ = self.place(groups)
        probes, counts = self.tensors(groups, self.read(groups))
        return Batch(corners, probes, counts, shape, self.starts(len(groups))), origins


def unseen_neighbours(
    positions: NDArray[np.float64], groups: NDArray[np.int64], allowed: Sequence[int] | NDArray[np.int64], number: int
) -> NDArray[np.int64]:
    """For each group (n, C) the `number` patterns of `allowed` nearest its centroid that are not in it: (n, number)."""
    allowed = np.asarray(allowed)
    centroids = positions[groups].mean(1)  # (n, 2)
    reach = min(groups.shape[1] + number, len(allowed))
    _, near = cKDTree(positions[allowed]).query(centroids, k=reach)
    near = allowed[near.reshape(len(groups), reach)]
    foreign = (near[:, :, None] != groups[:, None, :]).all(2)  # (n, reach)
    first = np.argsort(~foreign, axis=1, kind="stable")[:, :number]
    return np.take_along_axis(near, first, 1)
