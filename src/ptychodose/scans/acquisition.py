"""From a base to a simulated experiment: the finest scan of both splits, the probe at a dose, blocks of counts."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from ptychodose.errors import StudyError
from ptychodose.physics import lattice, noise, overlap, simulate
from ptychodose.scans.base import Base, geometry
from ptychodose.scans.scan import Nodes, Scan
from ptychodose.study.settings import Generate

DARK = 1e-6  # of the probe's light behind the object, the least that is a measurement at any dose


def plan(base: Base, settings: Generate, dose: float, noise_seed: int) -> dict[str, Scan]:
    """The planned scans of the train and test splits: lattices with a guard between them and one scaled probe.

    `dose` = mean photons per pattern behind the object over both splits together, so one probe scale serves both.
    Raises StudyError when the base is too small for the split, or lets no light through in one of its halves.
    """
    pitch = overlap.encircled_diameter(base.probe) / settings.nodes_per_diameter
    rows, columns = base.centres
    lattices = {
        split: lattice.finest_scan(bounds, columns, pitch, noise.stream(noise_seed, f"jitter/{split}"))
        for split, bounds in zip(("train", "test"), lattice.split_bounds(*rows, base.probe.shape[-1]), strict=True)
    }
    everywhere = np.concatenate([found.positions for found in lattices.values()])
    light = simulate.transmitted(base.obj, base.probe, everywhere)
    of_half = {"train": light[: len(lattices["train"].positions)], "test": light[len(lattices["train"].positions) :]}
    for split, half in of_half.items():
        if not half.mean() > DARK * float((np.abs(base.probe) ** 2).sum()):
            raise StudyError(
                f"generate.base: {settings.base}: the object is opaque where the {split} half lies (rows "
                f"{lattices[split].positions[:, 0].min():.0f} to {lattices[split].positions[:, 0].max():.0f}); turn or "
                "crop it so that both halves let light through"
            )
    probe = (base.probe * np.sqrt(dose / light.mean())).astype(np.complex64)
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

    obj (H, W). The numbers drawn for good pixels do not depend on the mask. StudyError, naming the largest usable dose,
    when the brightest pixel expects more than a file's counts can hold.
    """
    for part in simulate.blocks(len(scan)):
        rate = scan.expected(obj, part)
        if rate.max() > noise.BRIGHTEST:
            peak = max(float(scan.expected(obj, each).max()) for each in simulate.blocks(len(scan)))
            raise StudyError(
                f"dose: {scan.dose:g} photons per pattern are {peak:.3g} in the brightest pixel, more than a file can "
                f"count; largest usable value: {floor_to(scan.dose * noise.BRIGHTEST / peak):g}"
            )
        yield noise.draw_counts(rate, rng) * scan.mask


def floor_to(value: float, digits: int = 2) -> float:
    """A positive number rounded down to so many digits."""
    unit = 10.0 ** (np.floor(np.log10(value)) + 1 - digits)
    return float(np.floor(value / unit) * unit)
