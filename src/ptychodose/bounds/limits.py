"""The limit lines: Cramér-Rao and Bayesian bounds of a view over the dose, and of groups of C patterns.

The Bayesian bound (I + Sigma^-1)^-1 (van Trees, Detection, Estimation and Modulation Theory I, 1968, section 2.4)
adds what is known beforehand: a stationary Gaussian prior with the object's own mean spectra of log-amplitude and
phase. Among priors of these spectra the Gaussian says least, so this is the limit of whoever knows the spectra and
no more; a method that also knows about edges, or learned the family of objects, may fall below it. Both bounds are
local (the information is taken at the truth): single patterns and very low doses can do much worse.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import fft
from scipy.signal.windows import tukey

from ptychodose.bounds import fisher
from ptychodose.bounds.fisher import Crop
from ptychodose.errors import StudyError
from ptychodose.physics import overlap, simulate
from ptychodose.score import frc

DOSES = (1e2, 3e2, 1e3, 3e3, 1e4, 3e4, 1e5, 3e5, 1e6)  # of the Bayesian curve, photons per pattern
GROUP_DOSES = (1e3, 1e4, 1e5)  # of the ratio between group sizes
LEAST = 8  # px: a smaller region has no spectrum to speak of
LIT = 0.01  # pixels with less than this share of a group's brightest pixel count as known
MOST = 3000  # px lit by a group, beyond which 20 GB of memory and minutes would be needed
DIM = 1e-3  # amplitudes below this are taken as this in the logarithm
WHITE = 1e-8  # least prior variance per Fourier mode: keeps a flat amplitude's prior invertible


@dataclass(frozen=True)
class Prior:
    """Autocovariances (H, W) by lag (y, x), zero lag in the corner, periodic: of log-amplitude and of phase (rad^2)."""

    amplitude: NDArray[np.float64]
    phase: NDArray[np.float64]

    def covariance(self, pixels: NDArray[np.int64]) -> NDArray[np.float64]:
        """Prior covariance (2 n, 2 n) of `pixels` (n, 2), y then x; amplitude and phase are independent in it."""
        return self._blocks(pixels, inverted=False)

    def precision(self, pixels: NDArray[np.int64]) -> NDArray[np.float64]:
        """Inverse of `covariance`."""
        return self._blocks(pixels, inverted=True)

    def _blocks(self, pixels: NDArray[np.int64], inverted: bool) -> NDArray[np.float64]:
        count = len(pixels)
        lag = pixels[:, None, :] - pixels[None, :, :]  # (n, n, 2)
        made = np.zeros((2 * count, 2 * count))
        for i, values in enumerate((self.amplitude, self.phase)):
            block = values[lag[..., 0] % len(values), lag[..., 1] % values.shape[1]]
            part = slice(i * count, (i + 1) * count)
            made[part, part] = fisher.inverse(block) if inverted else block
        return made


@dataclass(frozen=True)
class Known:
    """What the bounds take as given: obj (H, W) the truth, probe (N, N) scaled to a dose of 1 photon, the prior."""

    obj: NDArray[np.complex64]
    probe: NDArray[np.complex64]
    prior: Prior


def prior_of(obj: NDArray[np.complexfloating]) -> Prior:
    """The stationary Gaussian prior of an object (H, W): its own radially averaged spectra."""
    amplitude = np.sqrt(obj.real.astype(np.float64) ** 2 + obj.imag.astype(np.float64) ** 2)
    return Prior(_autocovariance(np.log(np.maximum(amplitude, DIM))), _autocovariance(unwrapped_phase(obj)))


def unwrapped_phase(obj: NDArray[np.complexfloating]) -> NDArray[np.float64]:
    """Phase (H, W) in rad about zero mean, the least-squares fit to the wrapped differences of neighbours (Ghiglia &
    Romero, J. Opt. Soc. Am. A 11, 107 (1994)): the plain angle wherever no true step between neighbours exceeds pi."""
    divergence = np.zeros(obj.shape)
    for axis in (0, 1):
        ahead, behind = np.delete(obj, 0, axis), np.delete(obj, -1, axis)
        step = np.angle(ahead * behind.conj()).astype(np.float64)
        pad = [(0, 0), (0, 0)]
        pad[axis] = (1, 1)
        divergence += np.diff(np.pad(step, pad), axis=axis)
    waves = [2 * np.cos(np.pi * np.arange(length) / length) - 2 for length in obj.shape]
    laplacian = waves[0][:, None] + waves[1][None, :]
    laplacian[0, 0] = 1
    spectrum = fft.dctn(divergence, norm="ortho") / laplacian
    spectrum[0, 0] = 0
    return fft.idctn(spectrum, norm="ortho")


def _autocovariance(image: NDArray[np.float64]) -> NDArray[np.float64]:
    """Autocovariance (H, W) by periodic lag from the power spectrum averaged over rings one mode wide."""
    window = np.outer(*(tukey(length, frc.TAPER) for length in image.shape))
    spectrum = fft.fft2((image - image.mean()) * window)
    power = (spectrum.real**2 + spectrum.imag**2) / (window**2).sum()
    radius = np.hypot(*np.meshgrid(*map(fft.fftfreq, image.shape), indexing="ij"))
    ring = np.rint(radius * min(image.shape)).astype(int)
    mean = np.bincount(ring.ravel(), power.ravel()) / np.maximum(np.bincount(ring.ravel()), 1)
    return fft.ifft2(np.maximum(mean, WHITE)[ring]).real


def middle(region: Crop, size: int, margin: int) -> Crop:
    """The `size` x `size` px crop in the middle of a region, to be reported without `margin` px along its rim.

    Raises StudyError when the crop does not fit or less than LEAST px of it are reported.
    """
    if size - 2 * margin < LEAST:
        raise StudyError(f"limit.margin: {margin} px leave less than {LEAST} px of a crop of {size} px; lower it")
    if any(part.stop - part.start < size for part in region):
        spans = " x ".join(str(part.stop - part.start) for part in region)
        raise StudyError(f"limit.crop: {size} px do not fit the scored region of {spans} px; lower it")
    starts = [(part.start + part.stop - size) // 2 for part in region]
    return slice(starts[0], starts[0] + size), slice(starts[1], starts[1] + size)


def of_view(known: Known, positions: NDArray[np.float64], crop: Crop, margin: int) -> dict[str, object]:
    """Limits of a scan, JSON-able: `crb` at dose 1, `bayes` over DOSES (photons per pattern), `frc` per ring.

    positions (m, 2) px of one complete scan. Reported on the pixels of the square `crop` at least `margin` px from
    its rim. The errors of `crb` fall as 1 / sqrt(dose), `ssnr_per_dose` grows as the dose (limit lines:
    `fisher.frc_with_truth`, `fisher.frc_of_halves`). The posterior mean has an FRC with the truth of
    sqrt(1 - posterior / prior error): `bayes_with_truth`, a line per dose. Raises StudyError when the scan leaves
    pixels undetermined.
    """
    size = crop[0].stop - crop[0].start
    pixels, inner = np.indices((size, size)).reshape(2, -1).T, fisher.centre((size, size), margin)
    keep = fisher.both(inner, len(pixels))
    image = known.obj[crop].ravel()[inner].reshape(2 * [size - 2 * margin]).astype(np.complex128)
    matrix = fisher.put_last(fisher.information(known.obj, known.probe, positions, crop), keep)
    precision = fisher.put_last(known.prior.precision(pixels), keep)
    bound = fisher.trailing_covariance(matrix.copy(), len(keep))
    crb = fisher.errors(bound.diagonal(), image.ravel())
    frequency, signal = fisher.ring_signal(image)
    expected = fisher.ring_noise(known.prior.covariance(pixels[inner]), image)
    rows, lines = [], []
    for dose in DOSES:
        posterior = fisher.trailing_covariance(dose * matrix + precision, len(keep))
        rows.append(fisher.errors(posterior.diagonal(), image.ravel()))
        lines.append(rounded(np.sqrt(np.maximum(1 - fisher.ring_noise(posterior, image) / expected, 0))))
    return {
        "crb": {key: rounded(value) for key, value in crb.items()},
        "bayes": {"dose": list(DOSES), **{key: [rounded(row[key]) for row in rows] for key in rows[0]}},
        "frc": {
            "frequency": rounded(frequency),
            "ssnr_per_dose": rounded(signal / fisher.ring_noise(bound, image)),
            "bayes_with_truth": lines,
        },
    }


def photons(known: Known, positions: NDArray[np.float64], step: float) -> dict[str, object]:
    """n-bar at a dose of 1 and alpha (see `measures`) of a scan (m, 2) with `step` px."""
    total = float(simulate.transmitted(known.obj, known.probe, positions).sum())
    return {
        "photons_per_pixel_per_dose": rounded(overlap.photons_per_pixel(total, len(positions), step)),
        "alpha": rounded(overlap.sampling_ratio(len(known.probe), step)),
    }


def lit_pixels(known: Known, positions: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Pixels (n, 2), y then x, that patterns at `positions` (C, 2) light (see LIT), and their photons (n,)."""
    light = illumination(known.probe, positions, known.obj.shape)
    lit = np.argwhere(light > LIT * light.max())
    return lit, light[tuple(lit.T)]


def of_group(known: Known, positions: NDArray[np.float64], doses: Sequence[float]) -> NDArray[np.float64]:
    """Bayesian NRMSE (d,) at each of `doses` of what a group of C patterns at `positions` (C, 2) px shows.

    Over the pixels the group lights, weighted by its photons, without the group's own global phase (the weighted
    mean, which no diffraction pattern tells); pixels beyond count as known.
    """
    lit, weights = lit_pixels(known, positions)
    low, high = lit.min(0), lit.max(0) + 1
    crop = slice(int(low[0]), int(high[0])), slice(int(low[1]), int(high[1]))
    inside = np.ravel_multi_index(tuple((lit - low).T), tuple(high - low))
    chosen = fisher.both(inside, int(np.prod(high - low)))
    matrix = fisher.information(known.obj, known.probe, positions, crop).take(chosen, axis=0).take(chosen, axis=1)
    precision = known.prior.precision(lit)
    found = known.obj[tuple(lit.T)].astype(np.complex128)
    share = weights * (found.real**2 + found.imag**2)
    share /= share.sum()
    made = []
    for dose in doses:
        root = fisher.inverse_root(dose * matrix + precision)  # R, posterior covariance R^T R
        variance = np.einsum("ij,ij->j", root, root)
        common = ((root[:, len(lit) :] @ share) ** 2).sum()
        made.append(np.sqrt(fisher.errors(variance, found, weights)["nrmse"] ** 2 - common))
    return np.array(made)


def ratio(
    known: Known, positions: NDArray[np.float64], groups: NDArray[np.int64], wanted: int, crop: Crop
) -> dict[str, object] | None:
    """Errors of groups and of their anchors alone, averaged over the `wanted` groups nearest to the crop's centre.

    groups (n, C) of the scan at `positions` (m, 2) px. Keys: dose (GROUP_DOSES), c1 and c<C>, and the quotient
    c<C> / c1 as dense_over_baseline. None when a group lights more than MOST pixels: the matrices get too large.
    """
    target = [(part.start + part.stop - 1) / 2 for part in crop]
    distance = ((positions[groups].mean(1) - target) ** 2).sum(1)
    near = groups[np.argsort(distance, kind="stable")[:wanted]]
    if max(len(lit_pixels(known, positions[members])[0]) for members in near) > MOST:
        return None
    alone, together = (
        np.mean([of_group(known, positions[members], GROUP_DOSES) for members in kept], axis=0)
        for kept in (near[:, :1], near)
    )
    return {
        "dose": list(GROUP_DOSES),
        "groups": len(near),
        "c1": rounded(alone),
        f"c{groups.shape[1]}": rounded(together),
        "dense_over_baseline": rounded(together / alone),
    }


def illumination(
    probe: NDArray[np.complex64], positions: NDArray[np.float64], shape: tuple[int, ...]
) -> NDArray[np.float64]:
    """Photons per pixel (H, W) that patterns at `positions` (m, 2) px would bring an empty object."""
    light, corners = np.zeros(shape), np.rint(positions).astype(np.int64) - len(probe) // 2
    waves = simulate.exit_waves(np.ones(shape, np.complex64), simulate.probe_spectrum(probe), positions)
    for (y, x), wave in zip(corners, waves, strict=True):
        light[y : y + len(probe), x : x + len(probe)] += wave.real**2 + wave.imag**2
    return light


def rounded(value: float | NDArray[np.float64]) -> float | list[float]:
    """To 6 significant digits, so that the last bits of a CPU's linear algebra do not reach the file."""
    if isinstance(value, np.ndarray):
        return [float(f"{item:.5e}") for item in value]
    return float(f"{value:.5e}")
