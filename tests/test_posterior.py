"""What MAP minimises: exact slopes, a descent that never rises, steps as long as light, prior and long waves allow."""

import itertools
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from ptychodose.iterative import descent, poisson_map, posterior
from ptychodose.iterative.posterior import Posterior, turning_point
from ptychodose.iterative.problem import Problem
from ptychodose.physics import lattice, noise, simulate
from ptychodose.scans.scan import of_arrays
from scenes import corner, other_probe, scene, zone_plate

PRIORS, DOSES, PROBES = ("tv", "hessian", "mixed"), (100.0, 1e3, 1e4, 1e6), ("zone plate", "wide", "hard")
MASK = np.arange(64 * 64).reshape(64, 64) % 9 > 0


def probe_of(name):
    return zone_plate() if name == "zone plate" else other_probe(name)


def small(dose=1e4, probe="zone plate", side=4, **changes):
    """Sixteen patterns of a scene as a problem, and its true canvas."""
    s = scene(dose, probe=probe_of(probe), **changes)
    problem = Problem(corner(s.scan, side))
    return problem, torch.as_tensor(s.obj[problem.window].copy())


@pytest.fixture(scope="module")
def hard_case():
    """Two modes, a background and bad pixels, nine patterns."""
    s = scene(1e4, background=0.5, mask=MASK)
    modes = np.concatenate([s.scan.probe, 0.4 * np.roll(s.scan.probe, 5, 1)])
    problem = Problem(replace(corner(s.scan, 3), probe=modes))
    return problem, torch.as_tensor(s.obj[problem.window].copy())


def field(shape, seed=0):
    real, imaginary = torch.randn(2, *shape, generator=torch.Generator().manual_seed(seed))
    return torch.complex(real, imaginary)


# Value and slope


@pytest.mark.parametrize("prior", PRIORS)
def test_the_slope_equals_finite_differences(hard_case, prior):
    problem, canvas = hard_case
    found = Posterior(problem, prior, 0.02, 0.7)
    _, slope = found(canvas)
    for way in (field(problem.shape), slope / problem.floored):
        way = way * (problem.lit > 0)
        ahead, back = (found(canvas + sign * 2e-3 * way)[0] for sign in (1, -1))
        assert (ahead - back) / 4e-3 == pytest.approx(2 * descent.dot(slope, way), rel=2e-3)


def test_loss_and_gradient_are_the_sums_of_losses_and_gradient(hard_case):
    problem, canvas = hard_case
    for image in (canvas, problem.flat()):
        loss, slope = problem.loss_and_gradient(image)
        assert loss == pytest.approx(problem.losses(image).sum() * MASK.sum(), rel=1e-5)
        exact = problem.gradient(image)
        assert torch.allclose(slope, exact, atol=1e-5 * float(exact.abs().max()))


def test_the_prior_counts_in_units_of_the_noise():
    """400 photons of which a quarter tell, amplitude 0.5: a weight of 0.3 weighs 0.3 * sqrt(100) * 0.5 = 1.5."""
    problem = SimpleNamespace(photons=400.0, efficiency=0.25, level=0.5)
    assert Posterior(problem, "tv", 0.02, 0.3).strength == pytest.approx(1.5)


def test_value_is_the_loss_and_the_weighted_prior(hard_case):
    problem, canvas = hard_case
    without, single, double = (Posterior(problem, "mixed", 0.02, weight)(canvas) for weight in (0.0, 1.0, 2.0))
    assert without[0] == pytest.approx(problem.losses(canvas).sum() * MASK.sum(), rel=1e-5)
    energy = float(posterior.priors.value(canvas.to(torch.complex128), "mixed", 0.02))
    for index, found in enumerate((single, double), 1):
        strength = index * np.sqrt(problem.photons * problem.efficiency) * problem.level
        assert found[0] - without[0] == pytest.approx(strength * energy, rel=1e-4)


# It never rises

GRID = list(itertools.product(PRIORS, DOSES, PROBES))
FEW = {("tv", 100.0, "hard"), ("hessian", 1e6, "zone plate"), ("mixed", 1e3, "wide"), ("mixed", 1e6, "hard"),
       ("hessian", 100.0, "wide"), ("tv", 1e4, "zone plate")}  # fmt: skip


@pytest.mark.parametrize(
    ("prior", "dose", "probe"), [case if case in FEW else pytest.param(*case, marks=pytest.mark.slow) for case in GRID]
)
def test_no_step_ever_goes_up_and_the_end_lies_below_flat_and_truth(prior, dose, probe):
    """At a weight of 1 the least posterior is below truth's at every dose: truth does not fit the noise."""
    problem, truth = small(dose, probe)
    objective = Posterior(problem, prior, 0.02, 1.0)
    for start in (problem.flat(), 0.3 * field(problem.shape) + problem.flat()):
        reached, values = poisson_map.minimise(objective, start, 120)
        assert all(after <= before for before, after in itertools.pairwise(values)), np.diff(values).max()
        assert values[0] == objective(start)[0] and values[-1] == objective(reached)[0]
        assert values[-1] < min(objective(problem.flat())[0], objective(truth)[0])


def test_from_truth_itself_it_goes_down_too():
    problem, truth = small(1e6)
    _, values = poisson_map.minimise(Posterior(problem, "mixed", 0.02, 1.0), truth, 50)
    assert len(values) > 5 and all(after <= before for before, after in itertools.pairwise(values))


def test_a_run_ends_when_it_has_converged_and_a_longer_one_finds_nothing_more():
    """Nothing: less than 3e-3 nats per pixel, a hundredth of what its noise makes."""
    problem, _ = small(1e3)
    objective = Posterior(problem, "mixed", 0.02, 1.0)
    reached, values = poisson_map.minimise(objective, problem.flat(), 200)
    assert 10 < len(values) < 150
    per_step = (values[-6] - values[-1]) / 5 / float(problem.seen.sum())
    before = (values[-7] - values[-2]) / 5 / float(problem.seen.sum())
    assert per_step < 3e-5 <= before, "the first time that five steps gain less than 3e-5 each"
    further = [value for _, value in descent.descend(objective, reached, 150)]
    assert (values[-1] - further[-1]) / float(problem.seen.sum()) < 3e-3


# The preconditioner


@pytest.mark.parametrize("prior", PRIORS)
@pytest.mark.parametrize("dose", [100.0, 1e6])
def test_it_turns_every_slope_downhill(prior, dose):
    problem, truth = small(dose)
    for image in (problem.flat(), truth):
        apply = Posterior(problem, prior, 0.02, 1.0).preconditioner(image)
        for slope in (field(problem.shape), torch.ones(problem.shape, dtype=torch.complex64), 1j * problem.flat()):
            assert descent.dot(slope, apply(slope)) > 0


def test_without_a_prior_and_long_waves_it_divides_by_the_photons(monkeypatch):
    monkeypatch.setattr(posterior, "BOOST", 0.0)
    problem, truth = small()
    slope = field(problem.shape)
    found = Posterior(problem, "mixed", 0.02, 0.0).preconditioner(truth)(slope)
    photons = problem.lit + 0.02 * problem.lit.max()
    assert torch.allclose(found, slope / photons, rtol=1e-4)


@pytest.mark.parametrize("prior", PRIORS)
def test_it_inverts_photons_and_prior_together(monkeypatch, prior):
    monkeypatch.setattr(posterior, "BOOST", 0.0)
    monkeypatch.setattr(posterior, "ROUNDS", 200)
    monkeypatch.setattr(descent, "SOLVED", 1e-4)
    problem, truth = small(1e3)
    objective, slope = Posterior(problem, prior, 0.02, 1.0), field(problem.shape)
    found = objective.preconditioner(truth)(slope)
    bound = posterior.priors.bound(truth, prior, 0.02)
    back = problem.floored * found + objective.strength * bound(found)
    assert float((back - slope).norm()) < 0.02 * float(slope.norm())


# Long waves


def brute_turning_point(scan, shape):
    """From the Fisher information of a small phase wave on the flat object, averaged over its place under the probe:
    expected counts differenced, of as long a wave as the canvas, along either axis."""
    flat = scan.probe.astype(complex) * scan.level
    frequency, told = 1 / max(shape), []

    def counts(waves):
        return (np.abs(np.fft.fft2(waves, norm="ortho")) ** 2).sum(0)

    rate = counts(flat) + np.fft.ifftshift(scan.background) + 0.05
    for axis in (0, 1):
        along = np.moveaxis((np.arange(64.0) - 32)[:, None], 0, axis)
        for place in np.arange(8) * np.pi / 4:
            phase = 1e-4 * np.cos(2 * np.pi * frequency * along + place)
            slope = (counts(flat * np.exp(1j * phase)) - counts(flat * np.exp(-1j * phase))) / 2e-4
            told.append((slope**2 / rate).sum() / counts(flat).sum())
    told = np.mean(told)
    return frequency * np.sqrt((1 - told) / told)


@pytest.mark.parametrize("probe", PROBES)
@pytest.mark.parametrize(("dose", "background"), [(1e4, 0.0), (300.0, 0.0), (1e4, 0.5)])
def test_the_turning_point_is_that_of_the_fisher_information(probe, dose, background):
    s = scene(dose, probe=probe_of(probe), background=background)
    problem = Problem(s.scan)
    assert turning_point(problem) == pytest.approx(brute_turning_point(s.scan, problem.shape), rel=1e-3)
    modes = replace(s.scan, probe=np.concatenate([s.scan.probe, 0.4 * np.roll(s.scan.probe, 5, 1)]))
    problem = Problem(modes)
    assert turning_point(problem) == pytest.approx(brute_turning_point(modes, problem.shape), rel=1e-3)


def test_the_surplus_is_of_long_waves_alone_and_leaves_the_global_phase():
    problem, _ = small()
    surplus = Posterior(problem, "mixed", 0.02, 0.0)._surplus
    assert surplus[0, 0] == 0 and float(surplus.min()) >= 0
    profile = surplus[1 : problem.shape[0], 0]
    assert bool((profile[1:] < profile[:-1]).all()) and float(profile[0]) > 50 * float(profile[-1])
    longest = 1 / (2 * problem.shape[0])
    told = longest**2 / (longest**2 + turning_point(problem) ** 2) + 1e-3
    assert float(profile[0]) == pytest.approx(1 / told - 1, rel=1e-3), "photons alone, and a floor of 1e-3"
    held = Posterior(problem, "mixed", 0.02, 1.0)._surplus
    assert bool((held <= surplus + 1e-5).all()) and float(held[1, 0]) < float(surplus[1, 0]), "so does the prior"


@pytest.fixture(scope="module")
def strip():
    """A phase wave of 300 px along a scan of 364 px, without noise: the problem and the true canvas."""
    shape = (364, 84)
    rows, columns = ((32.0, length - 32.0) for length in shape)
    positions = lattice.finest_scan(rows, columns, 7.2, noise.stream(0, "jitter/train")).positions
    phase = 0.5 * np.cos(2 * np.pi * np.arange(shape[0]) / 300)
    obj = np.broadcast_to(0.9 * np.exp(1j * phase)[:, None], shape).astype(np.complex64)
    scan = of_arrays(None, simulate.scale_to_dose(obj, zone_plate()[None], positions, 1e6), positions, shape)
    problem = Problem(replace(scan, counts=np.rint(scan.expected(obj)).astype(np.int64)))
    return problem, torch.as_tensor(obj[problem.window].copy())


def iterations_to_a_quarter(problem, truth):
    """Until the error of the wave is a quarter of the flat start's, up to a global factor; at most 90."""

    def error(image):
        product, energy = (image.conj() * truth * problem.lit).sum(), (forward_energy(image) * problem.lit).sum()
        return float((forward_energy(image * product / energy - truth) * problem.lit).sum()) ** 0.5

    images = (image for image, _ in descent.descend(Posterior(problem, "mixed", 0.02, 0.1), problem.flat(), 90))
    first = error(next(images))
    return next((number for number, image in enumerate(images, 1) if error(image) < first / 4), 91)


def forward_energy(image):
    return image.real**2 + image.imag**2


def test_without_their_surplus_long_waves_take_more_than_twice_the_iterations(strip, monkeypatch):
    with_it = iterations_to_a_quarter(*strip)
    monkeypatch.setattr(posterior, "BOOST", 0.0)
    assert with_it < 35 and iterations_to_a_quarter(*strip) > 2 * with_it
