"""From a base to a simulated experiment: the finest scan of both splits, the probe at a dose, blocks of counts."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from ptychodose.physics import lattice, noise, overlap, simulate
from ptychodose.scans.base import Base, geometry
from ptychodose.scans.scan import Nodes, Scan
from ptychodose.study.settings import Generate


def plan(base: Base, settings: Generate, dose: float, noise_seed: int) -> dict[str, Scan]:
    """The planned scans of the train and test splits: lattices with a guard between them and one scaled probe.

    `dose` = mean photons per pattern behind the object over both splits together, so one probe scale serves both.
    Raises StudyError when the base is too small for the split.
    """
    pitch = overlap.encircled_diameter(base.probe) / settings.nodes_per_diameter
    rows, columns = base.centres
    lattices = {
        split: lattice.finest_scan(bounds, columns, pitch, noise.stream(noise_seed, f"jitter/{split}"))
        for split, bounds in zip(("train", "test"), lattice.split_bounds(*rows, base.probe.shape[-1]), strict=True)
    }
    everywhere = np.concatenate([found.positions for found in lattices.values()])
    probe = simulate.scale_to_dose(base.obj, base.probe, everywhere, dose)
    return {
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


def counts(obj: NDArray[np.complex64], scan: Scan, rng: np.random.Generator) -> Iterator[NDArray[np.uint32]]:
    """Poisson counts of every position, in consecutive blocks (m, N, N), centred layout; masked pixels record 0.

    obj (H, W). The numbers drawn for good pixels do not depend on the mask.
    """
    for part in simulate.blocks(len(scan)):
        yield noise.draw_counts(scan.expected(obj, part), rng) * scan.mask
