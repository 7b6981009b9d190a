"""A measured scan as the study uses it: its photons in halves, a dose of them, a sparser subset of its patterns."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from ptychodose.errors import StudyError
from ptychodose.physics import noise, overlap
from ptychodose.scans.scan import Scan

REMEDY = "make it anew: python src/study.py import FILE --out SCAN.cxi"
SPACINGS = np.linspace(0.5, 1.5, 101)  # least distances tried, of the step wanted


def halves(scan: Scan, seed: int) -> tuple[Scan, Scan]:
    """Half A of the photons, which the study sees, and half B, which judges: independent Poisson counts of the same
    object (see noise.thin), whatever that is."""
    return scan.split(0.5, noise.stream(seed, "thinning", "halves"))


def at_dose(half: Scan, dose: float, seed: int) -> Scan:
    """Half A thinned to `dose` mean photons per pattern. StudyError where it has fewer."""
    if dose > half.signal:
        raise StudyError(
            f"dose: {dose:g} photons per pattern, but half of what was measured is {half.signal:.6g}, the other half "
            f"being the reference; nearest usable value: {int(half.signal)}"
        )
    return replace(half.thin(dose / half.signal, noise.stream(seed, "thinning", "dose")), dose=dose)


def ratio_of(positions: NDArray[np.float64], diameter: float) -> float:
    """Overlap ratio 1 - step / D90 of positions (n, 2) px."""
    return 1 - overlap.mean_step(positions) / diameter


def patterns_of(scan: Scan, view: str, ratio: float) -> NDArray[np.int64]:
    """Indices, in scan order, of the patterns of a view: of `dense` all there are, of another the subset nearest its
    overlap `ratio`. StudyError where the scan as a whole overlaps no more than that."""
    if view == "dense":
        return np.arange(len(scan))
    step = (1 - ratio) * scan.diameter
    if step <= overlap.mean_step(scan.positions):
        found = ratio_of(scan.positions, scan.diameter)
        raise StudyError(
            f"overlap.{view}: {ratio:g}, but the measured scan overlaps by {found:.2f} as a whole; "
            f"set it below that, or to null"
        )
    tried = [apart(scan.positions, step * part) for part in SPACINGS]
    miss = [abs(overlap.mean_step(scan.positions[index]) - step) for index in tried if len(index) > 3]
    if not miss:
        raise StudyError(f"overlap.{view}: {ratio:g} leaves three patterns of the measured scan; raise it")
    return tried[int(np.argmin(miss))]


def apart(positions: NDArray[np.float64], distance: float) -> NDArray[np.int64]:
    """The greedy subset, in scan order, of positions (n, 2): each that is at least `distance` px from all taken."""
    near = cKDTree(positions).query_ball_point(positions, distance * (1 - 1e-9))
    free, taken = np.ones(len(positions), bool), []
    for i, around in enumerate(near):
        if free[i]:
            taken.append(i)
            free[around] = False
    return np.array(taken, np.int64)
