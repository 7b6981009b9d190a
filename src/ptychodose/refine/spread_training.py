"""Training of the error bars on the scans that taught the hybrid: there the error of every pixel is known."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ptychodose.networks import fitting
from ptychodose.physics import noise
from ptychodose.refine import spread
from ptychodose.refine.hybrid import Refiner
from ptychodose.refine.hybrid_training import JUDGES, Example
from ptychodose.refine.spread import Spread
from ptychodose.study import progress
from ptychodose.study.settings import Hybrid

LESSONS = 300  # scans that teach
LEARNING_RATE = 0.003  # peak, half a cosine to zero
WARM_UP = 50  # updates of rising learning rate
WHOLE = 0.5  # share of lessons on the whole learned move; the others on a random part of it, as held-out photons choose


@dataclass(frozen=True)
class Lesson:
    """A start, what the learned steps add to it, the truth (all (H, W)), what the network knows, where light falls."""

    start: Tensor
    move: Tensor
    truth: Tensor
    known: spread.Known
    weight: Tensor

    def scales(self, net: Spread, share: float) -> tuple[Tensor, Tensor]:
        """Standard errors (4, H, W) and errors (4, H, W) with a `share` of the move taken."""
        found = self.start + share * self.move
        errors = [spread.components(image, self.truth, self.weight) for image in (self.start, found)]
        return net(self.start, found, self.known), torch.cat(errors)


@torch.no_grad()
def lesson(refiner: Refiner, example: Example) -> Lesson:
    """What an example teaches once the learned steps are."""
    problem = example.problem
    problem.set_probe(problem.probe)
    move = refiner(problem, example.start)[-1] - example.start
    known = spread.known(problem, example.start)
    problem.rest()
    return Lesson(example.start, move, example.truth, known, torch.clamp(problem.lit / problem.photons, max=1.0))


def train(refiner: Refiner, examples: list[Example], settings: Hybrid, notice: Callable[[str], object]) -> Spread:
    """The network of the least held-out loss; of `examples` the first JUDGES judge, the next LESSONS teach."""
    lessons, examples = [], examples[: JUDGES + LESSONS]
    with progress.bar(len(examples), "lessons", "scan") as bar:
        for example in examples:
            lessons.append(lesson(refiner, example))
            bar.update(1)
    rng = noise.stream(settings.seed, "network", "spread")
    torch.manual_seed(int(rng.integers(2**63)))
    net = Spread(settings.spread_width)
    fit = fitting.Fit(net, LEARNING_RATE, lambda i: _rate(i, settings.spread_updates), rng)
    with progress.bar(settings.spread_updates, "train error bars", "update") as bar:
        while fit.updates < settings.spread_updates:
            chosen = lessons[JUDGES + rng.integers(len(lessons) - JUDGES)]
            share = 1.0 if rng.random() < WHOLE else float(rng.random())
            scales, errors = chosen.scales(net, share)
            fit.update(spread.loss(scales, errors, chosen.weight)[None])
            bar.update(1)
            if fit.updates % max(1, settings.spread_updates // 10) == 0:
                with torch.no_grad():
                    judged = [spread.loss(*item.scales(net, 1.0), item.weight) for item in lessons[:JUDGES]]
                heldout = float(torch.stack(judged).mean())
                fit.judge(heldout, {"update": fit.updates, "heldout_loss": heldout})
                notice(f"update {fit.updates}: loss of the error bars {heldout:.4f} held out")
    net.load_state_dict(fit.weights)
    return net


def _rate(update: int, updates: int) -> float:
    return min(1.0, (update + 1) / WARM_UP) * 0.5 * (1 + math.cos(math.pi * update / updates))
