"""Mutually incoherent modes of a probe: more of them to start from, and those that were found put in order."""

import math

import numpy as np
from numpy.typing import NDArray

FAINT = 0.2  # of the first mode's photons, what each further one starts with: from 2 % it takes twice the iterations
LEAST = 0.02  # of the photons: a further mode that ends with less is left out, being what noise alone makes


def further(probe: NDArray[np.complex64], modes: int) -> NDArray[np.complex64]:
    """A probe (m, N, N) with `modes` modes, more than it has: y P, x P and higher products of its first one P, made
    orthogonal, each of `FAINT` of the photons (the Taylor series of a probe that trembles)."""
    made = [mode.astype(np.complex128).ravel() for mode in probe]
    size = probe.shape[-1]
    y, x = (axis.ravel() - size // 2 for axis in np.indices((size, size)))
    orders = [(j, i - j) for i in range(1, modes + 1) for j in range(i, -1, -1)]
    total = float(sum(np.vdot(mode, mode).real for mode in made))
    for a, b in orders[: modes - len(made)]:
        mode = made[0] * y**a * x**b
        for other in made:
            mode = mode - other * (np.vdot(other, mode) / np.vdot(other, other))
        made.append(mode * math.sqrt(FAINT * total / np.vdot(mode, mode).real))
    share = total / sum(np.vdot(mode, mode).real for mode in made)
    return (math.sqrt(share) * np.stack(made).reshape(-1, size, size)).astype(np.complex64)


def orthogonal(probe: NDArray[np.complex64]) -> NDArray[np.complex64]:
    """Modes (M, N, N) that give the same counts, orthogonal and in the order of their photons (Thibault & Menzel,
    Nature 494, 68 (2013)): right singular vectors times singular values."""
    _, values, modes = np.linalg.svd(probe.reshape(len(probe), -1).astype(np.complex128), full_matrices=False)
    return (values[:, None] * modes).reshape(probe.shape).astype(np.complex64)


def kept(probe: NDArray[np.complex64]) -> NDArray[np.complex64]:
    """The modes of a probe (M, N, N) that hold `LEAST` of its photons, with all the photons."""
    photons = (np.abs(probe) ** 2).sum((1, 2))
    some = photons >= LEAST * photons.sum()
    return (probe[some] * np.sqrt(photons.sum() / photons[some].sum())).astype(np.complex64)
