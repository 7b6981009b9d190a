"""Procedural objects to study: grains, a labyrinth, fibres. numpy and scipy only."""

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage


def synthetic_object(
    shape: tuple[int, int], phase_std: float, amplitude_std: float, rng: np.random.Generator
) -> NDArray[np.complex128]:
    """Complex transmission (H, W) with amplitude <= 1 and different textures in amplitude and phase.

    Phase: overlapping grains with sizes from 1 px to a quarter of the field over a smooth background, standard
    deviation `phase_std` rad. Amplitude: a two-tone labyrinth crossed by fibres, standard deviation
    `amplitude_std`. Both are band-limited by a Gaussian of 0.6 px, so the pixel grid carries them.
    """
    grains = _dead_leaves(shape, rng)
    smooth = _band_noise(shape, 0.0, 0.02, rng)
    phase = _standardise(ndimage.gaussian_filter(grains, 0.6, mode="reflect")) + 0.5 * smooth
    labyrinth = _band_noise(shape, 0.02, 0.09, rng)
    ink = np.maximum(np.clip(0.5 + 1.5 * labyrinth, 0, 1), _fibres(shape, rng))
    absorbed = ndimage.gaussian_filter(ink, 0.6, mode="reflect")
    absorbed = (absorbed - absorbed.min()) * (amplitude_std / absorbed.std())
    return (1 - absorbed) * np.exp(1j * phase_std * _standardise(phase))


def _standardise(image: NDArray[np.float64]) -> NDArray[np.float64]:
    return (image - image.mean()) / image.std()


def _band_noise(shape: tuple[int, int], low: float, high: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """Gaussian noise with frequencies (cycles / px) from `low` to `high`, zero mean, unit variance."""
    white = fft.rfft2(rng.standard_normal(shape))
    frequency = np.hypot(fft.fftfreq(shape[0])[:, None], fft.rfftfreq(shape[1])[None, :])
    keep = (frequency > low) & (frequency < high)
    return _standardise(fft.irfft2(white * keep, s=shape))


def _dead_leaves(shape: tuple[int, int], rng: np.random.Generator) -> NDArray[np.float64]:
    """Ellipses and rectangles dropped on one another, grey levels uniform in [0, 1] (Lee, Mumford & Huang, 2001).

    Half-axes follow a power law r^-2.5 between 1 px and a quarter of the short side: all scales, few giants.
    """
    image = np.full(shape, 0.5)
    low, high = 1.0, min(shape) / 4
    count = shape[0] * shape[1] // 40  # enough leaves that small ones remain visible between the large
    radii = (low**-1.5 + rng.random((count, 2)) * (high**-1.5 - low**-1.5)) ** (-1 / 1.5)
    for (a, b), (cy, cx), turn, level, square in zip(
        np.sort(radii, axis=0)[::-1],  # large first, small on top
        rng.random((count, 2)) * shape,
        rng.random(count) * np.pi,
        rng.random(count),
        rng.random(count) < 0.4,
        strict=True,
    ):
        b = np.clip(b, a / 3, 3 * a)  # no needles: fibres belong to the amplitude
        reach = 1.5 * max(a, b) + 1
        y0, y1 = max(int(cy - reach), 0), min(int(cy + reach) + 2, shape[0])
        x0, x1 = max(int(cx - reach), 0), min(int(cx + reach) + 2, shape[1])
        dy, dx = np.arange(y0, y1)[:, None] - cy, np.arange(x0, x1)[None, :] - cx
        u = (dx * np.cos(turn) + dy * np.sin(turn)) / a
        v = (dy * np.cos(turn) - dx * np.sin(turn)) / b
        inside = np.maximum(abs(u), abs(v)) < 1 if square else u * u + v * v < 1
        image[y0:y1, x0:x1][inside] = level
    return image


def _fibres(shape: tuple[int, int], rng: np.random.Generator) -> NDArray[np.float64]:
    """Straight fibres 1 to 3 px wide across the field, opacity 0.4 to 1."""
    image = np.zeros(shape)
    y, x = np.indices(shape, dtype=float)
    for _ in range(max(2, shape[0] * shape[1] // 7000)):
        turn, width = rng.random() * np.pi, 0.5 + rng.random()
        cy, cx = rng.random(2) * shape
        distance = abs((x - cx) * np.sin(turn) - (y - cy) * np.cos(turn))
        along = abs((x - cx) * np.cos(turn) + (y - cy) * np.sin(turn))
        fibre = (distance < width) & (along < 20 + 80 * rng.random())
        image[fibre] = np.maximum(image[fibre], 0.4 + 0.6 * rng.random())
    return image
