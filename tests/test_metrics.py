"""Alignment and metrics: known answers, and scikit-image or the shared yardstick as the second opinion."""

import importlib.util
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from ptychodose.errors import StudyError
from ptychodose.physics import noise, textures
from ptychodose.score import frc, metrics, region, scoring
from scenes import scene

YARDSTICK = Path(__file__).parents[2] / "shared" / "benchmark" / "evaluate.py"
REGION = (slice(10, 150), slice(8, 112))


@pytest.fixture(scope="module")
def truth():
    obj = textures.synthetic_object((160, 120), 0.55, 0.12, noise.stream(0, "object"))
    return gaussian_filter(obj.real, 1) + 1j * gaussian_filter(obj.imag, 1)


def noisy(truth, level=0.1):
    rng = noise.stream(1, "network")
    return truth + level * (rng.standard_normal(truth.shape) + 1j * rng.standard_normal(truth.shape))


def row(obj, truth):
    return scoring.score(obj, truth, REGION, 12.8e-9)


def test_truth_scores_perfectly(truth):
    best = row(truth, truth)["aligned"]
    assert (
        best["nrmse"] < 1e-9 and best["phase"]["ssim"] == pytest.approx(1) and best["correlation"] == pytest.approx(1)
    )
    assert best["frc"]["0.5"]["first"] == best["frc"]["0.5"]["last"] == 1.0


def test_flat_empty_and_nan_images_never_pass_for_good(truth):
    bad = np.ones_like(truth)
    flat = row(bad, truth)
    t = truth[REGION]
    constant = np.sqrt(1 - abs(t.mean()) ** 2 / (np.abs(t) ** 2).mean())
    assert flat["raw"]["nrmse"] == pytest.approx(constant, rel=1e-6) and flat["aligned"]["nrmse"] < constant
    assert flat["aligned"]["phase"]["ssim"] < 0.1 and flat["aligned"]["frc"]["0.5"]["first"] == 0
    for image in (np.zeros_like(truth), np.full_like(truth, np.nan)):
        scored = row(image, truth)
        empty = scored["aligned"]
        assert empty["nrmse"] == pytest.approx(1) and scored["valid_fraction"] == 0
        assert empty["phase"]["mae"] > 0.3 and empty["phase"]["ssim"] < 0.1
    half = truth.copy()
    half[:, :60] = np.nan
    assert row(half, truth)["valid_fraction"] == pytest.approx(0.5, abs=0.02)


def test_against_scikit_image(truth):
    a, b = np.abs(noisy(truth)), np.abs(truth)
    found = metrics.compare_real(a, b)
    assert found["ssim"] == pytest.approx(structural_similarity(b, a, data_range=np.ptp(b)), abs=1e-12)
    assert found["psnr"] == peak_signal_noise_ratio(b, a, data_range=np.ptp(b))


@pytest.mark.skipif(not YARDSTICK.is_file(), reason="the shared yardstick is absent")
@pytest.mark.parametrize("level", [0.03, 0.1, 0.3])
def test_against_the_shared_yardstick(truth, level):
    spec = importlib.util.spec_from_file_location("yardstick", YARDSTICK)
    yardstick = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(yardstick)
    obj = noisy(truth, level) * np.exp(0.01j * np.indices(truth.shape)[0])
    theirs = yardstick.evaluate(obj, truth, [10, 149], [8, 111], register=False)
    ours = row(obj, truth)["aligned"]
    assert ours["nrmse"] == pytest.approx(theirs["nrmse"], rel=2e-3)
    assert ours["phase"]["ssim"] == pytest.approx(theirs["phase_ssim"], abs=5e-3)
    assert ours["phase"]["mae"] == pytest.approx(theirs["phase_mae"], rel=1e-2)
    assert ours["amplitude"]["ssim"] == pytest.approx(theirs["amp_ssim"], abs=2e-2)
    assert ours["frc"]["area"] == pytest.approx(theirs["frc_mean"], abs=0.02)


def test_frc_of_independent_noise_is_within_statistics():
    rng = noise.stream(3, "network")
    a, b = (rng.standard_normal((128, 128)) + 1j * rng.standard_normal((128, 128)) for _ in range(2))
    curve = frc.ring_correlation(a, b)
    score = curve.correlation * np.sqrt(2 * curve.pixels)
    assert np.abs(score[2:]).mean() < 1.2 and np.abs(curve.correlation[20:]).max() < 0.15


def test_half_data_frc_predicts_frc_with_truth(truth):
    rng = noise.stream(4, "network")
    halves = [
        truth + 0.3 * (rng.standard_normal(truth.shape) + 1j * rng.standard_normal(truth.shape)) for _ in range(2)
    ]
    between = frc.ring_correlation(*halves).correlation
    with_truth = frc.ring_correlation(sum(halves) / 2, truth).correlation
    predicted = np.sqrt(2 * np.clip(between, 0, 1) / (1 + np.clip(between, 0, 1)))  # Rosenthal & Henderson 2003
    assert np.abs(predicted - with_truth)[2:20].mean() < 0.05


def test_crossings_of_a_known_curve():
    f = np.linspace(0, 1, 11)
    curve = frc.Curve(f, np.array([0, 0, 0.9, 0.8, 0.4, 0.3, 0.7, 0.6, 0.2, 0.1, 0.0]), np.full(11, 50.0))
    assert frc.crossings(curve, 0.5) == (pytest.approx(0.375), pytest.approx(0.725))
    assert frc.crossings(curve, 0.95) == (0.0, 0.0)
    assert frc.crossings(frc.Curve(f, np.ones(11), np.ones(11)), 0.5) == (1.0, 1.0)
    assert frc.half_period_nm(0.5, 10e-9) == pytest.approx(20) and frc.half_period_nm(0, 1e-9) is None


def test_thresholds_tend_to_their_snr():
    many = np.array([1e12])
    assert frc.bit_threshold(many, 0.2071) == pytest.approx(0.2071 / 1.2071, rel=1e-4)
    assert frc.bit_threshold(many, 0.5) == pytest.approx(1 / 3, rel=1e-4)
    assert frc.bit_threshold(np.array([10.0]), 0.5) > frc.bit_threshold(np.array([10.0]), 0.2071)


def test_deviance_is_one_at_the_truth_and_larger_elsewhere():
    rng = noise.stream(5, "network")
    rate = np.full((400, 400), 20.0)
    counts = rng.poisson(rate)
    assert metrics.poisson_deviance(rate, counts) == pytest.approx(1, abs=0.03)
    assert metrics.poisson_deviance(rate * 1.2, counts) > 1.5
    assert metrics.poisson_deviance(np.zeros((2, 2)), np.zeros((2, 2), int)) == pytest.approx(0, abs=1e-9)


def test_psnr_is_over_the_range_of_the_truth():
    target = np.linspace(0, 1, 64).reshape(8, 8)
    assert metrics.compare_real(3 * target, target)["psnr"] == pytest.approx(-10 * np.log10((4 * target**2).mean()))
    assert metrics.compare_real(target, target)["psnr"] == 200


def test_the_phase_is_unwrapped_around_the_circular_mean_whatever_the_brightness():
    """Differences of +3 and -3 rad lie 2 (pi - 3) apart, around pi; bright and dark pixels count alike."""
    wrapped = metrics.phase_beside(np.exp(1j * np.array([[3.0, -3.0]])), np.ones((1, 2), complex))
    assert wrapped.ravel() == pytest.approx([3 - np.pi, np.pi - 3], abs=1e-9)
    uneven = metrics.phase_beside(np.array([[10.0, np.exp(1j)]]), np.ones((1, 2), complex))
    assert uneven.ravel() == pytest.approx([-0.5, 0.5])


def test_deviance_by_hand():
    """2 (2 - 1 + log(1 / 2)) and 2 * 3 where nothing was counted; a rate of 0 is taken as 1e-12."""
    rate, counts = np.array([2.0, 3.0]), np.array([1, 0])
    assert metrics.poisson_deviance(rate, counts) == pytest.approx((2 * (1 - np.log(2)) + 6) / 2)
    assert metrics.poisson_deviance(np.zeros(1), np.ones(1, int)) == pytest.approx(2 * (12 * np.log(10) - 1))


def test_the_region_is_what_all_views_cover():
    square = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
    first, second = square * [90, 70] + [10.2, 20.0], square * [60, 90] + [30.0, 5.5]
    expected = (slice(30, 91), slice(20, 91))
    assert region.scored_region([first, second]) == region.scored_region([second, first]) == expected
    with pytest.raises(StudyError, match="share less than 16 x 16"):
        region.scored_region([first, second + 56])


def test_judges_are_inside_the_region_and_seen_by_no_view():
    s = scene(1e4)
    area = region.scored_region([s.scan.positions])
    used = [np.arange(0, 88, 2), np.arange(0, 88, 3)]
    found = region.unseen_patterns(s.scan, used, area, 1000)
    half = s.scan.diameter / 2
    assert 23 < s.scan.diameter < 25
    inside = [i for i, (y, x) in enumerate(s.scan.positions)
              if area[0].start + half <= y <= area[0].stop - 1 - half
              and area[1].start + half <= x <= area[1].stop - 1 - half]  # fmt: skip
    assert found.tolist() == [i for i in inside if i % 2 and i % 3] and len(found) > 5
    assert len(region.unseen_patterns(s.scan, used, area, 4)) == 4


def test_deviance_is_of_good_pixels_and_every_pattern_counts_alike():
    """88 patterns are read in blocks of 64 and 24; what stands in bad pixels does not matter."""
    mask = np.arange(64 * 64).reshape(64, 64) % 9 > 0
    s = scene(1e4, background=0.5, mask=mask)
    obj = (0.9 * s.obj).astype(np.complex64)
    rate, counts = s.scan.expected(obj)[:, mask], s.scan.counts[:, mask]
    logs = np.where(counts > 0, counts * np.log(np.maximum(counts, 1) / rate), 0)
    expected = (2 * (rate - counts + logs)).mean()
    for given in (s.scan, replace(s.scan, counts=s.scan.counts + 1000 * ~mask)):
        assert region.deviance_per_pixel(obj, given, np.arange(88)) == pytest.approx(expected, rel=1e-9)
    assert region.deviance_per_pixel(obj, s.scan, np.arange(0)) is None


def test_the_headline_has_the_first_crossing():
    best = {"nrmse": 0.1, "phase": {"ssim": 0.9}, "frc": {"0.5": {"first": 0.3, "last": 0.7}}}
    assert scoring.headline({"aligned": best}) == {"nrmse": 0.1, "phase_ssim": 0.9, "frc50": 0.3}


def test_the_headline_is_error_phase_and_the_first_crossing_of_one_half():
    """A curve that falls through 0.5 twice and through 1/2 bit elsewhere: the table has the first fall through 0.5."""
    frc_row = {"0.5": {"first": 0.3, "last": 0.8}, "half_bit": {"first": 0.5, "last": 0.9}, "one_bit": {"first": 0.2}}
    both = {"amplitude": {"ssim": 0.11}, "phase": {"ssim": 0.22}, "frc": frc_row}
    row = {"aligned": {"nrmse": 0.33, **both}, "raw": {"nrmse": 0.44, **both}}
    assert scoring.headline(row) == {"nrmse": 0.33, "phase_ssim": 0.22, "frc50": 0.3}
