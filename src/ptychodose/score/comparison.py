"""Every arm through the same photons, the same probe, the same frame: reconstruct, then score."""

from collections.abc import Mapping

import h5py
import numpy as np
from numpy.typing import NDArray

from ptychodose.errors import StudyError
from ptychodose.physics import simulate
from ptychodose.scans.cxi import Header
from ptychodose.scans.views import View
from ptychodose.score import metrics


def scored_region(positions: list[NDArray[np.float64]]) -> tuple[slice, slice]:
    """Object pixels inside the bounding box of every view's scan positions (each (n, 2), px): one region for all.

    Raises StudyError when the views have no common ground.
    """
    low = np.max([np.ceil(p.min(0)) for p in positions], axis=0).astype(int).tolist()
    high = np.min([np.floor(p.max(0)) for p in positions], axis=0).astype(int).tolist()
    if min(high[0] - low[0], high[1] - low[1]) < 16:
        raise StudyError("overlap: the test scans of the views share less than 16 x 16 pixels; use a larger base")
    return slice(low[0], high[0] + 1), slice(low[1], high[1] + 1)


def unseen_patterns(header: Header, views: list[View], region: tuple[slice, slice], wanted: int) -> NDArray[np.int64]:
    """Up to `wanted` indices of finest-scan patterns that no view uses and whose D90 disc lies in the region.

    Evenly spaced in scan order, so that no random number is involved.
    """
    margin = header.diameter / 2
    low = np.array([s.start for s in region]) + margin
    high = np.array([s.stop - 1 for s in region]) - margin
    inside = np.all((header.positions >= low) & (header.positions <= high), axis=1)
    used = np.concatenate([view.index for view in views])
    candidates = np.setdiff1d(np.flatnonzero(inside), used)
    spread = np.linspace(0, len(candidates) - 1, min(wanted, len(candidates)))
    return candidates[np.unique(spread.round().astype(int))]


def deviance_per_pixel(
    obj: NDArray[np.complex64], header: Header, counts: h5py.Dataset, index: NDArray[np.int64]
) -> float | None:
    """Poisson deviance per detector pixel of the patterns `index` under a reconstruction, 1 when nothing but
    counting noise is left (at rates well above 1 per pixel); None without patterns."""
    totals = []
    for part in simulate.blocks(len(index), 64):
        rate = simulate.expected_counts(obj, header.probe, header.positions[index[part]])
        totals.append(metrics.poisson_deviance(rate, counts[index[part]]) * len(rate))
    return float(sum(totals) / len(index)) if totals else None


def flat_object(header: Header) -> NDArray[np.complex64]:
    """The control arm: a featureless object with the mean transmission the photon counts imply (no truth)."""
    incident = float((np.abs(header.probe.astype(np.complex128)) ** 2).sum())
    return np.full(header.shape, np.sqrt(header.dose_measured / incident), np.complex64)


def join_manifests(documents: Mapping[str, dict]) -> dict:
    """One training manifest of all arms: their jobs and skipped jobs, in the order of the tables."""
    return {kind: [job for doc in documents.values() for job in doc[kind]] for kind in ("jobs", "skipped")}
