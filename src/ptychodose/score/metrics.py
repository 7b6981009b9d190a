"""Image quality of an aligned complex reconstruction against truth, and the Poisson deviance of its predictions."""

import numpy as np
from numpy.typing import NDArray
from scipy.special import xlogy
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

# Wang, Simoncelli & Bovik, Asilomar (2003): exponents of the five scales of MS-SSIM.
SCALE_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)


def nrmse(image: NDArray[np.complexfloating], truth: NDArray[np.complexfloating]) -> float:
    """|image - truth| / |truth| over the complex pixels (h, w)."""
    return float(np.linalg.norm(image - truth) / np.linalg.norm(truth))


def correlation(image: NDArray[np.complexfloating], truth: NDArray[np.complexfloating]) -> float:
    """|<image, truth>| / (|image| |truth|), 0 for an empty image."""
    norms = float(np.linalg.norm(image) * np.linalg.norm(truth))
    return float(abs(np.vdot(image, truth)) / norms) if norms > 0 else 0.0


def phase_beside(image: NDArray[np.complex128], truth: NDArray[np.complex128]) -> NDArray[np.float64]:
    """The image's phase unwrapped around truth's: truth + wrapped difference without its circular mean.

    An empty pixel counts as phase 0, so that it never passes for a match.
    """
    empty = np.abs(image) <= 1e-9 * np.abs(truth).mean()
    phase = np.angle(truth)
    difference = np.where(empty, 1.0, image) * np.exp(-1j * phase)
    difference = difference / np.abs(difference)
    offset = np.angle(difference.mean())
    return phase + np.angle(difference * np.exp(-1j * offset))


def compare_real(image: NDArray[np.float64], truth: NDArray[np.float64]) -> dict[str, float | int]:
    """MAE, PSNR over truth's own range, SSIM, MS-SSIM and its number of scales for real images (h, w)."""
    span = float(np.ptp(truth)) or 1.0
    multi, scales = ms_ssim(image, truth, span)
    error = float(np.abs(image - truth).mean())
    exact = not (image != truth).any()
    return {
        "mae": error,
        "psnr": 200.0 if exact else float(peak_signal_noise_ratio(truth, image, data_range=span)),  # not infinite
        "ssim": float(structural_similarity(truth, image, data_range=span)),
        "ms_ssim": multi,
        "ms_ssim_scales": scales,
    }


def ms_ssim(image: NDArray[np.float64], truth: NDArray[np.float64], span: float) -> tuple[float, int]:
    """Multi-scale SSIM and the number of scales used.

    Contrast-structure means of all scales but the coarsest, full SSIM there, to the powers SCALE_WEIGHTS (Wang et al.
    2003). Images under 161 px on a side use fewer scales with the weights renormalised; a negative mean counts as 0.
    """
    scales = int(np.clip(np.floor(np.log2((min(image.shape) - 1) / 10)) + 1, 1, 5))  # 161 px carry five scales
    weights = np.array(SCALE_WEIGHTS[:scales]) / sum(SCALE_WEIGHTS[:scales])
    value = 1.0
    for scale, weight in enumerate(weights):
        full, structure = _ssim_parts(image, truth, span)
        value *= max(full if scale == scales - 1 else structure, 0.0) ** weight
        image, truth = _halve(image), _halve(truth)
    return float(value), scales


def _ssim_parts(image: NDArray[np.float64], truth: NDArray[np.float64], span: float) -> tuple[float, float]:
    """Mean SSIM and mean contrast-structure term; a luminance-free SSIM is the SSIM of locally centred images,
    which adding a common large constant approaches: C1 = 0.01^2 span^2 then dominates the luminance ratio."""
    full = structural_similarity(truth, image, data_range=span)
    offset = 1e4 * span
    structure = structural_similarity(truth + offset, image + offset, data_range=span)
    return float(full), float(structure)


def _halve(image: NDArray[np.float64]) -> NDArray[np.float64]:
    """Average 2 x 2 blocks; an odd last row or column is dropped."""
    even = image[: image.shape[0] // 2 * 2, : image.shape[1] // 2 * 2]
    return even.reshape(even.shape[0] // 2, 2, even.shape[1] // 2, 2).mean((1, 3))  # (h / 2, 2, w / 2, 2)


def poisson_deviance(rate: NDArray[np.float64], counts: NDArray[np.integer]) -> float:
    """Mean deviance 2 (lam - k + k log(k / lam)) per detector pixel, any shape (McCullagh & Nelder, sec. 2.3).

    About 1 for a perfect model at rates well above one count, less below. Rates are floored at 1e-12.
    """
    lam, k = np.maximum(rate, 1e-12), counts.astype(np.float64)
    return float(2 * (lam - k + xlogy(k, k) - xlogy(k, lam)).mean())
