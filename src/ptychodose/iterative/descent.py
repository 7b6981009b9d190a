"""Descent of a real function of a complex image that never rises: L-BFGS with a preconditioner that follows it."""

from collections.abc import Callable, Iterator
from typing import Protocol

import torch
from torch import Tensor

MEMORY = 8  # pairs of steps and changes of slope kept; 20 need the same number of iterations
ARMIJO = 1e-4  # share of the fall that the slope promises which a step must bring
SOLVED = 0.05  # of the first residual: conjugate gradients stop there
SHORTEST = 1e-3  # of the full step; when no step above it goes down, rounding rules


class Objective(Protocol):
    """A real function of a complex image (H, W)."""

    def __call__(self, image: Tensor) -> tuple[float, Tensor]:
        """Value, and gradient (H, W) with respect to the conjugate."""
        ...

    def preconditioner(self, image: Tensor) -> Callable[[Tensor], Tensor]:
        """About the inverse of the curvature at `image`, applied to a gradient (H, W)."""
        ...


def dot(a: Tensor, b: Tensor) -> float:
    """Re <a, b> of two complex images."""
    return float((torch.view_as_real(a) * torch.view_as_real(b)).sum(dtype=torch.float64))


def descend(objective: Objective, image: Tensor, iterations: int) -> Iterator[tuple[Tensor, float]]:
    """Images (H, W) and their values, at most `iterations` of them, each value at most the one before.

    L-BFGS (Nocedal & Wright, Numerical Optimization, 2nd ed., algorithm 7.4) with backtracking; it ends early where no
    step along the preconditioned gradient goes down any more. The generator yields the start first.
    """
    value, slope = objective(image)
    pairs: list[tuple[Tensor, Tensor, float]] = []
    yield image, value
    for _ in range(iterations):
        apply = objective.preconditioner(image)
        found = _step(objective, image, value, -_two_loops(slope, pairs, apply), slope)
        if found is None and pairs:
            pairs = []
            found = _step(objective, image, value, -apply(slope), slope)
        if found is None:
            return
        moved, value, following = found
        step, change = moved - image, following - slope
        along = dot(step, change)
        if along > 0:  # a pair without curvature would spoil the inverse
            pairs = [*pairs[-MEMORY + 1 :], (step, change, 1 / along)]
        image, slope = moved, following
        yield image, value


def _two_loops(slope: Tensor, pairs: list[tuple[Tensor, Tensor, float]], apply: Callable[[Tensor], Tensor]) -> Tensor:
    """The inverse curvature that `pairs` and the preconditioner tell, applied to a slope (H, W)."""
    way, shares = slope, []
    for step, change, inverse in reversed(pairs):
        shares.append(inverse * dot(step, way))
        way = way - shares[-1] * change
    way = apply(way)
    for (step, change, inverse), share in zip(pairs, reversed(shares), strict=True):
        way = way + (share - inverse * dot(change, way)) * step
    return way


def _step(
    objective: Objective, image: Tensor, value: float, way: Tensor, slope: Tensor
) -> tuple[Tensor, float, Tensor] | None:
    """The first of ever shorter steps along `way` that brings enough: image, value, slope there; None if none does."""
    promise, length = 2 * dot(slope, way), 1.0  # of the real function: twice the conjugate gradient
    while promise < 0 and length > SHORTEST:
        moved = image + length * way
        reached, following = objective(moved)
        if reached <= value + ARMIJO * length * promise:
            return moved, reached, following
        excess = reached - value - length * promise  # a parabola through value, slope and what was reached
        length *= min(0.5, max(0.1, -0.5 * promise * length / excess))
    return None


def conjugate_gradients(operator: Callable[[Tensor], Tensor], right: Tensor, inverse: Tensor, rounds: int) -> Tensor:
    """About x with operator(x) = right (H, W), operator positive, after at most `rounds` rounds of conjugate gradients
    with the diagonal preconditioner `inverse` (H, W) real (Nocedal & Wright, algorithm 5.3)."""
    x, residual = torch.zeros_like(right), right
    conditioned = inverse * residual
    way, size = conditioned, dot(residual, conditioned)
    enough = SOLVED**2 * size
    for _ in range(rounds):
        if size <= enough:
            break
        image = operator(way)
        share = size / dot(way, image)
        x, residual = x + share * way, residual - share * image
        conditioned = inverse * residual
        size, before = dot(residual, conditioned), size
        way = conditioned + (size / before) * way
    return x
