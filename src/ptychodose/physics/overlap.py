"""How much the patterns of a view overlap and how many photons each object pixel gets."""

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import ConvexHull, QhullError, cKDTree
from scipy.spatial.distance import pdist

from ptychodose.errors import StudyError

RIM = 0.0005  # share of the energy that may lie in what counts as dark border; of 0.003, groups of 16 notice the loss


def encircled_diameter(probe: NDArray[np.complexfloating], fraction: float = 0.9) -> float:
    """Diameter (px) of the disc around the probe's centroid that holds `fraction` of its energy.

    probe (N, N) or (M, N, N), the energies of whose modes add. 0.9 is D90, the diameter behind every overlap ratio
    here: insensitive to the far tails. StudyError for a probe without light or with NaN, which has none.
    """
    energy = _energy(probe)
    if not 0 < energy.sum() < np.inf:
        told = "see photon energy, distance, detector pixel and the probe's recipe"
        raise StudyError(f"probe: there is no light in its {energy.shape[0]} px, or it is not finite; {told}")
    y, x = np.indices(energy.shape)
    centre = [(energy * axis).sum() / energy.sum() for axis in (y, x)]
    # sqrt, not hypot: same bits on every CPU
    radius = np.sqrt((y - centre[0]) ** 2 + (x - centre[1]) ** 2).ravel()
    order = np.argsort(radius, kind="stable")
    share = np.cumsum(energy.ravel()[order]) / energy.sum()
    return float(2 * np.interp(fraction, share, radius[order]))


def disc_overlap(distance: NDArray[np.float64], diameter: float) -> NDArray[np.float64]:
    """Shared area fraction of two discs: f(d) = (2/pi)(acos(d/D) - (d/D) sqrt(1 - (d/D)^2)), 0 beyond D.

    `distance` any shape and `diameter` in the same unit (elementary geometry: lens of two equal circles).
    """
    ratio = np.minimum(np.asarray(distance, float) / diameter, 1.0)
    return 2 / np.pi * (np.arccos(ratio) - ratio * np.sqrt(1 - ratio**2))


def dark_rim(probe: NDArray[np.complexfloating], share: float = RIM) -> int:
    """Width, px, of the widest border of the window that holds at most `share` of the energy of probe (M, N, N)."""
    energy = _energy(probe)
    inside = [energy[r : len(energy) - r, r : len(energy) - r].sum() for r in range(1, len(energy) // 2)]
    return int((np.array(inside) >= (1 - share) * energy.sum()).sum())


def _energy(probe: NDArray[np.complexfloating]) -> NDArray[np.float64]:
    """|P|^2 (N, N) of a probe (N, N) or (M, N, N), summed over its modes. Not by abs: same bits on every CPU."""
    wave = probe.astype(np.complex128)
    return (wave.real**2 + wave.imag**2).reshape(-1, *wave.shape[-2:]).sum(0)


def within_groups(positions: NDArray[np.float64], groups: NDArray[np.int64], diameter: float) -> float | None:
    """M1: mean disc overlap of all pairs within a group, averaged over groups (n, C); None for C = 1."""
    if groups.shape[1] < 2:
        return None
    return float(np.mean([disc_overlap(pdist(positions[g]), diameter).mean() for g in groups]))


def between_images(positions: NDArray[np.float64], neighbours: int, diameter: float) -> float | None:
    """M2: mean disc overlap of each image with its K nearest, exact duplicates counted once; None for one image."""
    unique = np.unique(positions, axis=0)
    reach = min(neighbours, len(unique) - 1)
    if reach < 1:
        return None
    distance, _ = cKDTree(unique).query(unique, k=reach + 1)
    return float(disc_overlap(distance[:, 1:], diameter).mean())


def between_groups(positions: NDArray[np.float64], groups: NDArray[np.int64], diameter: float) -> float | None:
    """M3: mean disc overlap of group centroids closer than one diameter; None when there is no such pair."""
    centroids = positions[groups].mean(1)  # (n_groups, 2)
    pairs = cKDTree(centroids).query_pairs(diameter, output_type="ndarray")
    if not len(pairs):
        return None
    distance = np.linalg.norm(centroids[pairs[:, 0]] - centroids[pairs[:, 1]], axis=1)
    return float(disc_overlap(distance, diameter).mean())


def mean_step(positions: NDArray[np.float64]) -> float:
    """Step, px, of a lattice with as many points on as much ground as positions (n, 2): of a lattice its own.

    The ground s^2 n of n cells is the convex hull's area and half a step around it: n s^2 = A + L s / 2 + s^2 for
    perimeter L (Steiner's formula, square corners). StudyError for positions on one line, which have no area.
    """
    try:
        hull = ConvexHull(positions)
    except (QhullError, ValueError):
        raise StudyError(
            f"{len(positions)} scan positions enclose no area, so there is no step; give a scan of an area"
        ) from None
    number, around, inside = len(positions) - 1, hull.area / 4, hull.volume  # of a plane: perimeter and area
    return float((around + np.sqrt(around**2 + number * inside)) / number)


def photons_per_pixel(counts: float, patterns: int, step: float) -> float:
    """n-bar: detected photons per object pixel: `counts` in all of `patterns` patterns, one per `step` x `step` px."""
    return counts / (patterns * step**2)


def sampling_ratio(size: int, step: float) -> float:
    """alpha = N^2 / step^2: real measurements per complex object pixel; 2 is the counting limit
    (da Silva & Menzel, Opt. Express 23, 33812 (2015))."""
    return size**2 / step**2
