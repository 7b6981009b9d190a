"""A measured scan as the source: what its own counts teach, a strip of it held out."""

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ptychodose.errors import StudyError
from ptychodose.networks.losses import likelihood_loss
from ptychodose.networks.sources import Judge
from ptychodose.physics import noise
from ptychodose.physics.forward import Patterns
from ptychodose.scans import tensors
from ptychodose.scans.groups import unseen_neighbours
from ptychodose.scans.scan import Scan
from ptychodose.study.settings import Train


@dataclass(frozen=True)
class Parts:
    """Groups (n, C) to learn from or to judge by, with their unseen neighbours (n, U)."""

    groups: NDArray[np.int64]
    unseen: NDArray[np.int64]


class OwnScan:
    """The groups of a measured scan; a strip of it is held out altogether."""

    def __init__(self, scan: Scan, groups: NDArray[np.int64], settings: Train, device: str = "cpu") -> None:
        self.scan, self.settings, self.device = scan, settings, device
        self.learn, self.judge = split(scan.positions, groups, settings)
        self.groups, self.size = self.learn.groups.shape
        self.queue = np.empty(0, np.int64)

    def draw(self, number: int, rng: np.random.Generator) -> tuple[Patterns, Judge]:
        """The next `number` groups of an endless shuffle, every group once per pass."""
        while len(self.queue) < number:
            self.queue = np.concatenate([self.queue, rng.permutation(self.groups)])
        chosen, self.queue = self.queue[:number], self.queue[number:]
        return self._batch(self.learn, chosen, self.settings.thinning, rng)

    def heldout(self) -> list[tuple[Patterns, Judge]]:
        """At most `settings.judged_patterns` patterns in groups spread over the strip, all their photons seen."""
        number = max(1, self.settings.judged_patterns // self.size)
        chosen = np.unique(np.linspace(0, len(self.judge.groups) - 1, number).round().astype(int))
        parts = np.array_split(chosen, min(len(chosen), max(1, chosen.size * self.size // 32)))
        return [self._batch(self.judge, part, 1.0, None) for part in parts]

    def _batch(
        self, parts: Parts, chosen: NDArray[np.int64], thinning: float, rng: np.random.Generator | None
    ) -> tuple[Patterns, Judge]:
        found = make_batches(self.scan, parts.groups[chosen], parts.unseen[chosen], thinning, rng)
        seen, judged = (part.to(self.device) for part in found)
        return seen, lambda canvas: likelihood_loss(canvas, judged)


def split(positions: NDArray[np.float64], groups: NDArray[np.int64], settings: Train) -> tuple[Parts, Parts]:
    """Groups to learn from and, in the strip of largest y, groups to judge by. No pattern serves both.

    Unseen neighbours may come from another scan of the view: only groups must not mix scans. Raises StudyError when
    the scan is too small to hold a strip out.
    """
    strip = positions[:, 0] > np.quantile(positions[:, 0], 1 - settings.heldout)
    made = []
    for inside in (~strip, strip):
        allowed = np.flatnonzero(inside)
        mine = groups[np.isin(groups, allowed).all(1)]
        if not len(mine) or len(allowed) < groups.shape[1] + settings.unseen:
            raise StudyError(
                f"train.heldout: a strip of {settings.heldout:g} of {len(positions)} patterns leaves no group of "
                f"{groups.shape[1]} with {settings.unseen} unseen neighbours on both sides; try a value nearer 0.5"
            )
        made.append(Parts(mine, unseen_neighbours(positions, mine, allowed, settings.unseen)))
    return made[0], made[1]


def make_batches(
    scan: Scan,
    groups: NDArray[np.int64],
    unseen: NDArray[np.int64],
    thinning: float,
    rng: np.random.Generator | None,
) -> tuple[Patterns, Patterns]:
    """What the network sees of groups (B, C), and what it is judged by, in the same canvas coordinates.

    The canvas is the group's own; corners of what judges may lie outside it (see `likelihood_loss`). Judged by all
    photons of the unseen neighbours (B, U) and, when `thinning` < 1, by the photons withheld from the group; probes
    and background carry the matching share of photons. `rng` thins; it may be None for thinning 1.
    """
    corners, origins, shape = tensors.place(scan, groups)
    around = tensors.corners_of(scan, unseen)[0] - torch.as_tensor(origins)[:, None]  # (B, U, 2)
    if rng is None or thinning == 1:
        judged = tensors.patterns(scan, unseen, around, shape)
        return tensors.patterns(scan, groups, corners, shape), judged
    whole = scan.read(groups)
    kept = noise.thin(whole, thinning, rng).astype(np.int64)
    both = np.concatenate([groups, unseen], 1)
    counts = np.concatenate([whole - kept, scan.read(unseen)], 1)
    shares = torch.ones(both.shape[1])
    shares[: groups.shape[1]] = 1 - thinning
    judged = tensors.patterns(scan, both, torch.cat([corners, around], 1), shape, counts)
    seen = tensors.patterns(scan, groups, corners, shape, kept)
    return _share(seen, torch.full((groups.shape[1],), thinning)), _share(judged, shares)


def _share(patterns: Patterns, shares: Tensor) -> Patterns:
    """The patterns with `shares` (C,) of their photons: probes and background follow the counts."""
    dim = patterns.background if not patterns.background.ndim else patterns.background * shares[:, None, None]
    return replace(patterns, probes=patterns.probes * (shares**0.5)[:, None, None, None], background=dim)
