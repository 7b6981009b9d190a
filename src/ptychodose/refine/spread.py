"""Error bars: the standard error of a reconstruction, pixel by pixel, from a network that was taught by true errors.

An iterative solution knows its noise but not its bias (edges that the prior rounds, waves that no photon tells); both
show in how far the learned steps move it, in what the data still pull at, and in its own texture. The network maps
these to the size of the error, on procedural scans where the error is known.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ptychodose.iterative.problem import Problem
from ptychodose.networks.features import noise_planes, scale_planes
from ptychodose.physics import forward
from ptychodose.refine.hybrid import noise_sd
from ptychodose.refine.unet import UNet

POWER = 1.5  # of the errors in the loss: 2 lets a few large ones widen all intervals, 1 does not see the tails
GAUSSIAN = 1.1057  # sd of a Gaussian over the scale that this loss finds for it: (E|z|^1.5)^(-1/1.5)
LIMITS = (-4.0, 4.0)  # of log(standard error / noise sd)


class Spread(nn.Module):
    """Standard errors of a start and of what the learned steps made of it."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.spec = {"name": "spread", "width": width}
        self.net = UNet(8, 4, width)

    def forward(self, start: Tensor, found: Tensor, known: "Known") -> Tensor:
        """(4, H, W): standard error along and across `start`, along and across `found` (both (H, W)): along is
        that of the amplitude, across that of the phase times the amplitude."""
        waves = [(start - known.level, True), (found - start, True), (known.slope, True)]
        logs = self.net(noise_planes(waves, known.sd, scale_planes(known.lit, known.sd))[None])[0]
        return known.sd * torch.exp(logs.clamp(*LIMITS))


@dataclass(frozen=True)
class Known:
    """What the network knows beside the images: the flat object's amplitude; light in [0, 1], noise sd, and
    preconditioned likelihood gradient at the start, each (H, W)."""

    level: float
    lit: Tensor
    sd: Tensor
    slope: Tensor


def known(problem: Problem, start: Tensor) -> Known:
    """`Known` of a problem and a start (H, W)."""
    slope = problem.gradient(start) / problem.floored
    return Known(problem.level, problem.lit / problem.lit.max(), noise_sd(problem), slope)


def components(image: Tensor, truth: Tensor, weight: Tensor) -> Tensor:
    """Error of an image along and across a truth (H, W), after the best complex factor where `weight` (H, W) lies:
    (2, H, W) real."""
    factor = (image.conj() * truth * weight).sum() / (forward.measure(image) * weight).sum()
    turned = (image * factor - truth) * truth.conj() / truth.abs().clamp(min=1e-6)
    return torch.stack([turned.real, turned.imag])


def loss(scale: Tensor, errors: Tensor, weight: Tensor) -> Tensor:
    """Minus the log-likelihood of errors (k, H, W) under a generalised normal of power POWER, whose sd were `scale`
    (k, H, W) if it were a Gaussian; weighted mean by `weight` (H, W)."""
    units = scale / GAUSSIAN
    each = torch.log(units) + (errors.abs() / units) ** POWER / POWER
    return (each * weight).sum() / (len(errors) * weight.sum())
