"""Group canvases + positions -> one object, with the phase of every group brought to a common gauge.

Each group is reconstructed up to a global phase of its own; averaging without aligning these phases cancels detail.
Groups are synchronised to the running, probe-weighted canvas, then swept again until they agree (a Gauss-Seidel
form of angular synchronisation: Singer, Appl. Comput. Harmon. Anal. 30, 20 (2011)).
"""

import numpy as np
from numpy.typing import NDArray

SWEEPS = 4  # after the first pass; random phases of exact pieces then agree to 1e-6


class Canvas:
    """Weighted sum of complex pieces on the object grid (H, W): value = sum w * piece / sum w."""

    def __init__(self, shape: tuple[int, int]) -> None:
        self.total = np.zeros(shape, np.complex128)
        self.weight = np.zeros(shape, np.float64)

    def add(self, corner: NDArray[np.int64], weighted: NDArray, weight: NDArray, sign: int = 1) -> None:
        """Add (or with sign -1 remove) a piece already multiplied by its weight, at corner (y, x) px."""
        window = self.window(corner, weight.shape)
        self.total[window] += sign * weighted
        self.weight[window] += sign * weight

    def window(self, corner: NDArray[np.int64], shape: tuple[int, ...]) -> tuple[slice, slice]:
        """Slices of the grid a piece of `shape` covers."""
        y, x = int(corner[0]), int(corner[1])
        return slice(y, y + shape[0]), slice(x, x + shape[1])

    def value(self, fill: complex) -> tuple[NDArray[np.complex64], NDArray[np.float64]]:
        """The object (H, W) and its weights; `fill` where nothing was added."""
        seen = self.weight > 1e-6 * self.weight.max()
        obj = np.where(seen, self.total / np.where(seen, self.weight, 1), fill)
        return obj.astype(np.complex64), np.where(seen, self.weight, 0)


def stitch(
    pieces: list[NDArray[np.complex64]],
    weights: list[NDArray[np.float32]],
    corners: list[NDArray[np.int64]],
    shape: tuple[int, int],
    fill: complex = 1.0,
    sweeps: int = SWEEPS,
) -> tuple[NDArray[np.complex64], NDArray[np.float64]]:
    """Merge pieces (h, w) lying at corners (y, x) px of an object of `shape`, weighted and phase-synchronised.

    `weights` (h, w) are the photons each pixel got in the group (illumination); a piece counts where it was lit.
    Returns the object (H, W) complex64, `fill` where no light fell, and the summed weights (H, W).
    """
    canvas, phases = Canvas(shape), np.ones(len(pieces), np.complex128)
    for sweep in range(sweeps + 1):
        for i, (piece, weight, corner) in enumerate(zip(pieces, weights, corners, strict=True)):
            weighted = piece * weight
            if sweep:
                canvas.add(corner, weighted * phases[i], weight, -1)
            phases[i] = _phase_to(canvas, corner, weighted)
            canvas.add(corner, weighted * phases[i], weight)
    final = Canvas(shape)  # a fresh sum: no rounding left over from what was added and removed
    for piece, weight, corner, phase in zip(pieces, weights, corners, phases, strict=True):
        final.add(corner, piece * weight * phase, weight)
    return final.value(fill)


def _phase_to(canvas: Canvas, corner: NDArray[np.int64], weighted: NDArray[np.complexfloating]) -> complex:
    """Unit phasor that best aligns a weighted piece with the canvas value beneath it; 1 where nothing overlaps."""
    window = canvas.window(corner, weighted.shape)
    weight = canvas.weight[window]
    lit = weight > 1e-6 * max(float(weight.max()), 1e-30)
    beneath = np.where(lit, canvas.total[window] / np.where(lit, weight, 1), 0)
    product = complex(np.vdot(weighted, beneath))
    return product / abs(product) if abs(product) > 0 else 1.0
