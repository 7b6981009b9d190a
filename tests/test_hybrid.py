"""The hybrid: starts as plain physics, sees no difference between an image and its mirror, learns from scenes."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from ptychodose.iterative import poisson_map
from ptychodose.iterative.problem import Problem
from ptychodose.networks.losses import relative_error
from ptychodose.physics import noise
from ptychodose.physics.forward import LIT
from ptychodose.refine import hybrid, hybrid_training
from ptychodose.refine.unet import UNet
from ptychodose.study import params
from scenes import corner, scene
from small_hybrid import build

STUDY = params.load("params.yaml")
TINY = replace(STUDY.train_hybrid, scenes=2, updates=6, steps=2, gradients=1, width=4, hidden=1, learning_rate=0.01)
QUICK = replace(STUDY.reconstruct_map, iterations=30)


@pytest.fixture(scope="module")
def dim():
    return scene(1e3)


@pytest.fixture(scope="module")
def start(dim):
    return poisson_map.solve(dim.scan, QUICK, noise.stream(0, "solver"), 1.0).obj


@pytest.fixture(scope="module")
def example():
    return hybrid_training.make_example(3, 0, QUICK)


# The network


def test_symmetries_are_eight_and_invert():
    image = torch.arange(3 * 5 * 7).reshape(3, 5, 7)
    turned = [hybrid._turned(image, g) for g in range(hybrid.SYMMETRIES)]
    assert len({(tuple(t.shape), tuple(t.flatten().tolist())) for t in turned}) == 8
    assert all(torch.equal(hybrid._returned(t, g), image) for g, t in enumerate(turned))


@pytest.mark.parametrize("shape", [(8, 8), (9, 8), (13, 15), (70, 67), (65, 122)])
def test_the_unet_keeps_any_shape(shape):
    torch.manual_seed(0)
    found = UNet(3, 2, 4)(torch.randn(2, 3, *shape))
    assert found.shape == (2, 2, *shape) and torch.isfinite(found).all()


def test_without_a_correction_it_takes_plain_gradient_steps(dim, start):
    problem = Problem(dim.scan)
    canvas = torch.as_tensor(start[problem.window].copy())
    net, moved = build(zeroed=True).refiner, canvas
    with torch.no_grad():
        found = net(problem, canvas)
    for t in range(net.steps):
        for _ in range(net.gradients):
            share = 2 * 0.5 * torch.sigmoid(net.stride[t]).detach()
            moved = moved - share * problem.gradient(moved) / (problem.lit + LIT * problem.lit.max())
        assert torch.allclose(found[t], moved, atol=1e-5)
    bright = problem.lit > 0.1 * problem.lit.max()
    move = ((found[-1] - canvas).abs() / hybrid.noise_sd(problem))[bright]
    assert float(move.mean()) < 0.5, "the start is nearly a solution already"


def test_the_symmetry_asked_for_is_the_one_the_correction_acts_in(dim):
    """The mean of the first step over all eight is the first step of None; no two of the eight are alike."""
    problem = Problem(corner(dim.scan))
    refiner, flat = build().refiner, problem.flat()
    with torch.no_grad():
        each = torch.stack([refiner(problem, flat, g)[0] for g in range(8)])
        mean = refiner(problem, flat)[0]
    assert torch.allclose(each.mean(0), mean, atol=1e-5)
    assert all((a - b).abs().max() > 1e-3 for i, a in enumerate(each) for b in each[:i])


def test_what_it_learns_is_in_units_of_the_noise(dim):
    """What the U-Net answers, times the noise, is the correction; twice the gain, which is a logarithm, doubles it."""
    problem, answers = Problem(corner(dim.scan)), []
    net, flat = build().refiner, problem.flat()
    net.correct.register_forward_hook(lambda module, given, answer: answers.append(answer[0]))
    with torch.no_grad():
        moved, small = build(zeroed=True).refiner(problem, flat, 0)[0], net(problem, flat, 0)[0]
        net.gain += np.log(2)
        large = net(problem, flat, 0)[0]
    correction = hybrid.noise_sd(problem) * torch.complex(answers[0][0], answers[0][1])
    assert torch.allclose(small - moved, correction, atol=1e-5) and (small - moved).abs().max() > 1e-3
    assert torch.allclose(large - moved, 2 * correction, atol=1e-5)
    fewer = SimpleNamespace(lit=problem.lit / 10, efficiency=problem.efficiency)
    assert torch.allclose(hybrid.noise_sd(fewer), hybrid.noise_sd(problem) * 10**0.5)


# Training


def test_examples_repeat_and_their_truth_fits_their_canvas(example):
    again, other = (hybrid_training.make_example(3, number, QUICK) for number in (0, 1))
    assert torch.equal(example.start, again.start) and torch.equal(example.truth, again.truth)
    assert example.photons != other.photons
    (fewest, most), widest = hybrid_training.DOSES, 0.62 * hybrid_training.SIZE
    for one in (example, other):
        assert one.truth.shape == one.start.shape == one.problem.shape
        assert fewest / widest**2 <= one.photons <= most / hybrid_training.PITCH**2
        assert one.photons == pytest.approx(one.problem.photons, rel=0.4) and one.problem._kept is None
        lit = torch.clamp(one.problem.lit / one.problem.photons, max=1.0)
        flat = torch.full_like(one.start, one.problem.level)
        error = [float(relative_error(image, one.truth, lit)) for image in (one.truth, one.start, flat)]
        assert error[0] < 1e-9 < error[1] < 0.95 * error[2]


def test_error_ignores_the_global_phase_only(example):
    lit = example.problem.lit
    turned = example.start * torch.exp(torch.tensor(0.8j))
    error = [float(relative_error(x, example.truth, lit)) for x in (example.start, turned)]
    assert error[0] == pytest.approx(error[1], rel=1e-4)
    scaled = relative_error(1.1 * example.truth, example.truth, lit)
    assert float(scaled) == pytest.approx(0.01, rel=1e-3)


def test_training_lowers_the_error_on_the_scene_it_sees(example, monkeypatch):
    monkeypatch.setattr(hybrid_training, "JUDGES", 1)
    monkeypatch.setattr(hybrid_training, "WARM_UP", 1)
    monkeypatch.setattr(hybrid_training, "make_example", lambda *_: example)
    said = []
    net, history, _ = hybrid_training.train(replace(TINY, updates=12), QUICK, said.append)
    gains = [row["heldout_gain"] for row in history]
    assert gains[-1] < gains[0] - 1e-3 and min(gains) < 0 and len(said) == len(history)
    assert hybrid_training.heldout_gain(net, [example]) == pytest.approx(min(gains), abs=1e-6), "the best is kept"
    problem = example.problem
    problem.set_probe(problem.probe)
    lit = torch.clamp(problem.lit / problem.photons, max=1.0)
    with torch.no_grad():
        found = net(problem, example.start, 0)[-1]
    before, after = (relative_error(x, example.truth, lit) for x in (example.start, found))
    assert float(torch.log(after / before)) == pytest.approx(2 * min(gains), abs=1e-5), "it is truth that is nearer"


def test_training_is_repeatable(monkeypatch):
    monkeypatch.setattr(hybrid_training, "JUDGES", 1)
    monkeypatch.setattr(hybrid_training, "FIELD", (44.0, 50.0))

    def run(seed):
        settings = replace(TINY, updates=3, scenes=1, seed=seed)
        return hybrid_training.train(settings, replace(QUICK, iterations=5), lambda text: None)[:2]

    (first, history), (again, repeated), (other, _) = run(1), run(1), run(2)
    weights = [net.state_dict() for net in (first, again, other)]
    assert history == repeated and all(torch.equal(weights[0][k], weights[1][k]) for k in weights[0])
    assert any(not torch.equal(weights[0][k], weights[2][k]) for k in weights[0])
