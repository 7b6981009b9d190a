"""Expected counts in numpy and scipy only, so that simulated files are the same bytes on every x86-64 machine.

torch's FFT dispatches by CPU; scipy's does not. Same conventions as `forward` (stated there); detector arrays here
are in the centred layout, as on disk. A probe is (M, N, N): M mutually incoherent modes, whose intensities add.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from scipy import fft

BLOCK = 256  # patterns per block: 16 MiB of complex128 at N = 64, so memory stays flat with the scan


def probe_spectrum(probe: NDArray[np.complex64]) -> NDArray[np.complex128]:
    """FFT of the probe (M, N, N), computed once per scan; every sub-pixel shift is a ramp on it."""
    return fft.fft2(probe.astype(np.complex128))


def shifted_probes(spectrum: NDArray[np.complex128], offsets: NDArray[np.float64]) -> NDArray[np.complex128]:
    """Probes (n, M, N, N) moved by sub-pixel `offsets` (n, 2), y then x, px: out(r) = probe(r - offset)."""
    frequency = fft.fftfreq(spectrum.shape[-1])
    ramps = [np.exp(-2j * np.pi * offsets[:, i, None] * frequency) for i in (0, 1)]  # each (n, N)
    return fft.ifft2(spectrum * ramps[0][:, None, :, None] * ramps[1][:, None, None, :])


def exit_waves(
    obj: NDArray[np.complex64], spectrum: NDArray[np.complex128], positions: NDArray[np.float64]
) -> NDArray[np.complex128]:
    """psi = P * O (n, M, N, N) at patch centres `positions` (n, 2) px of obj (H, W); `spectrum` (M, N, N)."""
    size = spectrum.shape[-1]
    centres = np.rint(positions)
    windows = np.lib.stride_tricks.sliding_window_view(obj, (size, size))
    corners = centres.astype(np.int64) - size // 2
    patches = windows[corners[:, 0], corners[:, 1]]  # (n, N, N)
    return patches[:, None] * shifted_probes(spectrum, positions - centres)


def expected_counts(
    obj: NDArray[np.complex64],
    probe: NDArray[np.complex64],
    positions: NDArray[np.float64],
    background: NDArray[np.floating] | float = 0.0,
) -> NDArray[np.float64]:
    """Rates (n, N, N), photons per detector pixel, centred layout: sum over the modes of re^2 + im^2 of the
    orthonormal FFT of psi, plus the `background` (N, N).

    obj (H, W), probe (M, N, N) in root photons, positions (n, 2) px. Only FFT, +, - and * after the rounding to
    complex64 (never abs, log, exp of the waves): these give the same bits with and without AVX-512.
    """
    waves = fft.fft2(exit_waves(obj, probe_spectrum(probe), positions), norm="ortho")
    signal = (waves.real**2 + waves.imag**2).sum(1)  # (n, M, N, N) -> (n, N, N)
    return fft.fftshift(signal, axes=(1, 2)) + background


def blocks(count: int, size: int = BLOCK) -> Iterator[slice]:
    """Consecutive slices of `size` over range(count)."""
    for start in range(0, count, size):
        yield slice(start, min(start + size, count))


def transmitted(
    obj: NDArray[np.complex64], probe: NDArray[np.complex64], positions: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Photons (n,) of each pattern behind the object: sum |P O|^2, which Parseval makes the sum of its rates."""
    spectrum = probe_spectrum(probe)
    totals = []
    for part in blocks(len(positions)):
        waves = exit_waves(obj, spectrum, positions[part])
        totals.append((waves.real**2 + waves.imag**2).sum((1, 2, 3)))
    return np.concatenate(totals)


def scale_to_dose(
    obj: NDArray[np.complex64], probe: NDArray[np.complex64], positions: NDArray[np.float64], dose: float
) -> NDArray[np.complex64]:
    """Scale the probe (M, N, N) so that the mean photons per pattern behind the object over `positions` (n, 2) equal
    `dose`."""
    return (probe * np.sqrt(dose / transmitted(obj, probe, positions).mean())).astype(np.complex64)
