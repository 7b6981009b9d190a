"""The posterior of object, probe, positions and background together, for the descent that solves for all at once.

A separate step for each would have to wait for the others; L-BFGS over the joint vector learns how they trade. What is
not solved for keeps its value: its gradient is zero.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from ptychodose.experiment.places import information, moving, projected, ramps, stiffest
from ptychodose.experiment.unknowns import Unknowns, knots
from ptychodose.iterative import descent
from ptychodose.iterative.posterior import Posterior
from ptychodose.iterative.problem import Problem
from ptychodose.physics import forward
from ptychodose.physics.forward import FLOOR
from ptychodose.study.settings import Solve

SLACK = 1e-3  # photons of a probe's far field that are allowed where no light was seen
SOFT = 0.01  # of the greatest stiffness a place may have, the least one steps go by: a flat object's is zero at first


@dataclass(frozen=True)
class Joint:
    """Minus the log posterior of the vector of `Unknowns`, and a preconditioner for each of its parts.

    problem: the patterns, on windows that stay where they are; posterior: of the object alone; given (n,) complex64:
    recorded places; free: what is solved for, its `positions` being their present accuracy, px rms; seen (N, N): mean
    counts per pattern of the probe's light, smoothed, corner layout; start: whose shapes the vector has; together (2n,
    k): orthonormal moves (y of all, then x of all) that positions make together, None when each makes its own.
    """

    problem: Problem
    posterior: Posterior
    given: Tensor
    free: Solve
    seen: Tensor
    start: Unknowns
    together: Tensor | None = None

    def __call__(self, image: Tensor) -> tuple[float, Tensor]:
        """Value in nats at a vector (d,), and gradient (d,) with respect to its conjugate."""
        at, size = self.start.of(image), self.seen.shape[-1]
        share = self.amplitude / float(at.probe.norm())
        probe = at.probe * share
        spectrum, background = forward.propagate(probe), self.problem.background + at.background()
        loss, obj = self.posterior.of_prior(at.obj)
        pull = self.tint * spectrum  # the gradient of sum tint |spectrum|^2
        loss += descent.dot(spectrum, pull)
        places, dark = torch.zeros_like(at.places), torch.zeros_like(self.seen)
        for block in self.problem.blocks():
            ramp = ramps(at.places[block], size)
            turned = ramp * spectrum  # (block, M, N, N)
            part = replace(self.problem.part(block, forward.back_propagate(turned)[None]), background=background)
            more, residual, slope = forward.loss_and_residual(at.obj[None], part)
            loss += float(more)
            dark += slope[0].sum(0)
            if self.free.probe or self.free.positions:
                patches = forward.extract(at.obj[None], part.corners, size, part.index)[
                    :, :, None
                ]  # (1, block, 1, N, N)
                told = forward.propagate(patches.conj() * residual)[0]  # with respect to conj(turned)
                told = told.mul_(ramp.conj())  # and now to conj(spectrum)
                pull = pull + told.sum(0)
                places[block] = moving(told, spectrum)
            obj = obj + forward.gathered(residual, part)[0]
        if self.together is not None:
            places = projected(places, self.together)
        elif self.free.positions:
            away = (at.places - self.given) / self.free.positions
            loss += 0.5 * descent.dot(away, away)
            places = places + 0.5 * away / self.free.positions
        dark = self.inside.T @ dark @ self.inside
        return loss, self._gradient(at, Unknowns(obj, share * forward.back_propagate(pull), places, dark, at.most))

    def _gradient(self, at: Unknowns, slopes: Unknowns) -> Tensor:
        """The slopes of what is free: of the probe without its energy, of the background's root."""
        radial = at.probe / at.probe.norm()
        probe = slopes.probe - radial * descent.dot(radial, slopes.probe)
        return replace(
            slopes,
            probe=probe if self.free.probe else torch.zeros_like(probe),
            places=slopes.places if self.free.positions else torch.zeros_like(slopes.places),
            root=at.rise * slopes.root if self.free.background else torch.zeros_like(slopes.root),
        ).vector()

    def preconditioner(self, image: Tensor) -> Callable[[Tensor], Tensor]:
        """About the inverse of the curvature, block by block: of the object as in `Posterior`; of the probe, how much
        light meets the object, and its prior; of positions, `stiffness` and theirs; of the background, the counts."""
        at, solve = self.start.of(image), self.posterior.preconditioner(self.start.of(image).obj)
        patterns = len(self.problem.counts)
        of_probe = 1 / (patterns * self.problem.level**2 + self.tint)
        good = torch.ones_like(self.seen) if self.problem.mask is None else self.problem.mask
        told, most = (
            self.inside.T @ each @ self.inside for each in (good / (self.seen + at.background() + FLOOR), good)
        )
        of_root = 1 / (patterns * (2 * at.rise**2 * told + most))  # a root near zero is curved by the slope alone

        def apply(slope: Tensor) -> Tensor:
            way = self.start.of(slope)
            probe = forward.back_propagate(of_probe * forward.propagate(way.probe))
            return Unknowns(solve(way.obj), probe, self._placed(way.places), of_root * way.root, at.most).vector()

        return apply

    def _placed(self, way: Tensor) -> Tensor:
        """A slope (n,) along places in units of its curvature: half of what counts and prior tell of each; of all
        alike where they move together."""
        if not self.free.positions:
            return way
        told = torch.view_as_real(self.stiffness).clamp(min=SOFT * self.problem.level**2 * stiffest(self.spectrum))
        if self.together is not None:
            return 2 * way / told.mean()
        return torch.view_as_complex(2 * torch.view_as_real(way) / (told + self.free.positions**-2))

    @cached_property
    def amplitude(self) -> float:
        """Root of the photons incident per pattern, which stay."""
        return float(self.problem.probe.norm())

    @cached_property
    def inside(self) -> Tensor:
        """From the background's knots to its pixels: (N, K)."""
        return knots(self.seen.shape[-1], len(self.start.root))

    @cached_property
    def tint(self) -> Tensor:
        """Precision (M, N, N) of the probe's spectrum: that of light of a mode's share of the photons spread as the
        mean pattern is. It keeps noise out of the probe where no light arrives."""
        shares = forward.measure(self.start.probe).sum((1, 2), keepdim=True)
        return 1 / (shares / shares.sum() * self.seen / self.problem.level**2 + SLACK) * float(bool(self.free.probe))

    @cached_property
    def stiffness(self) -> Tensor:
        """Fisher information (n,) of every position, px^-2, y + i x, at the start (see `places.information`)."""
        at, size, told = self.start, self.seen.shape[-1], []
        spectrum, background = self.spectrum, self.problem.background + at.background()
        for block in self.problem.blocks():
            patches = forward.extract(at.obj[None], self.problem.corners[:, block], size)[0]
            turned = ramps(at.places[block], size) * spectrum
            told.append(information(turned, patches, background, self.problem.mask))
        return torch.cat(told)

    @cached_property
    def spectrum(self) -> Tensor:
        """Far field (M, N, N) of the start's probe, corner layout."""
        return forward.propagate(self.start.probe * (self.amplitude / float(self.start.probe.norm())))
