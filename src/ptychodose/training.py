"""The training loop: equal pattern visits for every group size, the weights of the best held-out loss.

What is learned from, and by what a network is judged, is the business of `sources`; truth of the study's own object
is in neither.
"""

import copy
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from ptychodose import network, noise, progress
from ptychodose.errors import StudyError
from ptychodose.settings import Train
from ptychodose.sources import Source

JUDGED_STEPS = 3  # the loss scores the last unrolled steps: deep supervision at half the FFTs of scoring all
STEP_WEIGHT = 0.8  # each earlier one counts this much less
CLIP = 0.5  # gradient norm; Poisson losses of single bright patterns are heavy-tailed


@dataclass(frozen=True)
class Trained:
    """The network with the best held-out loss; `history` rows of {pattern_visits, train_loss, heldout_loss,
    heldout_flat} in the source's unit (`flat` = the featureless object's)."""

    network: nn.Module
    history: list[dict[str, float]]
    pattern_visits: int
    epochs_completed: float
    final_loss: float


def train(source: Source, spec: dict[str, object], settings: Train, seed: int) -> Trained:
    """Train the network of `spec` (see network.build) on `source`. Same inputs, seed, threads and ISA give the
    same bits. Raises StudyError when the loss is not finite."""
    with reproducible(settings, seed):
        net = network.build(spec).to(accelerator(settings.accelerator))
        return _fit(net, source, settings, noise.stream(seed, "network"))


def architecture(settings: Train, name: str | None = None) -> dict[str, object]:
    """The JSON-able spec of `settings.architecture`, or of another `name` with the same settings."""
    chosen = settings.architecture if name is None else name
    if chosen == "cnn":
        return {"name": "cnn", "width": settings.width}
    keys = ("steps", "gradients", "width", "hidden")
    return {"name": "unrolled", **{key: getattr(settings, key) for key in keys}}


def accelerator(name: str) -> str:
    """The torch device of `train.accelerator`; StudyError when cuda is asked for and absent."""
    available = torch.cuda.is_available()
    if name == "cuda" and not available:
        raise StudyError("train.accelerator: cuda is not available here; use cpu or auto")
    return "cuda" if name != "cpu" and available else "cpu"


@contextmanager
def reproducible(settings: Train, seed: int) -> Iterator[None]:
    """Threads, deterministic algorithms and torch's seed for a block; restored afterwards."""
    threads, deterministic = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    torch.set_num_threads(settings.threads)
    torch.use_deterministic_algorithms(settings.deterministic)
    try:
        with torch.random.fork_rng():
            torch.manual_seed(int(noise.stream(seed, "network", 1).integers(2**63)))
            yield
    finally:
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(deterministic)


def _fit(net: nn.Module, source: Source, settings: Train, rng: np.random.Generator) -> Trained:
    """The loop; stops early after `settings.patience` validations without progress."""
    per_step = max(1, settings.patterns_per_batch // source.size)
    steps = max(1, settings.pattern_visits // (per_step * source.size))
    optimiser = torch.optim.AdamW(net.parameters(), settings.learning_rate)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda i: _rate(i, steps))
    flat, every = heldout_loss(None, source), max(1, steps // settings.validations)
    best, weights, history, recent, stale = np.inf, copy.deepcopy(net.state_dict()), [], [], 0
    visits = 0
    with progress.bar(steps * per_step * source.size, "train", "pattern") as bar:
        for step in range(1, steps + 1):
            recent.append(_step(net, source, per_step, optimiser, rng))
            schedule.step()
            visits += per_step * source.size
            bar.update(per_step * source.size)
            if step % every and step != steps:
                continue
            loss = heldout_loss(net, source)
            history.append(_row(visits, recent, loss, flat))
            bar.set_postfix(heldout=f"{loss:.4f}", flat=f"{flat:.4f}")
            stale = 0 if loss < best else stale + 1
            if loss < best:
                best, weights = loss, copy.deepcopy(net.state_dict())
            recent = []
            if stale == settings.patience:
                break
    net.load_state_dict(weights)
    return Trained(net.cpu(), history, visits, visits / (source.groups * source.size), float(best))


def _rate(step: int, steps: int) -> float:
    """Share of the peak learning rate: linear rise over the first tenth of the run, then half a cosine to zero."""
    return min(1.0, (step + 1) / max(1, steps / 10)) * 0.5 * (1 + math.cos(math.pi * step / steps))


def _row(visits: int, recent: list[float], loss: float, flat: float) -> dict[str, float]:
    return {"pattern_visits": visits, "train_loss": float(np.mean(recent)), "heldout_loss": loss, "heldout_flat": flat}


def _step(
    net: nn.Module, source: Source, number: int, optimiser: torch.optim.Optimizer, rng: np.random.Generator
) -> float:
    """One optimiser step on `number` groups; returns the loss of the last unrolled step."""
    batch, judge = source.draw(number, rng)
    losses = torch.stack([judge(canvas) for canvas in net(batch)[-JUDGED_STEPS:]])
    total = _weighted(losses)
    if not torch.isfinite(total):
        raise StudyError(f"train: the loss is {total.item()} after an update; lower train.learning_rate")
    optimiser.zero_grad()
    total.backward()
    nn.utils.clip_grad_norm_(net.parameters(), CLIP)
    optimiser.step()
    return float(losses[-1].detach())


def _weighted(losses: Tensor) -> Tensor:
    """Mean of the losses (steps,) with the last step counting most."""
    weights = STEP_WEIGHT ** torch.arange(len(losses), dtype=losses.dtype, device=losses.device).flip(0)
    return (weights * losses).sum() / weights.sum()


@torch.no_grad()
def heldout_loss(net: nn.Module | None, source: Source) -> float:
    """Mean loss over what the source holds out, by groups; None = the flat object."""
    total, number = 0.0, 0
    for batch, judge in source.heldout():
        canvas = network.flat(batch) if net is None else net(batch)[-1]
        total += float(judge(canvas)) * len(batch.corners)
        number += len(batch.corners)
    return total / number
