"""Error bars: their loss finds the true scale, training brings them nearer, their coverage is counted rightly."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import integrate

from ptychodose.physics import noise
from ptychodose.refine import hybrid_training, spread, spread_training
from ptychodose.refine.spread import Spread
from ptychodose.score import scoring
from ptychodose.score.align import Alignment, align
from ptychodose.score.coverage import coverage
from ptychodose.study import params
from small_hybrid import build

STUDY = params.load("params.yaml")
QUICK = replace(STUDY.reconstruct_map, iterations=30)


def field(*shape, seed=0):
    real, imaginary = torch.randn(2, *shape, generator=torch.Generator().manual_seed(seed))
    return torch.complex(real, imaginary)


# The loss


def test_the_gaussian_factor_is_that_of_the_loss():
    """The scale u that minimises log u + E|u0 z / u|^1.5 / 1.5 is (E|z|^1.5)^(1/1.5); the standard deviation is 1."""
    moment = integrate.quad(lambda z: abs(z) ** 1.5 * np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi), -12, 12)[0]
    assert pytest.approx(moment ** (-1 / 1.5), rel=1e-4) == spread.GAUSSIAN


@pytest.mark.parametrize("true", [0.02, 1.0])
def test_the_loss_is_least_at_the_true_standard_deviation_of_gaussian_errors(true):
    errors, weight = true * torch.randn(1, 500, 500, generator=torch.Generator().manual_seed(0)), torch.ones(500, 500)
    factors = np.geomspace(0.5, 2, 81)
    losses = [float(spread.loss(torch.full_like(errors, true * factor), errors, weight)) for factor in factors]
    assert factors[int(np.argmin(losses))] == pytest.approx(1, rel=0.02)
    twice = spread.loss(torch.full_like(errors, 2 * true), 2 * errors, weight)
    assert float(twice) == pytest.approx(losses[40] + np.log(2), abs=1e-4), "a unit is a constant"


def test_the_loss_is_a_mean_by_weight():
    scale, errors = torch.ones(2, 1, 2), torch.tensor([[[0.0, 8.0]], [[0.0, 8.0]]])
    inner = float(spread.loss(scale, errors, torch.tensor([[1.0, 0.0]])))
    assert inner == pytest.approx(-np.log(1.10575), abs=2e-3), "log of the scale where there is no error"
    both = float(spread.loss(scale, errors, torch.tensor([[3.0, 1.0]])))
    assert both == pytest.approx(inner + (8 * 1.10575) ** 1.5 / 1.5 / 4, rel=2e-3)


def test_components_are_along_and_across_truth_and_blind_to_a_global_factor():
    truth, weight = field(20, 20) + 2, torch.ones(20, 20)
    unit = truth / truth.abs()
    along, across = 0.01 * torch.randn(2, 20, 20, generator=torch.Generator().manual_seed(5))
    image = truth + (along + 1j * across) * unit
    found = spread.components(image, truth, weight)
    assert torch.allclose(found, torch.stack([along, across]), atol=2e-3)
    turned = spread.components(image * (0.3 * torch.exp(torch.tensor(2.1j))), truth, weight)
    assert torch.allclose(turned, found, atol=1e-5)
    both = spread.components(image * torch.exp(torch.tensor(1.1j)), truth * torch.exp(torch.tensor(-0.4j)), weight)
    assert torch.allclose(both, found, atol=1e-5)
    half = weight.clone()
    half[:, 10:] = 0
    spoilt = image.clone()
    spoilt[:, 10:] = 9
    assert torch.allclose(spread.components(spoilt, truth, half)[:, :, :10], found[:, :, :10], atol=2e-3)


# The network and its training


def test_scales_are_the_noise_times_what_the_network_says_within_limits():
    torch.manual_seed(0)
    net, start, found = Spread(4), field(12, 13), field(12, 13, seed=1)
    known = spread.Known(0.9, torch.rand(12, 13), 0.1 + torch.rand(12, 13), field(12, 13, seed=2))
    with torch.no_grad():
        inside = net(start, found, known) / known.sd
        net.net.leave.bias += torch.tensor([50.0, -50.0, 1.0, 0.0])
        far = net(start, found, known) / known.sd
    assert inside.shape == (4, 12, 13) and bool((inside > 0).all())
    assert far[0].numpy() == pytest.approx(np.exp(4)) and far[1].numpy() == pytest.approx(np.exp(-4))
    assert torch.allclose(far[2], inside[2] * np.e) and torch.allclose(far[3], inside[3])


@pytest.fixture(scope="module")
def example():
    return hybrid_training.make_example(3, 0, QUICK)


def test_a_lesson_has_the_move_its_truth_and_its_errors(example):
    refiner = build().refiner
    lesson = spread_training.lesson(refiner, example)
    problem = example.problem
    assert problem._kept is None and torch.equal(lesson.truth, example.truth)
    with torch.no_grad():
        problem.set_probe(problem.probe)
        last = refiner(problem, example.start)[-1]
        problem.rest()
    assert torch.allclose(lesson.start + lesson.move, last, atol=1e-6)
    assert float(lesson.weight.max()) == 1 and float(lesson.weight.min()) >= 0
    net = build().spread
    with torch.no_grad():
        scales, errors = lesson.scales(net, 0.5)
    middle = example.start + 0.5 * lesson.move
    exact = [spread.components(image, example.truth, lesson.weight) for image in (example.start, middle)]
    assert torch.equal(errors, torch.cat(exact))
    assert torch.equal(scales, net(example.start, middle, lesson.known))


def test_training_lowers_the_loss_on_the_example_it_sees_and_repeats(example, monkeypatch):
    monkeypatch.setattr(spread_training, "JUDGES", 1)
    settings, refiner, said = replace(STUDY.train_hybrid, spread_width=4, spread_updates=30), build().refiner, []

    def train(seed):
        given = replace(settings, seed=seed)
        return spread_training.train(refiner, [example, example], given, said.append)

    nets, lesson = [train(1), train(1), train(2)], spread_training.lesson(refiner, example)
    torch.manual_seed(0)
    with torch.no_grad():
        before, after = (float(spread.loss(*lesson.scales(net, 1.0), lesson.weight)) for net in (Spread(4), nets[0]))
    assert after < before - 0.05 and len(said) == 30
    first, again, other = (net.state_dict() for net in nets)
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert any(not torch.equal(first[key], other[key]) for key in first)


def test_the_weights_of_the_least_heldout_loss_are_kept(example, monkeypatch):
    """Here all judgements after the first are called worse."""
    monkeypatch.setattr(spread_training, "JUDGES", 1)
    plain, kept = spread_training.fitting.Fit.judge, []

    def judge(fit, loss, row):
        plain(fit, loss if not kept else np.inf, row)
        kept.append({key: value.clone() for key, value in fit.net.state_dict().items()})

    monkeypatch.setattr(spread_training.fitting.Fit, "judge", judge)
    settings = replace(STUDY.train_hybrid, spread_width=3, spread_updates=3)
    net = spread_training.train(build().refiner, [example, example], settings, lambda text: None).state_dict()
    assert len(kept) == 3 and all(torch.equal(net[key], kept[0][key]) for key in net)
    assert any(not torch.equal(net[key], kept[2][key]) for key in net)


# Coverage

REGION = (slice(30, 130), slice(20, 140))


def measured(seed=0, factor=1.0, stated=1.0, sd=(0.05, 0.03)):
    """A truth (160, 160), an object whose error is Gaussian with these sds along and across truth, then multiplied by
    `factor`, and error bars `stated` times the right ones; nothing holds outside the region."""
    rng = np.random.default_rng(seed)
    truth = (1 + 0.2 * rng.random((160, 160))) * np.exp(1j * rng.random((160, 160)))
    along, across = rng.standard_normal((2, 160, 160)) * np.array(sd)[:, None, None]
    obj = factor * (truth + (along + 1j * across) * truth / np.abs(truth))
    error = np.full((160, 160), abs(factor) * stated * (sd[0] + 1j * sd[1]))
    outside = np.ones((160, 160), bool)
    outside[REGION] = False
    error[outside], obj[outside] = 1e-9, 0
    return obj, truth, error


@pytest.mark.parametrize("factor", [1.0, 3.0 * np.exp(2j), 0.2j])
def test_gaussian_errors_are_covered_as_the_levels_say_whatever_the_factor(factor):
    """24,000 errors: the sampling error is 0.003 of 0.68 and 0.0014 of 0.95."""
    obj, truth, error = measured(factor=factor)
    found = coverage(align(obj, truth, REGION, False), truth, error)
    assert found["within_68"] == pytest.approx(0.68, abs=0.012) and found["within_95"] == pytest.approx(0.95, abs=0.006)
    target = truth[REGION]
    assert found["nrmse_foretold"] == pytest.approx(
        np.hypot(0.05, 0.03) * np.sqrt(target.size) / np.linalg.norm(target), rel=5e-3)  # fmt: skip


@pytest.mark.parametrize(("stated", "within"), [(2.0, (0.953, 0.9999)), (0.5, (0.381, 0.673))])
def test_bars_too_long_or_too_short_show(stated, within):
    """Normal probabilities of 2 x 0.994, 2 x 1.960, 0.497 and 0.980 standard deviations."""
    obj, truth, error = measured(stated=stated)
    found = coverage(align(obj, truth, REGION, False), truth, error)
    assert [found["within_68"], found["within_95"]] == pytest.approx(within, abs=0.012)


def test_along_and_across_have_bars_of_their_own():
    obj, truth, error = measured(sd=(0.08, 0.01))
    right, swapped = (coverage(align(obj, truth, REGION, False), truth, e) for e in (error, 1j * error.conj()))
    assert right["within_68"] == pytest.approx(0.68, abs=0.012) and abs(swapped["within_68"] - 0.68) > 0.1


def test_the_foretold_nrmse_is_the_measured_one_where_bars_are_right():
    obj, truth, error = measured()
    row = scoring.score(obj, truth, REGION, 1e-9, error)
    assert row["error_bars"]["nrmse_foretold"] == pytest.approx(row["aligned"]["nrmse"], rel=0.02)
    assert "error_bars" not in scoring.score(obj, truth, REGION, 1e-9)


def test_coverage_by_hand():
    """Errors of 0.5, 1.5, 2.5 bars along and none across: levels are 0.9945 and 1.96 bars."""
    truth = np.ones((1, 3), complex)
    image = truth + np.array([[0.5, 1.5, -2.5]]) * 0.1
    aligned = Alignment(image, (slice(0, 1), slice(0, 3)), (0, 0), (0, 0), 2j)
    found = coverage(aligned, truth, np.full((1, 3), (0.1 + 0.1j) / 2))
    assert found["within_68"] == pytest.approx(4 / 6) and found["within_95"] == pytest.approx(5 / 6)
    assert found["nrmse_foretold"] == pytest.approx(0.1 * np.sqrt(2))


def test_bars_of_no_length_hold_no_error_and_warn_of_nothing():
    truth = np.ones((1, 2), complex)
    aligned = Alignment(truth + np.array([[0.1, 0.1j]]), (slice(0, 1), slice(0, 2)), (0, 0), (0, 0), 1)
    found = coverage(aligned, truth, np.zeros((1, 2), complex))
    assert found == {"within_68": 0.5, "within_95": 0.5, "nrmse_foretold": 0.0}, "there are none across and along"


def test_streams_of_the_spread_are_its_own():
    assert noise.stream(1, "network", "spread").random() != noise.stream(1, "network").random()
