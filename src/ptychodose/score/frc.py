"""Fourier ring correlation: the curve, its thresholds and where it crosses them.

Frequencies are in units of Nyquist (1 = half a cycle per pixel). Rings 0 and 1 are skipped by rule: global phase and
illumination trends live there and say nothing about resolution.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import fft
from scipy.signal.windows import tukey

Lines = Mapping[str, NDArray[np.float64] | float]
FIRST_RING = 2
TAPER = 0.3  # share of each side under the Tukey window's cosine edges


@dataclass(frozen=True)
class Curve:
    """frequency (r,) of Nyquist; correlation (r,); pixels (r,) independent Fourier pixels of each ring."""

    frequency: NDArray[np.float64]
    correlation: NDArray[np.float64]
    pixels: NDArray[np.float64]


def taper(shape: tuple[int, ...]) -> NDArray[np.float64]:
    """The Tukey window (h, w) that keeps an image's edges out of its spectrum."""
    return np.outer(*(tukey(length, TAPER) for length in shape))


def ring_numbers(shape: tuple[int, ...], scale: int) -> NDArray[np.int64]:
    """Ring of every Fourier pixel (h, w), corner layout: |frequency| in cycles per pixel times `scale`, rounded."""
    radius = np.hypot(fft.fftfreq(shape[0])[:, None], fft.fftfreq(shape[1])[None, :])
    return np.rint(radius * scale).astype(np.int64)


def ring_sums(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sums (r,) of Fourier values (h, w) over the rings up to Nyquist, r = min(h, w) // 2 + 1; corners are left out."""
    rings = min(values.shape) // 2
    ring = ring_numbers(values.shape, 2 * rings)
    inside = ring <= rings
    return np.bincount(ring[inside], values[inside], rings + 1).astype(np.float64)


def ring_correlation(a: NDArray[np.complexfloating], b: NDArray[np.complexfloating]) -> Curve:
    """FRC of two complex images (h, w): Re sum A B* / sqrt(sum |A|^2 sum |B|^2) per ring (Saxton & Baumeister,
    J. Microsc. 127, 127 (1982)), after removing the mean and a Tukey window; NaN where a ring is empty."""
    window = taper(a.shape)
    spectra = [fft.fft2((image - image.mean()) * window) for image in (a, b)]
    power = ring_sums(np.abs(spectra[0]) ** 2) * ring_sums(np.abs(spectra[1]) ** 2)
    cross = ring_sums((spectra[0] * spectra[1].conj()).real)
    # A tiny or constant image leaves rounding noise: no signal, no correlation.
    floor = 1e-20 * max(float(power.max()), 1e-300)
    correlation = np.where(power > floor, cross / np.sqrt(np.where(power > floor, power, 1)), np.nan)
    independent = ring_sums(np.ones(a.shape)) * float((window**2).mean())  # a tapered image has fewer
    return Curve(np.arange(len(power)) / (len(power) - 1), correlation, independent)


def bit_threshold(pixels: NDArray[np.float64], snr: float) -> NDArray[np.float64]:
    """Information threshold T(n) = (s + (2 sqrt(s) + 1) / sqrt(n)) / (1 + s + 2 sqrt(s) / sqrt(n)) (van Heel &
    Schatz, J. Struct. Biol. 151, 250 (2005)); s = 0.2071 is 1/2 bit, s = 0.5 is 1 bit."""
    root = 1 / np.sqrt(np.maximum(pixels, 1))
    return (snr + (2 * np.sqrt(snr) + 1) * root) / (1 + snr + 2 * np.sqrt(snr) * root)


def crossings(curve: Curve, threshold: NDArray[np.float64] | float) -> tuple[float, float]:
    """First and last frequency at which the curve falls through the threshold, linear between rings.

    0 when no ring from FIRST_RING on is above it, 1 (Nyquist) when the curve ends above it.
    """
    excess = np.nan_to_num(curve.correlation - threshold, nan=-1.0)[FIRST_RING:]
    frequency = curve.frequency[FIRST_RING:]
    falls = np.flatnonzero((excess[:-1] >= 0) & (excess[1:] < 0))
    share = excess[falls] / (excess[falls] - excess[falls + 1])
    at = (frequency[falls] + share * (frequency[falls + 1] - frequency[falls])).tolist()
    if excess[-1] >= 0:
        at.append(1.0)
    first = 0.0 if excess[0] < 0 else (at[0] if at else 0.0)
    return first, (at[-1] if at else 0.0)


def area(curve: Curve) -> float:
    """Mean correlation from FIRST_RING to Nyquist: one number that does not hang on a single crossing."""
    return float(np.nan_to_num(curve.correlation[FIRST_RING:]).mean())


def half_period_nm(frequency: float, pixel_m: float) -> float | None:
    """Half period in nm at a frequency in units of Nyquist; None at zero."""
    return pixel_m * 1e9 / frequency if frequency > 0 else None


def summary(curve: Curve, pixel_m: float) -> dict[str, object]:
    """Crossings of 0.5, 1/2-bit and 1-bit with half periods, the area, and the curve itself."""
    lines: Lines = {
        "0.5": 0.5,
        "half_bit": bit_threshold(curve.pixels, 0.2071),
        "one_bit": bit_threshold(curve.pixels, 0.5),
    }
    return _summary(curve, lines, pixel_m)


def half_summary(curve: Curve, pixel_m: float) -> dict[str, object]:
    """As `summary`, for the FRC between two halves of the data: 1/7 is there what 0.5 is against truth
    (Rosenthal & Henderson, J. Mol. Biol. 333, 721 (2003)), and 1/2 bit the threshold of one set split in halves."""
    lines: Lines = {
        "1/7": 1 / 7,
        "half_bit": bit_threshold(curve.pixels, 0.2071),
        "one_bit": bit_threshold(curve.pixels, 0.5),
    }
    return _summary(curve, lines, pixel_m)


def _summary(curve: Curve, lines: Lines, pixel_m: float) -> dict[str, object]:
    made: dict[str, object] = {"area": area(curve)}
    for name, line in lines.items():
        first, last = crossings(curve, line)
        made[name] = {
            "first": first,
            "last": last,
            "first_half_period_nm": half_period_nm(first, pixel_m),
            "last_half_period_nm": half_period_nm(last, pixel_m),
        }
    made["correlation"] = [None if np.isnan(v) else float(v) for v in curve.correlation]
    made["frequency"] = curve.frequency.tolist()
    return made
