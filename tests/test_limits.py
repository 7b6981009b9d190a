"""The limits of a view: priors, bounds, groups against single patterns, FRC lines."""

import numpy as np
import pytest

from ptychodose.bounds import fisher, limits
from ptychodose.errors import StudyError
from ptychodose.physics import lattice, noise, probes, simulate, textures
from ptychodose.scans.groups import neighbour_groups
from ptychodose.score import frc
from test_fisher import alike


@pytest.fixture(scope="module")
def known():
    """A default-like object and probe at a dose of 1, and positions of a dense scan around its middle."""
    obj = textures.synthetic_object((150, 150), 0.55, 0.12, noise.stream(0, "object")).astype(np.complex64)
    probe = probes.zone_plate_probe(64, 8800, 1.0, 172e-6, 29.26e-9, 0.4, 60.5e-6, 0.7).astype(np.complex64)
    raster = lattice.finest_scan((40.0, 110.0), (40.0, 110.0), 7.2, noise.stream(0, "jitter/test"))
    probe = simulate.scale_to_dose(obj, probe, raster.positions, 1.0)
    return limits.Known(obj, probe, limits.prior_of(obj)), raster.positions


def test_the_prior_has_the_variances_of_the_object_and_knows_wrapped_phases(known):
    prior, obj = known[0].prior, known[0].obj
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
    given, positions = known
    crop = limits.middle((slice(50, 100), slice(50, 100)), 20, 6)
    pixels, keep = np.indices((20, 20)).reshape(2, -1).T, fisher.both(fisher.centre((20, 20), 6), 400)
    matrix = fisher.information(given.obj, given.probe, positions, crop)
    prior, precision = given.prior.covariance(pixels), given.prior.precision(pixels)
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
    given, positions = known
    crop = limits.middle((slice(40, 111), slice(40, 111)), 24, 6)
    row = limits.of_view(given, positions, crop, 6)
    again = limits.of_view(given, positions, crop, 6)
    assert row == again
    bayes, frequency = row["bayes"], row["frc"]["frequency"]
    assert np.all(np.diff(bayes["nrmse"]) < 0) and bayes["nrmse"][0] < 0.57
    assert all(b < row["crb"]["nrmse"] / np.sqrt(d) for b, d in zip(bayes["nrmse"], bayes["dose"], strict=True))
    assert frequency[0] == 0 and frequency[-1] == 1 and len(row["frc"]["ssnr_per_dose"]) == len(frequency)
    lines = np.array(row["frc"]["bayes_with_truth"])
    assert np.all((lines > 0) & (lines <= 1)) and np.all(np.diff(lines, axis=0) >= 0)
    nbar = limits.photons(given, positions, 7.2)
    assert nbar["photons_per_pixel_per_dose"] == pytest.approx(1 / 7.2**2, rel=1e-4)
    assert nbar["alpha"] == pytest.approx((64 / 7.2) ** 2, rel=1e-5)
    unit = np.array([row["crb"]["phase_rms"], row["crb"]["amplitude_rms"]]) ** 2 / 7.2**2
    assert np.all((unit > 0.4) & (unit < 0.9)), "variance times photons: 1/2 when overlap leaves nothing coupled"


def test_four_patterns_tell_more_than_one(known, monkeypatch):
    given, positions = known
    groups = neighbour_groups(positions, np.zeros(len(positions), int), 4, 7, noise.stream(0, "views"))
    crop = slice(65, 85), slice(65, 85)
    found = limits.ratio(given, positions, groups, 1, crop)
    c1, c4 = np.array(found["c1"]), np.array(found["c4"])
    assert found["groups"] == 1 and np.all(np.diff(c1) < 0) and np.all(np.diff(c4) < 0)
    assert np.all((found["dense_over_baseline"] < np.array([0.9, 0.8, 0.7])) & (c4 > 0))
    assert found["dense_over_baseline"] == pytest.approx(c4 / c1, rel=1e-4)
    monkeypatch.setattr(limits, "MOST", 1000)
    assert limits.ratio(given, positions, groups, 1, crop) is None, "too large to compute"


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
    given, positions = known
    side, rng = 24, np.random.default_rng(5)
    crop = limits.middle((slice(40, 111), slice(40, 111)), side, 4)
    matrix = fisher.information(given.obj, given.probe, positions, crop)
    cov = fisher.covariance(matrix, np.arange(len(matrix))) / 100
    image = given.obj[crop].astype(complex)
    draws = np.linalg.cholesky(cov) @ rng.standard_normal((2 * side**2, 200))
    _, signal = fisher.ring_signal(image)
    line = fisher.frc_with_truth(signal / fisher.ring_noise(cov, image))
    curves = []
    for draw in draws.T:
        a, phi = draw.reshape(2, side, side)
        curves.append(frc.ring_correlation(image, image * (1 + a + 1j * phi)).correlation)
    assert np.abs(np.mean(curves, axis=0) - line)[frc.FIRST_RING :].max() < 0.03
    assert len(line) == len(curves[0])
