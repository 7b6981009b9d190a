"""Where reconstructions are scored, and by which patterns that none of them has seen."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from ptychodose.errors import StudyError
from ptychodose.physics import simulate
from ptychodose.scans.scan import Scan
from ptychodose.score import metrics

Region = tuple[slice, slice]


def scored_region(positions: list[NDArray[np.float64]]) -> Region:
    """Object pixels inside the bounding box of every view's scan positions (each (n, 2), px): one region for all.

    Raises StudyError when the views have no common ground.
    """
    low = np.max([np.ceil(p.min(0)) for p in positions], axis=0).astype(int).tolist()
    high = np.min([np.floor(p.max(0)) for p in positions], axis=0).astype(int).tolist()
    if min(high[0] - low[0], high[1] - low[1]) < 16:
        raise StudyError("overlap: the test scans of the views share less than 16 x 16 pixels; use a larger base")
    return slice(low[0], high[0] + 1), slice(low[1], high[1] + 1)


def unseen_patterns(scan: Scan, used: Iterable[NDArray[np.int64]], region: Region, wanted: int) -> NDArray[np.int64]:
    """Up to `wanted` indices of patterns of the finest `scan` that no view uses (`used`: theirs) and whose D90 disc
    lies in the region.

    Evenly spaced in scan order, so that no random number is involved.
    """
    margin = scan.diameter / 2
    low = np.array([s.start for s in region]) + margin
    high = np.array([s.stop - 1 for s in region]) - margin
    inside = np.all((scan.positions >= low) & (scan.positions <= high), axis=1)
    candidates = np.setdiff1d(np.flatnonzero(inside), np.concatenate(list(used)))
    spread = np.linspace(0, len(candidates) - 1, min(wanted, len(candidates)))
    return candidates[np.unique(spread.round().astype(int))]


def deviance_per_pixel(obj: NDArray[np.complex64], scan: Scan, index: NDArray[np.int64]) -> float | None:
    """Poisson deviance per good detector pixel of the patterns `index` under a reconstruction (H, W), 1 when nothing
    but counting noise is left (at rates well above 1 per pixel); None without patterns."""
    totals = []
    for part in simulate.blocks(len(index), 64):
        rate, counts = scan.expected(obj, index[part])[:, scan.mask], scan.read(index[part])[:, scan.mask]
        totals.append(metrics.poisson_deviance(rate, counts) * len(rate))
    return float(sum(totals) / len(index)) if totals else None
