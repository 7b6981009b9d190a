"""What MAP minimises, and the curvature that makes its steps long: Poisson loss of all patterns + prior."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from ptychodose.iterative import descent, priors
from ptychodose.iterative.problem import Problem
from ptychodose.physics import forward
from ptychodose.physics.forward import FLOOR

ROUNDS = 8  # of conjugate gradients on the canvas per iteration, at most: 15 save no iterations
BOOST = 0.1  # share of the long waves' own inverse curvature that a step takes: 0.3 overshoots at first
SHALLOW = 1e-3  # least curvature of a phase wave, of the likelihood's own: what no photon tells is left to the prior


@dataclass(frozen=True)
class Posterior:
    """Minus the logarithm of the posterior of a canvas (H, W), up to a constant.

    The prior counts weight * sqrt(incident photons per pixel that tell) * flat amplitude: noise in the object falls
    with that root, so one weight means the same smoothing at every dose.
    """

    problem: Problem
    prior: str
    smoothing: float
    weight: float

    @property
    def strength(self) -> float:
        """Factor of the prior's energy."""
        return self.weight * math.sqrt(self.problem.photons * self.problem.efficiency) * self.problem.level

    def __call__(self, image: Tensor) -> tuple[float, Tensor]:
        """Value in nats and gradient (H, W) with respect to the conjugate."""
        (loss, slope), (energy, pull) = self.problem.loss_and_gradient(image), self.of_prior(image)
        return loss + energy, slope + pull

    def of_prior(self, image: Tensor) -> tuple[float, Tensor]:
        """The prior's share of value and gradient."""
        bound = priors.bound(image, self.prior, self.smoothing)
        return self.strength * bound.energy, self.strength * bound(image)

    def preconditioner(self, image: Tensor) -> Callable[[Tensor], Tensor]:
        """About the inverse of the curvature at an `image` (H, W): (photons per pixel + strength A)^-1, A the prior's
        quadratic upper bound there, and beside it the surplus of long phase waves (see `turning_point`).

        Without A the step is stable only where photons abound; with A's diagonal alone, or without the surplus, long
        waves take hundreds of steps.
        """
        bound, lit = priors.bound(image, self.prior, self.smoothing), self.problem.floored
        inverse = 1 / (lit + self.strength * bound.diagonal)
        turn = image / image.abs().clamp(min=0.1 * self.problem.level)
        phase = 1j * turn * torch.rsqrt(lit) * (lit > 0.1 * lit.max())  # along the phase, in units of its noise

        def operator(way: Tensor) -> Tensor:
            return lit * way + self.strength * bound(way)

        def apply(slope: Tensor) -> Tensor:
            short = descent.conjugate_gradients(operator, slope, inverse, ROUNDS)
            return short + BOOST * phase * self._filtered((phase.conj() * slope).real)

        return apply

    @cached_property
    def _surplus(self) -> Tensor:
        """Inverse curvature of phase waves beyond that of short ones, on the frequencies of a canvas padded twice."""
        height, width = self.problem.shape
        along = torch.fft.fftfreq(2 * height)[:, None], torch.fft.rfftfreq(2 * width)[None]
        squared = along[0] ** 2 + along[1] ** 2  # (cycles per px)^2
        second = priors.WEIGHTS[self.prior][1]
        smooth = self.strength * 2 * math.pi**2 * second / self.smoothing / self.problem.photons * squared
        surplus = 1 / (squared / (squared + turning_point(self.problem) ** 2) + smooth + SHALLOW) - 1 / (1 + smooth)
        surplus[0, 0] = 0  # the global phase is nobody's business
        return surplus.clamp(min=0)

    def _filtered(self, phase: Tensor) -> Tensor:
        size = [2 * length for length in self.problem.shape]
        spread = torch.fft.irfft2(torch.fft.rfft2(phase, s=size) * self._surplus, s=size)
        return spread[: self.problem.shape[0], : self.problem.shape[1]]


def turning_point(problem: Problem) -> float:
    """The frequency, cycles per object pixel, below which a phase wave changes the counts less than a short one.

    A wave of phase much longer than the probe only shifts the patterns a little: of the flat object the Fisher
    information sum (dI)^2 / I per photon grows as m(q) = q^2 / (q^2 + q0^2); q0 is solved for at the longest wave.
    """
    probe = problem.probe.to(torch.complex128) * problem.level
    size, frequency = probe.shape[-1], 1 / max(problem.shape)
    angle = 2 * math.pi * frequency * (torch.arange(size, dtype=torch.float64) - size // 2)
    wave = torch.polar(torch.ones_like(angle), angle)
    flat = forward.propagate(probe)  # (M, N, N)
    rate = forward.measure(flat).sum(0) + problem.background + FLOOR
    told = 0.0
    for ramp in (wave[:, None], wave[None, :]):
        ahead, back = (forward.propagate(probe * turned) for turned in (ramp, ramp.conj()))
        change = (flat.conj() * ahead - (flat.conj() * back).conj()).sum(0)  # of the counts, / (i/2): both sidebands
        told += float((forward.measure(change) / rate).sum() / forward.measure(flat).sum()) / 4
    told = min(max(told, 1e-9), 0.5)
    return frequency * math.sqrt((1 - told) / told)
