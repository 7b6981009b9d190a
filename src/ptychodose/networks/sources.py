"""What a network learns from: a measured scan alone, or procedural objects whose truth the simulator knows.

A source makes random batches, says how good an answer is, and keeps something aside to judge the weights by.
On a measured scan a reconstruction must predict patterns next to the group that were not in it (and, with thinning,
the photons withheld from the group). Their noise is independent of the input's, so fitting noise cannot lower the
expected loss (noise-to-noise: Lehtinen et al., ICML 2018; thinning: see noise.thin).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ptychodose.errors import StudyError
from ptychodose.networks import procedural, unrolled
from ptychodose.networks.groups import Patterns, unseen_neighbours
from ptychodose.networks.unrolled import Batch
from ptychodose.physics import forward, lattice, noise, simulate
from ptychodose.scans.groups import neighbour_groups
from ptychodose.study.settings import Train

Judge = Callable[[Tensor], Tensor]  # canvases (B, H, W) -> scalar loss


class Source(Protocol):
    """Batches to learn from and to be judged by; `groups` in a pass, `size` = C patterns a group, `queue` = what is
    left of the present pass (empty where a draw does not depend on earlier ones)."""

    groups: int
    size: int
    queue: NDArray[np.int64]

    def draw(self, number: int, rng: np.random.Generator) -> tuple[Batch, Judge]:
        """A random batch of `number` groups and the loss of an answer to it."""

    def heldout(self) -> list[tuple[Batch, Judge]]:
        """Fixed batches that are never drawn."""


@dataclass(frozen=True)
class Parts:
    """Groups (n, C) to learn from or to judge by, with their unseen neighbours (n, U)."""

    groups: NDArray[np.int64]
    unseen: NDArray[np.int64]


class OwnScan:
    """The groups of a measured scan; a strip of it is held out altogether."""

    def __init__(self, patterns: Patterns, groups: NDArray[np.int64], settings: Train) -> None:
        self.patterns, self.settings = patterns, settings
        self.learn, self.judge = split(patterns.positions, groups, settings)
        self.groups, self.size = self.learn.groups.shape
        self.queue = np.empty(0, np.int64)

    def draw(self, number: int, rng: np.random.Generator) -> tuple[Batch, Judge]:
        """The next `number` groups of an endless shuffle, every group once per pass."""
        while len(self.queue) < number:
            self.queue = np.concatenate([self.queue, rng.permutation(self.groups)])
        chosen, self.queue = self.queue[:number], self.queue[number:]
        return self._batch(self.learn, chosen, self.settings.thinning, rng)

    def heldout(self) -> list[tuple[Batch, Judge]]:
        """At most `settings.judged_patterns` patterns in groups spread over the strip, all their photons seen."""
        number = max(1, self.settings.judged_patterns // self.size)
        chosen = np.unique(np.linspace(0, len(self.judge.groups) - 1, number).round().astype(int))
        parts = np.array_split(chosen, min(len(chosen), max(1, chosen.size * self.size // 32)))
        return [self._batch(self.judge, part, 1.0, None) for part in parts]

    def _batch(
        self, parts: Parts, chosen: NDArray[np.int64], thinning: float, rng: np.random.Generator | None
    ) -> tuple[Batch, Judge]:
        seen, judged = make_batches(self.patterns, parts.groups[chosen], parts.unseen[chosen], thinning, rng)
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
    patterns: Patterns,
    groups: NDArray[np.int64],
    unseen: NDArray[np.int64],
    thinning: float,
    rng: np.random.Generator | None,
) -> tuple[Batch, Batch]:
    """What the network sees of groups (B, C), and what it is judged by, in the same canvas coordinates.

    The canvas is the group's own; corners of what judges may lie outside it (see `likelihood_loss`). Judged by all
    photons of the unseen neighbours (B, U) and, when `thinning` < 1, by the photons withheld from the group; probes
    carry the matching share of photons. `rng` thins; it may be None for thinning 1.
    """
    corners, origins, shape = patterns.place(groups)
    size, starts = groups.shape[1], patterns.starts(len(groups))
    around = patterns.corners[torch.as_tensor(unseen)] - torch.as_tensor(origins)[:, None]  # (B, U, 2)
    around = around.to(patterns.device)
    whole = patterns.read(groups)
    kept = whole if rng is None or thinning == 1 else noise.thin(whole, thinning, rng).astype(np.int64)
    probes, counts = patterns.tensors(groups, kept)
    seen = Batch(corners, probes * thinning**0.5, counts, shape, starts)
    judged = unseen if thinning == 1 else np.concatenate([groups, unseen], 1)
    probes, counts = patterns.tensors(judged, patterns.read(judged))
    if thinning < 1:
        withheld = patterns.tensors(groups, whole - kept)[1]
        counts = torch.cat([withheld, counts[:, size:]], 1)
        amplitude = torch.ones(judged.shape[1], device=probes.device)
        amplitude[:size] = (1 - thinning) ** 0.5
        probes = probes * amplitude[:, None, None]
    at = around if thinning == 1 else torch.cat([corners, around], 1)
    return seen, Batch(at, probes, counts, shape, starts)


def likelihood_loss(canvas: Tensor, judged: Batch) -> Tensor:
    """Mean Poisson loss per detector pixel of object canvases (B, H, W) against the photons of `judged`.

    Around its canvas a group knows nothing: the flat object stands there for neighbours that reach beyond.
    """
    size, extent = judged.probes.shape[-1], torch.tensor(canvas.shape[-2:], device=canvas.device)
    before = int((-judged.corners).amax().clamp_min(0))
    after = int((judged.corners + size - extent).amax().clamp_min(0))
    level = judged.start.to(canvas.dtype)
    wide = _padded(canvas - level, before, after) + level
    rate = forward.rate(wide, judged.corners + before, judged.probes)
    return forward.poisson_nll(rate, judged.counts, unrolled.FLOOR).mean()


def _padded(canvas: Tensor, before: int, after: int) -> Tensor:
    """Zeros around (B, H, W) on both axes."""
    return torch.nn.functional.pad(canvas, (before, after, before, after))


def truth_loss(canvas: Tensor, truth: Tensor, lit: Tensor) -> Tensor:
    """Mean log NRMSE of canvases (B, H, W) against truth (B, H, W), weighted by illumination `lit` (B, H, W), after
    each group's global phase is removed: relative errors count alike at every dose."""
    product = (canvas.conj() * truth * lit).sum((1, 2), keepdim=True)
    aligned = canvas * (product / (product.abs() + 1e-12)).detach()
    error = (forward.measure(aligned - truth) * lit).sum((1, 2))
    return 0.5 * torch.log(error / (forward.measure(truth) * lit).sum((1, 2))).mean()


def template(
    pitch: float, step: int, group_size: int, neighbours: int, seed: int
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Positions (n, 2) px of a scan like a view's (every `step`-th node of a lattice of `pitch` px) and its groups.

    9 x 9 patterns hold the neighbourhoods of C up to 16 patterns; C = 0 trains on scans of 7 x 7, whole, with a rim
    of unseen patterns on two sides.
    """
    side = 8 if group_size == 0 else max(9, 2 * math.isqrt(group_size) + 1)
    rng = noise.stream(seed, "procedural", 10**6 + 1)
    extent = (0.0, (side * step + 0.5) * pitch)
    raster = lattice.finest_scan(extent, extent, pitch, rng)
    chosen = np.flatnonzero((raster.nodes % step == step // 2).all(1))
    positions = raster.positions[chosen]
    if group_size == 0:
        return positions, np.flatnonzero((raster.nodes[chosen] < 7 * step).all(1))[None]
    scans = np.zeros(len(positions), np.int32)
    return positions, neighbour_groups(positions, scans, group_size, max(neighbours, group_size), rng)


class ProceduralScans:
    """Groups of a template scan laid over procedural objects at random doses; `settings.objects` objects, fixed by
    the seed, and as many doses, places and noises as there are batches."""

    def __init__(
        self,
        probe: NDArray[np.complex64],
        positions: NDArray[np.float64],
        groups: NDArray[np.int64],
        settings: Train,
        seed: int,
        device: str = "cpu",
    ) -> None:
        self.probe, self.settings, self.size, self.device = probe, settings, groups.shape[1], device
        self.groups = len(groups) * settings.objects
        everyone = np.arange(len(positions))
        unseen = unseen_neighbours(positions, groups, everyone, settings.unseen)
        together = positions[np.concatenate([groups, unseen], 1)]  # (n, C + U, 2), U = 0 for a whole scan
        self.templates = together - np.floor(together.min(1, keepdims=True))
        margin = 8  # px a group may be moved on its object
        self.side = int(np.ceil(self.templates.max())) + len(probe) + margin
        self.objects = [self._object(seed, k) for k in range(settings.objects)]
        judges = max(4, settings.judged_patterns // self.size)
        self.judges = [self._object(seed, settings.objects + k) for k in range(judges)]
        self.seed, self.queue = seed, np.empty(0, np.int64)

    def _object(self, seed: int, k: int) -> NDArray[np.complex64]:
        return procedural.draw_object((self.side, self.side), noise.stream(seed, "procedural", k))

    def draw(self, number: int, rng: np.random.Generator) -> tuple[Batch, Judge]:
        """Groups at random places of random objects, at doses log-uniform between the settings' limits."""
        chosen = [self.objects[i] for i in rng.integers(len(self.objects), size=number)]
        return self._batch(chosen, rng)

    def heldout(self) -> list[tuple[Batch, Judge]]:
        """The judges' objects, at fixed places, doses and noise."""
        rng = noise.stream(self.seed, "procedural", 10**6)
        per_batch = max(1, 32 // self.size)
        parts = [self.judges[i : i + per_batch] for i in range(0, len(self.judges), per_batch)]
        return [self._batch(part, rng) for part in parts]

    def _batch(self, objects: list[NDArray[np.complex64]], rng: np.random.Generator) -> tuple[Batch, Judge]:
        low, high = np.log(self.settings.dose_low), np.log(self.settings.dose_high)
        rows = [self._simulate(obj, float(np.exp(rng.uniform(low, high))), rng) for obj in objects]
        probes, counts, corners, starts = (torch.stack(column) for column in zip(*rows, strict=True))
        probes, counts, corners, starts = (x.to(self.device) for x in (probes, counts, corners, starts))
        origin = corners[:, : self.size].amin(1, keepdim=True)  # (B, 1, 2)
        local = corners - origin
        height, width = (local[:, : self.size].amax((0, 1)) + len(self.probe)).tolist()
        seen, rest = slice(None, self.size), slice(self.size, None)
        batch = Batch(local[:, seen], probes[:, seen], counts[:, seen], (height, width), starts)
        if self.settings.loss == "likelihood":
            judged = Batch(local[:, rest], probes[:, rest], counts[:, rest], (height, width), starts)
            return batch, lambda canvas: likelihood_loss(canvas, judged)
        truth = torch.stack([_cut(o, c, (height, width)) for o, c in zip(objects, origin[:, 0].tolist(), strict=True)])
        truth = truth.to(self.device)
        lit = forward.illumination(batch.corners, batch.probes, batch.shape)
        return batch, lambda canvas: truth_loss(canvas, truth, lit)

    def _simulate(
        self, obj: NDArray[np.complex64], dose: float, rng: np.random.Generator
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Probes and counts (C + U, N, N), corners (C + U, 2) and the flat start (1, 1) of one group on `obj`."""
        template = self.templates[rng.integers(len(self.templates))]
        room = self.side - len(self.probe) - np.ceil(template.max(0))
        positions = template + len(self.probe) // 2 + np.floor(rng.random(2) * room)
        if self.settings.loss == "truth":
            positions = positions[: self.size]
        level = float(np.sqrt((np.abs(obj) ** 2).mean()))
        probe = (self.probe * np.sqrt(dose) / level).astype(np.complex64)
        counts = noise.draw_counts(simulate.expected_counts(obj, probe, positions), rng)
        corners, offsets = forward.split_positions(torch.as_tensor(positions), len(probe))
        shifted = forward.shift_probe(torch.as_tensor(probe), offsets)
        layout = forward.to_corner(torch.as_tensor(counts.astype(np.float32)))
        return shifted, layout, corners, torch.full((1, 1), level)


def _cut(obj: NDArray[np.complex64], corner: list[int], shape: tuple[int, int]) -> Tensor:
    """Window (h, w) of an object at `corner`; beyond its edge the last pixels repeat (no light falls there)."""
    y, x = corner
    window = obj[y : y + shape[0], x : x + shape[1]]
    missing = [(0, full - have) for full, have in zip(shape, window.shape, strict=True)]
    return torch.as_tensor(np.pad(window, missing, mode="edge"))
