"""Numbers that results hang on, against published values, counts by hand and brute force; none comes from the code."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from ptychodose.bounds import limits
from ptychodose.compare import benchmark, nuisances
from ptychodose.exchange import counts, found, orientation, pixels, reading
from ptychodose.experiment import flaws, joint, modes, solve, start, state, unknowns, windows
from ptychodose.integrity import values
from ptychodose.iterative import descent, poisson_map, posterior, priors, problem
from ptychodose.iterative.problem import Problem
from ptychodose.measured import diagnosis, live
from ptychodose.networks import features, fitting, losses, stitch, training, unrolled
from ptychodose.physics import forward, noise, probes
from ptychodose.reconstruct import bundles
from ptychodose.refine import hybrid, hybrid_training, procedural_probes, refinement, spread, spread_training
from ptychodose.scans import acquisition, base, tensors
from ptychodose.score import align, coverage, frc, metrics
from ptychodose.study import failing
from scenes import scene

# Tuned numbers: every result of the study changes with them, so they are changed in two places, knowingly.
TUNED = {
    forward: {"FLOOR": 0.05, "LIT": 0.02, "DARK": 1e-3},
    descent: {"MEMORY": 8, "ARMIJO": 1e-4, "SOLVED": 0.05, "SHORTEST": 1e-3},
    posterior: {"ROUNDS": 8, "BOOST": 0.1, "SHALLOW": 1e-3},
    poisson_map: {"PULL": 0.5, "TYPICAL": 1.0, "CONVERGED": 3e-5, "LATELY": 5},
    priors: {"WEIGHTS": {"tv": (1.0, 0.0), "hessian": (0.0, 1.0), "mixed": (0.5, 0.3)}},
    problem: {"BLOCK": 32, "KEPT": 2**22},
    hybrid: {"STEP": 0.5, "SYMMETRIES": 8},
    refinement: {"AGAIN": 15},
    hybrid_training: {"SIZE": 64, "DOSES": (100.0, 1e6), "OVERLAPS": (0.0, 0.9), "PITCH": 2.5, "FIELD": (44.0, 120.0),
                      "STEPS": 9.0, "WEIGHT": (1.3, -0.13), "SCATTER": 0.4, "WARM_UP": 100},
    procedural_probes: {"NARROWEST": 0.12, "WIDEST": 0.62, "CUT": 4e-3},
    spread: {"POWER": 1.5, "GAUSSIAN": 1.1057, "LIMITS": (-4.0, 4.0)},
    spread_training: {"LEARNING_RATE": 0.003, "WARM_UP": 50, "WHOLE": 0.5},
    coverage: {"LEVELS": (68, 95)},
    fitting: {"STEP_WEIGHT": 0.8, "CLIP": 0.5},
    training: {"JUDGED_STEPS": 3},
    stitch: {"SWEEPS": 4},
    align: {"MAX_SHIFT": 4, "MARGIN": 24, "GAIN": 1e-9, "FIRST_STEP": 0.1},
    metrics: {"CUT": 1e-6, "CONTRAST": 1e-5, "WINDOW": 7},
    frc: {"FIRST_RING": 2, "TAPER": 0.3},
    flaws: {"SURE": 8.0, "ALONE": 2.0, "EXPECTED": 30.0},
    unknowns: {"KNOTS": 4, "SURPASS": 1.25, "LOWEST": 10},
    start: {"RADII": (0.0, 0.06, 0.12, 0.2, 0.3), "EDGE": 0.9, "BRIEF": 15, "LONG": 40},
    counts: {"ROUNDED": 3e-7, "DIM": (0.05, 5.0), "ENOUGH": 2000.0, "NORMALISED": (0.5, 2.0), "QUIET": 0.8},
    pixels: {"UNSURE": 0.6, "CLEARLY": 0.9},
    reading: {"SAME": 0.01, "MODES": 64},
    found: {"MARGIN": 32, "SIZES": (32, 256)},
    orientation: {"LOOKED_AT": 64, "CLEAR": 0.98},
    diagnosis: {"CLEAR": 3.0},
    bundles: {"ALIKE": 0.7},
    live: {"SHORT": 15},
    benchmark: {"LEVELS": (0.05, 2.0), "SPREAD": 0.2},
    nuisances: {"DOSE": 1e4, "HOT": 20.0, "STOP": 3, "DEAD": 0.01, "TREMBLES": 7},
    joint: {"SLACK": 1e-3, "SOFT": 0.01},
    solve: {"FIRST": 15, "ALIGNED": 10, "PLACED": (10, 15), "SETTLED": 40, "ROUNDS": 10, "DRIFT": 0.3,
            "NEAR": 3.0, "WIDER": 1.2, "WINDOW": 8, "LOOKS": 4},
    windows: {"FAR": 3, "PITCH": 2},
    modes: {"FAINT": 0.2, "LEAST": 0.02},
    state: {"BLUR": 1.0},
    noise: {"BRIGHTEST": 4e9},
    probes: {"DIMMEST": 1e-6},
    acquisition: {"DARK": 1e-6},
    base: {"LEAST_PUPIL": 2.0, "WIDEST": 0.8},
    values: {"TOLERANCE": 1e-3, "LONGEST": 600, "MEMORY": 2**34},
    failing: {"FILES": 64},
    limits: {"LEAST": 8, "KNOWN": 0.01, "MOST": 3000, "DIM": 1e-3, "WHITE": 1e-8},
}  # fmt: skip


@pytest.fixture(scope="module")
def noisy():
    return scene(1e4, background=0.5, mask=np.arange(64 * 64).reshape(64, 64) % 9 > 0)


@pytest.mark.parametrize("module", TUNED, ids=lambda module: module.__name__)
def test_tuned_numbers_are_what_the_committed_results_were_made_with(module):
    assert {name: getattr(module, name) for name in TUNED[module]} == TUNED[module]


def test_a_mixed_second_difference_counts_twice():
    """|D^2|^2 of the Frobenius norm: a corner 0 0 / 0 1 has xx, yy and xy differences of 1 at known places."""
    image = torch.zeros(5, 5, dtype=torch.complex128)
    image[2, 2] = 1.0
    xx, xy = {(2, 1): 1, (2, 2): -2, (2, 3): 1}, {(1, 1): 1, (1, 2): -1, (2, 1): -1, (2, 2): 1}
    places = {(i, j) for i in range(5) for j in range(5)}
    squares = [xx.get((i, j), 0) ** 2 + xx.get((j, i), 0) ** 2 + 2 * xy.get((i, j), 0) ** 2 for i, j in places]
    assert float(priors.value(image, "hessian", 1e-9)) == pytest.approx(np.sqrt(squares).sum(), abs=1e-6)


# The noise that networks and priors are measured in


def test_the_sd_is_half_over_the_root_of_the_photons_that_tell():
    lit = torch.tensor([[100.0, 0.0]])
    scene_of = SimpleNamespace(lit=lit, efficiency=0.25)
    assert hybrid.noise_sd(scene_of)[0].tolist() == pytest.approx([0.5 / np.sqrt(25.5), 0.5 / np.sqrt(0.5)])


@pytest.mark.parametrize(("level", "efficiency"), [(1.0, 1.0), (0.5, 1.0), (0.5, 0.25)])
def test_scales_of_a_group(noisy, level, efficiency):
    corners, _, shape = tensors.place(noisy.scan, np.array([[40, 41]]))
    batch = tensors.patterns(noisy.scan, np.array([[40, 41]]), corners, shape, known=(level, efficiency))
    lit, precondition, sd = unrolled._scales(batch)
    top = float(lit.max())
    photons = float(forward.illumination(batch.corners, batch.probes, shape).max())
    assert top == 1.0 and float(precondition.min()) == pytest.approx(1 / (1.02 * photons), rel=1e-5)
    assert float(sd.min()) == pytest.approx(0.5 / np.sqrt(1.05 * photons * efficiency), rel=1e-5), "level cancels"


def test_planes_of_a_wave():
    one = torch.ones(1, 1)
    wave = torch.complex(3 * one, 4 * one)
    scales = features.scale_planes(one, one)
    found = features.noise_planes([(wave, True), (wave, False)], one, scales).flatten().tolist()
    assert found == pytest.approx([1.8184465, 2.0947125, 3, 4, 1.5004341, 1.5], abs=1e-6), "asinh 3, asinh 4, log10"


def test_a_network_is_told_what_share_of_the_photons_counts(noisy):
    whole = Problem(noisy.scan)
    assert whole.efficiency == noisy.scan.efficiency < 0.9
    lit = np.zeros(noisy.scan.shape)
    for (y, x), probe in zip(np.rint(noisy.scan.positions).astype(int) - 32, shifted(noisy.scan), strict=True):
        lit[y : y + 64, x : x + 64] += np.abs(probe) ** 2
    assert whole.photons == pytest.approx(np.median(lit[lit > 0.1 * lit.max()]), rel=1e-4)


def shifted(scan):
    """The probe at every position, its sub-pixel part by a Fourier ramp."""
    q = np.fft.fftfreq(64)
    for y, x in scan.positions - np.rint(scan.positions):
        yield np.fft.ifft2(np.fft.fft2(scan.probe[0]) * np.exp(-2j * np.pi * (q[:, None] * y + q * x)))


# Losses and their optimisation


def test_relative_error_is_of_energy_and_the_loss_its_root():
    truth, lit = torch.polar(torch.ones(2, 3, 3), torch.full((2, 3, 3), 0.4)), torch.ones(2, 3, 3)
    canvas = 1.1 * truth * torch.exp(torch.tensor(0.7j))
    assert losses.relative_error(canvas, truth, lit).tolist() == pytest.approx([0.01, 0.01], rel=1e-4)
    assert float(losses.truth_loss(canvas, truth, lit)) == pytest.approx(np.log(0.1), rel=1e-4)


def one_weight():
    net = torch.nn.Linear(1, 1, bias=False)
    return net, fitting.Fit(net, 1e-3, lambda i: 1.0, noise.stream(0, "network"))


@pytest.mark.parametrize(("size", "slope"), [(1e-3, (0.64 + 0.8 * 10 + 100) * 1e-3 / 2.44), (1.0, 0.5), (100.0, 0.5)])
def test_the_last_step_weighs_most_and_the_gradient_is_clipped(size, slope):
    net, fit = one_weight()
    fit.update(net.weight.flatten() * size * torch.tensor([1.0, 10.0, 100.0]))
    assert float(net.weight.grad) == pytest.approx(slope, rel=1e-4)


def test_the_training_loss_in_the_history_is_that_of_the_last_step():
    net, fit = one_weight()
    fit.update(net.weight.flatten() * 0 + torch.tensor([1.0, 2.0, 5.0]))
    assert fit.recent == [5.0]


def test_judgements_without_a_better_loss_are_counted_and_the_best_weights_kept():
    net, fit = one_weight()
    stale = []
    for value, loss in ((1.0, 5.0), (2.0, 4.0), (3.0, 4.0), (4.0, 6.0), (5.0, 3.0), (6.0, 3.5)):
        torch.nn.init.constant_(net.weight, value)
        fit.judge(loss, {"loss": loss})
        stale.append(fit.stale)
    assert stale == [0, 0, 1, 2, 0, 1] and fit.best == 3.0 and len(fit.history) == 6
    assert float(fit.weights["weight"]) == 5.0


def test_the_learning_rate_rises_over_a_tenth_and_falls_as_half_a_cosine():
    rates = [training._rate(step, 100) for step in (0, 4, 9, 25, 50, 75, 100)]
    assert rates == pytest.approx([0.1, 0.4980287, 0.9801468, 0.8535534, 0.5, 0.1464466, 0], abs=1e-6)


def test_the_held_out_loss_is_a_mean_over_groups_not_over_batches():
    batches = [
        (SimpleNamespace(corners=range(n), flat=lambda: None), lambda _, v=v: v) for n, v in ((1, 1.0), (3, 5.0))
    ]
    assert training.heldout_loss(None, SimpleNamespace(heldout=lambda: batches)) == 4.0


# Fourier rings


def test_rings_are_counted_by_hand_and_a_tapered_image_has_fewer_independent_pixels():
    """Ring 1 holds the 8 neighbours of the origin, ring 2 the 12 whose distance 2 to 2.24 rounds to 2, and the mean
    square of a Tukey window of 0.3 is 0.7 + 0.3 * 3 / 8 per axis."""
    rng = np.random.default_rng(0)
    image = rng.standard_normal((256, 256)) + 0j
    pixels = frc.ring_correlation(image, image).pixels
    share = (0.7 + 0.3 * 3 / 8) ** 2
    assert pixels[:3] / share == pytest.approx([1, 8, 12], rel=0.02)


def test_thresholds_have_the_published_numbers():
    """van Heel & Schatz (2005), eqs. 16 and 17: 1/2 bit and 1 bit as printed."""
    n = np.array([4.0, 50.0, 1000.0])
    half = (0.2071 + 1.9102 / np.sqrt(n)) / (1.2071 + 0.9102 / np.sqrt(n))
    one = (0.5 + 2.4142 / np.sqrt(n)) / (1.5 + 1.4142 / np.sqrt(n))
    assert frc.bit_threshold(n, 0.2071) == pytest.approx(half, rel=2e-4)
    assert frc.bit_threshold(n, 0.5) == pytest.approx(one, rel=2e-4)


def test_a_curve_that_falls_evenly_crosses_every_line_where_it_should():
    """A correlation of 1 - f crosses a line at height T at f = 1 - T; 100 pixels a ring, object pixels of 10 nm."""
    f = np.linspace(0, 1, 101)
    curve = frc.Curve(f, 1 - f, np.full(101, 100.0))
    half_bit, one_bit = 1 - (0.2071 + 0.19102) / (1.2071 + 0.09102), 1 - (0.5 + 0.24142) / (1.5 + 0.14142)
    whole, halves = frc.summary(curve, 1e-8), frc.half_summary(curve, 1e-8)
    for summary in (whole, halves):
        assert summary["half_bit"]["first"] == pytest.approx(half_bit, abs=1e-3)
        assert summary["one_bit"]["first"] == pytest.approx(one_bit, abs=1e-3)
    assert whole["0.5"]["first"] == pytest.approx(0.5) and "1/7" not in whole
    assert halves["1/7"]["last"] == pytest.approx(6 / 7) and "0.5" not in halves
    assert whole["0.5"]["first_half_period_nm"] == pytest.approx(20)


def test_the_area_starts_at_ring_two():
    curve = frc.Curve(np.linspace(0, 1, 4), np.array([7.0, 7.0, 0.0, 1.0]), np.ones(4))
    assert frc.area(curve) == 0.5
