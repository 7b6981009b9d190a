"""Poisson MAP: finds the truth where photons suffice, chooses its own smoothing where not, never sees truth."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from ptychodose.iterative import descent, poisson_map
from ptychodose.iterative.posterior import Posterior
from ptychodose.iterative.problem import Problem
from ptychodose.physics import noise
from ptychodose.score import scoring
from ptychodose.score.region import scored_region
from ptychodose.study import params
from scenes import scene

SETTINGS = params.load("params.yaml").reconstruct_map
SMALLEST = SETTINGS.weight / SETTINGS.weight_step**SETTINGS.weight_moves


@pytest.fixture(scope="module")
def bright():
    return scene(1e4)


def solve(s, settings=SETTINGS, seed=0, weight=None, iterations=None, **given):
    """The solution of a scene, parts of whose scan `given` replaces; `iterations` instead of the settings'."""
    settings = settings if iterations is None else replace(settings, iterations=iterations)
    return poisson_map.solve(replace(s.scan, **given), settings, noise.stream(seed, "solver"), weight)


def error(obj, s):
    """NRMSE inside the scan, aligned as in the study's tables."""
    region = scored_region([s.scan.positions])
    return scoring.headline(scoring.score(obj, s.obj, region, 1e-9))["nrmse"]


def flat(s):
    return s.scan.flat()


def canvas_of(problem, obj):
    return torch.as_tensor(obj[problem.window].copy())


def noise_free(s):
    """Counts and probe of the expectation at 1e8 photons per pattern, whatever the scene's own dose."""
    factor = 1e8 / s.scan.signal
    counts = np.rint(s.scan.expected(s.obj) * factor).astype(np.int64)
    return {"counts": counts, "probe": s.scan.probe * np.float32(factor**0.5)}


# Physics


def test_noise_free_data_lead_to_the_truth(bright):
    found = [error(solve(bright, **noise_free(bright), weight=0.0, iterations=n).obj, bright) for n in (10, 50, 150)]
    assert found[0] > 2 * found[1] > 3 * found[2] and found[2] < 0.015


def test_sub_pixel_positions_are_exact(bright):
    """Truth is the minimum of the loss at fractional positions, not at rounded ones."""
    scan = replace(bright.scan, **noise_free(bright))
    exact, rounded = Problem(scan), Problem(replace(scan, positions=np.rint(scan.positions)))
    assert exact.losses(canvas_of(exact, bright.obj)).max() < 0.01
    assert rounded.losses(canvas_of(rounded, bright.obj)).min() > 1
    slope, worse = (float(p.gradient(canvas_of(p, bright.obj)).abs().max()) for p in (exact, rounded))
    assert slope < 1e-3 * worse


def test_fractional_positions_cost_no_accuracy(bright):
    scan = replace(bright.scan, positions=np.rint(bright.scan.positions))
    whole = replace(scan, counts=noise.draw_counts(scan.expected(bright.obj), noise.stream(0, "noise/train")))
    errors = [error(solve(replace(bright, scan=s), weight=SETTINGS.weight, iterations=50).obj, bright)
              for s in (bright.scan, whole)]  # fmt: skip
    assert errors[0] == pytest.approx(errors[1], rel=0.15)


def test_a_share_of_the_photons_comes_with_a_share_of_the_probe(bright):
    whole, part = Problem(bright.scan), Problem(bright.scan.thin(0.3, noise.stream(0, "thinning")))
    assert part.level == pytest.approx(whole.level, rel=0.01) and part.photons == pytest.approx(0.3 * whole.photons)


# Choice of weight and iterations


def test_the_weight_chosen_is_better_than_the_smallest_and_the_largest():
    dim = scene(300)
    chosen = solve(dim)
    largest = SETTINGS.weight * SETTINGS.weight_step**SETTINGS.weight_moves
    assert SMALLEST < chosen.weight < largest
    fixed = [error(solve(dim, weight=w).obj, dim) for w in (SMALLEST, largest)]
    assert error(chosen.obj, dim) < 0.9 * min(fixed)
    assert error(chosen.obj, dim) < 0.8 * error(flat(dim), dim)


@pytest.mark.parametrize("dose", [300, 1e4])
def test_the_weight_lies_halfway_to_one_from_that_of_the_lowest_heldout_loss(dose):
    found = solve(scene(dose))
    losses = {weight: loss for weight, loss, _ in found.tried}
    assert 3 <= len(losses) <= SETTINGS.weight_moves + 3
    assert np.diff(np.log(list(losses))) == pytest.approx(np.log(SETTINGS.weight_step))
    best = min(losses, key=losses.get)
    off = np.log(found.weight**2 / best) / np.log(SETTINGS.weight_step)
    assert abs(off) <= 0.5 and all(0 < steps < SETTINGS.iterations for _, _, steps in found.tried)


def test_the_final_run_starts_from_the_canvas_that_heldout_photons_chose(bright):
    """So it needs less than half of the iterations that it takes from the flat object."""
    found = solve(bright)
    assert solve(bright, weight=found.weight).iterations > 2 * found.iterations > 0


def test_even_two_iterations_are_better_than_none(bright):
    found = solve(bright, replace(SETTINGS, iterations=2))
    assert found.iterations == 2 and error(found.obj, bright) < error(flat(bright), bright)


def test_a_run_that_has_converged_ends_and_is_as_good_as_a_long_one(bright):
    problem = Problem(bright.scan)
    posterior = Posterior(problem, SETTINGS.prior, SETTINGS.smoothing, 1.0)
    reached, values = poisson_map.minimise(posterior, problem.flat(), 1000)
    assert 20 < len(values) < 120
    short = np.full(bright.obj.shape, problem.level, np.complex64)
    long = short.copy()
    short[problem.window] = reached
    long[problem.window] = list(descent.descend(posterior, reached, 150))[-1][0]
    assert error(short, bright) < 1.02 * error(long, bright)


# Repeatability


def test_the_same_stream_gives_the_same_bytes(bright):
    settings = replace(SETTINGS, iterations=6, weight_moves=1)
    first, again, other = (solve(bright, settings, seed) for seed in (1, 1, 2))
    assert first.obj.tobytes() == again.obj.tobytes() and first.tried == again.tried
    assert first.obj.tobytes() != other.obj.tobytes()


def test_the_result_does_not_depend_on_the_block(bright, monkeypatch):
    found, region = [], scored_region([bright.scan.positions])
    for block in (7, 32, 1000):
        monkeypatch.setattr("ptychodose.iterative.problem.BLOCK", block)
        found.append(solve(bright, weight=SETTINGS.weight, iterations=20).obj[region])
    assert np.abs(found[0] - found[1]).max() < 1e-4 and np.abs(found[0] - found[2]).max() < 1e-4


# Edges


def test_pixels_without_light_keep_the_flat_start(bright):
    height, width = bright.obj.shape
    found = solve(bright, shape=(height + 40, width + 13), weight=SETTINGS.weight, iterations=10)
    assert found.obj.shape == (height + 40, width + 13) and found.obj.dtype == np.complex64
    dark = np.ones(found.obj.shape, bool)
    corners = np.rint(bright.scan.positions).astype(int) - 32
    for y, x in corners:
        dark[y : y + 64, x : x + 64] = False
    assert dark.sum() > 5000 and found.obj[dark] == pytest.approx(bright.scan.level, rel=1e-6)
    lit = scored_region([bright.scan.positions])
    assert (np.abs(found.obj[lit] - bright.scan.level) > 1e-3).mean() > 0.99


# The probe


def smooth_phase(probe):
    y, x = (np.indices(probe.shape) - len(probe) / 2) / 12
    return probe * np.exp(1j * (0.5 * x * y + 0.3 * np.exp(-(x**2) - y**2)))


def defocused(probe, share=0.3):
    """More of the probe's own defocus: a quadratic phase over its pupil."""
    pupil = np.fft.fftshift(np.fft.fft2(np.fft.ifftshift(probe)))
    y, x = (np.indices(probe.shape) - len(probe) / 2) / len(probe)
    wave = pupil * np.exp(1j * share * np.pi * 52 * (x**2 + y**2))
    return np.fft.fftshift(np.fft.ifft2(np.fft.ifftshift(wave)))
