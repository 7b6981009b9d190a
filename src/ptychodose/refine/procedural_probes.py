"""Probes of many kinds to train the hybrid under: zone plates from narrow to wide, aberrated ones, hard-edged spots."""

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from ptychodose.physics import overlap

NARROWEST, WIDEST = 0.12, 0.62  # D90 / N: below, a few pixels carry all; above, the window cuts the probe
CUT = 4e-3  # brightest pixel on the window's rim, of the brightest of all


def draw(size: int, rng: np.random.Generator) -> NDArray[np.complex64]:
    """A probe (N, N) of unit energy of one of the kinds, drawn until it fits its window; sizes in units of N."""
    kinds = (_zone_plate, _zone_plate, _aberrated, _hard_edged)
    while True:
        probe = kinds[rng.integers(len(kinds))](size, rng)
        energy = np.abs(probe) ** 2
        rim = np.concatenate([energy[0], energy[:, 0]]).max() / energy.max()
        if rim < CUT and NARROWEST * size < overlap.encircled_diameter(probe[None]) < WIDEST * size:
            return (probe / np.sqrt(energy.sum())).astype(np.complex64)


def _pupil(size: int, rng: np.random.Generator) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """A pupil (N, N) with a soft or hard edge and perhaps a central stop, and its coordinates y, x in pupil radii."""
    radius, stop, edge = rng.uniform(0.08, 0.28) * size, rng.uniform(0, 0.6), rng.uniform(0.2, 1.5) * size / 64
    y, x = (np.indices((size, size)) - size // 2) / radius
    distance = np.hypot(y, x)

    def disc(share: float) -> NDArray[np.float64]:
        return 1 / (1 + np.exp(np.clip((distance - share) * radius / edge, -50, 50)))

    return disc(1.0) - (disc(stop) if rng.random() < 0.7 else 0), y, x


def _focused(wave: NDArray[np.complex128]) -> NDArray[np.complex128]:
    return fft.fftshift(fft.ifft2(fft.ifftshift(wave), norm="ortho"))


def _zone_plate(size: int, rng: np.random.Generator) -> NDArray[np.complex128]:
    """A defocused pupil: up to 12 rad of defocus at its edge."""
    pupil, y, x = _pupil(size, rng)
    return _focused(pupil * np.exp(1j * rng.uniform(-12, 12) * (y**2 + x**2)))


def _aberrated(size: int, rng: np.random.Generator) -> NDArray[np.complex128]:
    """The same with astigmatism, coma and spherical aberration of about a radian each."""
    pupil, y, x = _pupil(size, rng)
    a, square = rng.normal(0, 1, 5), y**2 + x**2
    phase = a[0] * (x**2 - y**2) + a[1] * x * y + (a[2] * x + a[3] * y) * square + a[4] * square**2
    return _focused(pupil * np.exp(1j * (phase + rng.uniform(-8, 8) * square)))


def _hard_edged(size: int, rng: np.random.Generator) -> NDArray[np.complex128]:
    """The image of a pinhole, round or square, a little out of focus and blurred by the lens's own aperture."""
    y, x = (np.indices((size, size)) - size // 2) / size
    half = rng.uniform(0.07, 0.25)
    distance = np.hypot(y, x) if rng.random() < 0.5 else np.maximum(np.abs(y), np.abs(x))
    spectrum = fft.fft2(fft.ifftshift((distance < half).astype(float)), norm="ortho")
    frequency = np.hypot(fft.fftfreq(size)[:, None], fft.fftfreq(size)[None, :])
    spread = rng.uniform(-60, 60)  # of the Fresnel phase, rad px^2
    blurred = spectrum * np.exp(-((frequency / rng.uniform(0.12, 0.4)) ** 2) + 1j * spread * frequency**2)
    return fft.fftshift(fft.ifft2(blurred, norm="ortho"))
