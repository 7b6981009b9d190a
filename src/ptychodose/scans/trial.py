"""The test scan that every arm reconstructs, view by view, and equal photons for views of unequal size."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ptychodose.physics import noise
from ptychodose.scans.scan import Scan
from ptychodose.scans.views import View


@dataclass(frozen=True)
class Trial:
    """The scan that every arm reconstructs, and its views by name."""

    scan: Scan
    views: Mapping[str, View]

    def of(self, view: str) -> Scan:
        """The patterns of a view, in its order and in memory."""
        return self.scan.select(self.views[view].index).copy()

    def positions(self, view: str) -> NDArray[np.float64]:
        """Positions (n, 2) px of a view."""
        return self.scan.positions[self.views[view].index]

    @property
    def equal_total(self) -> float | None:
        """The share of the dense view's photons that leaves as many as the sparse view has; None without both."""
        if not {"dense", "sparse"} <= set(self.views):
            return None
        return min(1.0, len(self.views["sparse"].index) / len(self.views["dense"].index))

    def thinned(self, share: float, noise_seed: int) -> Scan:
        """The dense view with a `share` of its photons: the same for every arm."""
        return self.of("dense").thin(share, noise.stream(noise_seed, "thinning"))
