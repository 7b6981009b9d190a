"""The hybrid arm in use: learned steps from a MAP object, as far as held-out photons follow them, with error bars."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray

from ptychodose.iterative import poisson_map
from ptychodose.iterative.posterior import Posterior
from ptychodose.iterative.problem import Problem
from ptychodose.refine.hybrid import Refiner
from ptychodose.refine.hybrid_bundle import Hybrid
from ptychodose.refine.spread import known
from ptychodose.scans.scan import Scan
from ptychodose.study.settings import MapSettings

AGAIN = 15  # iterations that make a MAP object of all photons one of those that are not held out


@dataclass(frozen=True)
class Refined:
    """obj (H, W) complex64; standard errors (H, W) complex64 of it and of its start: the real part along the object
    (its amplitude's), the imaginary part across (its phase's, times the amplitude); `blend`, the share of the learned
    move that was taken."""

    obj: NDArray[np.complex64]
    error: NDArray[np.complex64]
    start_error: NDArray[np.complex64]
    blend: float


@torch.no_grad()
def refine(net: Hybrid, start: NDArray[np.complex64], scan: Scan, blend: float = 1.0) -> Refined:
    """Improve a reconstruction (H, W) of a scan by the share `blend` of the learned move; pixels that no pattern lights
    keep their value."""
    problem = Problem(scan)
    before = torch.as_tensor(start[problem.window])
    found = before + blend * (net.refiner(problem, before)[-1] - before)
    errors = net.spread(before, found, known(problem, before))
    largest = complex(errors.max(), errors.max())  # where no light falls, in either direction
    whole = [start.copy(), *(np.full(scan.shape, largest, np.complex64) for _ in range(2))]
    made = [found, torch.complex(errors[2], errors[3]), torch.complex(errors[0], errors[1])]
    for image, canvas in zip(whole, made, strict=True):
        image[problem.window][problem.seen] = canvas.numpy()[problem.seen]
    return Refined(whole[0], whole[1], whole[2], blend)


@torch.no_grad()
def choose_blend(
    refiner: Refiner, start: NDArray[np.complex64], weight: float, scan: Scan, settings: MapSettings, rng: Generator
) -> float:
    """The share of the learned move, 0 to 1, that best predicts photons held out by thinning, 0 where none helps.

    `start` (H, W) is the MAP object of all photons at a prior's `weight`; a few iterations on the photons that are kept
    make it one of those.
    """
    kept, rest = (Problem(part) for part in scan.split(1 - settings.heldout, rng))
    posterior = Posterior(kept, settings.prior, settings.smoothing, weight)
    before, _ = poisson_map.minimise(posterior, torch.as_tensor(start[kept.window]), AGAIN)
    move = refiner(kept, before)[-1] - before

    def loss(share: float) -> float:
        return float(rest.losses(before + share * move).mean())

    losses = [loss(share) for share in (0.0, 0.5, 1.0)]
    share = lowest(losses)  # along a far too long move the loss is steeper than a parabola
    return share if loss(share) < losses[0] else 0.0


def lowest(losses: list[float]) -> float:
    """Where between 0 and 1 the parabola through losses at 0, 1/2 and 1 is lowest."""
    first, middle, last = losses
    bend = first - 2 * middle + last
    if bend <= 0:
        return 0.0 if first <= last else 1.0
    return min(1.0, max(0.0, 0.5 + 0.25 * (first - last) / bend))
