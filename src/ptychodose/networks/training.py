"""The training loop: equal pattern visits for every group size, the weights of the best held-out loss.

What is learned from, and by what a network is judged, is the business of `sources`; truth of the study's own object
is in neither.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from ptychodose.errors import StudyError
from ptychodose.networks import fitting, unrolled
from ptychodose.networks.sources import Source
from ptychodose.physics import noise, portable
from ptychodose.study import progress
from ptychodose.study.checkpoint import Checkpoint
from ptychodose.study.settings import Train

JUDGED_STEPS = 3  # the loss scores the last unrolled steps: deep supervision at half the FFTs of scoring all


@dataclass(frozen=True)
class Trained:
    """The network with the best held-out loss; `history` rows of {pattern_visits, train_loss, heldout_loss,
    heldout_flat} in the source's unit (`flat` = the featureless object's)."""

    network: nn.Module
    history: list[dict[str, float]]
    pattern_visits: int
    epochs_completed: float
    final_loss: float


def train(
    source: Source,
    spec: dict[str, object],
    settings: Train,
    seed: int,
    checkpoint: Checkpoint | None = None,
    label: str = "train",
) -> Trained:
    """Train the network of `spec` (see unrolled.build) on `source`. Same inputs, seed, threads and ISA give the
    same bits, also when the run was interrupted and resumed from `checkpoint`. The progress bar is called `label`.
    Raises StudyError when the loss is not finite."""
    with reproducible(settings, seed):
        net = unrolled.build(spec).to(accelerator(settings.accelerator))
        return _fit(net, source, settings, noise.stream(seed, "network"), checkpoint, label)


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
    portable.deterministic(settings.deterministic)
    try:
        with torch.random.fork_rng():
            torch.manual_seed(int(noise.stream(seed, "network", 1).integers(2**63)))
            yield
    finally:
        torch.set_num_threads(threads)
        portable.deterministic(deterministic)


def _fit(
    net: nn.Module, source: Source, settings: Train, rng: np.random.Generator, checkpoint: Checkpoint | None, label: str
) -> Trained:
    """The loop; stops early after `settings.patience` validations without progress."""
    per_step = max(1, settings.patterns_per_batch // source.size)
    steps = max(1, settings.pattern_visits // (per_step * source.size))
    fit = fitting.Fit(net, settings.learning_rate, lambda i: _rate(i, steps), rng)
    flat, every, each = heldout_loss(None, source), max(1, steps // settings.validations), per_step * source.size
    _resume(fit, source, checkpoint)
    with progress.bar(steps * each, label, "pattern", fit.updates * each) as bar:
        while fit.updates < steps and fit.stale < settings.patience:
            _step(fit, source, per_step)
            bar.update(each)
            if fit.updates % every == 0 or fit.updates == steps:
                loss = heldout_loss(net, source)
                fit.judge(loss, _row(fit.updates * each, fit.recent, loss, flat))
                bar.set_postfix(heldout=f"{loss:.4f}", flat=f"{flat:.4f}")
            if checkpoint is not None:
                checkpoint.keep(lambda: {"fit": fit.state(), "queue": source.queue})
    net.load_state_dict(fit.weights)
    visits = fit.updates * each
    return Trained(net.cpu(), fit.history, visits, visits / (source.groups * source.size), float(fit.best))


def _resume(fit: fitting.Fit, source: Source, checkpoint: Checkpoint | None) -> None:
    """Take up what an interrupted run of the same work has left."""
    state = None if checkpoint is None else checkpoint.load()
    if state is not None:
        fit.restore(state["fit"])
        source.queue = state["queue"]
        print(f"resumed after {fit.updates} updates")


def _rate(step: int, steps: int) -> float:
    """Share of the peak learning rate: linear rise over the first tenth of the run, then half a cosine to zero."""
    return min(1.0, (step + 1) / max(1, steps / 10)) * 0.5 * (1 + math.cos(math.pi * step / steps))


def _row(visits: int, recent: list[float], loss: float, flat: float) -> dict[str, float]:
    return {"pattern_visits": visits, "train_loss": float(np.mean(recent)), "heldout_loss": loss, "heldout_flat": flat}


def _step(fit: fitting.Fit, source: Source, number: int) -> None:
    """One optimiser step on `number` groups."""
    batch, judge = source.draw(number, fit.rng)
    losses = torch.stack([judge(canvas) for canvas in fit.net(batch)[-JUDGED_STEPS:]])
    if not torch.isfinite(losses).all():
        raise StudyError(f"train: the loss is {losses[-1].item()} after an update; lower train.learning_rate")
    fit.update(losses)


@torch.no_grad()
def heldout_loss(net: nn.Module | None, source: Source) -> float:
    """Mean loss over what the source holds out, by groups; None = the flat object."""
    total, number = 0.0, 0
    for batch, judge in source.heldout():
        canvas = batch.flat() if net is None else net(batch)[-1]
        total += float(judge(canvas)) * len(batch.corners)
        number += len(batch.corners)
    return total / number
