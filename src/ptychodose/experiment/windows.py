"""Windows of patterns on the object, which follow their positions; one whose descent would not find its way back looks
for its window around it."""

import math
from dataclasses import replace

import numpy as np
import torch

from ptychodose.experiment.places import ramps
from ptychodose.experiment.state import State, from_middles, middles, on_object, whole, window
from ptychodose.iterative.problem import Problem
from ptychodose.physics import forward

FAR = 3  # accuracies that a pattern looks around it
PITCH = 2  # px between the places looked at: what is nearer a descent finds


def replaced(state: State) -> State:
    """Windows where the patterns now are: a place far from its window's middle would wrap the probe around."""
    scan = replace(state.scan, positions=state.within())
    obj = on_object(state)[window(scan)].contiguous()
    return replace(state, scan=scan, at=replace(state.at, obj=obj, places=from_middles(scan)))


def sought(state: State) -> State:
    """The state with every pattern at the best of the windows around it: most likely under object, probe and background
    as they are now, and the normal prior of its position."""
    reach = math.floor(FAR * state.accuracy)
    if reach < PITCH:
        return state
    problem, obj = Problem(whole(state)), on_object(state)
    problem.rest()
    middle, spectrum = middles(state.scan), forward.propagate(problem.probe)
    pixels = problem.probe.shape[-1] ** 2 if problem.mask is None else float(problem.mask.sum())
    best = state.at.places.clone()
    for block in problem.blocks():
        probes = forward.back_propagate(ramps(state.at.places[block], problem.probe.shape[-1]) * spectrum)[None]
        part = replace(problem.part(block, probes), shape=state.scan.shape)
        corners = torch.view_as_real(middle[block]).long()[None] - problem.probe.shape[-1] // 2
        most = torch.tensor(state.scan.shape) - problem.probe.shape[-1]
        least = torch.full((corners.shape[1],), math.inf, dtype=torch.float64)
        for y, x in moves(reach):
            there = (corners + torch.tensor([y, x])).clamp(min=0).minimum(most)
            moved = torch.view_as_complex((there - corners)[0].float())
            away = middle[block] + state.at.places[block] + moved - state.given[block]
            loss = forward.losses(obj[None], replace(part, corners=there))[0] * pixels
            loss += forward.measure(away) / (2 * state.accuracy**2)
            better = loss < least
            least = torch.where(better, loss, least)
            best[block] = torch.where(better, state.at.places[block] + moved, best[block])
    return replaced(replace(state, at=replace(state.at, places=best)))


def moves(reach: int) -> list[tuple[int, int]]:
    """Moves (y, x) px on a grid of `PITCH`, no longer than `reach`, the shortest first."""
    along = PITCH * np.arange(-(reach // PITCH), reach // PITCH + 1)
    found = [(int(y), int(x)) for y in along for x in along if y**2 + x**2 <= reach**2]
    return sorted(found, key=lambda move: (move[0] ** 2 + move[1] ** 2, move))
