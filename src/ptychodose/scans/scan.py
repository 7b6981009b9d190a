"""The scan every arm reconstructs: its counts by view, and the dense view thinned to the sparse one's photons."""

from collections.abc import Mapping
from dataclasses import dataclass

import h5py
import numpy as np
from numpy.typing import NDArray

from ptychodose.physics import noise
from ptychodose.scans.cxi import Header
from ptychodose.scans.views import View


@dataclass(frozen=True)
class Scan:
    """A test scan to reconstruct: its header, its counts (n, N, N) on disk, the views by name."""

    header: Header
    counts: h5py.Dataset
    views: Mapping[str, View]

    def read(self, view: str) -> NDArray[np.uint32]:
        """Counts (n, N, N) of a view, in its order."""
        order = np.argsort(self.views[view].index)  # HDF5 reads increasing indices only
        return self.counts[self.views[view].index[order]][np.argsort(order)]

    def positions(self, view: str) -> NDArray[np.float64]:
        """Positions (n, 2) px of a view."""
        return self.header.positions[self.views[view].index]


def equal_total(test: Scan) -> float | None:
    """The share of the dense view's photons that leaves as many as the sparse view has; None without both views."""
    if not {"dense", "sparse"} <= set(test.views):
        return None
    return min(1.0, len(test.views["sparse"].index) / len(test.views["dense"].index))


def thinned(test: Scan, share: float, noise_seed: int) -> NDArray[np.uint32]:
    """The dense view's counts (n, N, N) with a `share` of their photons: the same for every arm."""
    return noise.thin(test.read("dense"), share, noise.stream(noise_seed, "thinning"))
