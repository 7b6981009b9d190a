"""Training from measured counts alone: a network is judged by photons it did not see, never by truth.

A group's reconstruction must predict the patterns next to it that were not in the group (and, with thinning, the
photons withheld from the group itself). Their noise is independent of the input's, so fitting noise cannot lower
the expected loss (noise-to-noise: Lehtinen et al., ICML 2018; thinning: see noise.thin). A strip of the scan is
held out altogether; its loss selects the weights and stops the run.
"""

import copy
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ptychodose import forward, network, noise, progress
from ptychodose.errors import StudyError
from ptychodose.groups import Patterns, unseen_neighbours
from ptychodose.network import Batch
from ptychodose.settings import Train

JUDGED_STEPS = 3  # the loss scores the last unrolled steps: deep supervision at half the FFTs of scoring all
STEP_WEIGHT = 0.8  # each earlier one counts this much less
CLIP = 0.5  # gradient norm; Poisson losses of single bright patterns are heavy-tailed


@dataclass(frozen=True)
class Trained:
    """The network with the best held-out loss; `history` rows of {pattern_visits, train_loss, heldout_loss,
    heldout_flat} (Poisson deviance / 2 per detector pixel; `flat` = the featureless object's)."""

    network: nn.Module
    history: list[dict[str, float]]
    pattern_visits: int
    epochs_completed: float
    final_loss: float


@dataclass(frozen=True)
class Parts:
    """Groups (n, C) to learn from or to judge by, with their unseen neighbours (n, U)."""

    groups: NDArray[np.int64]
    unseen: NDArray[np.int64]


def train(
    counts: NDArray[np.integer],
    positions: NDArray[np.float64],
    groups: NDArray[np.int64],
    probe: NDArray[np.complex64],
    settings: Train,
    seed: int,
) -> Trained:
    """Train one arm on counts (n, N, N) centred, positions (n, 2) px, groups (n_groups, C), probe (N, N) in
    photons. Same inputs, seed, threads and ISA give the same bits. Raises StudyError when the scan
    is too small to hold a strip out, or the loss is not finite."""
    device = accelerator(settings.accelerator)
    patterns = Patterns(counts, positions, probe, float(counts.sum(dtype=np.int64)) / len(counts), device=device)
    learn, judge = split(positions, groups, settings)
    with reproducible(settings, seed):
        net = network.build(architecture(settings)).to(device)
        return _fit(net, patterns, learn, judge, settings, noise.stream(seed, "network"))


def architecture(settings: Train) -> dict[str, object]:
    """The JSON-able spec of `settings.architecture`."""
    if settings.architecture == "cnn":
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


def split(positions: NDArray[np.float64], groups: NDArray[np.int64], settings: Train) -> tuple[Parts, Parts]:
    """Groups to learn from and, in the strip of largest y, groups to judge by. No pattern serves both.

    Unseen neighbours may come from another scan of the view: only groups must not mix scans.
    """
    strip = positions[:, 0] > np.quantile(positions[:, 0], 1 - settings.heldout)
    made = []
    for inside in (~strip, strip):
        allowed = np.flatnonzero(inside)
        mine = groups[np.isin(groups, allowed).all(1)]
        if not len(mine) or len(allowed) < groups.shape[1] + settings.unseen:
            raise StudyError(
                f"train.heldout: a strip of {settings.heldout:g} of {len(positions)} patterns leaves no group of "
                f"{groups.shape[1]} with {settings.unseen} unseen neighbours on both sides; try a value nearer 0.5"
            )
        made.append(Parts(mine, unseen_neighbours(positions, mine, allowed, settings.unseen)))
    return made[0], made[1]


def _fit(
    net: nn.Module, patterns: Patterns, learn: Parts, judge: Parts, settings: Train, rng: np.random.Generator
) -> Trained:
    """The loop: equal pattern visits for every group size, best weights by held-out loss."""
    per_step = max(1, settings.patterns_per_batch // learn.groups.shape[1])
    steps = max(1, settings.pattern_visits // (per_step * learn.groups.shape[1]))
    optimiser = torch.optim.AdamW(net.parameters(), settings.learning_rate)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda i: _rate(i, steps))
    flat, every = heldout_loss(None, patterns, judge, settings), max(1, steps // settings.validations)
    best, weights, history, recent = np.inf, copy.deepcopy(net.state_dict()), [], []
    batches, visits, stale = _batches(len(learn.groups), per_step, rng), 0, 0
    with progress.bar(steps * per_step * learn.groups.shape[1], "train", "pattern") as bar:
        for step in range(1, steps + 1):
            chosen = next(batches)
            recent.append(_step(net, patterns, learn, chosen, settings, optimiser, rng))
            schedule.step()
            visits += learn.groups[chosen].size
            bar.update(learn.groups[chosen].size)
            if step % every and step != steps:
                continue
            loss = heldout_loss(net, patterns, judge, settings)
            history.append(_row(visits, recent, loss, flat))
            bar.set_postfix(heldout=f"{loss:.4f}", flat=f"{flat:.4f}")
            stale = 0 if loss < best else stale + 1
            if loss < best:
                best, weights = loss, copy.deepcopy(net.state_dict())
            recent = []
            if stale == settings.patience:
                break
    net.load_state_dict(weights)
    return Trained(net.cpu(), history, visits, visits / learn.groups.size, float(best))


def _rate(step: int, steps: int) -> float:
    """Share of the peak learning rate: linear rise over the first tenth of the run, then half a cosine to zero."""
    return min(1.0, (step + 1) / max(1, steps / 10)) * 0.5 * (1 + math.cos(math.pi * step / steps))


def _row(visits: int, recent: list[float], loss: float, flat: float) -> dict[str, float]:
    return {"pattern_visits": visits, "train_loss": float(np.mean(recent)), "heldout_loss": loss, "heldout_flat": flat}


def _batches(number: int, size: int, rng: np.random.Generator) -> Iterator[NDArray[np.int64]]:
    """Endless shuffled batches of `size` indices below `number`, every index once per pass."""
    queue = np.empty(0, np.int64)
    while True:
        while len(queue) < size:
            queue = np.concatenate([queue, rng.permutation(number)])
        chosen, queue = queue[:size], queue[size:]
        yield chosen


def _step(
    net: nn.Module,
    patterns: Patterns,
    parts: Parts,
    chosen: NDArray[np.int64],
    settings: Train,
    optimiser: torch.optim.Optimizer,
    rng: np.random.Generator,
) -> float:
    """One optimiser step; returns the loss of the last unrolled step."""
    seen, unseen = make_batches(patterns, parts.groups[chosen], parts.unseen[chosen], settings.thinning, rng)
    losses = torch.stack([loss_of(canvas, unseen) for canvas in net(seen)[-JUDGED_STEPS:]])
    weights = STEP_WEIGHT ** torch.arange(len(losses), dtype=losses.dtype, device=losses.device).flip(0)
    total = (weights * losses).sum() / weights.sum()
    if not torch.isfinite(total):
        raise StudyError(f"train: the loss is {total.item()} after an update; lower train.learning_rate")
    optimiser.zero_grad()
    total.backward()
    nn.utils.clip_grad_norm_(net.parameters(), CLIP)
    optimiser.step()
    return float(losses[-1].detach())


def make_batches(
    patterns: Patterns, groups: NDArray[np.int64], unseen: NDArray[np.int64], thinning: float, rng: np.random.Generator
) -> tuple[Batch, Batch]:
    """What the network sees of groups (B, C), and what it is judged by, in the same canvas coordinates.

    The canvas is the group's own; corners of what judges may lie outside it (see `loss_of`). Judged by all photons
    of the unseen neighbours (B, U) and, when `thinning` < 1, by the photons withheld from the group; probes carry
    the matching share of photons.
    """
    corners, origins, shape = patterns.place(groups)
    size = groups.shape[1]
    around = patterns.corners[torch.as_tensor(unseen)] - torch.as_tensor(origins)[:, None]  # (B, U, 2)
    around = around.to(patterns.device)
    whole = patterns.read(groups)
    kept = whole if thinning == 1 else noise.thin(whole, thinning, rng).astype(np.int64)
    probes, counts = patterns.tensors(groups, kept)
    seen = Batch(corners, probes * thinning**0.5, counts, shape, patterns.start)
    judged = unseen if thinning == 1 else np.concatenate([groups, unseen], 1)
    probes, counts = patterns.tensors(judged, patterns.read(judged))
    if thinning < 1:
        withheld = patterns.tensors(groups, whole - kept)[1]
        counts = torch.cat([withheld, counts[:, size:]], 1)
        share = torch.ones(judged.shape[1], device=probes.device)
        share[:size] = 1 - thinning
        probes = probes * torch.sqrt(share)[:, None, None]
    at = around if thinning == 1 else torch.cat([corners, around], 1)
    return seen, Batch(at, probes, counts, shape, patterns.start)


def loss_of(canvas: Tensor, judged: Batch) -> Tensor:
    """Mean Poisson loss per detector pixel of object canvases (B, H, W) against the photons of `judged`.

    Around its canvas a group knows nothing: the flat object stands there for neighbours that reach beyond.
    """
    size, extent = judged.probes.shape[-1], torch.tensor(canvas.shape[-2:], device=canvas.device)
    before = int((-judged.corners).amax().clamp_min(0))
    after = int((judged.corners + size - extent).amax().clamp_min(0))
    wide = nn.functional.pad(canvas, (before, after, before, after), value=judged.start)
    rate = forward.rate(wide, judged.corners + before, judged.probes)
    return forward.poisson_nll(rate, judged.counts, network.FLOOR).mean()


@torch.no_grad()
def heldout_loss(net: nn.Module | None, patterns: Patterns, parts: Parts, settings: Train) -> float:
    """Loss on the strip held out, over at most `settings.judges` groups spread over it; None = the flat object."""
    number = max(1, settings.judged_patterns // parts.groups.shape[1])
    chosen = np.unique(np.linspace(0, len(parts.groups) - 1, number).round().astype(int))
    total = 0.0
    for part in np.array_split(chosen, max(1, parts.groups[chosen].size // 32)):
        seen, judged = make_batches(patterns, parts.groups[part], parts.unseen[part], 1.0, None)  # type: ignore[arg-type]
        flat = torch.full((len(part), *seen.shape), patterns.start, dtype=torch.complex64, device=seen.probes.device)
        canvas = flat if net is None else net(seen)[-1]
        total += float(loss_of(canvas, judged)) * len(part)
    return total / len(chosen)
