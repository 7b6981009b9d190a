"""Training of the hybrid arm on procedural scans under many probes, overlaps and doses, all with known truth."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ptychodose.iterative import poisson_map
from ptychodose.iterative.problem import Problem
from ptychodose.networks import fitting, procedural
from ptychodose.networks.losses import relative_error
from ptychodose.physics import noise, overlap
from ptychodose.refine import hybrid, procedural_probes
from ptychodose.study import progress
from ptychodose.study.checkpoint import Checkpoint
from ptychodose.study.settings import Hybrid, MapSettings

SIZE = 64  # N of the training probes; the network is convolutional and its units are noise sds, so any N works
JUDGES = 32  # scans kept out to watch and choose the weights
LOOKS = 20  # looks at the judges during a run
DOSES = (100.0, 1e6)  # photons per pattern, log-uniform
OVERLAPS = (0.0, 0.9)  # uniform
PITCH = 2.5  # px, at least: a finer scan holds more patterns than a lesson is worth
FIELD = (44.0, 120.0)  # px on a side, about ...
STEPS = 9.0  # ... so many scan steps
WEIGHT = (1.3, -0.13)  # of the starts' prior: a n-bar^b, what held-out photons chose on procedural scans, ...
SCATTER = 0.4  # ... times exp of up to this, either way
WARM_UP = 100  # updates of rising learning rate


@dataclass(frozen=True)
class Example:
    """A scan at rest (its shifted probes are remade when needed), its MAP canvas and its true canvas (H, W)."""

    problem: Problem
    start: Tensor
    truth: Tensor
    photons: float


def make_example(seed: int, number: int, settings: MapSettings) -> Example:
    """Procedural scan `number`, any probe, overlap, size and dose, and its MAP solution."""
    rng = noise.stream(seed, "procedural", number)
    probe = procedural_probes.draw(SIZE, rng)
    pitch = max(PITCH, (1 - rng.uniform(*OVERLAPS)) * overlap.encircled_diameter(probe[None]))
    photons = _log_uniform(*DOSES, rng) / pitch**2
    scan, obj = procedural.draw_scene(probe, pitch, float(np.clip(STEPS * pitch, *FIELD)), photons, rng)
    problem = Problem(scan)
    weight = WEIGHT[0] * photons ** WEIGHT[1] * math.exp(rng.uniform(-SCATTER, SCATTER))
    start = poisson_map.solve(scan, settings, rng, weight).obj[problem.window]
    problem.rest()
    return Example(problem, torch.as_tensor(start), torch.as_tensor(obj[problem.window].copy()), photons)


def _log_uniform(low: float, high: float, rng: np.random.Generator) -> float:
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def gain(net: hybrid.Refiner, example: Example, symmetry: int | None) -> Tensor:
    """log(NRMSE after / NRMSE before) of every step (T,), weighted where at most the typical light falls."""
    problem = example.problem
    problem.set_probe(problem.probe)
    lit = torch.clamp(problem.lit / problem.photons, max=1.0)
    before = relative_error(example.start, example.truth, lit)
    after = [relative_error(canvas, example.truth, lit) for canvas in net(problem, example.start, symmetry)]
    problem.rest()
    return 0.5 * torch.log(torch.stack(after) / before)


def train(
    settings: Hybrid,
    map_settings: MapSettings,
    notice: Callable[[str], object] = print,
    checkpoint: Checkpoint | None = None,
) -> tuple[hybrid.Refiner, list[dict[str, float]], list[Example]]:
    """The refiner of the best held-out gain, its history (rows of {update, train_gain, heldout_gain}), and the
    examples, judges first. The scans are always remade; the updates go on from `checkpoint`."""
    with progress.bar(settings.scenes + JUDGES, "scenes", "scan") as bar:
        examples = []
        for number in range(settings.scenes + JUDGES):
            examples.append(make_example(settings.seed, number, map_settings))
            bar.update(1)
    judges, lessons = examples[:JUDGES], examples[JUDGES:]
    rng = noise.stream(settings.seed, "network")
    torch.manual_seed(int(rng.integers(2**63)))
    net = hybrid.Refiner(settings.steps, settings.gradients, settings.width, settings.hidden)
    fit = fitting.Fit(net, settings.learning_rate, lambda i: _rate(i, settings.updates), rng)
    state = None if checkpoint is None else checkpoint.load()
    if state is not None:
        fit.restore(state)
        notice(f"resumed after {fit.updates} updates")
    every = max(1, settings.updates // LOOKS)
    with progress.bar(settings.updates, "train hybrid", "update", fit.updates) as bar:
        while fit.updates < settings.updates:
            chosen = lessons[rng.integers(len(lessons))]
            fit.update(gain(net, chosen, int(rng.integers(hybrid.SYMMETRIES))))
            bar.update(1)
            if fit.updates % every == 0 or fit.updates == settings.updates:
                heldout, learned = heldout_gain(net, judges), float(np.mean(fit.recent))
                fit.judge(heldout, {"update": fit.updates, "train_gain": learned, "heldout_gain": heldout})
                notice(f"update {fit.updates}: log(NRMSE / MAP's) {learned:.4f} in training, {heldout:.4f} held out")
            if checkpoint is not None:
                checkpoint.keep(fit.state)
    net.load_state_dict(fit.weights)
    return net, fit.history, examples


def _rate(update: int, updates: int) -> float:
    return min(1.0, (update + 1) / WARM_UP) * 0.5 * (1 + math.cos(math.pi * update / updates))


@torch.no_grad()
def heldout_gain(net: hybrid.Refiner, judges: list[Example]) -> float:
    """Mean log gain over scans that are never trained on."""
    return float(np.mean([float(gain(net, example, 0)[-1]) for example in judges]))
