"""What can be said of a reconstruction without truth: photons it never saw, and two halves of the photons."""

import numpy as np
from numpy.typing import NDArray

from ptychodose.iterative import poisson_map
from ptychodose.scans.scan import Scan
from ptychodose.score import frc
from ptychodose.score.region import deviance_per_pixel, scored_region
from ptychodose.study.settings import MapSettings


def half_data(scan: Scan, settings: MapSettings, weight: float, rng: np.random.Generator) -> dict[str, object]:
    """FRC between MAP objects of two halves of the photons (see frc.half_summary). The photons are independent, the
    prior and what was solved for (probe, positions) are not: where these outweigh the data the curve is optimistic."""
    region = scored_region([scan.positions])
    first, second = (poisson_map.solve(half, settings, rng, weight).obj[region] for half in scan.split(0.5, rng))
    return frc.half_summary(frc.ring_correlation(first, second), scan.pixel_m)


def heldout_deviance(scan: Scan, settings: MapSettings, weight: float, rng: np.random.Generator) -> tuple[float, float]:
    """Poisson deviance per good pixel of a tenth of the photons under the MAP object of the others, and that of the
    featureless object: 1 is counting noise alone where pixels hold well over one count, less where fewer."""
    kept, rest = scan.split(1 - settings.heldout, rng)
    index = np.arange(len(rest))
    found: list[float] = []
    for obj in (poisson_map.solve(kept, settings, rng, weight).obj, kept.flat()):
        value = deviance_per_pixel(obj, rest, index)
        assert value is not None
        found.append(value)
    return found[0], found[1]


def resolution(found: dict[str, object], name: str = "1/7") -> tuple[float, float | None]:
    """Where the half-data FRC first falls below a threshold: of Nyquist, and as a half period in nm."""
    crossing = found[name]
    assert isinstance(crossing, dict)
    return crossing["first"], crossing["first_half_period_nm"]


def in_region(image: NDArray, scan: Scan) -> NDArray:
    """The part of an image (H, W) that the scan's centres enclose."""
    return image[scored_region([scan.positions])]
