"""The test scan that every arm reconstructs, view by view, and equal photons for views of unequal size."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ptychodose.formats.h5 import read_arrays
from ptychodose.physics import noise
from ptychodose.scans import calibration
from ptychodose.scans.scan import Scan
from ptychodose.scans.views import View


@dataclass(frozen=True)
class Trial:
    """The scan that every arm reconstructs, its views by name, and what stage `solve` found of each and of `thinned`
    (see calibration): nothing where nothing was unknown."""

    scan: Scan
    views: Mapping[str, View]
    found: Mapping[str, Mapping[str, NDArray]] = field(default_factory=dict)

    def of(self, view: str) -> Scan:
        """The patterns of a view, in its order and in memory."""
        return self._as_found(view, self.as_recorded(view))

    def as_recorded(self, view: str) -> Scan:
        """The patterns of a view before anything was solved for."""
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
        few = self.as_recorded("dense").thin(share, noise.stream(noise_seed, "thinning"))
        return self._as_found("thinned", few)

    def cases(self, noise_seed: int) -> dict[str, Scan]:
        """The scans that are solved for and reconstructed: `dense`, `sparse` and, with both, `thinned`."""
        made, share = {name: self.of(name) for name in self.views}, self.equal_total
        return made if share is None else {**made, "thinned": self.thinned(share, noise_seed)}

    def under(self, case: str, other: Scan) -> Scan:
        """The patterns of a case as another recording `other` of the same scan has them, under what was found of the
        case."""
        return self._as_found(case, other.select(self.views["dense" if case == "thinned" else case].index).copy())

    def _as_found(self, case: str, scan: Scan) -> Scan:
        """What was found, scaled to the photons of this recording: those of a probe that is solved for stay."""
        if case not in self.found:
            return scan
        known = calibration.onto(scan, self.found[case], SOLVED / f"{case}.h5", "solve")
        share = scan.incident / known.incident
        probe = (known.probe * np.float32(share**0.5)).astype(np.complex64)
        return replace(known, probe=probe, background=known.background * share)


SOLVED = Path("data/solved")


def read_found(folder: Path = SOLVED) -> dict[str, dict[str, NDArray]]:
    """What stage `solve` found, by case."""
    return {path.stem: read_arrays(path, "run `dvc repro solve`")[0] for path in folder.glob("*.h5")}
