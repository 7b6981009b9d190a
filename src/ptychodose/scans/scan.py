"""A scan: what was measured, where, with which probe, and what else the detector saw. The one holder of all that."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TypeAlias

import h5py
import numpy as np
from numpy.typing import NDArray
from scipy import fft

from ptychodose.errors import StudyError
from ptychodose.physics import noise, overlap, simulate
from ptychodose.physics.probes import Geometry

Counts: TypeAlias = NDArray[np.integer] | h5py.Dataset


@dataclass(frozen=True)
class Nodes:
    """Integer (row, column) `index` (n, 2) of every position on the finest lattice, whose pitch is `pitch` px."""

    index: NDArray[np.int32]
    pitch: float


@dataclass(frozen=True)
class Scan:
    """n diffraction patterns of N x N detector pixels and how they came about.

    counts (n, N, N) photons, zero frequency at (N // 2, N // 2): an array, or an HDF5 dataset that is read in blocks,
    of which `rows` (n,) names the patterns; None for a scan that is only planned. positions (n, 2) float64 px, y then
    x, patch centres. probe (M, N, N) complex64, root photons, M mutually incoherent modes. shape (H, W) of the object,
    px. background (N, N) expected counts per pixel and pattern; mask (N, N), True = good: both centred. dose: photons
    per pattern asked for, over the whole finest scan, before mask and without background. `geometry` gives lengths,
    `nodes` the place on a lattice, where known.
    """

    counts: Counts | None
    positions: NDArray[np.float64]
    probe: NDArray[np.complex64]
    shape: tuple[int, int]
    background: NDArray[np.float64]
    mask: NDArray[np.bool_]
    dose: float
    geometry: Geometry | None = None
    nodes: Nodes | None = None
    rows: NDArray[np.int64] | None = field(default=None, repr=False)

    def __len__(self) -> int:
        """Number of patterns n."""
        return len(self.positions)

    @property
    def size(self) -> int:
        """N, pixels on a side of a pattern."""
        return self.probe.shape[-1]

    @property
    def pixel_m(self) -> float:
        """Object pixel, metres; a nanometre where the geometry is not known and no metric needs it."""
        return 1e-9 if self.geometry is None else self.geometry.object_pixel(self.size)

    @cached_property
    def diameter(self) -> float:
        """D90 of the probe, px (see overlap.encircled_diameter)."""
        return overlap.encircled_diameter(self.probe)

    @cached_property
    def rim(self) -> int:
        """Dark border of the probe's window, px (see overlap.dark_rim)."""
        return overlap.dark_rim(self.probe)

    @cached_property
    def incident(self) -> float:
        """Photons of the probe, sum |P|^2 over all modes."""
        wave = self.probe.astype(np.complex128)
        return float((wave.real**2 + wave.imag**2).sum())

    @property
    def nuisances(self) -> set[str]:
        """What a forward model must have to be true of this scan: of `background`, `mask` and `modes`."""
        found = {"background": self.background.any(), "mask": not self.mask.all(), "modes": len(self.probe) > 1}
        return {name for name, there in found.items() if there}

    def read(self, index: NDArray[np.int64] | slice = slice(None)) -> NDArray[np.int64]:
        """Counts (..., N, N) of patterns `index` (...), centred; masked pixels are 0. Each is read once from a file."""
        if self.counts is None:
            raise ValueError("a planned scan has no counts")
        wanted = np.arange(len(self))[index]
        rows = wanted if self.rows is None else self.rows[wanted]
        unique, place = np.unique(rows, return_inverse=True)  # HDF5 wants increasing rows
        found = self.counts[unique].astype(np.int64) * self.mask
        return found[place.reshape(rows.shape)]

    def copy(self) -> "Scan":
        """The same in memory, with arrays of its own."""
        return replace(self, counts=self.packed(), rows=None, probe=self.probe.copy(), positions=self.positions.copy())

    def packed(self) -> NDArray[np.unsignedinteger]:
        """All counts (n, N, N), as `read` gives them, in the smallest unsigned type that holds them."""
        return np.concatenate([shrunk(self.read(part)) for part in simulate.blocks(len(self))])

    def select(self, index: NDArray[np.int64]) -> "Scan":
        """The patterns `index` (k,), in that order; counts are not copied."""
        rows = index if self.rows is None else self.rows[index]
        nodes = None if self.nodes is None else replace(self.nodes, index=self.nodes.index[index])
        return replace(self, positions=self.positions[index], rows=rows, nodes=nodes)

    def split(self, share: float, rng: np.random.Generator) -> tuple["Scan", "Scan"]:
        """Two independent scans of a `share` of the photons and of the rest, in memory (see noise.thin)."""
        kept, rest = [], []
        for part in simulate.blocks(len(self)):
            counts = self.read(part)
            kept.append(shrunk(noise.thin(counts, share, rng)))
            rest.append(shrunk(counts - kept[-1]))
        return self._of(np.concatenate(kept), share), self._of(np.concatenate(rest), 1 - share)

    def thin(self, share: float, rng: np.random.Generator) -> "Scan":
        """This scan at a `share` of its dose: counts thinned, probe and background scaled alike."""
        return self.split(share, rng)[0]

    def _of(self, counts: NDArray[np.integer], share: float) -> "Scan":
        probe = (self.probe * np.float32(share**0.5)).astype(np.complex64)
        dose, background = self.dose * share, self.background * share
        return replace(self, counts=counts, rows=None, probe=probe, background=background, dose=dose)

    def expected(self, obj: NDArray[np.complex64], index: NDArray[np.int64] | slice = slice(None)) -> NDArray:
        """Expected counts (k, N, N) of patterns `index` for an object (H, W), background included, mask ignored."""
        return simulate.expected_counts(obj, self.probe, self.positions[index], self.background)

    @cached_property
    def mean_pattern(self) -> NDArray[np.float64]:
        """Mean counts (N, N) over all patterns, 0 where masked; read in blocks."""
        total = np.zeros((self.size, self.size), np.int64)
        for part in simulate.blocks(len(self)):
            total += self.read(part).sum(0)
        return total / len(self)

    @property
    def signal(self) -> float:
        """Mean photons per pattern that came from the probe, in good pixels: counts less the background."""
        return float(self.mean_pattern.sum() - self.background[self.mask].sum())

    @property
    def detected_share(self) -> NDArray[np.float64]:
        """Share (N, N) of the probe's photons that each detector pixel sees of an empty object, centred."""
        far = fft.fftshift(fft.fft2(self.probe.astype(np.complex128), norm="ortho"), axes=(-2, -1))
        power = (far.real**2 + far.imag**2).sum(0)
        return power / power.sum()

    @cached_property
    def level(self) -> float:
        """Amplitude of the featureless object that transmits the mean signal. StudyError where there is no signal."""
        if self.signal <= 0:
            raise StudyError(
                f"scan: {self.mean_pattern.sum():g} counts per pattern in good pixels are no more than the background "
                f"of {self.background[self.mask].sum():g}; correct the background or the mask"
            )
        seen = self.incident if self.mask.all() else self.incident * float(self.detected_share[self.mask].sum())
        return float(np.sqrt(self.signal / seen))

    @cached_property
    def efficiency(self) -> float:
        """Share of the photons' information that background b and mask leave, 1 without either.

        The mean pattern stands for the expected signal, and the flat object's where pixels are masked (see
        `information_share`).
        """
        if not self.nuisances - {"modes"}:
            return 1.0
        flat = self.detected_share * self.incident * self.level**2
        signal = np.where(self.mask, np.maximum(self.mean_pattern - self.background, 0), flat)
        return information_share(signal, self.background, self.mask)

    def photons_per_pixel(self, step: float) -> float:
        """n-bar (see overlap.photons_per_pixel) of the signal, for one pattern per `step` x `step` px cell."""
        return overlap.photons_per_pixel(self.signal * len(self), len(self), step)

    def flat(self) -> NDArray[np.complex64]:
        """The control (H, W): a featureless object with the mean transmission that the counts imply (no truth)."""
        return np.full(self.shape, self.level, np.complex64)


def shrunk(counts: NDArray[np.integer]) -> NDArray[np.unsignedinteger]:
    """Counts, any shape, in the smallest unsigned type that holds them."""
    return counts.astype(np.min_scalar_type(int(counts.max())))


def information_share(signal: NDArray[np.float64], background: NDArray[np.float64], mask: NDArray[np.bool_]) -> float:
    """Share of the information of photons of expected `signal` s (N, N) that is left beside a `background` b (N, N)
    and outside the bad pixels of `mask` (N, N): sum s w / sum s over the good ones, w = s / (s + b) being the weight
    of a pixel in the Fisher information (see bounds.fisher)."""
    weight = signal / np.maximum(signal + background, 1e-12)
    return float((signal * weight)[mask].sum() / signal.sum())


def good(size: int) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """No background and no bad pixel: (N, N) zeros and (N, N) True."""
    return np.zeros((size, size)), np.ones((size, size), bool)


def of_arrays(
    counts: Counts | None,
    probe: NDArray[np.complexfloating],
    positions: NDArray[np.float64],
    shape: Sequence[int],
) -> Scan:
    """A scan without background and bad pixels; probe (N, N) or (M, N, N), the rest as in `Scan`."""
    wave = np.asarray(probe, np.complex64).reshape(-1, *probe.shape[-2:])  # (N, N) -> (1, N, N)
    background, mask = good(wave.shape[-1])
    made = Scan(counts, positions, wave, (int(shape[0]), int(shape[1])), background, mask, 0.0)
    return made if counts is None else replace(made, dose=made.signal)
