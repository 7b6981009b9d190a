"""Positions: what counts tell of them, how accurate they are, windows that follow them, patterns far off."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from ptychodose.experiment import solve, windows
from ptychodose.experiment import state as state_of
from ptychodose.experiment.places import affine, projected, ramps
from ptychodose.physics import forward, simulate
from scenes import corner, scene
from test_experiment import NOTHING, ONE, SETTINGS


def at_truth(s, side, unknown):
    """A state at the true object."""
    state = state_of.begin(corner(s.scan, side), unknown)
    inside = state_of.joint(state, unknown, SETTINGS).problem.window
    return replace(state, at=replace(state.at, obj=torch.as_tensor(s.obj[inside])))


def test_ramps_move_a_probe_as_the_forward_model_does():
    probe = torch.as_tensor(scene(1e4).scan.probe)
    places = torch.tensor([0.3 - 0.2j, 1.5 + 2.25j])
    moved = forward.back_propagate(ramps(places, 64) * forward.propagate(probe))
    offsets = torch.stack([places.real, places.imag], -1).double()[:, None]
    assert torch.allclose(moved, forward.shift_probe(probe, offsets), atol=1e-3 * float(probe.abs().max()))


def test_affine_moves_are_scale_rotation_and_shear_about_the_middle():
    positions = torch.as_tensor(scene(1e4).scan.positions)
    span, away = affine(positions), positions - positions.mean(0)
    assert torch.allclose(span.T @ span, torch.eye(4), atol=1e-5)
    for matrix in ([[1, 0], [0, 1]], [[0, 1], [-1, 0]], [[0, 1], [1, 0]], [[1, 0], [0, -1]]):
        moves = torch.complex(*(away @ torch.tensor(matrix, dtype=torch.float64)).float().T)
        assert torch.allclose(projected(moves, span), moves, atol=1e-3)
    shift = torch.full((len(positions),), 1 + 1j)
    assert projected(shift, span).abs().max() < 1e-4, "a shift has no meaning"


@pytest.mark.slow
def test_a_scan_that_is_too_wide_and_turned_is_put_right():
    s = scene(1e4)
    middle, turn = s.scan.positions.mean(0), np.deg2rad(1.5)
    matrix = 1.03 * np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    wrong = np.clip((s.scan.positions - middle) @ matrix.T + middle, 32, np.array(s.scan.shape) - 33)
    away = {}
    for name, positions in {
        "before": wrong,
        "after": solve.solve(replace(s.scan, positions=wrong), ONE["positions"], SETTINGS).scan.positions,
    }.items():
        off = positions - s.scan.positions
        away[name] = (off - off.mean(0)).std()
    assert away["before"] > 0.7 and away["after"] < 0.25 * away["before"], away


def test_positions_stay_on_the_object():
    s = scene(1e4)
    edge = replace(corner(s.scan, 3), shape=tuple(int(v) for v in corner(s.scan, 3).positions.max(0) + 32))
    state = state_of.begin(edge, ONE["positions"])
    far = replace(state, at=replace(state.at, places=state.at.places + 40 + 40j))
    made = far.solved()
    assert ((np.rint(made.positions) - 32 >= 0) & (np.rint(made.positions) + 32 <= np.array(edge.shape))).all()


def test_windows_follow_the_places_and_the_counts_stay():
    state = at_truth(scene(1e4), 9, ONE["positions"])
    inner = (torch.view_as_real(state.positions) > 40).all(1) & (
        torch.view_as_real(state.positions) < torch.tensor(state.scan.shape) - 41
    ).all(1)
    moved = replace(state, at=replace(state.at, places=state.at.places + inner * (3.3 - 4.6j)))
    found = windows.replaced(moved)
    assert torch.allclose(found.positions, moved.positions, atol=1e-4)
    assert torch.equal(found.recorded, state.recorded) and torch.equal(found.given, state.given)
    assert found.at.places.abs().max() < 0.71 < moved.at.places.abs().max()
    values = [state_of.joint(at, ONE["positions"], SETTINGS)(at.at.vector())[0] for at in (state, moved, found)]
    assert abs(values[2] - values[1]) < 0.02 * abs(values[1] - values[0]), values


def test_a_pattern_far_off_looks_for_its_window_and_others_stay():
    state = at_truth(scene(1e4), 9, replace(NOTHING, positions=3.0))
    away = torch.zeros(len(state.scan), dtype=torch.complex64)
    away[30], away[45] = 4 - 6j, -2 + 4j
    lost = windows.replaced(replace(state, at=replace(state.at, places=state.at.places + away)))
    assert torch.allclose(windows.sought(lost).positions, state.positions, atol=1e-3)
    sure = replace(lost, accuracy=0.5)
    assert windows.sought(sure) is sure, "so far nobody looks"


def test_looks_go_from_near_to_far_and_no_further_than_they_should():
    found = windows.moves(5)
    assert found[0] == (0, 0) and set(found[1:5]) == {(0, 2), (2, 0), (0, -2), (-2, 0)}
    assert {max(map(abs, move)) for move in found} == {0, 2, 4} and (4, 4) not in found and len(found) == 21


@pytest.mark.slow
def test_positions_far_worse_than_stated_are_found():
    s, rng = scene(1e4), np.random.default_rng(5)
    wrong = s.scan.positions + rng.normal(0, 4, s.scan.positions.shape)
    believed = replace(s.scan, positions=np.clip(wrong, 32, np.array(s.scan.shape) - 33))
    found = solve.solve(believed, replace(ONE["positions"], positions=1.5), SETTINGS).scan.positions
    away = [
        np.hypot(*(off - np.median(off, 0)).T)
        for off in (believed.positions - s.scan.positions, found - s.scan.positions)
    ]
    assert np.median(away[0]) > 4 and np.median(away[1]) < 0.5, [np.median(each) for each in away]


def test_accuracy_is_that_of_the_moves_that_were_made():
    """Moves of known size, shrunk as a prior of 2 px shrinks them: their spread is found, and none where none are."""
    state = at_truth(scene(1e4), 9, replace(NOTHING, positions=2.0))
    told = state_of.joint(state, replace(NOTHING, positions=2.0), SETTINGS).stiffness
    rng = torch.Generator().manual_seed(0)
    for size, tolerance in ((0.0, 0.05), (0.3, 0.06), (1.5, 0.3)):
        y, x = size * torch.randn(2, len(told), generator=rng)
        moves = torch.complex(y / (1 + 0.25 / told.real), x / (1 + 0.25 / told.imag)) + 1 + 2j
        moved = replace(state, at=replace(state.at, places=state.at.places + moves))
        assert solve.accuracy(moved, SETTINGS) == pytest.approx(size, abs=tolerance)


@pytest.mark.parametrize(("dose", "background", "share"), [(1e4, 0.0, 1.0), (1e3, 0.5, 1.0), (1e4, 0.5, 0.9)])
def test_the_stiffness_of_a_place_is_its_fisher_information(dose, background, share):
    """Brute force: sum (dI/dy)^2 / I of the true object's patterns, pattern by pattern and axis by axis."""
    mask = np.random.default_rng(0).random((64, 64)) < share
    s = scene(dose, background=background, mask=mask)
    state, step = at_truth(s, 3, ONE["positions"]), 0.01
    small = state.scan
    shifted = [small.positions + np.array(way) * step for way in ((1, 0), (-1, 0), (0, 1), (0, -1))]
    up, down, right, left = (simulate.expected_counts(s.obj, small.probe, places) for places in shifted)
    rate = small.expected(s.obj) + forward.FLOOR
    wanted = [(((a - b) / (2 * step)) ** 2 / rate * mask).sum((1, 2)) for a, b in ((up, down), (right, left))]
    found = torch.view_as_real(state_of.joint(state, ONE["positions"], SETTINGS).stiffness).numpy()
    assert found == pytest.approx(np.stack(wanted, -1), rel=0.03)


def test_a_place_on_a_flat_object_takes_no_endless_step():
    """Nothing is told of it, and yet its step is that on the true object within some times."""
    state = state_of.begin(corner(scene(1e4).scan, 3), ONE["positions"])
    flat, true = (
        state_of.joint(at, ONE["positions"], SETTINGS) for at in (state, at_truth(scene(1e4), 3, ONE["positions"]))
    )
    assert flat.stiffness.abs().max() < 1e-3 * true.stiffness.abs().mean()
    step = [found.preconditioner(found.start.vector()) for found in (flat, true)]
    way = replace(flat.start, obj=0 * flat.start.obj, places=torch.full((9,), 1 + 1j)).vector()
    soft, hard = (float(state.at.of(apply(way)).places.abs().mean()) for apply in step)
    assert hard < soft < 5 * hard
