"""Procedural objects as the source: groups of a template scan over objects whose truth the simulator knows."""

import math
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ptychodose.networks import procedural
from ptychodose.networks.losses import likelihood_loss, truth_loss
from ptychodose.networks.sources import Judge
from ptychodose.physics import forward, lattice, noise
from ptychodose.physics.forward import Patterns
from ptychodose.scans import tensors
from ptychodose.scans.groups import neighbour_groups, unseen_neighbours
from ptychodose.scans.scan import Scan, information_share
from ptychodose.study.settings import Train


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


MARGIN = 8  # px a group may be moved on its object


class ProceduralScans:
    """Groups of a template scan laid over procedural objects at random doses; `settings.objects` objects, fixed by
    the seed, and as many doses, places and noises as there are batches."""

    def __init__(self, scan: Scan, groups: NDArray[np.int64], settings: Train, seed: int, device: str = "cpu") -> None:
        """`scan` is planned: its positions, its probe of unit energy, its background and mask are what counts, and its
        dose if the background grows with that, as a measured one does; 0 where it does not."""
        self.scan, self.settings, self.size, self.device = scan, settings, groups.shape[1], device
        self.groups = len(groups) * settings.objects
        unseen = unseen_neighbours(scan.positions, groups, np.arange(len(scan)), settings.unseen)
        together = scan.positions[np.concatenate([groups, unseen], 1)]  # (n, C + U, 2), U = 0 for a whole scan
        self.templates = together - np.floor(together.min(1, keepdims=True))
        self.side = int(np.ceil(self.templates.max())) + scan.size + MARGIN
        self.objects = [self._object(seed, k) for k in range(settings.objects)]
        judges = max(4, settings.judged_patterns // self.size)
        self.judges = [self._object(seed, settings.objects + k) for k in range(judges)]
        self.seed, self.queue = seed, np.empty(0, np.int64)

    def _object(self, seed: int, k: int) -> NDArray[np.complex64]:
        return procedural.draw_object((self.side, self.side), noise.stream(seed, "procedural", k))

    def draw(self, number: int, rng: np.random.Generator) -> tuple[Patterns, Judge]:
        """Groups at random places of random objects in random orientations, at doses log-uniform between the settings'
        limits."""
        chosen, orientations = rng.integers(len(self.objects), size=number), rng.integers(8, size=number)
        turned = [procedural.turned(self.objects[i], g) for i, g in zip(chosen, orientations, strict=True)]
        return self._batch(turned, rng)

    def heldout(self) -> list[tuple[Patterns, Judge]]:
        """The judges' objects, at fixed places, doses and noise."""
        rng = noise.stream(self.seed, "procedural", 10**6)
        per_batch = max(1, 32 // self.size)
        parts = [self.judges[i : i + per_batch] for i in range(0, len(self.judges), per_batch)]
        return [self._batch(part, rng) for part in parts]

    def _batch(self, objects: list[NDArray[np.complex64]], rng: np.random.Generator) -> tuple[Patterns, Judge]:
        low, high = np.log(self.settings.dose_low), np.log(self.settings.dose_high)
        rows = [self._simulate(obj, float(np.exp(rng.uniform(low, high))), rng) for obj in objects]
        corners = torch.cat([row.corners for row in rows])  # (B, C + U, 2) on the objects
        origin = corners[:, : self.size].amin(1, keepdim=True)  # (B, 1, 2)
        height, width = ((corners - origin)[:, : self.size].amax((0, 1)) + self.scan.size).tolist()
        whole = replace(
            rows[0],
            corners=corners - origin,
            probes=torch.cat([row.probes for row in rows]),
            counts=torch.cat([row.counts for row in rows]),
            shape=(height, width),
            level=torch.cat([row.level for row in rows]),
            efficiency=torch.cat([row.efficiency for row in rows]),
        ).to(self.device)
        batch, judged = whole.part(slice(None, self.size)), whole.part(slice(self.size, None))
        if self.settings.loss == "likelihood":
            return batch, lambda canvas: likelihood_loss(canvas, judged)
        truth = torch.stack([_cut(o, c, (height, width)) for o, c in zip(objects, origin[:, 0].tolist(), strict=True)])
        truth = truth.to(self.device)
        lit = forward.illumination(batch.corners, batch.probes, batch.shape)
        return batch, lambda canvas: truth_loss(canvas, truth, lit)

    def _simulate(self, obj: NDArray[np.complex64], dose: float, rng: np.random.Generator) -> Patterns:
        """One group (1, C + U) of patterns on `obj` (H, W), at corners of the object."""
        template = self.templates[rng.integers(len(self.templates))]
        room = self.side - self.scan.size - np.ceil(template.max(0))
        positions = template + self.scan.size // 2 + np.floor(rng.random(2) * room)
        if self.settings.loss == "truth":
            positions = positions[: self.size]
        level = float(np.sqrt((np.abs(obj) ** 2).mean()))
        probe = (self.scan.probe * np.sqrt(dose) / level).astype(np.complex64)
        dark = self.scan.background * (dose / self.scan.dose if self.scan.dose else 1.0)
        scan = replace(self.scan, positions=positions, probe=probe, shape=obj.shape, dose=dose, background=dark)
        rate = scan.expected(obj)
        counts = noise.draw_counts(rate, rng) * scan.mask
        share = information_share((rate - dark).mean(0), dark, scan.mask)
        index = np.arange(len(positions))[None]
        corners = tensors.corners_of(scan, index)[0]
        return tensors.patterns(scan, index, corners, obj.shape, counts[None], (level, share))


def _cut(obj: NDArray[np.complex64], corner: list[int], shape: tuple[int, int]) -> Tensor:
    """Window (h, w) of an object at `corner`; beyond its edge the last pixels repeat (no light falls there)."""
    y, x = corner
    window = obj[y : y + shape[0], x : x + shape[1]]
    missing = [(0, full - have) for full, have in zip(shape, window.shape, strict=True)]
    return torch.as_tensor(np.pad(window, missing, mode="edge"))
