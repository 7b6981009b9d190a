"""Fisher information of an object in far-field Poisson counts, and the Cramér-Rao bound it sets.

Known probe, positions, background and mask; the parameters of n pixels are their n log-amplitudes a, then their n
phases phi (rad), O = exp(a + i phi), row by row. Pixels outside the crop count as known. That fixes the global phase
and flatters the pixels near the rim, so a crop is reported on a centred region of interest only. The bound holds for
unbiased estimates and is local: the information is taken at the true object. Where nearly all detector pixels expect
less than a photon no estimate is unbiased, and maximum likelihood may fall below the bound.
"""

import numpy as np
from numpy.typing import NDArray
from scipy import fft, linalg
from scipy.linalg import lapack

from ptychodose.errors import StudyError
from ptychodose.physics import simulate
from ptychodose.scans.scan import Scan
from ptychodose.score import frc

Crop = tuple[slice, slice]


def information(
    scan: Scan, obj: NDArray[np.complex64], crop: Crop, index: NDArray[np.int64] | slice = slice(None)
) -> NDArray[np.float64]:
    """Fisher information (2 n, 2 n) of the n pixels of `crop` in the patterns `index` of a (planned) scan.

    obj (H, W) the truth. With psi_m = P_m O, Psi_m = F psi_m, lam = sum_m |Psi_m|^2 + background, a good detector
    pixel q of a pattern gives (d lam_q)^2 / lam_q (Kay, Estimation Theory, 1993, ch. 3; for ptychography Wei et al.,
    arXiv:2003.05475), d lam_q = 2 Re sum_m conj(Psi_mq) F_qr psi_mr d(a_r + i phi_r). With
    c_qr = sum_m conj(Psi_mq) F_qr psi_mr / sqrt(lam_q) that is 4 [Re c, -Im c]^T [Re c, -Im c]; c^H c is a Toeplitz
    and c^T c a Hankel matrix between the waves of two modes, so one FFT per pair of modes replaces the product.
    Without background the result is proportional to the dose.
    """
    size, shape = scan.size, tuple(part.stop - part.start for part in crop)
    toeplitz, hankel = (np.zeros(shape * 2, np.complex128) for _ in range(2))  # (h, w, h, w) each
    spectrum, positions = simulate.probe_spectrum(scan.probe), scan.positions[index]
    mask, background = (fft.ifftshift(image) for image in (scan.mask, scan.background))
    corners = np.rint(positions).astype(np.int64) - size // 2 - [part.start for part in crop]
    low, high = np.maximum(corners, 0), np.minimum(corners + size, shape)
    for k in np.flatnonzero((low < high).all(1)):
        psi = simulate.exit_waves(obj, spectrum, positions[k : k + 1])[0]  # (M, N, N)
        far = fft.fft2(psi, norm="ortho")
        rate = (far.real**2 + far.imag**2).sum(0) + background
        weight = mask / np.maximum(rate, np.finfo(float).tiny)
        place = tuple(slice(*ends) for ends in zip(low[k], high[k], strict=True))
        start = low[k] - corners[k]
        parts = psi[:, *(slice(s, s + p.stop - p.start) for s, p in zip(start, place, strict=True))]
        extent = parts.shape[1:]
        for m, n in np.ndindex(len(psi), len(psi)):
            both_ways = _table(far[m].conj() * far[n].conj() * weight, 2 * start, extent)
            _add_products(hankel[place * 2], parts[m], parts[n], both_ways)
            lags = _table(far[m] * far[n].conj() * weight, 1 - np.array(extent), extent)[::-1, ::-1]
            _add_products(toeplitz[place * 2], parts[m].conj(), parts[n], lags)
    g, h = (kind.reshape(2 * [shape[0] * shape[1]]) for kind in (toeplitz, hankel))
    cross = 2 * (g - h).imag  # phases in rows, log-amplitudes in columns
    return np.block([[2 * (g + h).real, cross.T], [cross, 2 * (g - h).real]])


def _table(weights: NDArray, first: NDArray[np.int64], shape: tuple[int, ...]) -> NDArray[np.complex128]:
    """View (h, w, h, w) of the DFT of `weights` (N, N) / N^2 at lag first + r + s, periodic in N."""
    kernel = fft.fft2(weights) / weights.size
    for axis, (start, length) in enumerate(zip(first, shape, strict=True)):
        kernel = kernel.take(np.arange(start, start + 2 * length - 1), axis=axis, mode="wrap")
    return np.lib.stride_tricks.sliding_window_view(kernel, shape)


def _add_products(out: NDArray, left: NDArray, right: NDArray, table: NDArray) -> None:
    """out[r, s] += left[r] table[r, s] right[s], a row of r at a time so that the products stay in cache."""
    for row in range(len(left)):
        out[row] += left[row, :, None, None] * table[row] * right


def global_phase(pixels: int) -> NDArray[np.float64]:
    """Null vector (2 n,) of the information when no light falls outside the n `pixels`: all phases alike."""
    return np.repeat([0.0, 1.0], pixels)


def centre(shape: tuple[int, int], margin: int) -> NDArray[np.int64]:
    """Flat indices of the pixels of a (h, w) crop that are at least `margin` px from its rim, row by row."""
    inner = np.arange(shape[0] * shape[1]).reshape(shape)
    return inner[margin : shape[0] - margin, margin : shape[1] - margin].ravel()


def both(pixels: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """Indices (2 k,) of log-amplitudes and phases of k `pixels` among the parameters of `count` pixels."""
    return np.concatenate([pixels, pixels + count])


def covariance(
    matrix: NDArray[np.float64], keep: NDArray[np.int64], null: NDArray[np.float64] | None = None
) -> NDArray[np.float64]:
    """Block (k, k) of the inverse of an information matrix (p, p) on the parameters `keep`, all others unknown.

    `null` (p,), when given, is removed: c g g^T is added before the inversion and subtracted after, which gives
    the pseudo-inverse. Raises StudyError when the patterns do not determine the parameters.
    """
    if null is None:
        return trailing_covariance(put_last(matrix, keep), len(keep))
    gauge, strength = null / np.linalg.norm(null), float(matrix.diagonal().max())
    fixed = put_last(matrix + strength * np.outer(gauge, gauge), keep)
    return trailing_covariance(fixed, len(keep)) - np.outer(gauge[keep], gauge[keep]) / strength


def put_last(matrix: NDArray[np.float64], keep: NDArray[np.int64]) -> NDArray[np.float64]:
    """Copy of a symmetric matrix (p, p) with the parameters `keep` (k,) moved behind all others."""
    order = np.concatenate([np.setdiff1d(np.arange(len(matrix)), keep), keep])
    return matrix.take(order, axis=0).take(order, axis=1)


def trailing_covariance(matrix: NDArray[np.float64], count: int) -> NDArray[np.float64]:
    """Block of the inverse of `matrix` (p, p), which is overwritten, on its last `count` parameters.

    The trailing corner of the Cholesky factor is the factor of the Schur complement, and that is all it takes.
    """
    corner = _factor(matrix)[-count:, -count:]
    return linalg.cho_solve((corner, True), np.eye(count), check_finite=False)


def inverse(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """Inverse of a symmetric positive matrix (p, p). Raises StudyError when it is singular."""
    lower, _ = lapack.dpotri(_factor(matrix.copy()), lower=1, overwrite_c=1)
    return np.tril(lower) + np.tril(lower, -1).T


def inverse_root(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """R (p, p) with R^T R = the inverse of `matrix`, which is overwritten: half the work of `inverse`."""
    root, _ = lapack.dtrtri(_factor(matrix), lower=1, overwrite_c=1)
    return root


def _factor(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    try:
        return linalg.cholesky(matrix.T, lower=True, overwrite_a=True, check_finite=False)
    except linalg.LinAlgError:
        raise StudyError(
            "limit: the patterns do not determine every pixel of the crop; raise the view's overlap ratio"
        ) from None


def errors(
    variance: NDArray[np.float64], obj: NDArray[np.complexfloating], weights: NDArray[np.float64] | None = None
) -> dict[str, float]:
    """Root-mean-square errors of k pixels from the variances (2 k,) of their log-amplitudes and phases, to first order.

    obj (k,); `weights` (k,), such as photons, default to equal. nrmse: sqrt(sum w |O|^2 (var a + var phi) /
    sum w |O|^2), what `metrics.nrmse` measures; phase_rms in rad; amplitude_rms relative to the amplitude.
    """
    amplitude, phase = variance.reshape(2, -1)
    share = np.ones(len(obj)) if weights is None else weights
    power = share * (obj.real**2 + obj.imag**2)
    return {
        "nrmse": float(np.sqrt((power * (amplitude + phase)).sum() / power.sum())),
        "phase_rms": float(np.sqrt((share * phase).sum() / share.sum())),
        "amplitude_rms": float(np.sqrt((share * amplitude).sum() / share.sum())),
    }


def ring_signal(obj: NDArray[np.complexfloating]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Frequencies (r,) of Nyquist and power (r,) per ring of an image (h, w): mean removed, window and rings as in
    `frc.ring_correlation`."""
    spectrum = fft.fft2((obj - obj.mean()) * frc.taper(obj.shape))
    power = frc.ring_sums(spectrum.real**2 + spectrum.imag**2)
    return np.arange(len(power)) / (len(power) - 1), power


def ring_noise(cov: NDArray[np.float64], obj: NDArray[np.complexfloating]) -> NDArray[np.float64]:
    """Expected error power (r,) per ring, the sums of diag(W S W^H): W the windowed DFT, S the complex error
    covariance O_r conj(O_s) (S_aa + S_pp + i (S_pa - S_ap)) from `cov` (2 k, 2 k) of the k pixels of obj (h, w)."""
    k = obj.size
    complexes = cov[:k, :k] + cov[k:, k:] + 1j * (cov[k:, :k] - cov[:k, k:])
    s = (obj.reshape(-1, 1) * complexes * obj.reshape(1, -1).conj()).reshape(obj.shape * 2)
    s = s - s.mean((0, 1), keepdims=True)
    s = (s - s.mean((2, 3), keepdims=True)) * np.multiply.outer(frc.taper(obj.shape), frc.taper(obj.shape))
    both_sides = fft.ifft2(fft.fft2(s, axes=(0, 1)), axes=(2, 3)) * k
    return frc.ring_sums(np.einsum("ijij->ij", both_sides).real)


def frc_with_truth(ssnr: NDArray[np.float64]) -> NDArray[np.float64]:
    """Limit line of FRC against truth, sqrt(S / (1 + S)), from the spectral signal-to-noise ratio S of a ring."""
    return np.sqrt(ssnr / (1 + ssnr))


def frc_of_halves(ssnr: NDArray[np.float64]) -> NDArray[np.float64]:
    """Limit line of FRC between reconstructions from half the photons each, (S / 2) / (1 + S / 2); S of all photons."""
    return (ssnr / 2) / (1 + ssnr / 2)
