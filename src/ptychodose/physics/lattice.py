"""Scan positions on a jittered lattice, and the patterns a view of known overlap takes from it.

Positions are (n, 2) float64, y then x, patch centres in object pixels. A *node* is the integer (row, column) of a
position on the finest lattice; view stride m keeps every m-th node, so its m * m offsets are m * m complete scans.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ptychodose.errors import StudyError


@dataclass(frozen=True)
class Lattice:
    """The finest scan of one split: `positions` (n, 2) px and their `nodes` (n, 2) int32, raster order."""

    positions: NDArray[np.float64]
    nodes: NDArray[np.int32]


def split_bounds(low: float, high: float, size: int) -> tuple[tuple[float, float], tuple[float, float]]:
    """Rows of the train and test centres between `low` and `high` (px), with a guard of N + 1 rows.

    Whole pixels on both sides of the guard, so the patch pixel sets of the splits are disjoint.
    Raises StudyError when nothing is left beside the guard.
    """
    half = int(np.floor((high - low - (size + 1)) / 2))
    if half < 1:
        raise StudyError(
            f"generate.base: only {high - low:.0f} rows of scan centres, but the split needs a guard of "
            f"{size + 1} rows; use a base at least {2 * size + 3} rows tall"
        )
    return (low, low + half), (high - half, high)


def finest_scan(
    rows: tuple[float, float], columns: tuple[float, float], pitch: float, rng: np.random.Generator
) -> Lattice:
    """Jittered raster over rows x columns (first and last allowed centre, px) at `pitch` px.

    Every node moves by up to half a pitch per axis; nodes are inset by that jitter, so no centre leaves the
    bounds. Jitter breaks the raster pathology (Fannjiang & Chen, arXiv:1810.00852). Raises StudyError when fewer
    than two nodes fit an axis.
    """
    axes = []
    for name, (low, high) in (("rows", rows), ("columns", columns)):
        count = int(np.floor((high - low) / pitch))
        if count < 2:
            raise StudyError(f"generate.base: {high - low:.0f} px of {name} hold no scan at a pitch of {pitch:.2f} px")
        axes.append((low + high) / 2 + (np.arange(count) - (count - 1) / 2) * pitch)
    nodes = np.stack(np.meshgrid(*map(np.arange, map(len, axes)), indexing="ij"), -1).reshape(-1, 2)  # (n, 2)
    centres = np.stack([axes[0][nodes[:, 0]], axes[1][nodes[:, 1]]], -1)
    jitter = rng.uniform(-pitch / 2, pitch / 2, centres.shape)
    return Lattice(centres + jitter, nodes.astype(np.int32))


def stride(overlap_ratio: float, nodes_per_diameter: int, where: str = "overlap") -> int:
    """Lattice stride m of an overlap ratio o = 1 - step / D90, for `nodes_per_diameter` finest steps per D90.

    Raises StudyError naming the nearest usable ratio when o is outside [0, 1) or off the lattice's grid.
    """
    exact = nodes_per_diameter * (1 - overlap_ratio)
    nearest = min(max(round(exact), 1), nodes_per_diameter)
    if not 0 <= overlap_ratio < 1 or abs(exact - nearest) > 1e-6:
        raise StudyError(
            f"{where}: overlap ratio {overlap_ratio:g} is not on the grid of {1 / nodes_per_diameter:g} in [0, 1); "
            f"nearest usable value: {1 - nearest / nodes_per_diameter:g}"
        )
    return nearest


def scan_order(nodes: NDArray[np.int32], step: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """The m * m complete scans of stride m as (m * m, 2) offsets: the centred one first, the rest shuffled."""
    centred = (nodes.max(0) % step) // 2
    offsets = np.stack(np.meshgrid(np.arange(step), np.arange(step), indexing="ij"), -1).reshape(-1, 2)
    rest = offsets[(offsets != centred).any(1)]
    return np.concatenate([centred[None], rest[rng.permutation(len(rest))]]).astype(np.int64)


def select_scans(
    nodes: NDArray[np.int32], step: int, wanted: int | None, rng: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """Choose patterns of a view: indices (n,) into the finest scan and the scan (n,) each belongs to.

    `wanted` = None takes one complete scan; a number adds interleaved scans until there are exactly that many
    (the last one is cut in raster order, so what is left of it still has the view's overlap). Returns fewer
    than `wanted` when the lattice holds no more.
    """
    chosen, total = [], 0
    for offset in scan_order(nodes, step, rng):
        members = np.flatnonzero(((nodes - offset) % step == 0).all(1))
        chosen.append(members if wanted is None else members[: wanted - total])
        total += len(chosen[-1])
        if wanted is None or total >= wanted:
            break
    scans = np.concatenate([np.full(len(c), i, np.int32) for i, c in enumerate(chosen)])
    return np.concatenate(chosen).astype(np.int64), scans
