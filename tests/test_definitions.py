"""Published constants and definitions, each against a value that was worked out apart from the code."""

import csv

import numpy as np
import pytest
import torch
from scipy import fft
from scipy.ndimage import fourier_shift

from ptychodose.networks import fitting
from ptychodose.physics import noise, textures
from ptychodose.physics.probes import Geometry
from ptychodose.score import align, frc, metrics, scoring

# van Heel & Schatz, J. Struct. Biol. 151, 250 (2005): 1/2 bit is (0.2071 + 1.9102 / sqrt(n)) / (1.2071 + 0.9102 /
# sqrt(n)), 1 bit is (0.5 + 2.4142 / sqrt(n)) / (1.5 + 1.4142 / sqrt(n)); the values by hand, the last line the limit.
THRESHOLDS = {10: (0.54261, 0.64885), 100: (0.30669, 0.45169), 1000: (0.21645, 0.37310), 10**14: (0.1716, 1 / 3)}
LINES = {"half_bit": 0, "one_bit": 1}


def rng(seed=0):
    return np.random.Generator(np.random.Philox(seed))


def noise_image(shape, seed=0):
    draw = rng(seed).standard_normal((2, *shape))
    return draw[0] + 1j * draw[1]


def fall(pixels, rings=1001):
    """A curve that falls evenly from 1 to 0: it crosses a constant threshold t at frequency 1 - t."""
    frequency = np.linspace(0, 1, rings)
    return frc.Curve(frequency, 1 - frequency, np.full(rings, float(pixels)))


# Fourier ring correlation


@pytest.mark.parametrize("pixels", THRESHOLDS)
def test_bit_thresholds_are_the_published_ones(pixels):
    expected = THRESHOLDS[pixels]
    found = [float(frc.bit_threshold(np.array([float(pixels)]), snr)[0]) for snr in (0.2071, 0.5)]
    assert found == pytest.approx(expected, abs=5e-5)
    for made in (frc.summary(fall(pixels), 1e-8), frc.half_summary(fall(pixels), 1e-8)):
        for name, number in LINES.items():
            assert made[name]["first"] == pytest.approx(1 - expected[number], abs=1e-4)
            assert made[name]["last"] == made[name]["first"]


def test_the_line_is_a_half_against_truth_and_a_seventh_between_halves():
    truth, halves = frc.summary(fall(50), 1e-8), frc.half_summary(fall(50), 1e-8)
    assert truth["0.5"]["first"] == pytest.approx(0.5, abs=1e-3) and "1/7" not in truth
    assert halves["1/7"]["first"] == pytest.approx(6 / 7, abs=1e-3) and "0.5" not in halves
    assert halves["1/7"]["first_half_period_nm"] == pytest.approx(10 * 7 / 6, rel=1e-3)


def test_the_taper_is_a_tukey_window_of_three_tenths():
    def window(length):
        edge = 0.3 * (length - 1) / 2  # px under the cosine at each end
        inner = np.minimum(np.arange(length), np.arange(length)[::-1])
        return np.where(inner < edge, 0.5 - 0.5 * np.cos(np.pi * inner / edge), 1.0)

    assert frc.taper((61, 40)) == pytest.approx(np.outer(window(61), window(40)), abs=1e-12)


@pytest.mark.parametrize("shape", [(24, 24), (31, 20), (20, 31)])
def test_rings_and_correlation_pixel_by_pixel(shape):
    a, b = noise_image(shape), noise_image(shape) + noise_image(shape, 1)
    spectra = [fft.fft2((image - image.mean()) * frc.taper(shape)) for image in (a, b)]
    last = min(shape) // 2
    sums = np.zeros((4, last + 1), complex)
    for y in range(shape[0]):
        for x in range(shape[1]):
            q = [min(k, length - k) / (length / 2) for k, length in zip((y, x), shape, strict=True)]  # of Nyquist
            ring = round(last * (q[0] ** 2 + q[1] ** 2) ** 0.5)
            if ring <= last:
                one, two = (spectrum[y, x] for spectrum in spectra)
                sums[:, ring] += one * two.conjugate(), abs(one) ** 2, abs(two) ** 2, 1
    curve = frc.ring_correlation(a, b)
    assert curve.correlation == pytest.approx(sums[0].real / np.sqrt(sums[1] * sums[2]).real)
    assert curve.frequency == pytest.approx(np.arange(last + 1) / last)
    assert curve.pixels == pytest.approx(sums[3].real * (frc.taper(shape) ** 2).mean())
    assert frc.ring_sums(np.abs(spectra[0]) ** 2) == pytest.approx(sums[1].real)


def test_correlation_is_signed_and_the_mean_plays_no_part():
    a, b = noise_image((40, 40)), noise_image((40, 40), 1)
    assert frc.ring_correlation(a, -a).correlation == pytest.approx(-1)
    assert frc.ring_correlation(a, 1j * a).correlation == pytest.approx(0, abs=1e-9)
    plain, moved = frc.ring_correlation(a, b), frc.ring_correlation(a + 100, b - 30j)
    assert moved.correlation == pytest.approx(plain.correlation, abs=1e-9)


def test_a_ring_without_signal_has_no_correlation():
    curve = frc.ring_correlation(np.ones((32, 32)), noise_image((32, 32)))
    assert np.isnan(curve.correlation).all() and frc.crossings(curve, 0.5) == (0.0, 0.0) and frc.area(curve) == 0


def test_rings_0_and_1_say_nothing():
    frequency = np.linspace(0, 1, 11)
    low = np.where(np.arange(11) < 2, 1.0, 0.0)
    third = np.where(np.arange(11) < 3, 1.0, 0.0)
    for values, at, mean in ((low, 0.0, 0.0), (third, 0.25, 1 / 9), (1 - low, 1.0, 1.0)):
        curve = frc.Curve(frequency, values, np.full(11, 50.0))
        assert frc.crossings(curve, 0.5) == (pytest.approx(at), pytest.approx(at))
        assert frc.area(curve) == pytest.approx(mean)
    assert frc.FIRST_RING == 2


def test_a_crossing_lies_on_the_straight_line_between_rings():
    curve = frc.Curve(np.linspace(0, 1, 6), np.array([1, 1, 0.9, 0.6, 0.2, 0.0]), np.ones(6))
    assert frc.crossings(curve, 0.5) == (pytest.approx(0.6 + 0.2 * 0.1 / 0.4), pytest.approx(0.65))
    assert frc.crossings(curve, 0.6)[0] == pytest.approx(0.6), "on the line is not yet below it"
    assert frc.half_period_nm(0.25, 12.8e-9) == pytest.approx(51.2), "half a period is a pixel at Nyquist"


# Alignment


@pytest.fixture(scope="module")
def truth():
    return textures.synthetic_object((128, 100), 0.55, 0.12, noise.stream(0, "object"))


def moved(image, shift):
    return fft.ifft2(fourier_shift(fft.fft2(image), shift))


INSIDE = (slice(14, -14 + 128), slice(14, -14 + 100))


@pytest.mark.parametrize(("pixels", "removed"), [(3.0, True), (3.9, True), (4.2, False), (5.0, False)])
@pytest.mark.parametrize("axis", [0, 1])
def test_a_shift_is_removed_up_to_four_pixels(truth, pixels, removed, axis):
    shift = np.zeros(2)
    shift[axis] = -pixels
    found = align.align(moved(truth, shift), truth, INSIDE)
    assert found.shift == (pytest.approx(tuple(-shift), abs=0.05) if removed else (0.0, 0.0))


def test_shift_and_ramp_go_only_when_that_lowers_the_error(truth):
    worse, target = align.clean(noise_image(truth.shape, 3)), truth[INSIDE]
    for image in (truth, worse, truth + 2 * worse):
        found, fixed = (align.align(image, truth, INSIDE, free).image for free in (True, False))
        assert metrics.nrmse(found, target) <= metrics.nrmse(fixed, target) + 1e-9
    same = align.align(truth, truth, INSIDE)
    assert same.ramp == same.shift == (0.0, 0.0) and same.region == INSIDE
    tilted = truth * np.exp(0.05j * np.arange(truth.shape[1]))
    assert align.align(tilted, truth, INSIDE).ramp == pytest.approx((0.0, 0.05), abs=1e-4)
    assert align.align(tilted, truth, INSIDE, free=False).ramp == (0.0, 0.0)


# Numbers of a row


def test_nrmse_correlation_and_misfit_of_known_vectors():
    image, truth = np.array([[3, 0], [0, 4j]]), np.array([[3, 0], [0, 0.0]])
    assert metrics.nrmse(image, truth) == pytest.approx(4 / 3), "divided by truth, not by the image"
    assert metrics.correlation(image, truth) == pytest.approx(3 / 5)
    assert align.misfit(image + 0j, truth + 0j) == pytest.approx(1 - 9 / 25)
    assert metrics.correlation(0 * image, truth) == 0 and align.misfit(0j * image, truth + 0j) == 1


def test_real_images_are_compared_over_the_range_of_truth(truth):
    b = np.abs(truth)
    a = b + 0.1 * np.where(np.indices(b.shape).sum(0) % 2, 1, -1)
    found = metrics.compare_real(a, b)
    assert found.keys() == {"mae", "psnr", "ssim"} and found["mae"] == pytest.approx(0.1)
    assert found["psnr"] == pytest.approx(20 * np.log10((b.max() - b.min()) / 0.1))
    assert metrics.compare_real(b, b) == {"mae": 0, "psnr": 200, "ssim": pytest.approx(1)}


def test_phase_is_unwrapped_beside_truth_and_an_empty_pixel_is_no_match():
    truth = np.exp(1j * np.array([[3.0, -3.0, 0.2, -0.2, 0.0]]))  # their circular mean is 0
    image = truth * np.exp(1j * np.array([[0.3, -0.3, 0.0, 0.0, 0.0]]))  # 3.3 and -3.3 rad, beyond the branch cut
    assert metrics.phase_beside(image, truth) == pytest.approx(np.array([[3.3, -3.3, 0.2, -0.2, 0.0]]))
    image[0, 0] = 0
    assert abs(metrics.phase_beside(image, truth)[0, 0] - 3.0) > 1


def test_deviance_by_hand():
    rate, counts = np.array([2.0, 1.0, 3.0]), np.array([2, 0, 5])
    assert metrics.poisson_deviance(rate, counts) == pytest.approx((0 + 2 + 2 * (3 - 5 + 5 * np.log(5 / 3))) / 3)


def test_a_row_says_what_was_measured_where(truth):
    region = (slice(20, 108), slice(15, 85))
    obj = (truth + 0.05 * noise_image(truth.shape)) * 2j
    obj[20:31, 15:85] = 0
    row = scoring.score(obj, truth, region, 12.8e-9)
    assert row["valid_fraction"] == pytest.approx(1 - 11 / 88)
    raw, inside = row["raw"], obj[region]
    factor = np.vdot(inside, truth[region]) / np.vdot(inside, inside)
    assert raw["nrmse"] == pytest.approx(
        np.linalg.norm(inside * factor - truth[region]) / np.linalg.norm(truth[region])
    )
    assert raw["scale"] == pytest.approx(abs(factor)) and raw["shift_px"] == [0.0, 0.0] == raw["ramp_rad_per_px"]
    assert raw["amplitude"]["mae"] == pytest.approx(np.abs(np.abs(inside * factor) - np.abs(truth[region])).mean())
    best = row["aligned"]
    assert scoring.headline(row) == {
        "nrmse": best["nrmse"], "phase_ssim": best["phase"]["ssim"], "frc50": best["frc"]["0.5"]["first"],
    }  # fmt: skip


def test_the_table_of_curves_leaves_rings_without_signal_empty(tmp_path):
    curves = {"a": [None, 0.5], "b": [1.0, 0.25]}
    rows = {name: {"aligned": {"frc": {"frequency": [0.0, 1.0], "correlation": c}}} for name, c in curves.items()}
    scoring.write_frc(tmp_path / "frc.csv", rows)
    with open(tmp_path / "frc.csv", newline="") as file:
        assert list(csv.reader(file)) == [["frequency", "a", "b"], ["0.0", "", "1.0"], ["1.0", "0.5", "0.25"]]


# Streams, thinning, wavelength


def test_the_tree_of_streams_is_a_contract():
    names = [
        "object", "noise/train", "noise/test", "jitter/train", "jitter/test", "views", "network", "procedural",
        "solver", "thinning",
    ]  # fmt: skip
    assert list(noise.STREAMS[:10]) == names, "new streams go to the end"
    for number, name in enumerate(names):
        child = np.random.SeedSequence(entropy=2026, spawn_key=(number, 3))
        expected = np.random.Generator(np.random.Philox(child)).random(5)
        assert (noise.stream(2026, name, 3).random(5) == expected).all()
    check = 0xDDEB7869  # CRC-32 of the name
    assert noise.stream(1, "views", "dense").random() == noise.stream(1, "views", check).random()


def test_thinning_keeps_the_asked_share_of_a_dose():
    counts = rng().poisson(40.0, (100, 16, 16))
    for share in (0.1, 0.9):
        kept = noise.thin(counts, share, rng(1))
        assert kept.sum() / counts.sum() == pytest.approx(share, rel=0.01)
        assert (kept <= counts).all() and kept.dtype == np.uint32


def test_wavelength_and_object_pixel_from_the_si():
    planck, light, charge = 6.62607015e-34, 299792458.0, 1.602176634e-19
    wavelength = planck * light / (8800 * charge)
    geometry = Geometry(8800, 2.0, 172e-6)
    assert geometry.wavelength_m == pytest.approx(wavelength, rel=1e-9)
    assert geometry.object_pixel(64) == pytest.approx(wavelength * 2.0 / (64 * 172e-6), rel=1e-9)


# Training


def updated(losses_of, size=3):
    """A Fit after one update on `losses_of(weights)`."""
    net = torch.nn.Module()
    net.weights = torch.nn.Parameter(torch.zeros(size))
    fit = fitting.Fit(net, 0.1, lambda i: 1.0, rng())
    fit.update(losses_of(net.weights))
    return fit


def test_each_step_counts_four_fifths_of_the_next_and_the_last_counts_one():
    fit = updated(lambda weights: 0.5 * weights + torch.tensor([3.0, 2.0, 1.0]))
    assert fit.net.weights.grad.tolist() == pytest.approx([0.5 * w / 2.44 for w in (0.64, 0.8, 1.0)])
    assert fit.recent == [1.0] and fit.updates == 1


def test_gradients_are_clipped_at_half():
    assert float(updated(lambda weights: 100 * weights).net.weights.grad.norm()) == pytest.approx(0.5, rel=1e-4)


def test_the_weights_of_the_lowest_loss_are_kept():
    fit = updated(lambda weights: weights)
    for loss, stale in ((2.0, 0), (1.0, 0), (1.0, 1), (3.0, 2)):
        with torch.no_grad():
            fit.net.weights.fill_(loss)
        fit.judge(loss, {"heldout_loss": loss})
        assert fit.stale == stale
        if loss == 1.0 and not stale:
            with torch.no_grad():
                kept = fit.net.weights.clone()
    assert fit.best == 1.0 and torch.equal(fit.weights["weights"], kept) and len(fit.history) == 4
