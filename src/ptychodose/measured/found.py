"""A foreign scan as it lies in its file, with what was found and how that is known, and the Scan made of it."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ptychodose.errors import StudyError
from ptychodose.physics.probes import Geometry
from ptychodose.scans.scan import Scan, of_arrays

MARGIN = 16  # px of object beyond the outermost patch: room for positions that are not where they were recorded
SIZES = (32, 256)  # N: even and within these


@dataclass(frozen=True)
class Found:
    """counts (n, N, N) centred; positions (n, 2) px, y then x, patch centres in the frame of `obj` (H, W), the file's
    own object if it has one; probe (M, N, N) or None; `how`: what was found, a line each."""

    counts: NDArray[np.unsignedinteger]
    positions: NDArray[np.float64]
    probe: NDArray[np.complex64] | None
    obj: NDArray[np.complex64] | None
    how: tuple[str, ...]


def to_scan(found: Found, geometry: Geometry) -> Scan:
    """The scan on a frame of its own, `MARGIN` px around the patches. Its probe is in photons: as the file's where
    that has their number, else scaled to the mean counts. StudyError without a probe."""
    if found.probe is None:
        raise StudyError("probe: the file has none; add probeGuess, a measured or simulated probe (N, N)")
    size = found.counts.shape[-1]
    low = np.floor(found.positions.min(0)).astype(int) - size // 2 - MARGIN
    high = np.ceil(found.positions.max(0)).astype(int) + size // 2 + MARGIN
    shape = int(high[0] - low[0]), int(high[1] - low[1])
    scan = of_arrays(found.counts, in_photons(found.probe, found.counts), found.positions - low, shape)
    return replace(scan, geometry=geometry)


def in_photons(probe: NDArray[np.complex64], counts: NDArray[np.unsignedinteger]) -> NDArray[np.complex64]:
    """A probe (M, N, N) whose photons per pattern are at least the mean counts and at most five times these, as no
    sample emits light and few absorb more; one in other units is scaled to the mean counts."""
    photons, mean = float((np.abs(probe.astype(np.complex128)) ** 2).sum()), float(counts.sum() / len(counts))
    if mean <= 0 or photons <= 0:
        raise StudyError(f"{mean:g} counts per pattern and a probe of {photons:g} photons; one of them is dark")
    return probe if 0.9 * mean < photons < 5 * mean else (probe * np.sqrt(mean / photons)).astype(np.complex64)


def centred(counts: NDArray[np.unsignedinteger], zero: str | None) -> tuple[NDArray[np.unsignedinteger], str]:
    """Counts (n, N, N) with zero frequency at (N // 2, N // 2), and how that is known.

    `zero`, `centre` or `corner`, says where it lies; None: where the light is. StudyError when neither has most of it.
    """
    size = counts.shape[-1]
    mean = counts.mean(0)
    middle = slice(size // 4, size - size // 4)
    shares = {"centre": mean[middle, middle].sum() / mean.sum(),
              "corner": np.fft.fftshift(mean)[middle, middle].sum() / mean.sum()}  # fmt: skip
    told = "as you say"
    if zero is None:
        zero = max(shares, key=lambda name: shares[name])
        told = f"{100 * shares[zero]:.0f} % of the light lies there"
        if shares[zero] < 0.6:
            raise StudyError(
                f"zero frequency: {100 * shares['centre']:.0f} % of the light is in the middle of the patterns and "
                f"{100 * shares['corner']:.0f} % in their corners; say --zero-frequency centre or corner"
            )
    made = counts if zero == "centre" else np.fft.fftshift(counts, axes=(-2, -1))
    return made, f"zero frequency: in the {zero} ({told})"


def check_size(shape: tuple[int, ...], where: str) -> None:
    """StudyError unless patterns of `shape` (n, N, N) have a size that every arm takes."""
    size = shape[-1]
    if shape[-2] != size or size % 2 or not SIZES[0] <= size <= SIZES[1]:
        raise StudyError(
            f"{where}: patterns of {shape[-2]} x {size} px; crop or pad to an even N from {SIZES[0]} to {SIZES[1]}"
        )
