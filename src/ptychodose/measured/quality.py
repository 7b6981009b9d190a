"""What can be said of a reconstruction without truth: photons it never saw, and two halves of the photons."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from ptychodose.scans.scan import Scan
from ptychodose.score import frc
from ptychodose.score.frc import Curve
from ptychodose.score.region import deviance_per_pixel, scored_region

Arm = Callable[[Scan], NDArray[np.complex64]]  # the object (H, W) that an arm makes of a scan
THRESHOLDS = {"1/7": 1 / 7, "0.5": 0.5}


def half_data(scan: Scan, arm: Arm, rng: np.random.Generator) -> Curve:
    """FRC between an arm's objects of two halves of the photons. These are independent; the prior, what was learned
    and what was solved for (probe, positions) are not: where they outweigh the data the curve is optimistic."""
    region = scored_region([scan.positions])
    first, second = (arm(half)[region] for half in scan.split(0.5, rng))
    return frc.ring_correlation(first, second)


def heldout_deviance(scan: Scan, arm: Arm, share: float, rng: np.random.Generator) -> tuple[float, float]:
    """Poisson deviance per good pixel of a `share` of the photons under an arm's object of the others, and that of the
    featureless object: 1 is counting noise alone where pixels hold well over one count, less where fewer."""
    kept, rest = scan.split(1 - share, rng)
    index = np.arange(len(rest))
    found: list[float] = []
    for obj in (arm(kept), kept.flat()):
        value = deviance_per_pixel(obj, rest, index)
        assert value is not None
        found.append(value)
    return found[0], found[1]


def resolution(curve: Curve, threshold: float, pixel_m: float) -> tuple[float, float | None]:
    """Where a half-data FRC first falls below a threshold: of Nyquist, and as a half period in nm."""
    first, _ = frc.crossings(curve, threshold)
    return first, frc.half_period_nm(first, pixel_m)


def in_region(image: NDArray, scan: Scan) -> NDArray:
    """The part of an image (H, W) that the scan's centres enclose."""
    return image[scored_region([scan.positions])]
