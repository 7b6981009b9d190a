"""From a base to a simulated experiment: the finest scan of both splits, the probe at a dose, blocks of counts."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from ptychodose.errors import StudyError
from ptychodose.physics import lattice, noise, overlap, simulate
from ptychodose.scans.base import Base, geometry
from ptychodose.scans.scan import Nodes, Scan
from ptychodose.study.settings import Generate

OPAQUE = 0.01  # share of the dose that either split must see; with fewer photons there is nothing to reconstruct


def plan(base: Base, settings: Generate, dose: float, noise_seed: int) -> dict[str, Scan]:
    """The planned scans of the train and test splits: lattices with a guard between them and one scaled probe.

    `dose` = mean photons per pattern behind the object over both splits together, so one probe scale serves both.
    Raises StudyError when the base is too small for the split, when a split lies where the object is opaque, and for a
    dose whose counts no file holds.
    """
    pitch = overlap.encircled_diameter(base.probe) / settings.nodes_per_diameter
    rows, columns = base.centres
    lattices = {
        split: lattice.finest_scan(bounds, columns, pitch, noise.stream(noise_seed, f"jitter/{split}"))
        for split, bounds in zip(("train", "test"), lattice.split_bounds(*rows, base.probe.shape[-1]), strict=True)
    }
    everywhere = np.concatenate([found.positions for found in lattices.values()])
    totals = simulate.transmitted(base.obj, base.probe, everywhere)
    _check_seen(totals, {split: len(found.positions) for split, found in lattices.items()})
    probe = simulate.scaled(base.probe, dose, totals)
    scans = {
        split: Scan(
            counts=None,
            positions=found.positions,
            probe=probe,
            shape=(base.obj.shape[0], base.obj.shape[1]),
            background=base.background,
            mask=base.mask,
            dose=dose,
            geometry=geometry(settings),
            nodes=Nodes(found.nodes, pitch),
        )
        for split, found in lattices.items()
    }
    _check_storable(base.obj, list(scans.values()), dose)
    return scans


def _check_seen(totals: NDArray[np.float64], sizes: Mapping[str, int]) -> None:
    """StudyError where the object lets nothing through to a split; totals (n,) of the splits' patterns in order."""
    for (split, size), end in zip(sizes.items(), np.cumsum(list(sizes.values())), strict=True):
        if not totals[end - size : end].mean() > OPAQUE * totals.mean():
            place = {"train": "upper", "test": "lower"}[split]
            raise StudyError(
                f"generate.base: the object is opaque in the {place} half of its rows, where the {split} patterns lie; "
                "crop it to what transmits light, or use another base"
            )


def _check_storable(obj: NDArray[np.complex64], scans: Sequence[Scan], dose: float) -> None:
    """StudyError naming the largest usable dose where the brightest expected pixel, background included, is beyond
    what a file of counts holds. No pixel gets more photons than the probe has, so small doses need no look."""
    background = float(scans[0].background.max())
    if scans[0].incident + background <= noise.MOST:
        return
    found = [(scan, part) for scan in scans for part in simulate.blocks(len(scan))]
    peak = max(float((scan.expected(obj, part) - scan.background).max()) for scan, part in found)
    if peak + background > noise.MOST:
        usable = float(f"{0.9999 * dose * (noise.MOST - background) / peak:.4e}")
        raise StudyError(
            f"dose: {dose:g} photons per pattern put {peak:.4g} counts into the brightest pixel, of at most "
            f"{noise.MOST:.4g} that files hold; nearest usable value: {usable:g}"
        )


def counts(obj: NDArray[np.complex64], scan: Scan, rng: np.random.Generator) -> Iterator[NDArray[np.uint32]]:
    """Poisson counts of every position, in consecutive blocks (m, N, N), centred layout; masked pixels record 0.

    obj (H, W). The numbers drawn for good pixels do not depend on the mask.
    """
    for part in simulate.blocks(len(scan)):
        yield noise.draw_counts(scan.expected(obj, part), rng) * scan.mask
