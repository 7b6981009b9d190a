"""Do positions, probe and object of a file fit its patterns? The forward model says, beside every usual mistake."""

import numpy as np
from numpy.typing import NDArray

from ptychodose.errors import StudyError
from ptychodose.measured.found import Found
from ptychodose.physics import simulate

LOOKED_AT = 64  # patterns, evenly chosen
CLEAR = 0.98  # of the residual as read: another reading that is better by this is the right one


def residuals(found: Found) -> dict[str, float]:
    """||sqrt(counts) - s |far field||| / ||sqrt(counts)||, s the best scale, for the file as read and for each mistake.

    StudyError when the file has no object or probe: there is nothing to check with.
    """
    if found.obj is None or found.probe is None:
        raise StudyError("check: the file has no object and probe that could predict its patterns; reconstruct first")
    height, width = found.obj.shape
    y, x = found.positions.T
    readings = {
        "as read": (y, x, found.obj),
        "x and y swapped": (x, y, found.obj),
        "y mirrored": (height - y, x, found.obj),
        "x mirrored": (y, width - x, found.obj),
        "turned by 180 degrees": (height - y, width - x, found.obj),
        "object conjugated": (y, x, found.obj.conj()),
        "half a pixel off": (y + 0.5, x + 0.5, found.obj),
    }
    return {name: _residual(found, np.stack([a, b], -1), obj) for name, (a, b, obj) in readings.items()}


def _residual(found: Found, positions: NDArray[np.float64], obj: NDArray[np.complex64]) -> float:
    """The residual at other positions and with another object; inf where these leave it."""
    assert found.probe is not None
    chosen = np.unique(np.linspace(0, len(positions) - 1, LOOKED_AT).astype(int))
    some, size = positions[chosen], found.counts.shape[-1]
    corners = np.rint(some) - size // 2
    if (corners < 0).any() or (corners + size > obj.shape).any():
        return float("inf")
    model = np.sqrt(simulate.expected_counts(obj, found.probe, some))
    seen = np.sqrt(found.counts[chosen].astype(np.float64))
    scale = (model * seen).sum() / max(float((model * model).sum()), 1e-30)
    return float(np.linalg.norm(seen - scale * model) / np.linalg.norm(seen))


def verdict(found: dict[str, float]) -> tuple[str, bool]:
    """One line on `residuals`, and whether the file was read rightly."""
    best = min(found, key=lambda name: found[name])
    if best != "as read" and found[best] < CLEAR * found["as read"]:
        return f"WRONG: {best} the residual is {found[best]:.3f}, as read {found['as read']:.3f}", False
    return f"right: the residual as read, {found['as read']:.3f}, is the smallest", True
