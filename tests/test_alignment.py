"""Alignment: what ptychography cannot know costs nothing, and nothing else is taken away."""

import numpy as np
import pytest
from scipy import fft
from scipy.ndimage import fourier_shift, gaussian_filter
from skimage.registration import phase_cross_correlation

from ptychodose.physics import noise, textures
from ptychodose.score import align, metrics, scoring

REGION = (slice(10, 150), slice(8, 112))
SHIFTS = [(0.37, -0.61), (1.5, 2.25), (-0.5, 0.5), (4.0, -4.0), (-3.9, 2.5)]


def smooth(image, sigma):
    return gaussian_filter(image.real, sigma) + 1j * gaussian_filter(image.imag, sigma)


@pytest.fixture(scope="module")
def truth():
    return smooth(textures.synthetic_object((160, 120), 0.55, 0.12, noise.stream(0, "object")), 1)


def noisy(truth, level):
    """Truth with band-limited noise, as of an aperture."""
    rng = noise.stream(1, "network")
    return truth + smooth(level * (rng.standard_normal(truth.shape) + 1j * rng.standard_normal(truth.shape)), 0.7)


def moved(image, shift):
    return fft.ifft2(fourier_shift(fft.fft2(image), shift))


def wave(shape, ramp=(0.013, -0.021)):
    y, x = np.indices(shape)
    return np.exp(1j * (ramp[0] * y + ramp[1] * x))


def row(obj, truth, region=REGION):
    return scoring.score(obj, truth, region, 12.8e-9)


@pytest.mark.parametrize("level", [0.1, 0.5])
@pytest.mark.parametrize("shift", SHIFTS)
def test_a_shift_costs_nothing_whatever_phase_and_ramp_it_comes_with(truth, shift, level):
    obj = noisy(truth, level)
    still = row(obj, truth)["aligned"]
    for image in (moved(obj, shift), moved(obj, shift) * wave(truth.shape) * np.exp(3j)):
        best = row(image, truth)["aligned"]
        assert best["nrmse"] == pytest.approx(still["nrmse"], abs=1e-3)
        assert best["phase"]["ssim"] == pytest.approx(still["phase"]["ssim"], abs=4e-3)
        assert best["shift_px"] == pytest.approx([-s for s in shift], abs=0.06 * level / 0.1)


def test_a_shift_by_what_was_cut_from_a_larger_object_costs_nothing():
    """Data from beyond the object's edge come in, as in an experiment: here nothing wraps around."""
    large = smooth(textures.synthetic_object((220, 180), 0.55, 0.12, noise.stream(0, "object")), 1)
    part = (slice(30, 190), slice(30, 150))
    best = row(noisy(moved(large, (1.5, -2.25)), 0.1)[part], large[part])["aligned"]
    still = row(noisy(large, 0.1)[part], large[part])["aligned"]
    assert best["nrmse"] == pytest.approx(still["nrmse"], abs=1e-3)


def test_shift_and_ramp_are_found(truth):
    turned = moved(truth * wave(truth.shape) * 2.5 * np.exp(0.9j), (1.3, -0.7))
    result = row(turned, truth)
    assert result["aligned"]["nrmse"] < 0.01 < 0.3 < result["raw"]["nrmse"]
    assert result["aligned"]["shift_px"] == pytest.approx([-1.3, 0.7], abs=0.015)
    assert result["aligned"]["ramp_rad_per_px"] == pytest.approx([0.013, -0.021], abs=1e-5)
    assert row(truth * wave(truth.shape) * 2.5, truth)["aligned"]["scale"] == pytest.approx(0.4, rel=1e-6)
    assert row(truth * (0.3 - 2j), truth)["raw"]["nrmse"] < 1e-9, "a complex factor is removed in both"


def test_against_the_registration_of_scikit_image(truth):
    obj = noisy(moved(truth, (0.8, -1.4)), 0.1)
    theirs, _, _ = phase_cross_correlation(truth, obj, upsample_factor=50, normalization=None)
    assert row(obj, truth)["aligned"]["shift_px"] == pytest.approx(theirs, abs=0.03)


@pytest.mark.parametrize(("shift", "rows"), [((2.3, 0.0), slice(0, 157)), ((-2.3, 0.0), slice(3, 160))])
def test_where_the_object_ends_the_pixels_without_data_are_not_scored(truth, shift, rows):
    """The image's row 0 was truth's row -2.3: of truth's rows, those from 0 to 157.7 - 1 are in the image."""
    whole = (slice(0, 160), slice(8, 112))
    found = align.align(moved(truth, shift), truth, whole)
    assert found.shift == pytest.approx((-shift[0], 0), abs=0.05) and found.region == (rows, whole[1])
    assert found.image.shape == truth[found.region].shape
    assert metrics.nrmse(found.image, truth[found.region]) < 0.05
    assert align.align(truth, truth, whole).region == whole


@pytest.mark.parametrize(("shift", "found"), [(3.2, -3.2), (4.0, -4.0), (4.2, 0.0), (6.0, 0.0)])
def test_a_shift_is_removed_up_to_four_pixels(truth, shift, found):
    assert row(moved(truth, (shift, 0)), truth)["aligned"]["shift_px"][0] == pytest.approx(found, abs=0.1)


def test_alignment_never_makes_it_worse_and_moves_only_what_gains(truth):
    for level in (0.1, 0.5, 2.0):
        result = row(noisy(truth, level), truth)
        assert result["aligned"]["nrmse"] <= result["raw"]["nrmse"] + 1e-9
    for image in (truth, truth * np.exp(0.7j), 1.3 * truth):
        found = align.align(image, truth, REGION)
        assert found.shift == found.ramp == (0.0, 0.0) and found.region == REGION
        assert np.abs(found.image - truth[REGION]).max() < 1e-9


def test_a_pose_that_makes_it_worse_is_not_taken(truth, monkeypatch):
    monkeypatch.setattr(align, "_shifted", lambda pair, pose: pose + np.array([1.0, 1.0, 0.0, 0.0]))
    assert align.align(truth, truth, REGION).shift == (0.0, 0.0)
    assert align.align(moved(truth, (-1, -1)), truth, REGION).shift == (1.0, 1.0)


def test_a_constant_image_gets_a_ramp_only_if_that_lowers_the_error(truth):
    flat, target = np.ones_like(truth), truth[REGION]
    plain, tilted = (align.align(image, truth, REGION) for image in (flat, wave(truth.shape)))
    assert plain.shift == (0.0, 0.0)
    assert metrics.nrmse(plain.image, target) == pytest.approx(metrics.nrmse(tilted.image, target), rel=1e-5)
    assert align.align(flat, np.abs(truth) + 0j, (slice(40, 90), slice(40, 90))).shift == (0.0, 0.0)


def test_the_slope_of_the_misfit_is_that_of_finite_differences(truth):
    obj, step = noisy(truth, 0.5), 1e-5
    pair = align._Pair(align._surroundings(obj, REGION), truth, REGION, (slice(30, 90), slice(20, 70)))
    pose = np.array([0.7, -1.2, 0.01, -0.02])
    value, slope = align._misfit_and_slope(pair, fft.fft2(pair.wide), pose)
    assert value == pytest.approx(align.misfit(align._moved(pair, pose), pair.target()), abs=1e-12)
    for i, unit in enumerate(step * np.eye(4)):
        ends = [align.misfit(align._moved(pair, pose + sign * unit), pair.target()) for sign in (1, -1)]
        assert slope[i] == pytest.approx((ends[0] - ends[1]) / (2 * step), rel=1e-4, abs=1e-6)
