"""The limit: Fisher information against score, maximum likelihood and exact laws; bounds, priors, FRC lines."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy import fft, optimize

from ptychodose import fisher, forward, frc, limits, noise, phantom, scan, simulate
from ptychodose.errors import StudyError

N = 16


@dataclass(frozen=True)
class Tiny:
    """obj (H, W), probe (N, N) of unit energy, positions (m, 2) px, the crop that all light falls into."""

    obj: np.ndarray
    probe: np.ndarray
    positions: np.ndarray
    crop: tuple[slice, slice]

    def information(self, dose=1.0, background=0.0, chosen=slice(None)):
        probe = (self.probe * np.sqrt(dose)).astype(np.complex64)
        return fisher.information(self.obj, probe, self.positions[chosen], self.crop, background)

    def image(self, margin=0):
        return self.obj[self.crop].ravel()[fisher.centre(self.obj[self.crop].shape, margin)].astype(complex)


def tiny(step=3.0, side=13.0, shape=(30, 31)):
    """A scan of side x side px in steps of `step` px over a small object; a curved spot as probe, that spreads light
    over the whole detector: where most pixels expect no photon, no estimate is unbiased."""
    rng = noise.stream(0, "object")
    obj = phantom.synthetic_object((160, 160), 0.4, 0.1, rng)[: shape[0], : shape[1]].astype(np.complex64)
    square = ((np.indices((N, N)) - N // 2) ** 2).sum(0)
    probe = np.exp(0.2j * square) / (1 + np.exp((np.sqrt(square) - 4) / 0.4))
    probe /= np.sqrt((np.abs(probe) ** 2).sum())
    ends = [(length - side) / 2 for length in shape]
    axes = [np.arange(start, start + side, step) + 0.3 for start in ends]
    positions = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 2)
    return Tiny(obj, probe.astype(np.complex64), positions, tuple(slice(0, n) for n in shape))


@pytest.fixture(scope="module")
def case():
    return tiny()


def alike(a, b, tolerance):
    return np.abs(a - b).max() < tolerance * np.abs(b).max()


def scores(case, dose, draws, rng):
    """Gradients (draws, 2 n) of the log-likelihood at the truth, by the study's own forward model."""
    positions = torch.from_numpy(case.positions)
    corners, offsets = forward.split_positions(positions, N)
    probes = forward.shift_probe(torch.from_numpy(case.probe).to(torch.complex128) * dose**0.5, offsets)[None]
    obj = torch.from_numpy(case.obj).to(torch.complex128)[None]
    rate = forward.rate(obj, corners[None], probes)
    found = []
    for _ in range(draws // 100):
        counts = torch.from_numpy(rng.poisson(rate.expand(100, *rate.shape[1:]).numpy()))
        every = obj.expand(100, -1, -1), corners.expand(100, -1, -1), probes.expand(100, -1, -1, -1)
        # dL = 2 Re(conj(gradient) dO) with dO = O (da + i dphi), and the score is minus the gradient of L.
        local = (-2 * forward.likelihood_gradient(*every, counts, 1e-12) * obj.conj()).flatten(1).numpy()
        found.append(np.concatenate([local.real, local.imag], 1))
    return np.concatenate(found)


def test_fisher_information_is_the_covariance_of_the_score(case):
    dose, draws = 3e4, 2000
    matrix = case.information(dose)
    found = scores(case, dose, draws, np.random.default_rng(1))
    lit = matrix.diagonal() > 1e-2 * matrix.diagonal().max()
    assert np.median((found**2).mean(0)[lit] / matrix.diagonal()[lit]) == pytest.approx(1, abs=0.01)
    directions = np.random.default_rng(2).standard_normal((200, len(matrix)))
    expected = np.einsum("dp,pq,dq->d", directions, matrix, directions)
    ratio = ((found @ directions.T) ** 2).mean(0) / expected
    assert np.median(ratio) == pytest.approx(1, abs=0.01)
    assert ratio.std() < 2 * np.sqrt(2 / draws), "no direction is off by more than its Monte-Carlo error"


def test_the_information_is_that_of_the_formula_written_out(case):
    obj, probe = case.obj, (5 * case.probe).astype(np.complex64)
    crop = slice(9, 20), slice(8, 17)
    psi = simulate.exit_waves(obj, simulate.probe_spectrum(probe), case.positions[7:8])[0]
    corner = np.rint(case.positions[7]).astype(int) - N // 2
    parts = []
    for y in range(crop[0].start, crop[0].stop):
        for x in range(crop[1].start, crop[1].stop):
            one = np.zeros((N, N), complex)
            inside = tuple(np.array([y, x]) - corner)
            if min(inside) >= 0 and max(inside) < N:
                one[inside] = psi[inside]
            parts.append(fft.fft2(one, norm="ortho").ravel())
    far = fft.fft2(psi, norm="ortho").ravel()
    for background in (0.0, 0.2):
        root = np.exp(-1j * np.angle(far)) * np.sqrt(np.abs(far) ** 2 / (np.abs(far) ** 2 + background))
        b = root[:, None] * np.array(parts).T
        a = np.concatenate([b.real, (1j * b).real], 1)
        found = fisher.information(obj, probe, case.positions[7:8], crop, background)
        assert alike(found, 4 * a.T @ a, 1e-9)


def fit(obj, probe, positions, counts, free, start, precision=None, mean=0.0):
    """Log-amplitudes and phases (2 f,) of the pixels `free` that make counts (corner layout) and prior likeliest."""
    probes = simulate.shifted_probes(simulate.probe_spectrum(probe), positions - np.rint(positions))
    corners = np.rint(positions).astype(int) - N // 2
    full = obj.astype(complex).ravel()

    def loss(values):
        a, phi = values.reshape(2, -1)
        full[free] = np.exp(a + 1j * phi)
        image, gradient = full.reshape(obj.shape), np.zeros(obj.shape, complex)
        far = fft.fft2(probes * np.array([image[y : y + N, x : x + N] for y, x in corners]), norm="ortho")
        rate = np.abs(far) ** 2 + 1e-12
        back = probes.conj() * fft.ifft2((1 - counts / rate) * far, norm="ortho")
        for (y, x), patch in zip(corners, back, strict=True):
            gradient[y : y + N, x : x + N] += patch
        local = 2 * (gradient * image.conj()).ravel()[free]
        pull = 0 * values if precision is None else precision @ (values - mean)
        value = (rate - counts - counts * np.log(rate / np.maximum(counts, 1))).sum() + pull @ (values - mean) / 2
        return value, np.concatenate([local.real, local.imag]) + pull

    options = {"maxiter": 1000, "maxcor": 20, "ftol": 1e-13, "gtol": 1e-4}
    return optimize.minimize(loss, start, jac=True, method="L-BFGS-B", options=options).x


def measured(obj, probe, positions, rng):
    """Poisson counts (m, N, N), corner layout."""
    return rng.poisson(fft.ifftshift(simulate.expected_counts(obj, probe, positions), axes=(1, 2)))


def logarithm(obj):
    return np.concatenate([np.log(np.abs(obj)), np.angle(obj)]).astype(float)


def test_maximum_likelihood_reaches_the_bound(case):
    probe = (case.probe * np.sqrt(100 * 9)).astype(np.complex64)  # 100 photons per pixel
    matrix = fisher.information(case.obj, probe, case.positions, case.crop)
    count = case.obj.size
    light = matrix.diagonal()[:count]
    free = np.flatnonzero(light > 1e-2 * light.max())  # dark pixels count as known, here and in the bound
    chosen = fisher.both(free, count)
    inner = np.searchsorted(chosen, fisher.both(fisher.centre(case.obj.shape, 10), count))
    bound = fisher.covariance(matrix[np.ix_(chosen, chosen)], inner, fisher.global_phase(len(free))).diagonal()
    rng, truth, squares = np.random.default_rng(3), logarithm(case.obj.ravel()[free]), []
    for _ in range(6):
        counts = measured(case.obj, probe, case.positions, rng)
        start = truth + 0.05 * rng.standard_normal(len(truth))
        error = fit(case.obj, probe, case.positions, counts, free, start) - truth
        error[len(free) :] -= error[len(free) :].mean()  # the global phase
        squares.append(error[inner] ** 2)
    ratio = np.sqrt(np.mean(squares) / bound.mean())
    assert 0.9 < ratio < 1.15, ratio


def test_the_most_probable_object_reaches_the_bayesian_bound(case):
    """Objects drawn from the prior, reconstructed from a flat start with that prior: the mean error is the bound's."""
    probe = (case.probe * np.sqrt(30 * 9)).astype(np.complex64)
    matrix = fisher.information(case.obj, probe, case.positions, case.crop)
    light = matrix.diagonal()[: case.obj.size]
    free = np.flatnonzero(light > 1e-2 * light.max())
    chosen, inner = fisher.both(free, case.obj.size), fisher.centre(case.obj.shape, 10)
    prior, pixels = limits.prior_of(case.obj), np.stack(np.unravel_index(free, case.obj.shape), -1)
    root, precision = np.linalg.cholesky(prior.covariance(pixels)), prior.precision(pixels)
    keep = fisher.both(np.searchsorted(free, inner), len(free))
    rng, found, expected = np.random.default_rng(4), [], []
    for _ in range(8):
        truth = root @ rng.standard_normal(2 * len(free))
        obj = case.obj.copy()
        obj.ravel()[free] = np.exp(truth[: len(free)] + 1j * truth[len(free) :])
        matrix = fisher.information(obj, probe, case.positions, case.crop)[np.ix_(chosen, chosen)]
        expected.append(fisher.covariance(matrix + precision, keep).diagonal())
        counts = measured(obj, probe, case.positions, rng)
        error = fit(obj, probe, case.positions, counts, free, 0 * truth, precision) - truth
        found.append(error[keep] ** 2)
    assert np.mean(expected) < 0.5 * prior.covariance(pixels)[np.ix_(keep, keep)].diagonal().mean()
    assert np.sqrt(np.mean(found) / np.mean(expected)) == pytest.approx(1, abs=0.15)


def test_information_is_proportional_to_dose_only_without_background(case):
    unit = case.information()
    assert alike(case.information(100.0), 100 * unit, 1e-6)
    noisy, clean = case.information(100.0, 0.1), case.information(100.0)
    assert np.linalg.eigvalsh(clean - noisy).min() > -1e-6 * clean.max(), "background costs in every direction"
    assert np.trace(noisy) < 0.95 * np.trace(clean)
    assert np.trace(case.information(200.0, 0.1)) > 2.01 * np.trace(noisy), "more than twice: the background sinks"


def test_patterns_add_up(case):
    first, second = case.information(chosen=slice(0, 9)), case.information(chosen=slice(9, None))
    total = case.information()
    assert alike(first + second, total, 1e-12)


def test_global_phase_is_the_null_vector_only_when_all_light_is_inside(case):
    matrix, count = case.information(), case.obj.size
    null = fisher.global_phase(count)
    assert np.abs(matrix @ null).max() < 1e-9 * matrix.max()
    scale = np.repeat([1.0, 0.0], count)
    assert scale @ matrix @ scale == pytest.approx(4 * simulate.transmitted(case.obj, case.probe, case.positions).sum())
    smaller = fisher.information(case.obj, case.probe, case.positions, (slice(8, 22), slice(8, 22)))
    inside = fisher.global_phase(14 * 14)
    assert inside @ smaller @ inside > 1e-3 * smaller.max(), "the known surroundings fix the phase"


def test_removing_the_null_vector_gives_the_pseudo_inverse(case):
    crop = case.information() + np.diag(np.repeat([1e-3, 0], case.obj.size))
    phases = crop[case.obj.size :, case.obj.size :]
    core = np.flatnonzero(phases.diagonal() > 0.05 * phases.diagonal().max())
    block = phases[np.ix_(core, core)]
    gauge = np.ones(len(core)) / np.sqrt(len(core))
    project = np.eye(len(core)) - np.outer(gauge, gauge)
    singular = project @ block @ project
    found = fisher.covariance(singular, np.arange(5), gauge)
    assert found == pytest.approx(np.linalg.pinv(singular, hermitian=True)[:5, :5], rel=1e-6, abs=1e-9)


def test_what_no_pattern_sees_is_refused(case):
    matrix = case.information(chosen=slice(0, 1))
    with pytest.raises(StudyError, match="do not determine"):
        fisher.covariance(matrix, np.arange(3))


def test_more_overlap_at_the_same_photons_never_hurts():
    found = []
    for step in (2.0, 3.0, 4.8, 6.0, 8.0):
        case = tiny(step=step, side=24.1, shape=(44, 44))
        middle = slice(12, 32), slice(12, 32)
        per_pixel = case.information(step**2)  # one photon per pixel
        count = case.obj.size
        chosen = fisher.both(np.arange(count).reshape(case.obj.shape)[middle].ravel(), count)
        cov = fisher.covariance(per_pixel[np.ix_(chosen, chosen)], fisher.both(fisher.centre((20, 20), 5), 400))
        found.append(fisher.errors(cov.diagonal(), case.obj[17:27, 17:27].ravel().astype(complex))["nrmse"])
    assert all(finer < 1.01 * coarser for finer, coarser in pairwise(found)), found
    assert found[-1] > 1.2 * found[0], "and here, with little overlap left, it pays"


@pytest.fixture(scope="module")
def known():
    """A default-like object and probe at a dose of 1, and positions of a dense scan around its middle."""
    obj = phantom.synthetic_object((150, 150), 0.55, 0.12, noise.stream(0, "object")).astype(np.complex64)
    probe = phantom.zone_plate_probe(64, 8800, 1.0, 172e-6, 29.26e-9, 0.4, 60.5e-6, 0.7).astype(np.complex64)
    lattice = scan.finest_scan((40.0, 110.0), (40.0, 110.0), 7.2, noise.stream(0, "jitter/test"))
    probe = simulate.scale_to_dose(obj, probe, lattice.positions, 1.0)
    return limits.Known(obj, probe, limits.prior_of(obj)), lattice.positions


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
    groups = scan.neighbour_groups(positions, np.zeros(len(positions), int), 4, 7, noise.stream(0, "views"))
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
