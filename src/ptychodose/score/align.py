"""Removing what ptychography cannot know: a shift, a phase ramp and one complex factor."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import fft
from scipy.ndimage import fourier_shift
from scipy.optimize import minimize
from scipy.signal.windows import tukey
from skimage.registration import phase_cross_correlation

REGISTRATIONS = 3  # the window stays put while the image moves, which pulls a single estimate towards zero
MAX_SHIFT = 4.0  # px; anything larger is a wrong reconstruction, not a choice of origin


@dataclass(frozen=True)
class Alignment:
    """The aligned image (h, w) and what was removed: shift (y, x) px, ramp (y, x) rad / px, complex factor."""

    image: NDArray[np.complex128]
    shift: tuple[float, float]
    ramp: tuple[float, float]
    factor: complex


def clean(image: NDArray[np.complexfloating]) -> NDArray[np.complex128]:
    """A copy with pixels that are not finite set to zero."""
    image = image.astype(np.complex128)
    return np.where(np.isfinite(image), image, 0)


def align(image: NDArray[np.complexfloating], truth: NDArray[np.complexfloating], free: bool = True) -> Alignment:
    """Align a reconstruction with truth (both (h, w)) by least squares.

    With `free`, sub-pixel shift (phase cross-correlation: Guizar-Sicairos, Opt. Lett. 33, 156 (2008)) and linear
    phase ramp are removed when, and only when, that lowers the error; the complex factor always is.
    """
    start = Alignment(clean(image), (0.0, 0.0), (0.0, 0.0), 1.0)
    target = clean(truth)
    if free and start.image.any() and target.any():
        varied = np.ptp(np.abs(start.image)) + np.ptp(np.angle(start.image)) > 1e-9  # a constant has no shift
        start = _better(start, _ramped(start, target), target)
        start = _better(start, _shifted(start, target), target) if varied else start
    energy = float((np.abs(start.image) ** 2).sum())
    factor = complex(np.vdot(start.image, target)) / energy if energy > 0 else 0j
    return Alignment(start.image * factor, start.shift, start.ramp, factor)


def misfit(image: NDArray[np.complex128], truth: NDArray[np.complex128]) -> float:
    """1 - |<image, truth>|^2 / (|image|^2 |truth|^2): squared error after the best complex factor, 0 to 1."""
    energy = float((np.abs(image) ** 2).sum() * (np.abs(truth) ** 2).sum())
    return float(1 - abs(np.vdot(image, truth)) ** 2 / energy) if energy > 0 else 1.0


def _better(old: Alignment, new: Alignment, truth: NDArray[np.complex128]) -> Alignment:
    return new if misfit(new.image, truth) < misfit(old.image, truth) - 1e-9 else old


def _shifted(start: Alignment, truth: NDArray[np.complex128]) -> Alignment:
    window = np.outer(*(tukey(n, 0.3) for n in truth.shape))  # a cut-out's edges correlate at zero shift
    fixed = (truth - truth.mean()) * window
    pad = 2 * int(MAX_SHIFT)
    wide = fft.fft2(np.pad(start.image, pad, mode="reflect"))  # mirrored, so that its far edge does not wrap in
    shift, moved = np.zeros(2), start.image
    for _ in range(REGISTRATIONS):
        step, _, _ = phase_cross_correlation(
            fixed, (moved - moved.mean()) * window, upsample_factor=50, normalization=None
        )
        shift = shift + step
        if np.abs(shift).max() > MAX_SHIFT:
            return start
        moved = fft.ifft2(fourier_shift(wide, shift))[pad:-pad, pad:-pad]
    return Alignment(moved, (float(shift[0]), float(shift[1])), start.ramp, 1.0)


def _ramped(start: Alignment, truth: NDArray[np.complex128]) -> Alignment:
    """Ramp at the peak of the zero-padded spectrum of conj(truth) * image, refined by maximising the overlap."""
    product = start.image * truth.conj()
    size = [4 * n for n in product.shape]
    spectrum = np.abs(fft.fft2(product, s=size))
    peak = np.unravel_index(int(spectrum.argmax()), spectrum.shape)
    first = np.array([2 * np.pi * fft.fftfreq(n)[k] for n, k in zip(size, peak, strict=True)])
    y, x = (np.arange(n) - (n - 1) / 2 for n in product.shape)

    def lost(ramp: NDArray[np.float64]) -> float:
        return -abs(np.exp(-1j * ramp[0] * y) @ product @ np.exp(-1j * ramp[1] * x)) / np.abs(product).sum()

    width = [2 * np.pi / n for n in size]
    simplex = first + np.array([[0, 0], [width[0] / 2, 0], [0, width[1] / 2]])
    best = minimize(
        lost, first, method="Nelder-Mead", options={"initial_simplex": simplex, "xatol": 1e-7, "fatol": 1e-10}
    )
    ramp = best.x
    flat = start.image * np.exp(-1j * (ramp[0] * y[:, None] + ramp[1] * x[None, :]))
    return Alignment(flat, start.shift, (float(ramp[0]), float(ramp[1])), 1.0)
