"""Image quality of an aligned complex reconstruction against truth, and the Poisson deviance of its predictions."""

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter
from scipy.special import xlogy
from skimage.metrics import structural_similarity

CUT = 1e-6  # rad: phases exactly opposite to the mean (a grating of pi) all fall on one side of the branch cut
CONTRAST = 1e-5  # range, in rad or of the mean amplitude, that is none: complex64 alone makes up to 5e-7
WINDOW = 7  # px, of SSIM


def nrmse(image: NDArray[np.complexfloating], truth: NDArray[np.complexfloating]) -> float:
    """|image - truth| / |truth| over the complex pixels (h, w)."""
    return float(np.linalg.norm(image - truth) / np.linalg.norm(truth))


def correlation(image: NDArray[np.complexfloating], truth: NDArray[np.complexfloating]) -> float:
    """|<image, truth>| / (|image| |truth|), 0 for an empty image."""
    norms = float(np.linalg.norm(image) * np.linalg.norm(truth))
    return float(abs(np.vdot(image, truth)) / norms) if norms > 0 else 0.0


def phase_of(truth: NDArray[np.complex128]) -> NDArray[np.float64]:
    """Truth's phase (h, w) in rad about its circular mean, in (-pi, pi]: the global phase has no meaning.

    It is not unwrapped: an image is unwrapped around truth, and would inherit truth's turns.
    """
    return np.angle(_unit(truth) * np.exp(-1j * (_mean_phase(_unit(truth)) + CUT))) + CUT


def phase_beside(image: NDArray[np.complex128], truth: NDArray[np.complex128]) -> NDArray[np.float64]:
    """The image's phase unwrapped around `phase_of(truth)`: that + wrapped difference without its circular mean.

    An empty pixel counts as truth's mean phase, so that it never passes for a match.
    """
    phase = phase_of(truth)
    full = np.abs(image) > 1e-9 * np.abs(truth).mean()
    difference = _unit(np.where(full, image, 1.0)) * np.exp(-1j * phase)
    offset = _mean_phase(difference[full]) if full.any() else 0.0
    difference = np.where(full, difference * np.exp(-1j * offset), np.exp(-1j * phase))
    return phase + np.angle(difference * np.exp(1j * CUT)) - CUT


def _unit(image: NDArray[np.complex128]) -> NDArray[np.complex128]:
    """The phase factors of an image, 1 where it is zero."""
    size = np.abs(image)
    return np.divide(image, size, out=np.ones_like(image), where=size > 0)


def _mean_phase(factors: NDArray[np.complex128]) -> float:
    """Circular mean (rad) of phase factors, bright and dark pixels alike; where they cancel, the first one's phase."""
    mean = factors.mean()
    return float(np.angle(mean if abs(mean) > CUT else factors.flat[0]))


def compare_real(image: NDArray[np.float64], truth: NDArray[np.float64], unit: float = 1.0) -> dict[str, float | None]:
    """MAE, PSNR (dB, at most 200) and SSIM of real images (h, w), the last two over truth's own range.

    They are None ("no contrast") where that range is below CONTRAST of `unit`, the size that values have.
    """
    error, span = float(np.abs(image - truth).mean()), float(np.ptp(truth))
    if span < CONTRAST * unit:
        return {"mae": error, "psnr": None, "ssim": None}
    noise = max(float(((image - truth) ** 2).mean()), 1e-20 * span**2)
    return {"mae": error, "psnr": float(10 * np.log10(span**2 / noise)), "ssim": ssim(image, truth, span)}


def ssim(image: NDArray[np.float64], truth: NDArray[np.float64], span: float) -> float:
    """Mean structural similarity (Wang et al., IEEE Trans. Image Process. 13, 600 (2004)) of images (h, w) whose values
    cover `span`: scikit-image's, with its square window, K1 = 0.01 and K2 = 0.03.

    It is luminance times structure, made for values from 0 up. Phases have signs, and in a negative of truth both
    factors are negative: two faults would count as a match. So where local means have opposite signs (negative
    luminance) the product counts as negative.
    """
    _, local = structural_similarity(truth, image, data_range=span, win_size=WINDOW, full=True)
    means = uniform_filter(image, WINDOW) * uniform_filter(truth, WINDOW)
    local = np.where(2 * means + (0.01 * span) ** 2 < 0, -np.abs(local), local)
    edge = WINDOW // 2
    return float(local[edge:-edge, edge:-edge].mean())


def poisson_deviance(rate: NDArray[np.float64], counts: NDArray[np.integer]) -> float:
    """Mean deviance 2 (lam - k + k log(k / lam)) per detector pixel, any shape (McCullagh & Nelder, sec. 2.3).

    About 1 for a perfect model at rates well above one count, less below. Rates are floored at 1e-12.
    """
    lam, k = np.maximum(rate, 1e-12), counts.astype(np.float64)
    return float(2 * (lam - k + xlogy(k, k) - xlogy(k, lam)).mean())
