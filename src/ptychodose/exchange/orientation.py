"""Do positions, probe and object of a file fit its patterns? The forward model says, beside every usual mistake."""

import numpy as np
from numpy.typing import NDArray

from ptychodose.errors import StudyError
from ptychodose.exchange.found import Found
from ptychodose.physics import simulate

TURNS = {"swap": "x and y swapped", "flip-y": "y mirrored", "flip-x": "x mirrored", "turn": "turned by 180 degrees"}
LOOKED_AT = 64  # patterns, evenly chosen
CLEAR = 0.98  # of the residual as read: another reading that is better by this is the right one


def residuals(found: Found) -> dict[str, float]:
    """||sqrt(counts) - s |far field||| / ||sqrt(counts)||, s the best scale, for the file as read and for each mistake.

    StudyError when the file has no object or probe: there is nothing to check with.
    """
    if found.obj is None or found.probe is None:
        raise StudyError("check: the file has no object and probe that could predict its patterns; reconstruct first")
    if found.counts.shape[-1] != found.counts.shape[-2]:
        raise StudyError("check: the patterns are not square, and the model predicts none that are not")
    places, obj = found.positions, found.obj
    readings = {
        "as read": (places, obj),
        **{said: (turned(places, obj.shape, turn), obj) for turn, said in TURNS.items()},
        "object conjugated": (places, obj.conj()),
        "half a pixel off": (places + 0.5, obj),
    }
    return {name: _residual(found, at, image) for name, (at, image) in readings.items()}


def turned(places: NDArray[np.float64], shape: tuple[int, ...] | None, turn: str) -> NDArray[np.float64]:
    """Positions (n, 2) px read otherwise, by one of `TURNS`; mirrored about the middle of an object of `shape`, or of
    themselves."""
    if turn == "swap":
        return places[:, ::-1]
    flips = np.array([turn in ("flip-y", "turn"), turn in ("flip-x", "turn")])
    about = places.min(0) + places.max(0) if shape is None else np.array(shape, float)
    return np.where(flips, about - places, places)


def _residual(found: Found, positions: NDArray[np.float64], obj: NDArray[np.complex64]) -> float:
    """The residual at other positions and with another object; inf where these leave it."""
    assert found.probe is not None
    chosen = np.unique(np.linspace(0, len(positions) - 1, LOOKED_AT).astype(int))
    some, size = positions[chosen], found.counts.shape[-1]
    corners = np.rint(some) - size // 2
    if (corners < 0).any() or (corners + size > obj.shape).any():
        return float("inf")
    model = np.sqrt(simulate.expected_counts(obj, found.probe, some)) * found.mask
    seen = np.sqrt(found.counts[chosen].astype(np.float64))
    scale = (model * seen).sum() / max(float((model * model).sum()), 1e-30)
    return float(np.linalg.norm(seen - scale * model) / np.linalg.norm(seen))


def verdict(found: dict[str, float]) -> tuple[str, bool]:
    """One line on `residuals`, and whether the file was read rightly."""
    best = min(found, key=lambda name: found[name])
    if best != "as read" and found[best] < CLEAR * found["as read"]:
        flag = next((f" (--orient {turn})" for turn, said in TURNS.items() if said == best), "")
        return f"WRONG: {best}{flag} the residual is {found[best]:.3f}, as read {found['as read']:.3f}", False
    return f"right: the residual as read, {found['as read']:.3f}, is the smallest", True
