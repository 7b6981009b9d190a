"""Groups of neighbouring patterns: what a network reconstructs jointly, and a covering set of them."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from ptychodose.errors import StudyError


def covering(groups: NDArray[np.int64]) -> NDArray[np.int64]:
    """A subset of groups (n, C) that still holds every pattern: a group goes when an earlier one has its anchor.

    Reconstructing the rest changes little (NRMSE 0.210 instead of 0.209 at the default) and costs half.
    """
    covered = np.zeros(int(groups.max()) + 1, bool)
    kept = []
    for i, group in enumerate(groups):
        if not covered[group[0]]:
            kept.append(i)
            covered[group] = True
    return groups[kept]


def neighbour_groups(
    positions: NDArray[np.float64],
    scans: NDArray[np.integer],
    group_size: int,
    neighbours: int,
    rng: np.random.Generator,
) -> NDArray[np.int64]:
    """Groups (n, C) of pattern indices: pattern i and C - 1 drawn from its K nearest of the same scan.

    K = `neighbours` counts the pattern itself; every pattern anchors one group, a group never mixes scans.
    Raises StudyError when K < C or a scan has fewer than K patterns.
    """
    if neighbours < group_size:
        raise StudyError(
            f"overlap.neighbours: {neighbours} nearest patterns cannot fill groups of {group_size}; "
            f"set it to at least {group_size}"
        )
    groups = []
    for scan in np.unique(scans):
        members = np.flatnonzero(scans == scan)
        if len(members) < neighbours:
            raise StudyError(
                f"overlap.neighbours: scan {scan} of the view holds {len(members)} patterns, fewer than the "
                f"{neighbours} nearest asked for; nearest usable value: {len(members)}"
            )
        _, near = cKDTree(positions[members]).query(positions[members], k=neighbours)
        near = near.reshape(len(members), neighbours)  # (n, K); column 0 is the pattern itself
        drawn = np.argsort(rng.random((len(members), neighbours - 1)), axis=1)[:, : group_size - 1] + 1
        picked = np.concatenate([near[:, :1], np.take_along_axis(near, drawn, 1)], 1)  # (n, C)
        groups.append(members[picked])
    return np.concatenate(groups).astype(np.int64)


def unseen_neighbours(
    positions: NDArray[np.float64], groups: NDArray[np.int64], allowed: Sequence[int] | NDArray[np.int64], number: int
) -> NDArray[np.int64]:
    """For each group (n, C) the `number` patterns of `allowed` nearest its centroid that are not in it: (n, number)."""
    allowed = np.asarray(allowed)
    centroids = positions[groups].mean(1)  # (n, 2)
    reach = min(groups.shape[1] + number, len(allowed))
    _, near = cKDTree(positions[allowed]).query(centroids, k=reach)
    near = allowed[near.reshape(len(groups), reach)]
    foreign = (near[:, :, None] != groups[:, None, :]).all(2)  # (n, reach)
    first = np.argsort(~foreign, axis=1, kind="stable")[:, :number]
    return np.take_along_axis(near, first, 1)
