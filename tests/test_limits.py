"""The limits of a view: priors, bounds, groups against single patterns, FRC lines."""

from dataclasses import replace

import numpy as np
import pytest

from ptychodose.bounds import fisher, limits, lines
from ptychodose.errors import StudyError
from ptychodose.physics import lattice, noise, simulate, textures
from ptychodose.scans.groups import neighbour_groups
from ptychodose.scans.scan import of_arrays
from ptychodose.score import frc
from scenes import zone_plate
from test_fisher import alike


@pytest.fixture(scope="module")
def known():
    """A default-like object and probe at a dose of 1, and positions of a dense scan around its middle."""
    obj = textures.synthetic_object((150, 150), 0.55, 0.12, noise.stream(0, "object")).astype(np.complex64)
    raster = lattice.finest_scan((40.0, 110.0), (40.0, 110.0), 7.2, noise.stream(0, "jitter/test"))
    probe = simulate.scale_to_dose(obj, zone_plate()[None], raster.positions, 1.0)
    return limits.Known(obj, of_arrays(None, probe, raster.positions, obj.shape), limits.prior_of(obj))


def every(known):
    return np.arange(len(known.scan))


def test_the_prior_has_the_variances_of_the_object_and_knows_wrapped_phases(known):
    prior, obj = known.prior, known.obj
    assert prior.phase[0, 0] ** 0.5 == pytest.approx(0.55, rel=0.2)
    assert prior.amplitude[0, 0] ** 0.5 == pytest.approx(np.log(np.abs(obj)).std(), rel=0.2)
    angle = np.angle(obj.astype(complex))
    assert limits.unwrapped_phase(obj) == pytest.approx(angle - angle.mean(), abs=1e-5)
    y, x = np.indices(obj.shape)
    steep = 0.3 * y + 0.2 * x + 2 * np.sin(x / 9)  # tens of radians, every step below pi
    assert limits.unwrapped_phase(np.exp(1j * steep)) == pytest.approx(steep - steep.mean(), abs=1e-8)
    pixels = np.indices((6, 5)).reshape(2, -1).T
    both = prior.covariance(pixels) @ prior.precision(pixels)
    assert alike(both, np.eye(60), 1e-6)
    flat = limits.prior_of(np.ones((40, 40), np.complex64))
    assert np.isfinite(flat.precision(pixels)).all()


def test_bayesian_bound_is_below_the_unbiased_one_and_below_the_prior(known):
    crop = limits.middle((slice(50, 100), slice(50, 100)), 20, 6)
    pixels, keep = np.indices((20, 20)).reshape(2, -1).T, fisher.both(fisher.centre((20, 20), 6), 400)
    matrix = fisher.information(known.scan, known.obj, crop)
    prior, precision = known.prior.covariance(pixels), known.prior.precision(pixels)
    unbiased = fisher.covariance(matrix, keep)
    last = np.inf
    for dose in (1e2, 1e4, 1e6):
        posterior = fisher.covariance(dose * matrix + precision, keep)
        for larger in (unbiased / dose, prior[np.ix_(keep, keep)]):
            assert np.linalg.eigvalsh(larger - posterior).min() > -1e-9 * larger.max()
        assert posterior.trace() < last
        last = posterior.trace()
    assert last == pytest.approx(unbiased.trace() / 1e6, rel=0.2), "with many photons the prior no longer matters"


def test_limits_of_a_view(known):
    crop = limits.middle((slice(40, 111), slice(40, 111)), 24, 6)
    row = limits.of_view(known, every(known), crop, 6)
    again = limits.of_view(known, every(known), crop, 6)
    assert row == again
    bayes, frequency = row["bayes"], row["frc"]["frequency"]
    assert np.all(np.diff(bayes["nrmse"]) < 0) and bayes["nrmse"][0] < 0.57
    assert np.all(np.array(bayes["nrmse"]) < row["crb"]["nrmse"])
    assert np.array(row["crb"]["nrmse"]) == pytest.approx(
        row["crb"]["nrmse"][0] * np.sqrt(100 / np.array(bayes["dose"])), rel=1e-5
    )
    assert (
        frequency[0] == 0
        and frequency[-1] == 1
        and np.shape(row["frc"]["ssnr"]) == (len(bayes["dose"]), len(frequency))
    )
    lines = np.array(row["frc"]["bayes_with_truth"])
    assert np.all((lines > 0) & (lines <= 1)) and np.all(np.diff(lines, axis=0) >= 0)
    nbar = limits.photons(known, every(known), 7.2)
    assert nbar["photons_per_pixel_per_dose"] == pytest.approx(1 / 7.2**2, rel=1e-4)
    assert nbar["alpha"] == pytest.approx((64 / 7.2) ** 2, rel=1e-5)
    unit = 100 * np.array([row["crb"]["phase_rms"][0], row["crb"]["amplitude_rms"][0]]) ** 2 / 7.2**2
    assert np.all((unit > 0.4) & (unit < 0.9)), "variance times photons: 1/2 when overlap leaves nothing coupled"


def test_four_patterns_tell_more_than_one(known, monkeypatch):
    groups = neighbour_groups(known.scan.positions, np.zeros(len(known.scan), int), 4, 7, noise.stream(0, "views"))
    crop = slice(65, 85), slice(65, 85)
    found = limits.ratio(known, groups, 1, crop)
    c1, c4 = np.array(found["c1"]), np.array(found["c4"])
    assert found["groups"] == 1 and np.all(np.diff(c1) < 0) and np.all(np.diff(c4) < 0)
    assert np.all((found["dense_over_baseline"] < np.array([0.9, 0.8, 0.7])) & (c4 > 0))
    assert found["dense_over_baseline"] == pytest.approx(c4 / c1, rel=1e-4)
    monkeypatch.setattr(limits, "MOST", 1000)
    assert limits.ratio(known, groups, 1, crop) is None, "too large to compute"


def test_a_crop_that_does_not_fit_is_refused():
    with pytest.raises(StudyError, match=r"limit.crop: 40 px do not fit the scored region of 60 x 30 px"):
        limits.middle((slice(0, 60), slice(5, 35)), 40, 8)
    with pytest.raises(StudyError, match=r"limit.margin: 17 px leave less"):
        limits.middle((slice(0, 60), slice(0, 60)), 40, 17)
    assert limits.middle((slice(10, 60), slice(0, 61)), 20, 2) == (slice(25, 45), slice(20, 40))


def test_frc_lines():
    ssnr = np.geomspace(1e-3, 1e3, 50)
    truth, halves = fisher.frc_with_truth(ssnr), fisher.frc_of_halves(ssnr)
    assert np.all(np.diff(truth) > 0) and np.all(np.diff(halves) > 0) and 0 < halves[0] < truth[-1] < 1
    assert truth == pytest.approx(np.sqrt(2 * halves / (1 + halves))), "Rosenthal & Henderson 2003"
    third = np.array([1 / 3])
    assert fisher.frc_with_truth(third) == pytest.approx([0.5]) and fisher.frc_of_halves(third) == pytest.approx(
        [1 / 7]
    )


def test_the_line_predicts_the_curve_of_noise_of_this_covariance(known):
    """Draw errors from a covariance, measure FRC as the study does, meet the limit line."""
    side, rng = 24, np.random.default_rng(5)
    crop = limits.middle((slice(40, 111), slice(40, 111)), side, 4)
    matrix = fisher.information(known.scan, known.obj, crop)
    cov = fisher.covariance(matrix, np.arange(len(matrix))) / 100
    image = known.obj[crop].astype(complex)
    draws = np.linalg.cholesky(cov) @ rng.standard_normal((2 * side**2, 200))
    _, signal = fisher.ring_signal(image)
    line = fisher.frc_with_truth(signal / fisher.ring_noise(cov, image))
    curves = []
    for draw in draws.T:
        a, phi = draw.reshape(2, side, side)
        curves.append(frc.ring_correlation(image, image * (1 + a + 1j * phi)).correlation)
    assert np.abs(np.mean(curves, axis=0) - line)[frc.FIRST_RING :].max() < 0.03
    assert len(line) == len(curves[0])


def test_a_background_and_a_mask_raise_every_bound_most_where_photons_are_few(known):
    crop = limits.middle((slice(40, 111), slice(40, 111)), 16, 4)
    clean = limits.of_view(known, every(known), crop, 4)
    noisy = replace(known, scan=replace(known.scan, background=np.full((64, 64), 0.25)))
    mask = np.random.default_rng(0).random((64, 64)) < 0.8
    masked = replace(known, scan=replace(known.scan, mask=mask))
    for worse in (limits.of_view(given, every(given), crop, 4) for given in (noisy, masked)):
        for kind in ("crb", "bayes"):
            assert np.all(np.array(worse[kind]["nrmse"]) > clean[kind]["nrmse"])
    lost = np.array(limits.of_view(noisy, every(noisy), crop, 4)["crb"]["nrmse"]) / clean["crb"]["nrmse"]
    assert np.all(np.diff(lost) < 0) and lost[0] > 2 > lost[-1] > 1, "a background sinks among many photons"
    assert limits.photons(masked, every(known), 7.2)["photons_per_pixel_per_dose"] < 0.85 / 7.2**2


def test_a_bound_between_doses_and_none_outside():
    curve = {"dose": [100.0, 10000.0], "nrmse": [0.5, 0.05], "phase_rms": [1.0, 0.01]}
    assert lines.at_dose(curve, 1000.0) == pytest.approx(0.5 / 10**0.5)
    assert lines.at_dose(curve, 1000.0, "phase_rms") == pytest.approx(0.1)
    assert lines.at_dose(curve, 100.0) == pytest.approx(0.5) and lines.at_dose(curve, 1e4) == pytest.approx(0.05)
    assert lines.at_dose(curve, 99.0) is None and lines.at_dose(curve, 1.01e4) is None
    frc_lines = {"dose": [100.0, 10000.0], "ssnr": [[1.0, 0.01], [100.0, 1.0]]}
    assert lines.frc_at_dose(frc_lines, 1000.0) == pytest.approx(np.sqrt([10 / 11, 0.1 / 1.1]))
    assert lines.frc_at_dose(frc_lines, 1e6) is None


def test_a_background_is_no_photon_of_the_object(known):
    noisy = replace(known, scan=replace(known.scan, background=np.full((64, 64), 3.0)))
    assert limits.photons(noisy, every(known), 7.2) == limits.photons(known, every(known), 7.2)
