"""Bad pixels that a scan's own counts betray: dead ones, and hot ones."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

SURE = 8.0  # standard deviations beyond which counts are no accident: none of a million pixels gets there
ALONE = 2.0  # times the brightest neighbour: no far field of a probe of some pixels in size rises so in one pixel
EXPECTED = 30.0  # counts where a pixel without any is dead: exp(-30) of all would have none by chance

# At the detector's edge neighbours are mirrored: repeated, a bad pixel there would be its own neighbour.
_RING = np.ones((3, 3), bool)
_RING[1, 1] = False
_WIDE = np.ones((5, 5), bool)
_WIDE[2, 2] = False


def dead(total: NDArray[np.float64], mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Pixels (N, N) without a count where three quarters of the 24 around had more than `EXPECTED`.

    total (N, N) counts of the whole scan, mask (N, N) True = good. Where so few fall, a dead pixel does no harm.
    """
    around = ndimage.percentile_filter(total, 25, footprint=_WIDE, mode="mirror")
    return np.asarray(mask & (total == 0) & (around > EXPECTED))


def hot(total: NDArray[np.float64], mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Pixels (N, N) that counted more than `ALONE` times the brightest of the eight around, by `SURE` deviations."""
    around = ndimage.maximum_filter(np.where(mask, total, 0), footprint=_RING, mode="mirror")
    return np.asarray(mask & (total > ALONE * around + SURE * np.sqrt(around + 1) + SURE))


def excessive(total: NDArray[np.float64], rate: NDArray[np.float64], mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Pixels (N, N) that counted more than any expected `rate` (N, N) of the whole scan explains.

    A model that is not perfect yet scatters more than Poisson: deviations count in units of the median one of all good
    pixels (the median absolute deviation, 1.4826 of which are a standard deviation of a normal law), and what it misses
    spreads over a speckle, so that a pixel must stand out from the eight around it, too.
    """
    excess = np.where(mask, (total - rate) / np.sqrt(rate + 1), 0)
    spread = 1.4826 * np.median(np.abs(excess[mask] - np.median(excess[mask])))
    around = ndimage.maximum_filter(np.abs(excess), footprint=_RING, mode="mirror")
    return np.asarray(mask & (excess > SURE * max(1.0, float(spread))) & (excess > ALONE * around))
