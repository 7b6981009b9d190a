"""The hybrid in use: as much of the learned move as held-out photons follow, blind to direction, with error bars."""

import inspect
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from ptychodose.iterative import poisson_map
from ptychodose.iterative.problem import Problem
from ptychodose.physics import noise
from ptychodose.refine import refinement
from ptychodose.score.region import scored_region
from ptychodose.study import params
from scenes import corner, scene
from small_hybrid import build

SETTINGS = params.load("params.yaml").reconstruct_map


@pytest.fixture(scope="module")
def dim():
    return scene(1e3)


@pytest.fixture(scope="module")
def start(dim):
    return map_of(dim.scan)


def map_of(scan):
    return poisson_map.solve(scan, SETTINGS, noise.stream(0, "solver"), 1.0).obj


# The move


def test_blend_is_the_share_of_the_move(dim, start):
    net, problem = build(), Problem(dim.scan)
    none, half, whole = (refinement.refine(net, start, dim.scan, share) for share in (0.0, 0.5, 1.0))
    assert none.obj.tobytes() == start.tobytes() and [r.blend for r in (none, half, whole)] == [0, 0.5, 1]
    with torch.no_grad():
        last = net.refiner(problem, torch.as_tensor(start[problem.window]))[-1].numpy()
    seen = problem.seen
    assert np.abs(whole.obj[problem.window][seen] - last[seen]).max() < 1e-6
    assert half.obj == pytest.approx((start + whole.obj) / 2, abs=1e-6)
    assert np.abs(whole.obj - start).max() > 0.01, "it is no small move"


def test_a_mirrored_scan_gives_the_mirrored_object(dim):
    """The correction is averaged over all symmetries of the square, so it has no preferred direction."""
    scan = replace(dim.scan, positions=np.rint(dim.scan.positions))
    net, begin = build(), map_of(scan)
    found = refinement.refine(net, begin, scan).obj
    corners = scan.positions - 32
    for axis in (0, 1):
        turned = corners.copy()
        turned[:, axis] = scan.shape[axis] - 64 - corners[:, axis]
        counts = np.roll(np.flip(scan.counts, axis + 1), 1, axis + 1)  # frequency q becomes -q
        probe, mirrored = np.flip(scan.probe, axis + 1).copy(), np.flip(begin, axis).copy()
        other = refinement.refine(net, mirrored, replace(scan, counts=counts, probe=probe, positions=turned + 32)).obj
        assert np.abs(np.flip(other, axis) - found).max() < 2e-3 * np.abs(found - begin).max()


def test_pixels_without_light_keep_their_value_and_have_the_largest_error(dim, start):
    larger = np.pad(start, ((0, 31), (0, 17)), constant_values=3 - 2j)
    found = refinement.refine(build(), larger, replace(dim.scan, shape=larger.shape))
    dark = np.ones(larger.shape, bool)
    for y, x in np.rint(dim.scan.positions).astype(int) - 32:
        dark[y : y + 64, x : x + 64] = False
    assert np.array_equal(found.obj[dark], larger[dark]) and found.obj.dtype == np.complex64
    for error in (found.error, found.start_error):
        assert len(np.unique(error[dark])) == 1 and error.shape == larger.shape
        assert error[dark].real.min() >= error.real.max() and error[dark].imag.min() >= error.imag.max()
    region = scored_region([dim.scan.positions])
    assert (found.obj[region] != larger[region]).mean() > 0.99
    assert np.array_equal(larger, np.pad(start, ((0, 31), (0, 17)), constant_values=3 - 2j)), "the start is not touched"


@pytest.mark.parametrize("keep", [1, 2, 3, 5, 23])
def test_scans_of_any_extent_are_refined(dim, start, keep):
    some = dim.scan.select(np.arange(keep))
    found = refinement.refine(build(), start, some)
    for image in (found.obj, found.error, found.start_error):
        assert image.shape == start.shape and np.isfinite(image).all(), Problem(some).shape


def test_refining_repeats_bit_for_bit(dim, start):
    first, again = (refinement.refine(build(), start, dim.scan) for _ in range(2))
    for name in ("obj", "error", "start_error"):
        assert getattr(first, name).tobytes() == getattr(again, name).tobytes()


# Error bars


@pytest.mark.parametrize("dose", [100, 1e3, 1e6])
def test_error_bars_are_positive_finite_and_in_units_of_the_noise(dose):
    s = scene(dose)
    scan = corner(s.scan)
    found = refinement.refine(build(), s.scan.flat(), scan)
    problem = Problem(scan)
    noise_of = (0.5 / np.sqrt(problem.floored.numpy()))[problem.seen]
    for error in (found.error, found.start_error):
        bars = error[problem.window][problem.seen]
        for part in (bars.real, bars.imag):
            assert np.isfinite(part).all() and (part >= np.exp(-4) * noise_of * 0.999).all()
            assert (part <= np.exp(4) * noise_of * 1.001).all()


def test_start_and_object_have_error_bars_of_their_own(dim, start):
    found, unmoved = (refinement.refine(build(), start, dim.scan, share) for share in (1.0, 0.0))
    assert not np.array_equal(found.error, found.start_error)
    assert not np.array_equal(found.error, unmoved.error), "they depend on the share that was taken"


def test_the_four_planes_are_start_along_and_across_then_object(dim, start):
    planes = torch.arange(1.0, 5)[:, None, None]
    given = []

    def spread(before, found, known):
        given.append((before, found))
        return planes.expand(4, *before.shape)

    net = SimpleNamespace(refiner=lambda problem, before: [before + 1], spread=spread)
    found, lit = refinement.refine(net, start, dim.scan, 0.5), scored_region([dim.scan.positions])
    assert (found.start_error[lit] == 1 + 2j).all() and (found.error[lit] == 3 + 4j).all()
    assert torch.allclose(given[0][1] - given[0][0], torch.full((), 0.5 + 0j)), "as far as the move was taken"


def test_an_untrained_spread_states_the_noise():
    """All logs zero: the standard error is 0.5 / sqrt(photons) along and across, of start and object alike."""
    scan = corner(scene(1e4).scan)
    found, problem = refinement.refine(build(zeroed=True), scan.flat(), scan), Problem(scan)
    noise_of = (0.5 / np.sqrt(problem.floored.numpy()))[problem.seen]
    for error in (found.error, found.start_error):
        bars = error[problem.window][problem.seen]
        assert bars.real == pytest.approx(noise_of, rel=1e-5) and bars.imag == pytest.approx(noise_of, rel=1e-5)


# The share that held-out photons choose


@pytest.mark.parametrize(
    ("losses", "share"),
    [((2, 1, 2), 0.5), ((1, 2, 5), 0.0), ((5, 2, 1), 1.0), ((4, 1, 0), 1.0), ((10, 4, 2), 1.0), ((5, 2, 3), 0.625),
     ((3, 2, 5), 0.375), ((1, 2, 3), 0.0), ((3, 2, 1), 1.0), ((1, 2, 1), 0.0), ((2, 3, 1), 1.0), ((1, 1, 1), 0.0)],
)  # fmt: skip
def test_the_share_of_the_lowest_loss_between_none_and_all(losses, share):
    assert refinement.lowest(list(losses)) == pytest.approx(share)
    a, b, c = np.polyfit((0, 0.5, 1), losses, 2)
    shares = np.linspace(0, 1, 1001)
    curve = a * shares**2 + b * shares + c
    assert np.polyval((a, b, c), refinement.lowest(list(losses))) <= curve.min() + 1e-9


def chosen(scan, start, move, seed=0):
    """The share taken where the refiner's last canvas is before + move(before, window)."""

    def refiner(problem, before):
        return [before + 9, before + move(before, problem.window)]

    return refinement.choose_blend(refiner, start, 1.0, scan, SETTINGS, noise.stream(seed, "solver"))


def towards(truth, factor):
    """A move to truth, in the global phase that the start has, times a factor."""

    def move(before, window):
        there = torch.as_tensor(truth[window].copy())
        product = (there[32:-32, 32:-32].conj() * before[32:-32, 32:-32]).sum()
        return factor * (there * product / product.abs() - before)

    return move


def random(size):
    numbers = torch.as_tensor(np.random.default_rng(0).standard_normal((2, 150, 122)), dtype=torch.float32)
    return lambda before, window: size * torch.complex(*numbers)[: len(before), : before.shape[1]]


@pytest.mark.parametrize("dose", [300, 1e5])
def test_a_harmful_move_is_not_taken_and_one_to_truth_is(dose):
    s = scene(dose)
    start = map_of(s.scan)
    for size, most in ((0.03, 0.15), (0.3, 0.0), (1.0, 0.0)):  # by chance a little of it may help
        assert chosen(s.scan, start, random(size)) <= most, size
    assert chosen(s.scan, start, towards(s.obj, -1)) == 0, "away from truth"
    found = [chosen(s.scan, start, towards(s.obj, factor)) for factor in (1, 2, 4)]
    assert found == [pytest.approx(share, rel=0.2) for share in (1, 0.5, 0.25)], "up to truth, and no further"


def test_a_tenth_of_the_photons_judges_what_the_others_made(dim, start, monkeypatch):
    seen, plain = {}, poisson_map.minimise

    def minimise(posterior, canvas, iterations):
        seen["minimise"] = (posterior.problem, posterior.weight, canvas, iterations)
        return plain(posterior, canvas, 1)

    def refiner(problem, before):
        seen["refiner"] = problem
        return [before + 0.01]

    judged = []
    losses = Problem.losses
    monkeypatch.setattr(refinement.poisson_map, "minimise", minimise)
    monkeypatch.setattr(Problem, "losses", lambda self, canvas: judged.append(self) or losses(self, canvas))
    refinement.choose_blend(refiner, start, 0.7, dim.scan, SETTINGS, noise.stream(0, "solver"))
    problem, weight, canvas, iterations = seen["minimise"]
    assert seen["refiner"] is problem and weight == 0.7 and iterations == 15 and set(judged) == {judged[0]}
    assert np.array_equal(canvas.numpy(), start[problem.window])
    kept, rest = problem.counts.astype(np.int64), judged[0].counts.astype(np.int64)
    assert (np.fft.fftshift(kept + rest, (-2, -1)) == dim.scan.counts).all(), "no photon does both"
    assert rest.sum() == pytest.approx(SETTINGS.heldout * dim.scan.counts.sum(), rel=0.02)


def test_the_choice_repeats_and_hangs_on_its_stream(dim, start):
    first, again, other = (chosen(dim.scan, start, towards(dim.obj, 3), seed) for seed in (1, 1, 2))
    assert first == again != other


def test_nothing_in_it_is_given_truth():
    for function in (refinement.refine, refinement.choose_blend):
        assert not {"truth", "obj", "reference"} & set(inspect.signature(function).parameters)
