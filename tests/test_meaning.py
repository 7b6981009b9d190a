"""Metrics do not depend on what has no meaning, and rank what is wrong below what is honest."""

import json

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from skimage.metrics import structural_similarity

from ptychodose.errors import StudyError
from ptychodose.iterative import poisson_map
from ptychodose.physics import noise, textures
from ptychodose.score import metrics, scoring
from ptychodose.score.region import scored_region
from ptychodose.study import params
from sandbox import ROOT
from scenes import scene

REGION = (slice(20, 100), slice(20, 84))
ANGLES = [(3.0, 0.0), (np.pi, 0.0), (-3.0, 2.0), (0.0, np.pi), (np.pi / 2, -1.0), (1.0, 1.0)]


def texture(std, seed=0):
    return textures.synthetic_object((120, 104), std, 0.12, noise.stream(seed, "object"))


def noisy(truth, level):
    rng = np.random.default_rng(0)
    return truth + level * (rng.standard_normal(truth.shape) + 1j * rng.standard_normal(truth.shape))


def blurred(image, sigma):
    return gaussian_filter(image.real, sigma) + 1j * gaussian_filter(image.imag, sigma)


def row(obj, truth, region=REGION):
    return scoring.score(obj, truth, region, 12.8e-9)


def ssim(obj, truth, region=REGION):
    return row(obj, truth, region)["aligned"]["phase"]["ssim"]


def grating(width):
    """Stripes of two phases exactly opposite to each other; with a width of 8 of 16 px they cancel."""
    stripes = np.where(np.arange(104) % 16 < width, np.pi, 0.0)
    return (0.8 + 0.2 * np.cos(np.arange(120) / 5))[:, None] * np.exp(1j * stripes)


TRUTHS = {
    "texture": texture(0.55),
    "-1 to 1.2 rad": np.exp(1j * np.interp(np.angle(texture(0.55)), (-1.6, 1.9), (-1.0, 1.2))),
    "more than a turn": texture(1.6, seed=4),
    "three turns": np.exp(1j * np.linspace(0, 6 * np.pi, 120))[:, None] * texture(0.3),
    "opposite phases": grating(6),
    "phases that cancel": grating(8),
}


@pytest.mark.parametrize("name", TRUTHS)
def test_no_metric_depends_on_a_global_phase(name):
    truth = TRUTHS[name]
    hole = noisy(truth, 0.2)
    hole[50:60, 40:60] = 0
    for obj in (noisy(truth, 0.1), np.ones_like(truth), truth.conj(), truth, hole):
        before = row(obj, truth)
        for of_truth, of_obj in ANGLES:
            after = row(obj * np.exp(1j * of_obj), truth * np.exp(1j * of_truth))
            for kind in ("aligned", "raw"):
                assert after[kind]["nrmse"] == pytest.approx(before[kind]["nrmse"], abs=1e-6)
                for part in ("phase", "amplitude"):
                    assert after[kind][part] == pytest.approx(before[kind][part], abs=1e-6), (kind, part)


@pytest.mark.parametrize(("std", "seed"), [(0.3, 2), (0.55, 0), (0.55, 1), (0.9, 3)])
def test_flat_conjugated_and_mirrored_are_below_every_honest_image(std, seed):
    truth = texture(std, seed)
    honest = [noisy(truth, 0.5 * std), noisy(truth, 0.1), blurred(truth, 4), blurred(noisy(truth, 1.0), 1.5)]
    lowest = min(ssim(obj, truth) for obj in honest)
    for wrong in (np.abs(truth), np.ones_like(truth), truth[::-1], truth[:, ::-1], truth[::-1, ::-1].conj()):
        assert abs(ssim(wrong + 0j, truth)) < 0.1 < 0.15 < lowest
    assert ssim(truth.conj(), truth) < 0 and ssim(noisy(truth.conj(), 0.1), truth) < 0


@pytest.mark.parametrize("dose", [100.0, 1e3, 1e5])
def test_a_real_reconstruction_is_above_flat_conjugated_and_mirrored(dose):
    s = scene(dose)
    region = scored_region([s.scan.positions])
    settings = params.load(ROOT / "params.yaml").reconstruct_map
    found = poisson_map.solve(s.scan, settings, noise.stream(0, "solver")).obj
    wrong = [s.scan.flat(), s.obj.conj(), found.conj(), found[:, ::-1], s.obj[::-1]]
    assert ssim(found, s.obj, region) > max(0.12, *(ssim(obj, s.obj, region) for obj in wrong))


def test_more_noise_and_more_blur_score_lower():
    truth = texture(0.55)
    for worse in (lambda n: noisy(truth, 0.1 * 2**n), lambda n: blurred(truth, 2**n)):
        found = [ssim(worse(n), truth) for n in range(4)]
        assert found == sorted(found, reverse=True) and found[0] > 0.8


def test_ssim_is_that_of_scikit_image_except_where_local_means_have_opposite_signs():
    truth = np.angle(texture(0.55))
    close = truth + 0.2 * np.random.default_rng(1).standard_normal(truth.shape)
    span = np.ptp(truth)
    up = [image - min(truth.min(), close.min()) for image in (close, truth)]
    assert metrics.ssim(*up, span) == pytest.approx(structural_similarity(*up[::-1], data_range=span), abs=1e-12)
    raised = truth + 10 * span  # a negative has the structure -1 where truth has any, and luminance -1
    assert structural_similarity(raised, -raised, data_range=span) > 0.7 and metrics.ssim(-raised, raised, span) < -0.7


@pytest.mark.parametrize("dtype", [np.complex64, np.complex128])
def test_without_contrast_there_is_no_similarity(dtype):
    amplitude = np.abs(texture(0.55))
    constant_phase = (amplitude * np.exp(2j)).astype(dtype) * dtype(np.exp(1.1j))
    constant_amplitude = texture(0.55) / amplitude
    for level in (0.0, 0.1):
        best = row(noisy(constant_phase, level), constant_phase)["aligned"]
        assert best["phase"]["ssim"] is best["phase"]["psnr"] is None and best["phase"]["mae"] < 0.2
        assert best["amplitude"]["ssim"] > 0.3
        best = row(noisy(constant_amplitude, level), constant_amplitude.astype(dtype))["aligned"]
        assert best["amplitude"]["ssim"] is best["amplitude"]["psnr"] is None and best["phase"]["ssim"] > 0.8
    assert scoring.headline({"aligned": {**best, "phase": {"ssim": None}}})["phase_ssim"] is None
    faint = row(noisy(amplitude, 0.0), amplitude * np.exp(1e-4j * np.angle(texture(0.55))))["aligned"]
    assert faint["phase"]["ssim"] is not None, "a phase of 1e-4 rad is weak, not absent"


def test_rows_are_json_without_nan_whatever_comes_in():
    truth, constant = texture(0.55), np.full((120, 104), 0.3 - 0.4j)
    empty, broken = np.zeros_like(truth), np.full_like(truth, np.nan)
    for target in (truth, constant, np.where(np.arange(104) < 50, 0, truth)):
        for obj in (truth, constant, empty, broken, 1e-200 * truth, np.where(np.arange(104) > 60, np.inf, truth)):
            json.dumps(row(obj, target), allow_nan=False)
    for nothing in (empty, broken):
        with pytest.raises(StudyError, match="truth is zero all over the scored region"):
            row(truth, nothing)
