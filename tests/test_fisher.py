"""Fisher information against score, maximum likelihood and exact laws."""

from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy import fft, optimize

from ptychodose.bounds import fisher, limits
from ptychodose.errors import StudyError
from ptychodose.physics import forward, noise, simulate, textures
from ptychodose.scans import tensors
from ptychodose.scans.scan import Scan, of_arrays

N = 16


@dataclass(frozen=True)
class Tiny:
    """obj (H, W), a planned scan whose probe (1, N, N) has unit energy, the crop that all light falls into."""

    obj: np.ndarray
    scan: Scan
    crop: tuple[slice, slice]

    def at(self, dose=1.0, background=0.0):
        probe = (self.scan.probe * np.sqrt(dose)).astype(np.complex64)
        return replace(self.scan, probe=probe, background=np.full((N, N), background))

    def information(self, dose=1.0, background=0.0, chosen=slice(None), crop=None):
        return fisher.information(self.at(dose, background), self.obj, crop or self.crop, chosen)

    def image(self, margin=0):
        return self.obj[self.crop].ravel()[fisher.centre(self.obj[self.crop].shape, margin)].astype(complex)


def tiny(step=3.0, side=13.0, shape=(30, 31)):
    """A scan of side x side px in steps of `step` px over a small object; a curved spot as probe, that spreads light
    over the whole detector: where most pixels expect no photon, no estimate is unbiased."""
    rng = noise.stream(0, "object")
    obj = textures.synthetic_object((160, 160), 0.4, 0.1, rng)[: shape[0], : shape[1]].astype(np.complex64)
    square = ((np.indices((N, N)) - N // 2) ** 2).sum(0)
    probe = np.exp(0.2j * square) / (1 + np.exp((np.sqrt(square) - 4) / 0.4))
    probe /= np.sqrt((np.abs(probe) ** 2).sum())
    ends = [(length - side) / 2 for length in shape]
    axes = [np.arange(start, start + side, step) + 0.3 for start in ends]
    positions = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 2)
    scan = of_arrays(None, probe.astype(np.complex64), positions, obj.shape)
    return Tiny(obj, scan, tuple(slice(0, n) for n in shape))


@pytest.fixture(scope="module")
def case():
    return tiny()


def alike(a, b, tolerance):
    return np.abs(a - b).max() < tolerance * np.abs(b).max()


def scores(case, scan, draws, rng):
    """Gradients (draws, 2 n) of the log-likelihood at the truth, by the study's own forward model."""
    index = np.arange(len(scan))[None]
    patterns = tensors.patterns(
        scan, index, tensors.corners_of(scan, index)[0], scan.shape, np.zeros((1, len(scan), N, N)), (1, 1)
    )
    mask = None if patterns.mask is None else patterns.mask.double()
    probes = forward.shift_probe(
        torch.from_numpy(scan.probe).to(torch.complex128), tensors.corners_of(scan, index)[1][:, :, None]
    )
    patterns = replace(patterns, probes=probes, background=patterns.background.double(), mask=mask)
    obj = torch.from_numpy(case.obj).to(torch.complex128)[None]
    rate = forward.expected(obj, patterns)
    found = []
    for _ in range(draws // 100):
        counts = torch.from_numpy(rng.poisson(rate.expand(100, *rate.shape[1:]).numpy())).double()
        seen = replace(patterns, counts=counts, corners=patterns.corners.expand(100, -1, -1))
        # dL = 2 Re(conj(gradient) dO) with dO = O (da + i dphi), and the score is minus the gradient of L.
        local = (-2 * forward.gradient(obj.expand(100, -1, -1), seen) * obj.conj()).flatten(1).numpy()
        found.append(np.concatenate([local.real, local.imag], 1))
    return np.concatenate(found)


@pytest.mark.parametrize("kind", ["clean", "background", "mask", "modes"])
def test_fisher_information_is_the_covariance_of_the_score(case, kind, monkeypatch):
    monkeypatch.setattr(forward, "FLOOR", 1e-12)
    draws, scan = 2000, case.at(3e4, 0.5 if kind == "background" else 0.0)
    if kind == "mask":
        scan = replace(scan, mask=np.random.default_rng(0).random((N, N)) < 0.8)
    if kind == "modes":
        scan = replace(scan, probe=np.concatenate([scan.probe, 0.4 * np.roll(scan.probe, 3, 1)]))
    matrix = fisher.information(scan, case.obj, case.crop)
    found = scores(case, scan, draws, np.random.default_rng(1))
    lit = matrix.diagonal() > 1e-2 * matrix.diagonal().max()
    assert np.median((found**2).mean(0)[lit] / matrix.diagonal()[lit]) == pytest.approx(1, abs=0.015)
    directions = np.random.default_rng(2).standard_normal((200, len(matrix)))
    expected = np.einsum("dp,pq,dq->d", directions, matrix, directions)
    ratio = ((found @ directions.T) ** 2).mean(0) / expected
    assert np.median(ratio) == pytest.approx(1, abs=0.015)
    assert ratio.std() < 2 * np.sqrt(2 / draws), "no direction is off by more than its Monte-Carlo error"


def test_the_information_is_that_of_the_formula_written_out(case):
    obj, scan = case.obj, case.at(25.0)
    crop = slice(9, 20), slice(8, 17)
    psi = simulate.exit_waves(obj, simulate.probe_spectrum(scan.probe), scan.positions[7:8])[0, 0]
    corner = np.rint(scan.positions[7]).astype(int) - N // 2
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
        found = case.information(25.0, background, slice(7, 8), crop)
        assert alike(found, 4 * a.T @ a, 1e-9)


def fit(obj, scan, counts, free, start, precision=None):
    """Log-amplitudes and phases (2 f,) of the pixels `free` that make counts (corner layout) and prior likeliest."""
    positions = scan.positions
    probes = simulate.shifted_probes(simulate.probe_spectrum(scan.probe), positions - np.rint(positions))[:, 0]
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
        pull = 0 * values if precision is None else precision @ values
        value = (rate - counts - counts * np.log(rate / np.maximum(counts, 1))).sum() + pull @ values / 2
        return value, np.concatenate([local.real, local.imag]) + pull

    options = {"maxiter": 1000, "maxcor": 20, "ftol": 1e-13, "gtol": 1e-4}
    return optimize.minimize(loss, start, jac=True, method="L-BFGS-B", options=options).x


def measured(obj, probe, positions, rng):
    """Poisson counts (m, N, N), corner layout."""
    return rng.poisson(fft.ifftshift(simulate.expected_counts(obj, probe, positions), axes=(1, 2)))


def logarithm(obj):
    return np.concatenate([np.log(np.abs(obj)), np.angle(obj)]).astype(float)


def test_maximum_likelihood_reaches_the_bound(case):
    scan = case.at(100 * 9)  # 100 photons per pixel
    matrix = fisher.information(scan, case.obj, case.crop)
    count = case.obj.size
    light = matrix.diagonal()[:count]
    free = np.flatnonzero(light > 1e-2 * light.max())  # dark pixels count as known, here and in the bound
    chosen = fisher.both(free, count)
    inner = np.searchsorted(chosen, fisher.both(fisher.centre(case.obj.shape, 10), count))
    bound = fisher.covariance(matrix[np.ix_(chosen, chosen)], inner, fisher.global_phase(len(free))).diagonal()
    rng, truth, squares = np.random.default_rng(3), logarithm(case.obj.ravel()[free]), []
    for _ in range(6):
        counts = measured(case.obj, scan.probe, scan.positions, rng)
        start = truth + 0.05 * rng.standard_normal(len(truth))
        error = fit(case.obj, scan, counts, free, start) - truth
        error[len(free) :] -= error[len(free) :].mean()  # the global phase
        squares.append(error[inner] ** 2)
    ratio = np.sqrt(np.mean(squares) / bound.mean())
    assert 0.9 < ratio < 1.15, ratio


@pytest.mark.slow
def test_the_most_probable_object_reaches_the_bayesian_bound(case):
    """Objects drawn from the prior, reconstructed from a flat start with that prior: the mean error is the bound's."""
    scan = case.at(30 * 9)
    matrix = fisher.information(scan, case.obj, case.crop)
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
        matrix = fisher.information(scan, obj, case.crop)[np.ix_(chosen, chosen)]
        expected.append(fisher.covariance(matrix + precision, keep).diagonal())
        counts = measured(obj, scan.probe, scan.positions, rng)
        error = fit(obj, scan, counts, free, 0 * truth, precision) - truth
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
    assert scale @ matrix @ scale == pytest.approx(
        4 * simulate.transmitted(case.obj, case.scan.probe, case.scan.positions).sum()
    )
    smaller = case.information(crop=(slice(8, 22), slice(8, 22)))
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
