"""A scan as it was recorded -> the scan as it was: probe, positions, background and bad pixels found from its counts.

In stages, each from where the last one ended: object, probe and background; with more modes of the probe, as a light
that trembles looks like positions that are wrong, scale, rotation and shear of the positions; each position, to the
accuracy that was stated; then to the accuracy that they turned out to have, without faint modes. No truth takes part.
"""

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from ptychodose.experiment import flaws, modes
from ptychodose.experiment.places import affine
from ptychodose.experiment.state import State, begin, descend, joint, rate
from ptychodose.experiment.windows import replaced, sought
from ptychodose.physics import forward
from ptychodose.scans.scan import Scan
from ptychodose.study.settings import NOTHING, MapSettings, Solve

# Iterations at most of the four stages: with what MAP takes afterwards, four times a clean MAP run at most.
FIRST, ALIGNED, PLACED, SETTLED = 15, 10, (10, 15), 40
NEAR = 3.0  # px: a descent alone finds positions whose stated accuracy is better
WIDER = 1.2  # times the stated accuracy: positions that are off by more are looked for twice as far
WINDOW = 8  # of a window's side: the part of it that no accuracy looked for exceeds, about half a probe
LOOKS = 4  # rounds in which patterns far off are looked for
ROUNDS = 10  # of expectation maximisation: exact positions are found so to the tenth part of what counts tell
DRIFT = 0.3  # px rms: by less positions move together for the prior's sake, which likes a smaller object (.2 px seen)


@dataclass(frozen=True)
class Solved:
    """The scan as found, and what was found: dead and hot pixels, mean background (counts per pixel), rms of the
    positions' errors (px), how many lie beyond the object and were put on its edge, shares of the modes, iterations."""

    scan: Scan
    found: dict[str, float | int | list[float] | list[int]]


def solve(scan: Scan, unknown: Solve, settings: MapSettings) -> Solved:
    """Find what is `unknown` of a scan with counts. The probe's photons stay as given. Nothing unknown: the scan as it
    is."""
    if unknown == NOTHING:
        return Solved(scan, {})
    state, bad = _first(scan, unknown, settings)
    if unknown.positions > NEAR:
        state = _gathered(state, unknown, settings)
    if unknown.probe > len(state.at.probe):
        probe = modes.further(state.at.probe.numpy(), unknown.probe)
        state = replace(state, at=replace(state.at, probe=torch.as_tensor(probe)))
    if unknown.positions:
        state = replaced(_aligned(state, unknown, settings))
    for iterations in PLACED:
        state = descend(state, replace(unknown, positions=state.accuracy), settings, iterations)
        if unknown.positions:
            state = replaced(replace(state, accuracy=accuracy(state, settings)))
    if WIDER * unknown.positions < state.accuracy < scan.size / WINDOW:
        return solve(scan, replace(unknown, positions=2 * unknown.positions), settings)
    probe = modes.kept(modes.orthogonal(state.at.probe.numpy()))
    state = replace(state, at=replace(state.at, probe=torch.as_tensor(probe)))
    if unknown.positions:
        state = sought(state)
    state = descend(state, replace(unknown, positions=state.accuracy), settings, SETTLED)
    return Solved(state.solved(), bad | _found(state))


def _first(scan: Scan, unknown: Solve, settings: MapSettings) -> tuple[State, dict[str, int]]:
    """The first stage, with all bad pixels masked, and their numbers by kind."""
    first = replace(unknown, positions=0.0)
    if not unknown.mask:
        return descend(begin(scan, unknown), first, settings, FIRST), {"dead": 0, "hot": 0}
    total = scan.mean_pattern * len(scan)
    dead, hot = flaws.dead(total, scan.mask), flaws.hot(total, scan.mask)
    scan = replace(scan, mask=scan.mask & ~dead & ~hot)
    state = descend(begin(scan, unknown), first, settings, FIRST)
    more = flaws.excessive(scan.mean_pattern * len(scan), rate(state), scan.mask)
    if more.any():
        scan = replace(scan, mask=scan.mask & ~more)
        state = descend(begin(scan, unknown), first, settings, FIRST)
    return state, {"dead": int(dead.sum()), "hot": int((hot | more).sum())}


def _gathered(state: State, unknown: Solve, settings: MapSettings) -> State:
    """The state after patterns far from where they were recorded were looked for, under one probe, round by round."""
    one = replace(unknown, probe=min(unknown.probe, 1))
    for _ in range(LOOKS):
        state = replaced(descend(sought(state), one, settings, ALIGNED))
    return state


def _aligned(state: State, unknown: Solve, settings: MapSettings) -> State:
    """The state after positions moved together, from where each moves alone; back where they were when that is less
    than `DRIFT`."""
    moved = descend(state, unknown, settings, ALIGNED, affine(torch.as_tensor(state.scan.positions)))
    if rms(moved.positions - state.given) > DRIFT:
        return replace(moved, given=moved.positions)
    return replace(moved, at=replace(moved.at, places=state.at.places))


def rms(moves: Tensor) -> float:
    """Root mean square, px of a coordinate, of moves (n,) complex, a common shift apart."""
    return math.sqrt(float(forward.measure(moves - moves.mean()).mean()) / 2)


def accuracy(state: State, settings: MapSettings) -> float:
    """The positions' accuracy, px rms, by which they explain themselves: expectation maximisation for the variance of a
    normal prior (Dempster, Laird & Rubin, J. R. Stat. Soc. B 39, 1 (1977)) of moves, a common shift apart, that counts
    tell to their Fisher information and the present accuracy has shrunk."""
    away = state.positions - state.given
    told = torch.view_as_real(joint(state, replace(NOTHING, positions=state.accuracy), settings).stiffness).double()
    moves = torch.view_as_real(away - away.mean()).double() * (1 + 1 / (told * state.accuracy**2))
    variance = state.accuracy**2
    for _ in range(ROUNDS):
        left = 1 / (told + 1 / variance)
        variance = float(((told * left * moves).square() + left).mean())
    return math.sqrt(variance)


def _found(state: State) -> dict[str, float | list[float] | list[int]]:
    shares = (np.abs(state.solved().probe) ** 2).sum((1, 2))
    beyond = np.abs(state.within() - torch.view_as_real(state.positions).numpy()).max(1) > 0.5
    return {
        "background": float(state.at.background().mean()),
        "moved_px": rms(state.positions - state.recorded),
        "beyond": int(beyond.sum()),
        "modes": [float(share) for share in shares / shares.sum()],
        "iterations": state.iterations,
    }
