"""Poisson maximum a posteriori: the reconstructor without learning, and the yardstick of those with it.

Minimises the Poisson likelihood of all patterns plus a prior (`priors`) by an accelerated gradient method
(Nesterov, with the restart of O'Donoghue & Candes, Found. Comput. Math. 15, 715 (2015)), preconditioned by the
illumination. The prior's weight and the number of iterations are chosen by photons held out by thinning, never by
truth.
The sub-pixel part of a position moves the probe, so nothing is interpolated.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ptychodose.iterative import priors
from ptychodose.iterative.problem import Problem
from ptychodose.physics import forward
from ptychodose.physics.forward import LIT
from ptychodose.scans.scan import Scan
from ptychodose.study.settings import MapSettings

STEP = 0.5  # of the preconditioned gradient; 0.8 diverges on bright patterns
EVERY = 5  # iterations between looks at the held-out photons; at least one look in a run
STALE = 2  # looks without progress that end a run
PROGRESS = 1e-5  # relative gain of the held-out loss that counts as progress
PROBE_STEP = 0.5  # of the preconditioned probe gradient
PROBE_EVERY = 3  # iterations; a step on the probe costs as much as two on the object


@dataclass(frozen=True)
class Solution:
    """obj (H, W) complex64 (flat where no light fell), probe (M, N, N) complex64, the weight of the prior, the
    iterations of the final run, `tried`: (weight, held-out loss per detector pixel, iterations) of every weight."""

    obj: NDArray[np.complex64]
    probe: NDArray[np.complex64]
    weight: float
    iterations: int
    tried: list[tuple[float, float, int]]


@dataclass(frozen=True)
class Choice:
    """What held-out photons chose: weight, iterations so far, the canvas (None: flat) and probe (M, N, N) reached, and
    all that was tried, as in `Solution`."""

    weight: float
    iterations: int
    canvas: Tensor | None
    probe: NDArray[np.complex64]
    tried: list[tuple[float, float, int]]


def minimise(
    problem: Problem,
    settings: MapSettings,
    weight: float,
    iterations: int,
    start: Tensor | None = None,
    stop: Callable[[int, Tensor], bool] = lambda *_: False,
) -> Tensor:
    """Canvas (H, W) after accelerated iterations on likelihood + prior, from `start` (default flat).

    The prior counts weight * sqrt(incident photons per pixel that tell) * flat amplitude: noise in the object falls
    with that root, so one weight means the same smoothing at every dose. `stop(i, canvas)` may end the run after
    iteration i.
    """
    obj = problem.flat() if start is None else start
    look, momentum = obj, 1.0
    strength = weight * math.sqrt(problem.photons * problem.efficiency) * problem.level
    for i in range(1, iterations + 1):
        slope = problem.gradient(look) + strength * priors.gradient(look, settings.prior, settings.smoothing)
        moved = look - STEP * slope * problem.precondition
        if float((slope.conj() * (moved - obj)).real.sum()) > 0:
            momentum = 1.0
        following = (1 + math.sqrt(1 + 4 * momentum**2)) / 2
        look, obj, momentum = moved + (momentum - 1) / following * (moved - obj), moved, following
        if settings.refine_probe and i % PROBE_EVERY == 0:
            _refine(problem, obj)
        if stop(i, obj):
            break
    return obj


def _refine(problem: Problem, obj: Tensor) -> None:
    """One preconditioned gradient step on the probe; its photons are kept, their number being the dose's business."""
    size = problem.probe.shape[-1]
    seen = torch.zeros(size, size)
    for p in problem.parts():
        seen += forward.measure(forward.extract(obj[None], p.corners, size))[0].sum(0)
    energy = forward.measure(problem.probe).sum()
    probe = problem.probe - PROBE_STEP * problem.probe_gradient(obj) / (seen + LIT * seen.max())
    problem.set_probe(probe * math.sqrt(float(energy / forward.measure(probe).sum())))


class _Watch:
    """Stop when the held-out loss, looked at `every` so many iterations, no longer falls; remembers the best."""

    def __init__(self, heldout: Problem, kept: Problem, share: float, every: int) -> None:
        self.heldout, self.kept, self.ratio, self.every = heldout, kept, math.sqrt((1 - share) / share), every
        self.best, self.iterations, self.stale, self.obj = math.inf, 0, 0, heldout.flat()
        self.losses = np.full(heldout.offsets.shape[1], math.inf)
        self.probe = kept.probe

    def __call__(self, i: int, obj: Tensor) -> bool:
        if i % self.every:
            return False
        if self.kept.probe is not self.probe:  # refined meanwhile
            self.probe = self.kept.probe
            self.heldout.set_probe(self.probe * self.ratio)
        losses = self.heldout.losses(obj)
        loss = float(losses.mean())
        self.stale = 0 if loss < self.best * (1 - PROGRESS) else self.stale + 1
        if loss < self.best:
            self.best, self.iterations, self.obj, self.losses = loss, i, obj, losses
        return self.stale == STALE


def solve(scan: Scan, settings: MapSettings, rng: np.random.Generator, weight: float | None = None) -> Solution:
    """Reconstruct the object of a scan. Given a `weight` (and the settings' iterations), no photons are held out."""
    if weight is None:
        chosen = choose(scan, settings, rng)
    else:
        chosen = Choice(weight, settings.iterations, None, scan.probe, [])
    problem = Problem(replace(scan, probe=chosen.probe))
    canvas = minimise(problem, settings, chosen.weight, chosen.iterations, chosen.canvas)
    obj = np.full(scan.shape, problem.level, np.complex64)
    obj[problem.window][problem.seen] = canvas.numpy()[problem.seen]
    return Solution(obj, problem.probe.numpy(), chosen.weight, chosen.iterations, chosen.tried)


def choose(scan: Scan, settings: MapSettings, rng: np.random.Generator) -> Choice:
    """The weight whose reconstruction from a share of the photons best predicts the others.

    Climbs a logarithmic grid (factor `settings.weight_step`) from `settings.weight` until both neighbours are worse,
    each run starting from the last one's canvas; of those within one standard error of the best the largest is taken
    (Breiman et al., Classification and Regression Trees, 1984, sec. 3.4.3): held-out photons hardly tell small weights
    apart, and the eye prefers the smoother.
    """
    share = 1 - settings.heldout
    problem, rest = (Problem(part) for part in scan.split(share, rng))
    found: dict[int, _Watch] = {}
    steps: dict[int, int] = {}

    def run(k: int, start: Tensor | None, before: int) -> None:
        watch = _Watch(rest, problem, share, min(EVERY, settings.iterations))
        minimise(problem, settings, settings.weight * settings.weight_step**k, settings.iterations, start, watch)
        found[k], steps[k] = watch, before + watch.iterations

    run(0, None, 0)
    best = 0
    for direction in (1, -1):
        while abs(best) < settings.weight_moves:
            if best + direction not in found:
                run(best + direction, found[best].obj, steps[best])
            if found[best + direction].best >= found[best].best:
                break
            best += direction
        if best > 0:
            break
    best = max(k for k, watch in found.items() if no_worse(watch.losses, found[best].losses))
    tried = [(settings.weight * settings.weight_step**k, found[k].best, steps[k]) for k in sorted(found)]
    refined = (problem.probe / share**0.5).numpy()
    return Choice(settings.weight * settings.weight_step**best, steps[best], found[best].obj, refined, tried)


def no_worse(losses: NDArray[np.float64], best: NDArray[np.float64]) -> bool:
    """Whether the paired excess of held-out losses (n,) over the best ones is within its standard error."""
    excess = losses - best
    return bool(excess.mean() <= excess.std() / math.sqrt(len(excess)))
