"""One optimisation in progress, shared by all trainings: it can stop after any update and go on bit for bit."""

import copy
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

STEP_WEIGHT = 0.8  # each earlier unrolled step counts this much less than the next
CLIP = 0.5  # gradient norm; Poisson losses of single bright patterns are heavy-tailed


class Fit:
    """AdamW with a schedule `rate(update)`, the best weights so far and the history.

    Fused, and the norm not by foreach: these do not round by torch.sqrt, which differs between CPUs (see `portable`).
    `recent` holds training losses since the last row of `history`; `stale` counts judgements without progress.
    """

    def __init__(
        self, net: nn.Module, learning_rate: float, rate: Callable[[int], float], rng: np.random.Generator
    ) -> None:
        self.net, self.rng = net, rng
        self.optimiser = torch.optim.AdamW(net.parameters(), learning_rate, fused=True)
        self.schedule = torch.optim.lr_scheduler.LambdaLR(self.optimiser, rate)
        self.updates, self.stale, self.best = 0, 0, math.inf
        self.weights = copy.deepcopy(net.state_dict())
        self.history: list[dict[str, float]] = []
        self.recent: list[float] = []

    def update(self, losses: Tensor) -> None:
        """One update from the losses (T,) of the last unrolled steps; the last counts most and is remembered."""
        weights = STEP_WEIGHT ** torch.arange(len(losses), dtype=losses.dtype, device=losses.device).flip(0)
        self.optimiser.zero_grad()
        ((weights * losses).sum() / weights.sum()).backward()
        nn.utils.clip_grad_norm_(self.net.parameters(), CLIP, foreach=False)
        self.optimiser.step()
        self.schedule.step()
        self.updates += 1
        self.recent.append(float(losses[-1].detach()))

    def judge(self, loss: float, row: dict[str, float]) -> None:
        """Remember the weights if `loss` is the lowest so far, and a row of history."""
        self.stale = 0 if loss < self.best else self.stale + 1
        if loss < self.best:
            self.best, self.weights = loss, copy.deepcopy(self.net.state_dict())
        self.history.append(row)
        self.recent = []

    def state(self) -> dict[str, Any]:
        """All that the next update depends on, as a tree of mappings, sequences, numbers and tensors."""
        return {
            "updates": self.updates,
            "stale": self.stale,
            "best": self.best if math.isfinite(self.best) else None,
            "weights": dict(self.weights),
            "history": self.history,
            "recent": self.recent,
            "net": dict(self.net.state_dict()),
            "optimiser": self.optimiser.state_dict(),
            "schedule": self.schedule.state_dict(),
            "rng": self.rng.bit_generator.state,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on where `state` was taken."""
        self.net.load_state_dict(state["net"])
        self.optimiser.load_state_dict(state["optimiser"])
        for weight, moments in self.optimiser.state.items():  # the fused update walks memory: lay them out alike
            alike = {n: torch.empty_like(weight).copy_(m) for n, m in moments.items() if m.shape == weight.shape}
            moments.update(alike)
        self.schedule.load_state_dict(state["schedule"])
        self.rng.bit_generator.state = state["rng"]
        self.updates, self.stale, self.weights = state["updates"], state["stale"], state["weights"]
        self.best = math.inf if state["best"] is None else state["best"]
        self.history, self.recent = list(state["history"]), list(state["recent"])
