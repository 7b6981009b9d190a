"""A whole scan as one optimisation problem in torch: the canvas it lights, likelihood, gradients."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ptychodose.physics import forward
from ptychodose.physics.forward import DARK, LIT, Patterns
from ptychodose.scans import tensors
from ptychodose.scans.scan import Scan

BLOCK = 32  # patterns per gradient block: their waves stay in the CPU's cache, twice as fast as all at once


class Problem:
    """`patterns` are all of a scan on one canvas of `shape` (H, W), which starts at `origin` (y, x) px of the object.

    `level` is the flat object's amplitude, `lit` (H, W) the incident photons per pixel, `photons` their median,
    `efficiency` as in Scan.
    """

    def __init__(self, scan: Scan) -> None:
        index = np.arange(len(scan))[None]
        corners, origins, self.shape = tensors.place(scan, index)
        self.origin: tuple[int, int] = (int(origins[0, 0]), int(origins[0, 1]))
        self.offsets = tensors.corners_of(scan, index)[1][:, :, None]  # (1, n, 1, 2)
        self.level, self.efficiency = scan.level, scan.efficiency
        self.use(torch.as_tensor(scan.probe), tensors.patterns(scan, index, corners, self.shape))

    def use(self, probe: Tensor, patterns: Patterns) -> None:
        """Take `patterns`, whose probes are shifts of `probe` (M, N, N), from now on."""
        self.probe, self.patterns = probe, patterns
        self.lit = torch.zeros(self.shape)
        for p in self.parts():
            self.lit += forward.illumination(p.corners, p.probes, self.shape)[0]
        self.photons = float(self.lit[self.lit > 0.1 * self.lit.max()].median())

    def set_probe(self, probe: Tensor) -> None:
        """Use another probe (M, N, N) complex64 from now on."""
        self.use(probe, self.patterns.with_probes(forward.shift_probe(probe, self.offsets)))

    def parts(self) -> list[Patterns]:
        """Blocks of patterns."""
        number = self.patterns.corners.shape[1]
        return [self.patterns.part(slice(i, i + BLOCK)) for i in range(0, number, BLOCK)]

    @property
    def precondition(self) -> Tensor:
        """Inverse curvature (H, W) of the likelihood: 1 / photons per pixel, finite where no light falls."""
        return 1 / (self.lit + LIT * self.lit.max())

    @property
    def seen(self) -> NDArray[np.bool_]:
        """Pixels (H, W) of the canvas that enough light falls on; the others keep what they were."""
        return (self.lit > DARK * self.lit.max()).numpy()

    @property
    def window(self) -> tuple[slice, slice]:
        """Where the canvas lies on the object."""
        (y, x), (height, width) = self.origin, self.shape
        return slice(y, y + height), slice(x, x + width)

    def flat(self) -> Tensor:
        """The featureless canvas (H, W) that transmits the mean counts."""
        return self.patterns.flat()[0]

    def gradient(self, obj: Tensor) -> Tensor:
        """Likelihood gradient (H, W) of the canvas (see forward.gradient)."""
        total = torch.zeros_like(obj)
        for p in self.parts():
            total += forward.gradient(obj[None], p)[0]
        return total

    def losses(self, obj: Tensor) -> NDArray[np.float64]:
        """Mean Poisson loss per good detector pixel (see forward.poisson_nll) of every pattern (n,)."""
        return torch.cat([forward.losses(obj[None], p)[0] for p in self.parts()]).numpy()

    def probe_gradient(self, obj: Tensor) -> Tensor:
        """Likelihood gradient (M, N, N) with respect to conj(probe), sub-pixel shifts undone pattern by pattern."""
        total = torch.zeros_like(self.probe)
        for i, p in enumerate(self.parts()):
            patches = forward.extract(obj[None], p.corners, self.probe.shape[-1])[:, :, None]  # (1, block, 1, N, N)
            back = patches.conj() * forward.residual_waves(obj[None], p)  # (1, block, M, N, N)
            offsets = self.offsets[:, i * BLOCK : (i + 1) * BLOCK]
            total += forward.shift_probe(back, -offsets)[0].sum(0)  # the adjoint of the shift
        return total
