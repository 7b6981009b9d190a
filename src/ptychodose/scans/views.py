"""A view: the patterns kept from the finest scan, their scan, their groups; built here and stored as HDF5.

A view file holds selections, never copies of patterns: per split `index` (n,) into the split's CXI file, `scan` (n,),
and `groups_C` (n_groups, C) into the view's own list of patterns.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ptychodose.errors import StudyError
from ptychodose.formats.h5 import read_arrays, write_arrays
from ptychodose.formats.untrusted import is_whole, one_line
from ptychodose.physics import lattice, overlap
from ptychodose.scans import cxi
from ptychodose.scans.groups import neighbour_groups
from ptychodose.scans.scan import Scan

SCHEMA = 1
SPLITS = ("train", "test")
REMEDY = "run `dvc repro overlap`"


@dataclass(frozen=True)
class Rule:
    """How a view is grouped: group sizes C (0 = a whole scan), the number of nearest `neighbours` a group is drawn
    from; a group that this cannot fill is drawn from as many as it has patterns: K = max(neighbours, C)."""

    sizes: frozenset[int]
    neighbours: int

    def nearest(self, size: int) -> int:
        """K for groups of C = `size`."""
        return max(self.neighbours, size)

    def fillable(self, patterns: int) -> frozenset[int]:
        """The sizes for which a view of so many `patterns` has at least 2 K: with fewer, groups are all alike."""
        return frozenset(size for size in self.sizes if patterns >= 2 * self.nearest(size))


@dataclass(frozen=True)
class View:
    """Patterns `index` (n,) of one split, the complete `scan` (n,) each belongs to, groups {C: (n_groups, C)}."""

    index: NDArray[np.int64]
    scan: NDArray[np.int32]
    groups: dict[int, NDArray[np.int64]]


def select(scan: Scan, step: int, wanted: int | None, rule: Rule, rng: np.random.Generator, where: str) -> View:
    """Build the view of stride `step` of one split of the finest scan; `wanted` patterns, or None for one complete
    scan.

    Raises StudyError when there are too few patterns for a group; see `fitting`.
    """
    if scan.nodes is None:
        raise ValueError("a view is chosen from a lattice")
    index, scans = lattice.select_scans(scan.nodes.index, step, wanted, rng)
    return grouped(scan, index, scans, rule, rng, where)


@dataclass(frozen=True)
class Room:
    """What a split of a view offers: patterns of each complete scan (k,) in the order that `select` takes them, and how
    many of one scan its largest group needs."""

    sizes: NDArray[np.int64]
    largest: int

    def holds(self, nearest: int) -> NDArray[np.bool_]:
        """Which numbers of patterns 0 to n leave `nearest` of every scan that is taken, the last of which is cut."""
        fits, start = np.zeros(int(self.sizes.sum()) + 1, bool), 0
        for size in self.sizes:
            if size < nearest:
                break
            fits[start + nearest : start + size + 1] = True
            start += size
        return fits


def room(scan: Scan, step: int, wanted: int | None, rule: Rule, rng: np.random.Generator) -> Room:
    """The room of the view of stride `step`; arguments as for `select`, `wanted` None for one complete scan."""
    if scan.nodes is None:
        raise ValueError("a view is chosen from a lattice")
    _, scans = lattice.select_scans(scan.nodes.index, step, None if wanted is None else len(scan), rng)
    sizes = np.bincount(scans)
    return Room(sizes[sizes > 0], max(rule.sizes))


def fitting(train: Sequence[Room], test: Sequence[Room], wanted: int, neighbours: int) -> tuple[int, int] | None:
    """Training patterns and nearest neighbours that all views can have, nearest to those asked for: by the sum of both
    ratios' logarithms, neighbours never more. None where group sizes alone ask for too much."""
    best = (np.inf, 0, 0)
    for nearest in range(neighbours, 0, -1):
        if np.log(neighbours / nearest) >= best[0]:
            break
        if all(part.sizes[0] >= max(nearest, part.largest) for part in test):
            fits = [part.holds(max(nearest, part.largest)) for part in train]
            numbers = np.flatnonzero(np.logical_and.reduce([part[: min(map(len, fits))] for part in fits]))
            if len(numbers):
                cost = np.abs(np.log(numbers / wanted)) + np.log(neighbours / nearest)
                best = min(best, (float(cost.min()), int(numbers[cost.argmin()]), nearest))
    return best[1:] if best[1] else None


def grouped(
    scan: Scan,
    index: NDArray[np.int64],
    scans: NDArray[np.int32],
    rule: Rule,
    rng: np.random.Generator,
    where: str,
) -> View:
    """The view of patterns `index` (n,) that belong to `scans` (n,). StudyError when they are too few for a group."""
    positions = scan.positions[index]
    try:
        groups = {size: _groups(positions, scans, size, rule.nearest(size), rng) for size in sorted(rule.sizes)}
    except StudyError as error:
        raise StudyError(f"{where}: {error}") from None
    return View(index, scans, groups)


def _groups(
    positions: NDArray[np.float64], scans: NDArray[np.int32], size: int, neighbours: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Neighbour groups of C = `size`; size 0 is one group of the whole first scan."""
    if size == 0:
        return np.flatnonzero(scans == 0)[None]
    return neighbour_groups(positions, scans, size, neighbours, rng)


def describe(scan: Scan, view: View, step: int | None, group_size: int, neighbours: int) -> dict[str, object]:
    """Overlap and photons of a view of the finest `scan`: M1 to M3, n-bar, alpha (see `overlap`), numbers of patterns
    and groups.

    Scans are measured apart (a group never mixes them) and averaged over patterns; `step` is the stride on the finest
    lattice, None where there is no lattice and the step is measured.
    """
    chosen, diameter = scan.select(view.index), scan.diameter
    lattice_step = None if scan.nodes is None or step is None else step * scan.nodes.pitch
    width = overlap.mean_step(chosen.positions) if lattice_step is None else lattice_step
    groups = view.groups[group_size]
    of_group = view.scan[groups[:, 0]]
    rows = []
    for number in np.unique(view.scan):
        mine = chosen.positions[view.scan == number]
        rows.append((len(mine), overlap.between_images(mine, neighbours - 1, diameter),
                     overlap.between_groups(chosen.positions, groups[of_group == number], diameter)))  # fmt: skip
    nbar = chosen.photons_per_pixel(width)
    return {
        "images": len(view.index),
        "unique_images": len(np.unique(chosen.positions, axis=0)),
        "scans": len(rows),
        "groups": len(groups),
        "group_size": group_size,
        "step_px": width,
        "overlap_ratio": 1 - width / diameter,
        "probe_d90_px": diameter,
        "m1_within_groups": overlap.within_groups(chosen.positions, groups, diameter),
        "m2_between_images": _mean([(n, m2) for n, m2, _ in rows]),
        "m3_between_groups": _mean([(n, m3) for n, _, m3 in rows]),
        "photons_per_pixel": nbar,
        "incident_photons_per_pixel": scan.incident / width**2,
        "photons_per_um2": nbar / (scan.pixel_m * 1e6) ** 2,
        "alpha": overlap.sampling_ratio(scan.size, width),
    }


def _mean(weighted: list[tuple[int, float | None]]) -> float | None:
    kept = [(n, value) for n, value in weighted if value is not None]
    total = 0.0
    for n, value in kept:  # not sum(), which compensates rounding from Python 3.12 on
        total += n * value
    return total / sum(n for n, _ in kept) if kept else None


def write(path: Path, view_name: str, splits: dict[str, View]) -> None:
    """Store the train and test selections of one view."""
    arrays: dict[str, NDArray] = {}
    for split, view in splits.items():
        arrays |= {f"{split}/index": view.index, f"{split}/scan": view.scan}
        arrays |= {f"{split}/groups_{size}": groups for size, groups in view.groups.items()}
    write_arrays(path, arrays, {"view": view_name, "schema": SCHEMA})


def write_skipped(path: Path, view_name: str, reason: str) -> None:
    """Store that a view was not built, and why, so that later stages can say so."""
    write_arrays(path, {}, {"view": view_name, "schema": SCHEMA, "skipped": reason})


def skipped(path: Path) -> str | None:
    """The reason why a view was not built, or None. Raises StudyError for an unreadable file."""
    reason = _stored(path)[1].get("skipped")
    return None if reason is None else one_line(reason, 300)


def _stored(path: Path) -> tuple[dict[str, NDArray], dict[str, object]]:
    """Arrays and attributes of a view file of the schema this version knows."""
    arrays, attributes = read_arrays(path, REMEDY)
    if not is_whole(attributes.get("schema"), SCHEMA, SCHEMA) or not isinstance(attributes.get("view"), str):
        raise StudyError(f"{path}: not a view of schema {SCHEMA}; {REMEDY}")
    return arrays, attributes


def read(path: Path, split: str, sizes: set[int]) -> View:
    """Read one split of a view with its groups of every size in `sizes`. Raises StudyError (file, entry, remedy)."""
    arrays, _ = _stored(path)
    try:
        index, scans = arrays[f"{split}/index"], arrays[f"{split}/scan"]
        groups = {size: arrays[f"{split}/groups_{size}"] for size in sizes}
    except KeyError as error:
        raise StudyError(f"{path}: entry {error} is missing; {REMEDY}") from None
    whole = _within(index, 1, cxi.MAX_PATTERNS) and index.shape == scans.shape and _within(scans, 1, len(index))
    if not whole or len(np.unique(index)) != len(index):
        raise StudyError(f"{path}: {split}/index and {split}/scan are not a list of patterns; {REMEDY}")
    if not all(_within(g, 2, len(index)) and size in (0, g.shape[1]) for size, g in groups.items()):
        raise StudyError(f"{path}: {split} groups do not point into its list of patterns; {REMEDY}")
    return View(index.astype(np.int64), scans.astype(np.int32), {c: g.astype(np.int64) for c, g in groups.items()})


def _within(values: NDArray, dimensions: int, end: int) -> bool:
    """Whether these are integers from 0 to below `end`, at least one."""
    whole = values.ndim == dimensions and values.dtype.kind in "iu" and values.size > 0
    return bool(whole and values.min() >= 0 and values.max() < end)


def read_built(paths: Iterable[Path], split: str, sizes: Mapping[str, set[int]]) -> dict[str, View]:
    """The views at `paths` that were built (not skipped), by file name: one split each, with the groups of the
    `sizes` asked for by view."""
    return {path.stem: read(path, split, sizes.get(path.stem, set())) for path in paths if skipped(path) is None}
