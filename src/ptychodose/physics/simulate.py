"""Expected counts in numpy and scipy only, so that simulated files are the same bytes on every x86-64 machine.

torch's FFT dispatches by CPU; scipy's does not. Same conventions as `forward` (stated there); detector arrays here
are in the centred layout, as on disk.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from scipy import fft

BLOCK = 256  # patterns per block: 16 MiB of complex128 at N = 64, so memory stays flat with the scan


def probe_spectrum(probe: NDArray[np.complex64]) -> NDArray[np.complex128]:
    """FFT of the probe (N, N), computed once per scan; every sub-pixel shift is a ramp on it."""
    return fft.fft2(probe.astype(np.complex128))


def shifted_probes(spectrum: NDArray[np.complex128], offsets: NDArray[np.float64]) -> NDArray[np.complex128]:
    """Probes (n, N, N) moved by sub-pixel `offsets` (n, 2), y then x, px: out(r) = probe(r - offset)."""
    frequency = fft.fftfreq(len(spectrum))
    ramps = [np.exp(-2j * np.pi * offsets[:, i, None] * frequency) for i in (0, 1)]  # each (n, N)
    return fft.ifft2(spectrum * ramps[0][:, :, None] * ramps[1][:, None, :])


def exit_waves(
    obj: NDArray[np.complex64], spectrum: NDArray[np.complex128], positions: NDArray[np.float64]
) -> NDArray[np.complex128]:
    """psi = P * O (n, N, N) at patch centres `positions` (n, 2) px of obj (H, W)."""
    size = len(spectrum)
    centres = np.rint(positions)
    windows = np.lib.stride_tricks.sliding_window_view(obj, (size, size))
    corners = centres.astype(np.int64) - size // 2
    patches = windows[corners[:, 0], corners[:, 1]]  # (n, N, N)
    return patches * shifted_probes(spectrum, positions - centres)


def expected_counts(
    obj: NDArray[np.complex64], probe: NDArray[np.complex64], positions: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Rates (n, N, N), photons per detector pixel, centred layout: re^2 + im^2 of the orthonormal FFT of psi.

    Only FFT, +, - and * after the rounding to complex64 (never abs, log, exp of the waves): these give the same
    bits with and without AVX-512.
    """
    waves = fft.fft2(exit_waves(obj, probe_spectrum(probe), positions), norm="ortho")
    return fft.fftshift(waves.real**2 + waves.imag**2, axes=(1, 2))


def blocks(count: int, size: int = BLOCK) -> Iterator[slice]:
    """Consecutive slices of `size` over range(count)."""
    for start in range(0, count, size):
        yield slice(start, min(start + size, count))


def transmitted(
    obj: NDArray[np.complex64], probe: NDArray[np.complex64], positions: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Expected detected photons (n,) of each pattern: sum |P O|^2, which Parseval makes the sum of the counts."""
    spectrum = probe_spectrum(probe)
    totals = []
    for part in blocks(len(positions)):
        waves = exit_waves(obj, spectrum, positions[part])
        totals.append((waves.real**2 + waves.imag**2).sum((1, 2)))
    return np.concatenate(totals)


def scale_to_dose(
    obj: NDArray[np.complex64], probe: NDArray[np.complex64], positions: NDArray[np.float64], dose: float
) -> NDArray[np.complex64]:
    """Scale the probe so that the mean expected detected counts per pattern over `positions` equal `dose`."""
    return (probe * np.sqrt(dose / transmitted(obj, probe, positions).mean())).astype(np.complex64)
