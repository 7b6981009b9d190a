"""What a scan leaves unknown is found from its counts: exact slopes, a value that never rises, faults found again."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch

from ptychodose.experiment import flaws, modes, solve, unknowns
from ptychodose.experiment import state as state_of
from ptychodose.iterative import descent, poisson_map
from ptychodose.physics import noise, simulate
from ptychodose.scans.scan import of_arrays
from ptychodose.score import scoring
from ptychodose.score.region import scored_region
from ptychodose.study import params
from ptychodose.study.settings import MEASURED
from scenes import ROOT, corner, scene

SETTINGS = params.load(ROOT / "params.yaml").reconstruct_map
NOTHING = solve.NOTHING
ONE = {
    "probe": replace(NOTHING, probe=1),
    "modes": replace(NOTHING, probe=3),
    "positions": replace(NOTHING, positions=1.0),
    "background": replace(NOTHING, background="smooth"),
}
FREE = replace(NOTHING, background="free")


@pytest.fixture(scope="module")
def small():
    """Nine patterns with a background and bad pixels."""
    mask = np.arange(64 * 64).reshape(64, 64) % 9 > 0
    return corner(scene(1e4, background=0.5, mask=mask).scan, 3)


def joint(scan, free):
    state = state_of.begin(scan, free)
    if free.probe > 1:
        probe = modes.further(state.at.probe.numpy(), free.probe)
        state = replace(state, at=replace(state.at, probe=torch.as_tensor(probe)))
    return state_of.joint(state, free, SETTINGS)


def random_way(at, part, seed=0):
    """A random direction (d,) along one part of the unknowns alone."""
    generator = torch.Generator().manual_seed(seed)
    parts = {}
    for name in ("obj", "probe", "places", "root"):
        value = getattr(at, name)
        size = float(value.abs().mean()) if name in ("obj", "probe") else 0.3
        if name != part:
            parts[name] = torch.zeros_like(value)
        elif value.is_complex():
            parts[name] = size * torch.complex(*torch.randn(2, *value.shape, generator=generator))
        else:
            parts[name] = size * torch.randn(*value.shape, generator=generator)
    return replace(at, **parts).vector()


@pytest.mark.parametrize("background", ["smooth", "free"])
@pytest.mark.parametrize("part", ["obj", "probe", "places", "root"])
def test_every_slope_equals_finite_differences(small, part, background):
    found = joint(small, replace(MEASURED, background=background))
    at = found.start.vector() + 0.1 * sum(
        random_way(found.start, name, seed) for seed, name in enumerate(("obj", "probe", "places", "root"))
    )
    _, slope = found(at)
    way = random_way(found.start, part, 9)
    uphill = getattr(found.start.of(slope), part)
    along = replace(
        found.start.of(way), **{part: uphill * (getattr(found.start.of(way), part).abs().mean() / uphill.abs().mean())}
    )
    for direction in (way, along.vector()):
        ahead, back = (found(at + sign * 5e-3 * direction)[0] for sign in (1, -1))
        assert (ahead - back) / 1e-2 == pytest.approx(2 * descent.dot(slope, direction), rel=1e-2, abs=20)


@pytest.mark.parametrize("name", [*ONE, "free"])
def test_what_is_known_has_no_slope(small, name):
    found = joint(small, {**ONE, "free": FREE}[name])
    slopes = found.start.of(found(found.start.vector() + 0.05 * random_way(found.start, "obj"))[1])
    free = {"free": {"root"}, "probe": {"probe"}, "modes": {"probe"}, "positions": {"places"}, "background": {"root"}}[
        name
    ]
    for part in ("probe", "places", "root"):
        assert bool(getattr(slopes, part).abs().max() > 0) == (part in free), part


def test_the_descent_never_rises_and_brings_something(small):
    found = joint(small, MEASURED)
    values = [value for _, value in descent.descend(found, found.start.vector(), 25)]
    assert len(values) > 10 and all(later <= earlier for earlier, later in itertools.pairwise(values))
    assert values[-1] < 0.7 * values[0]


def test_the_energy_of_the_probe_has_no_meaning(small):
    found = joint(small, MEASURED)
    at = found.start
    larger = replace(at, probe=3 * at.probe).vector()
    assert found(larger)[0] == pytest.approx(found(at.vector())[0], rel=1e-5)


def test_knots_interpolate_and_keep_a_constant():
    inside = torch.fft.fftshift(unknowns.knots(64), 0)
    assert torch.allclose(inside.sum(1), torch.ones(64)) and inside.min() >= 0
    line = inside @ torch.tensor([0.0, 1.0, 2.0, 3.0])
    assert line[0] == 0 and line[-1] == 3 and torch.allclose(line[8:56].diff(), torch.full((47,), 1 / 16))


def test_a_background_starts_at_the_darkest_pixels_and_stays_below_half_as_much_again():
    dark = np.array([[0.0, 0.25], [2.5, 100.0]])
    root, most = unknowns.smooth_root(dark, 300)
    assert most.numpy() == pytest.approx((1.25 * np.sqrt(dark) + 1.5 / np.sqrt(2700)) ** 2)
    square = root.square()
    assert (square / (1 + square / most)).numpy() == pytest.approx(np.maximum(dark, 0.01 * most.numpy()), rel=1e-4)


def test_a_free_background_starts_smooth_and_is_nowhere_above_its_own_pixels_counts():
    dark, mean = np.full((4, 4), 0.25), np.full((64, 64), 2.0)
    mean[5, 7] = 0.1  # darker than what is around
    root, most = unknowns.free_root(dark, mean, 300)
    assert most.numpy() == pytest.approx((np.sqrt(mean) + 1.5 / np.sqrt(300)) ** 2)
    start = np.where(mean > 1, 0.25, most.numpy() / 1.25**2)
    square = root.square()
    assert (square / (1 + square / most)).numpy() == pytest.approx(start, rel=1e-4)
    at = unknowns.Unknowns(*[torch.ones(1, 64, 64)] * 2, torch.zeros(1), root, most)
    assert np.fft.fftshift(at.background().numpy()) == pytest.approx(start, rel=1e-4), "a pixel is a knot"


def test_no_root_takes_a_background_beyond_its_most(small):
    at = state_of.begin(replace(small, background=np.zeros((64, 64))), ONE["background"]).at
    far = replace(at, root=at.root + 1e3).background()
    assert 0.5 < float(far.max()) <= float(at.most.max()) * 1.0001 < 1.0


@pytest.mark.parametrize("wanted", [1, 2, 3])
def test_a_probe_of_as_many_modes_as_are_asked_for_gets_no_others(small, wanted, monkeypatch):
    for stage, iterations in {"FIRST": 1, "PLACED": (1,), "SETTLED": 1}.items():
        monkeypatch.setattr(solve, stage, iterations)
    probe = np.concatenate([small.probe, 0.5 * np.roll(small.probe, 5, 1), 0.4 * np.roll(small.probe, 7, 2)])
    found = solve.solve(replace(small, probe=probe), replace(NOTHING, probe=wanted), SETTINGS)
    assert len(found.scan.probe) == 3


def test_orthogonal_modes_give_the_same_counts():
    rng = np.random.default_rng(0)
    probe = (rng.standard_normal((3, 64, 64)) + 1j * rng.standard_normal((3, 64, 64))).astype(np.complex64)
    made, obj = modes.orthogonal(probe), scene(1e4).obj[:80, :80]
    positions = np.array([[35.0, 36.25]])
    counts = [simulate.expected_counts(obj, modes, positions, np.zeros((64, 64))) for modes in (probe, made)]
    np.testing.assert_allclose(counts[1], counts[0], rtol=1e-4)
    gram = made.reshape(3, -1).conj() @ made.reshape(3, -1).T
    assert np.abs(gram - np.diag(np.diag(gram))).max() < 1e-3 * gram[0, 0].real
    assert (np.diff(np.diag(gram).real) < 0).all()


def test_modes_of_noise_alone_are_left_out_and_their_photons_kept():
    probe = np.sqrt(np.array([0.9, 0.085, 0.015]))[:, None, None] * np.eye(4, dtype=np.complex64)[:3, :, None] / 2
    made = modes.kept(probe.astype(np.complex64).repeat(4, 2))
    assert len(made) == 2 and (np.abs(made) ** 2).sum() == pytest.approx((np.abs(probe.repeat(4, 2)) ** 2).sum())


# Bad pixels


def test_dead_and_hot_pixels_are_found_and_no_others():
    scan = scene(1e4).scan
    total = scan.mean_pattern * len(scan)
    assert not flaws.dead(total, scan.mask).any() and not flaws.hot(total, scan.mask).any()
    y, x = np.unravel_index(np.argmax(total), total.shape)
    damaged = total.copy()
    damaged[y, x], damaged[3, 60] = 0, total[3, 60] + 300
    assert np.argwhere(flaws.dead(damaged, scan.mask)).tolist() == [[y, x]]
    assert np.argwhere(flaws.hot(damaged, scan.mask)).tolist() == [[3, 60]]
    masked = scan.mask.copy()
    masked[y, x] = masked[3, 60] = False
    assert not flaws.dead(damaged, masked).any() and not flaws.hot(damaged, masked).any(), "known ones are no news"


@pytest.mark.parametrize("place", [(0, 5), (63, 40), (20, 0), (63, 63)])
def test_bad_pixels_at_the_edge_are_found_too(place):
    total = np.full((64, 64), 100.0)
    dead, hot = total.copy(), total.copy()
    dead[place], hot[place] = 0, 900
    good = np.ones((64, 64), bool)
    for found in (flaws.dead(dead, good), flaws.hot(hot, good), flaws.excessive(hot, total, good)):
        assert np.argwhere(found).tolist() == [list(place)]


def test_an_excess_beyond_the_model_is_found_whatever_the_model_misses():
    rng = np.random.default_rng(0)
    rate = np.full((64, 64), 400.0)
    for misfit in (0.0, 60.0):
        total = rng.poisson(rate) + misfit * rng.standard_normal((64, 64))
        total[10, 11] += 20 * (20 + misfit)
        total[40:43, 20:22] += 20 * (20 + misfit)  # a speckle that the model misses
        found = flaws.excessive(total, rate, np.ones((64, 64), bool))
        assert np.argwhere(found).tolist() == [[10, 11]], misfit


# The whole


def test_with_nothing_unknown_the_scan_is_itself(small):
    found = solve.solve(small, NOTHING, SETTINGS)
    assert found.scan is small and found.found == {}


def error(scan, s):
    obj = poisson_map.solve(scan, SETTINGS, noise.stream(1, "solver"), 0.8).obj
    return scoring.headline(scoring.score(obj, s.obj, scored_region([s.scan.positions]), 1e-9))["nrmse"]


def faulty(kind, s):
    """What a user believes a scan to be that has a fault, and the fault alone solved for."""
    rng = np.random.default_rng(5)
    if kind == "positions":
        wrong = s.scan.positions + rng.normal(0, 1, s.scan.positions.shape)
        return replace(s.scan, positions=np.clip(wrong, 32, np.array(s.scan.shape) - 33)), ONE[kind]
    if kind == "background":
        lit = s.scan.counts + rng.poisson(0.5, s.scan.counts.shape)
        return replace(s.scan, counts=lit), ONE[kind]
    if kind == "mask":
        hot = s.scan.counts.copy()
        hot[:, 20, 50] += rng.poisson(25, len(hot)).astype(hot.dtype)
        hot[:, 33, 30] = 0
        return replace(s.scan, counts=hot), replace(NOTHING, mask=True)
    y, x = np.indices((64, 64)) - 32
    far = np.fft.fftshift(np.fft.fft2(s.scan.probe[0]))
    wrong = np.fft.ifft2(np.fft.ifftshift(far * np.exp(0.012j * (y**2 + x**2))))
    return replace(s.scan, probe=wrong[None].astype(np.complex64)), ONE["probe"]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["probe", "positions", "background", "mask"])
def test_a_fault_that_is_solved_for_costs_little_of_what_it_costs_ignored(kind):
    s = scene(1e4)
    believed, unknown = faulty(kind, s)
    found = solve.solve(believed, unknown, SETTINGS)
    clean, ignored, solved = (error(scan, s) for scan in (s.scan, believed, found.scan))
    assert ignored > 1.15 * clean and solved - clean < 0.5 * (ignored - clean), (kind, clean, ignored, solved)
    assert found.scan.incident == pytest.approx(believed.incident, rel=1e-4), "the photons are the dose's business"
    if kind == "mask":
        assert not found.scan.mask[20, 50] and found.found["hot"] >= 1 and (~found.scan.mask).sum() <= 4
    if kind == "background":
        assert found.scan.background.mean() == pytest.approx(0.5, rel=0.1)


@pytest.mark.slow
def test_streaks_need_a_background_that_is_free():
    s, rng = scene(1e4), np.random.default_rng(5)
    y, x = np.indices((64, 64)) - 32
    streak = 0.2 + 8 * np.exp(-np.abs(y - 9) / 1.5 - np.abs(x) / 30)  # beside the middle, as of a slit
    scan = replace(s.scan, counts=s.scan.counts + rng.poisson(streak, s.scan.counts.shape))
    known = error(replace(scan, background=streak), s)
    found = {name: solve.solve(scan, replace(FREE, background=name), SETTINGS).scan for name in ("smooth", "free")}
    errors = {name: error(made, s) for name, made in found.items()}
    assert errors["free"] < 1.1 * known and errors["smooth"] > 2 * known, (known, errors)
    assert np.abs(found["free"].background - streak).mean() < 0.25 * streak.mean()


def test_the_light_that_is_surely_seen_stands_out_of_the_backgrounds_noise():
    mask = np.arange(64 * 64).reshape(64, 64) % 9 > 0
    scan = of_arrays(np.ones((4, 64, 64), np.int64), np.ones((64, 64)), np.full((4, 2), 40.0), (80, 80))
    for level, left in ((0.5, 0.5 - (0.5 / 4) ** 0.5), (0.0, 1.0), (0.9, 0.0)):
        seen = state_of.light_seen(replace(scan, background=np.full((64, 64), level), mask=mask))
        assert seen.numpy() == pytest.approx(np.full((64, 64), left), abs=1e-6)
