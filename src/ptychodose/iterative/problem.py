"""A whole scan as one optimisation problem in torch: the canvas it lights, likelihood, gradients."""

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ptychodose.physics import forward
from ptychodose.physics.forward import DARK, LIT, Patterns
from ptychodose.scans import tensors
from ptychodose.scans.scan import Scan

BLOCK = 32  # patterns per gradient block: their waves stay in the CPU's cache, twice as fast as all at once
KEPT = 2**22  # values of shifted probes kept at most, with all that goes along 130 MB; beyond, blocks are made anew


class Problem:
    """All patterns of a scan on one canvas of `shape` (H, W), which starts at `origin` (y, x) px of the object.

    `level` is the flat object's amplitude, `lit` (H, W) the incident photons per pixel, `photons` their median,
    `efficiency` as in Scan. The memory it needs beyond the scan's own does not grow with the number of patterns.
    """

    def __init__(self, scan: Scan) -> None:
        index = np.arange(len(scan))[None]
        corners, origins, self.shape = tensors.place(scan, index)
        self.corners = corners  # (1, n, 2)
        self.counts = np.fft.ifftshift(scan.packed(), (-2, -1))  # (n, N, N), corner layout
        self.origin: tuple[int, int] = (int(origins[0, 0]), int(origins[0, 1]))
        self.offsets = tensors.corners_of(scan, index)[1][:, :, None]  # (1, n, 1, 2)
        self.level, self.efficiency = scan.level, scan.efficiency
        self.background, self.mask = tensors.background(scan), tensors.mask(scan)
        self._kept: list[Patterns] | None = None
        self.set_probe(torch.as_tensor(scan.probe))

    def set_probe(self, probe: Tensor) -> None:
        """Use another probe (M, N, N) complex64 from now on."""
        self.probe, self._kept = probe, None
        if len(self.counts) * probe.numel() <= KEPT:
            self._kept = [self.part(block) for block in self.blocks()]
        self.lit = torch.zeros(self.shape)
        for p in self.parts():
            self.lit += forward.illumination(p.corners, p.probes, self.shape)[0]
        self.photons = float(self.lit[self.lit > 0.1 * self.lit.max()].median())

    def rest(self) -> None:
        """Forget the shifted probes: less memory until `set_probe`, more time for every look in between."""
        self._kept = None

    def blocks(self) -> list[slice]:
        """The patterns in order, block by block."""
        return [slice(i, i + BLOCK) for i in range(0, len(self.counts), BLOCK)]

    def part(self, block: slice, probes: Tensor | None = None) -> Patterns:
        """The patterns of a block, under other shifted probes (1, block, M, N, N) where given."""
        if probes is None:
            probes = forward.shift_probe(self.probe, self.offsets[:, block])
        return Patterns(
            corners=self.corners[:, block],
            probes=probes,
            counts=torch.as_tensor(self.counts[block].astype(np.float32))[None],
            background=self.background,
            mask=self.mask,
            shape=self.shape,
            level=torch.full((1, 1, 1), self.level),
            efficiency=torch.full((1, 1, 1), self.efficiency),
        )

    def parts(self) -> Iterator[Patterns]:
        """Blocks of patterns."""
        for i, block in enumerate(self.blocks()):
            yield self.part(block) if self._kept is None else self._kept[i]

    @property
    def seen(self) -> NDArray[np.bool_]:
        """Pixels (H, W) of the canvas that enough light falls on; the others keep what they were."""
        return (self.lit > DARK * self.lit.max()).numpy()

    @property
    def floored(self) -> Tensor:
        """Photons per pixel (H, W), and a little where no light falls: the likelihood's curvature."""
        return self.lit + LIT * self.lit.max()

    @property
    def window(self) -> tuple[slice, slice]:
        """Where the canvas lies on the object."""
        (y, x), (height, width) = self.origin, self.shape
        return slice(y, y + height), slice(x, x + width)

    def flat(self) -> Tensor:
        """The featureless canvas (H, W) that transmits the mean counts."""
        return torch.full(self.shape, self.level, dtype=torch.complex64)

    def gradient(self, obj: Tensor) -> Tensor:
        """Likelihood gradient (H, W) of the canvas (see forward.gradient)."""
        total = torch.zeros_like(obj)
        for p in self.parts():
            total += forward.gradient(obj[None], p)[0]
        return total

    def loss_and_gradient(self, obj: Tensor) -> tuple[float, Tensor]:
        """Summed Poisson loss of all patterns and its gradient (H, W) (see forward.loss_and_gradient)."""
        loss, total = 0.0, torch.zeros_like(obj)
        for p in self.parts():
            more, slope = forward.loss_and_gradient(obj[None], p)
            loss += float(more)
            total += slope[0]
        return loss, total

    def losses(self, obj: Tensor) -> NDArray[np.float64]:
        """Mean Poisson loss per good detector pixel (see forward.poisson_nll) of every pattern (n,)."""
        return torch.cat([forward.losses(obj[None], p)[0] for p in self.parts()]).numpy()
