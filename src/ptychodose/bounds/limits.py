"""The limit lines: Cramér-Rao and Bayesian bounds of a view over the dose, and of groups of C patterns.

The Bayesian bound (I + Sigma^-1)^-1 (van Trees, Detection, Estimation and Modulation Theory I, 1968, section 2.4)
adds what is known beforehand: a stationary Gaussian prior with the object's own mean spectra of log-amplitude and
phase. Among priors of these spectra the Gaussian says least, so this is the limit of whoever knows the spectra and
no more; a method that also knows about edges, or learned the family of objects, may fall below it. Both bounds are
local (the information is taken at the truth): single patterns and very low doses can do much worse.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import fft

from ptychodose.bounds import fisher
from ptychodose.bounds.fisher import Crop
from ptychodose.errors import StudyError
from ptychodose.physics import forward, overlap, simulate
from ptychodose.scans import tensors
from ptychodose.scans.scan import Scan
from ptychodose.score import frc

DOSES = (1e2, 3e2, 1e3, 3e3, 1e4, 3e4, 1e5, 3e5, 1e6)  # of the Bayesian curve, photons per pattern
GROUP_DOSES = (1e3, 1e4, 1e5)  # of the ratio between group sizes
LEAST = 8  # px: a smaller region has no spectrum to speak of
KNOWN = 0.01  # pixels with less than this share of a group's brightest pixel count as known
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
    """What the bounds take as given: obj (H, W) the truth, the planned `scan` at a dose of 1 photon (its background
    and mask are those of the detector, whatever the dose), the prior."""

    obj: NDArray[np.complex64]
    scan: Scan
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
    window = frc.taper(image.shape)
    spectrum = fft.fft2((image - image.mean()) * window)
    power = (spectrum.real**2 + spectrum.imag**2) / (window**2).sum()
    ring = frc.ring_numbers(image.shape, min(image.shape))
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


def informations(
    known: Known, crop: Crop, doses: Sequence[float], index: NDArray[np.int64]
) -> Iterator[NDArray[np.float64]]:
    """Fisher information (2 n, 2 n) of `crop` in patterns `index` at each dose, photons per pattern. Without
    background they are multiples of one matrix; the background is the detector's and does not grow with the dose."""
    scan = known.scan
    unit = None if scan.background.any() else fisher.information(scan, known.obj, crop, index)
    for dose in doses:
        if unit is None:
            probe = (scan.probe * np.float32(dose**0.5)).astype(np.complex64)
            yield fisher.information(replace(scan, probe=probe), known.obj, crop, index)
        else:
            yield dose * unit


def of_view(known: Known, index: NDArray[np.int64], crop: Crop, margin: int) -> dict[str, object]:
    """Limits of the patterns `index` (m,), one complete scan, over DOSES (photons per pattern), JSON-able: errors
    without bias (`crb`) and with the prior (`bayes`), `frc` per dose and ring.

    Reported on the pixels of the square `crop` at least `margin` px from its rim. Without background the errors of
    `crb` fall as 1 / sqrt(dose) and `ssnr` grows as the dose (limit lines: `fisher.frc_with_truth`). The posterior
    mean has an FRC with the truth of sqrt(1 - posterior / prior error): `bayes_with_truth`, a line per dose. Raises
    StudyError when the scan leaves pixels undetermined.
    """
    size = crop[0].stop - crop[0].start
    pixels, inner = np.indices((size, size)).reshape(2, -1).T, fisher.centre((size, size), margin)
    keep = fisher.both(inner, len(pixels))
    image = known.obj[crop].ravel()[inner].reshape(2 * [size - 2 * margin]).astype(np.complex128)
    precision = fisher.put_last(known.prior.precision(pixels), keep)
    frequency, signal = fisher.ring_signal(image)
    expected = fisher.ring_noise(known.prior.covariance(pixels[inner]), image)
    bounds: list[NDArray[np.float64]] = []
    posteriors: list[NDArray[np.float64]] = []
    for dose, matrix in zip(DOSES, informations(known, crop, DOSES, index), strict=True):
        matrix = fisher.put_last(matrix, keep)
        if bounds and not known.scan.background.any():
            bounds.append(bounds[0] * (DOSES[0] / dose))
        else:
            bounds.append(fisher.trailing_covariance(matrix.copy(), len(keep)))
        posteriors.append(fisher.trailing_covariance(matrix + precision, len(keep)))
    shares = [np.maximum(1 - fisher.ring_noise(found, image) / expected, 0) for found in posteriors]
    return {
        "crb": _errors(bounds, image),
        "bayes": _errors(posteriors, image),
        "frc": {
            "dose": list(DOSES),
            "frequency": rounded(frequency),
            "ssnr": [rounded(signal / fisher.ring_noise(found, image)) for found in bounds],
            "bayes_with_truth": [rounded(np.sqrt(share)) for share in shares],
        },
    }


def _errors(covariances: list[NDArray[np.float64]], image: NDArray[np.complex128]) -> dict[str, list[float]]:
    """Errors (see fisher.errors) of the pixels of an image (h, w) by dose."""
    rows = [fisher.errors(found.diagonal(), image.ravel()) for found in covariances]
    return {"dose": list(DOSES), **{key: [float(f"{row[key]:.5e}") for row in rows] for key in rows[0]}}


def photons(known: Known, index: NDArray[np.int64], step: float) -> dict[str, object]:
    """n-bar at a dose of 1, in good pixels, and alpha (see `overlap`) of patterns `index` (m,) with `step` px."""
    scan = known.scan
    total = sum(float((scan.expected(known.obj, index[part]) - scan.background)[:, scan.mask].sum())
                for part in simulate.blocks(len(index)))  # fmt: skip
    return {
        "photons_per_pixel_per_dose": rounded(overlap.photons_per_pixel(total, len(index), step)),
        "alpha": rounded(overlap.sampling_ratio(scan.size, step)),
    }


def lit_pixels(known: Known, members: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Pixels (n, 2), y then x, that the patterns `members` (C,) light (see KNOWN), and their photons (n,)."""
    corners, offsets = tensors.corners_of(known.scan, members[None])
    probes = forward.shift_probe(torch.as_tensor(known.scan.probe.astype(np.complex128)), offsets[:, :, None])
    light = forward.illumination(corners, probes, known.scan.shape)[0].numpy()
    lit = np.argwhere(light > KNOWN * light.max())
    return lit, light[tuple(lit.T)]


def of_group(known: Known, members: NDArray[np.int64], doses: Sequence[float]) -> NDArray[np.float64]:
    """Bayesian NRMSE (d,) at each of `doses` of what a group of the C patterns `members` (C,) shows.

    Over the pixels the group lights, weighted by its photons, without the group's own global phase (the weighted
    mean, which no diffraction pattern tells); pixels beyond count as known.
    """
    lit, weights = lit_pixels(known, members)
    low, high = lit.min(0), lit.max(0) + 1
    crop = slice(int(low[0]), int(high[0])), slice(int(low[1]), int(high[1]))
    inside = np.ravel_multi_index(tuple((lit - low).T), tuple(high - low))
    chosen = fisher.both(inside, int(np.prod(high - low)))
    precision = known.prior.precision(lit)
    found = known.obj[tuple(lit.T)].astype(np.complex128)
    share = weights * (found.real**2 + found.imag**2)
    share /= share.sum()
    made = []
    for matrix in informations(known, crop, doses, members):
        root = fisher.inverse_root(matrix.take(chosen, axis=0).take(chosen, axis=1) + precision)  # covariance R^T R
        variance = np.einsum("ij,ij->j", root, root)
        common = ((root[:, len(lit) :] @ share) ** 2).sum()
        made.append(np.sqrt(fisher.errors(variance, found, weights)["nrmse"] ** 2 - common))
    return np.array(made)


def ratio(known: Known, groups: NDArray[np.int64], wanted: int, crop: Crop) -> dict[str, object] | None:
    """Errors of groups and of their anchors alone, averaged over the `wanted` groups nearest to the crop's centre.

    groups (n, C) of the patterns of `known.scan`. Keys: dose (GROUP_DOSES), c1 and c<C>, and the quotient
    c<C> / c1 as dense_over_baseline. None when a group lights more than MOST pixels: the matrices get too large.
    """
    target = [(part.start + part.stop - 1) / 2 for part in crop]
    distance = ((known.scan.positions[groups].mean(1) - target) ** 2).sum(1)
    near = groups[np.argsort(distance, kind="stable")[:wanted]]
    if max(len(lit_pixels(known, members)[0]) for members in near) > MOST:
        return None
    alone, together = (
        np.mean([of_group(known, members, GROUP_DOSES) for members in kept], axis=0) for kept in (near[:, :1], near)
    )
    return {
        "dose": list(GROUP_DOSES),
        "groups": len(near),
        "c1": rounded(alone),
        f"c{groups.shape[1]}": rounded(together),
        "dense_over_baseline": rounded(together / alone),
    }


def rounded(value: float | NDArray[np.float64]) -> float | list[float]:
    """To 6 significant digits, so that the last bits of a CPU's linear algebra do not reach the file."""
    if isinstance(value, np.ndarray):
        return [float(f"{item:.5e}") for item in value]
    return float(f"{value:.5e}")
