"""Training of the hybrid arm on procedural scans under many probes, overlaps and doses, all with known truth."""

import copy
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
from ptychodose.physics import forward, noise, overlap
from ptychodose.refine import hybrid
from ptychodose.study import progress
from ptychodose.study.checkpoint import Checkpoint
from ptychodose.study.settings import Hybrid, MapSettings

SIZE = 64  # N of the training probes; the network is convolutional and its units are noise sds, so any N works
JUDGES = 32  # scans kept out to watch and choose the weights
LOOKS = 20  # looks at the judges during a run
PHOTONS = (2.0, 2e4)  # detected photons per object pixel, log-uniform
WEIGHTS = (0.15, 0.6)  # MAP weights of the starts, log-uniform: about what held-out photons choose
WARM_UP = 100  # updates of rising learning rate


@dataclass(frozen=True)
class Example:
    """A scan without its shifted probes (they are remade when needed), its MAP canvas and its true canvas (H, W)."""

    problem: Problem
    start: Tensor
    truth: Tensor
    photons: float


def make_example(seed: int, number: int, settings: MapSettings) -> Example:
    """Procedural scan `number`: pitch 3.5 px to 0.75 D90, field 42 to 100 px, dose by photons per pixel."""
    rng = noise.stream(seed, "procedural", number)
    probe = procedural.draw_probe(SIZE, rng)
    pitch = _log_uniform(3.5, 0.75 * overlap.encircled_diameter(probe), rng)
    photons = _log_uniform(*PHOTONS, rng)
    scan, obj = procedural.draw_scene(probe, pitch, float(np.clip(10.5 * pitch, 42, 100)), photons, rng)
    problem = Problem(scan)
    start = poisson_map.minimise(problem, settings, _log_uniform(*WEIGHTS, rng), settings.iterations)
    truth = torch.as_tensor(obj[problem.window].copy())
    problem.patterns = problem.patterns.with_probes(torch.empty(0))
    return Example(problem, start, truth, photons)


def _log_uniform(low: float, high: float, rng: np.random.Generator) -> float:
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def _awake(example: Example) -> Problem:
    """The problem with its probes."""
    problem = copy.copy(example.problem)
    problem.patterns = problem.patterns.with_probes(forward.shift_probe(problem.probe, problem.offsets))
    return problem


def gain(net: hybrid.Refiner, example: Example, symmetry: int | None) -> Tensor:
    """log(NRMSE after / NRMSE before) of every step (T,), weighted where at most the typical light falls."""
    problem = _awake(example)
    lit = torch.clamp(problem.lit / problem.photons, max=1.0)
    before = relative_error(example.start, example.truth, lit)
    after = [relative_error(canvas, example.truth, lit) for canvas in net(problem, example.start, symmetry)]
    return 0.5 * torch.log(torch.stack(after) / before)


def train(
    settings: Hybrid,
    map_settings: MapSettings,
    notice: Callable[[str], object] = print,
    checkpoint: Checkpoint | None = None,
) -> tuple[hybrid.Refiner, list[dict[str, float]]]:
    """The refiner of the best held-out gain, and its history: rows of {update, train_gain, heldout_gain}. The scans
    are always remade; the updates go on from `checkpoint`."""
    with progress.bar(settings.scenes + JUDGES, "scenes", "scan") as bar:
        examples = []
        for number in range(settings.scenes + JUDGES):
            examples.append(make_example(settings.seed, number, map_settings))
            bar.update(1)
    judges, examples = examples[:JUDGES], examples[JUDGES:]
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
            chosen = examples[rng.integers(len(examples))]
            fit.update(gain(net, chosen, int(rng.integers(hybrid.SYMMETRIES))))
            bar.update(1)
            if fit.updates % every == 0 or fit.updates == settings.updates:
                heldout, learned = heldout_gain(net, judges), float(np.mean(fit.recent))
                fit.judge(heldout, {"update": fit.updates, "train_gain": learned, "heldout_gain": heldout})
                notice(f"update {fit.updates}: log(NRMSE / MAP's) {learned:.4f} in training, {heldout:.4f} held out")
            if checkpoint is not None:
                checkpoint.keep(fit.state)
    net.load_state_dict(fit.weights)
    return net, fit.history


def _rate(update: int, updates: int) -> float:
    return min(1.0, (update + 1) / WARM_UP) * 0.5 * (1 + math.cos(math.pi * update / updates))


@torch.no_grad()
def heldout_gain(net: hybrid.Refiner, judges: list[Example]) -> float:
    """Mean log gain over scans that are never trained on."""
    return float(np.mean([float(gain(net, example, 0)[-1]) for example in judges]))
