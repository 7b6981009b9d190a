"""Image quality of an aligned complex reconstruction against truth, and the Poisson deviance of its predictions."""

import numpy as np
from numpy.typing import NDArray
from scipy.special import xlogy
from skimage.metrics import peak_signal_noise_ratio, structural_similarity


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


def compare_real(image: NDArray[np.float64], truth: NDArray[np.float64]) -> dict[str, float]:
    """MAE, PSNR over truth's own range and SSIM of real images (h, w)."""
    span = float(np.ptp(truth)) or 1.0
    error = float(np.abs(image - truth).mean())
    exact = not (image != truth).any()
    return {
        "mae": error,
        "psnr": 200.0 if exact else float(peak_signal_noise_ratio(truth, image, data_range=span)),  # not infinite
        "ssim": float(structural_similarity(truth, image, data_range=span)),
    }


def poisson_deviance(rate: NDArray[np.float64], counts: NDArray[np.integer]) -> float:
    """Mean deviance 2 (lam - k + k log(k / lam)) per detector pixel, any shape (McCullagh & Nelder, sec. 2.3).

    About 1 for a perfect model at rates well above one count, less below. Rates are floored at 1e-12.
    """
    lam, k = np.maximum(rate, 1e-12), counts.astype(np.float64)
    return float(2 * (lam - k + xlogy(k, k) - xlogy(k, lam)).mean())
