"""From a base to a simulated experiment: the finest scan of both splits, the probe at a dose, blocks of counts."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from ptychodose.physics import lattice, noise, overlap, simulate
from ptychodose.scans.base import Base
from ptychodose.scans.cxi import Header
from ptychodose.study.settings import Generate


def plan(base: Base, settings: Generate, dose: float, noise_seed: int) -> dict[str, Header]:
    """The headers of the train and test datasets: lattices with a guard between them and one scaled probe.

    `dose` = mean detected photons per pattern over both splits together, so one probe scale serves both. Raises
    StudyError when the base is too small for the split.
    """
    size = len(base.probe)
    diameter = overlap.encircled_diameter(base.probe)
    pitch = diameter / settings.nodes_per_diameter
    rows, columns = base.centres
    lattices = {
        split: lattice.finest_scan(bounds, columns, pitch, noise.stream(noise_seed, f"jitter/{split}"))
        for split, bounds in zip(("train", "test"), lattice.split_bounds(*rows, size), strict=True)
    }
    everywhere = np.concatenate([lattice.positions for lattice in lattices.values()])
    probe = simulate.scale_to_dose(base.obj, base.probe, everywhere, dose)
    return {
        split: Header(
            positions=lattice.positions,
            nodes=lattice.nodes,
            probe=probe,
            mask=np.zeros((size, size), np.uint32),
            energy_ev=settings.energy_ev,
            distance_m=settings.distance_m,
            detector_pixel_m=settings.detector_pixel_um * 1e-6,
            pitch=pitch,
            diameter=diameter,
            shape=(base.obj.shape[0], base.obj.shape[1]),
            dose_requested=dose,
            dose_measured=dose,
        )
        for split, lattice in lattices.items()
    }


def counts(obj: NDArray[np.complex64], header: Header, rng: np.random.Generator) -> Iterator[NDArray[np.uint32]]:
    """Poisson counts of every position, in consecutive blocks (m, N, N), centred layout."""
    for part in simulate.blocks(len(header.positions)):
        rate = simulate.expected_counts(obj, header.probe, header.positions[part])
        yield noise.draw_counts(rate, rng)
