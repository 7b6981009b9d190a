"""Which faults do the data show? Unseen photons are predicted with everything solved for, and with all but one."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from ptychodose.experiment import solve
from ptychodose.iterative import poisson_map
from ptychodose.iterative.problem import Problem
from ptychodose.scans.scan import Scan
from ptychodose.study.settings import MEASURED, MapSettings, Solve

CLEAR = 3.0  # standard errors that a gain must have to be called shown
WITHOUT = {
    "probe": replace(MEASURED, probe=0),
    "further modes": replace(MEASURED, probe=1),
    "positions": replace(MEASURED, positions=0.0),
    "background": replace(MEASURED, background=None),
    "bad pixels": replace(MEASURED, mask=False),
    "all of these": solve.NOTHING,
}


@dataclass(frozen=True)
class Gain:
    """What solving for a fault wins: nats per pattern of held-out photons, and their standard error."""

    fault: str
    nats: float
    error: float

    @property
    def shown(self) -> bool:
        """Whether the data show the fault."""
        return self.nats > CLEAR * self.error

    def line(self) -> str:
        """For people."""
        word = "shown" if self.shown else "not shown"
        return f"{self.fault}: {word}; solving for it wins {self.nats:.3g} ± {self.error:.2g} nats per pattern"


def diagnose(scan: Scan, settings: MapSettings, rng: np.random.Generator) -> Iterator[Gain]:
    """The gain of solving for each fault beside all others, and of all together.

    A tenth of the photons (`settings.heldout`) judges what the others taught, in pixels that are good when everything
    is solved for. A gain is the difference of log likelihoods, its error that of the mean over patterns.
    """
    kept, rest = scan.split(1 - settings.heldout, rng)
    best = _fit(kept, MEASURED, settings, rng)
    reference = _losses(best, rest, best.scan.mask)
    for fault, unknown in WITHOUT.items():
        worse = _losses(_fit(kept, unknown, settings, rng), rest, best.scan.mask) - reference
        yield Gain(fault, float(worse.mean()), float(worse.std(ddof=1) / np.sqrt(len(worse))))


@dataclass(frozen=True)
class _Fit:
    scan: Scan
    obj: NDArray[np.complex64]


def _fit(kept: Scan, unknown: Solve, settings: MapSettings, rng: np.random.Generator) -> _Fit:
    found = solve.solve(kept, unknown, settings).scan
    return _Fit(found, poisson_map.solve(found, settings, rng, poisson_map.TYPICAL).obj)


def _losses(fit: _Fit, rest: Scan, mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Minus the log likelihood of every pattern (n,), nats up to a constant of the data: the probe and background of
    the photons kept, in the dose of those held out."""
    share = rest.dose / fit.scan.dose
    probe = (fit.scan.probe * np.float32(share**0.5)).astype(np.complex64)
    judged = replace(fit.scan, counts=rest.counts, rows=None, probe=probe, background=fit.scan.background * share,
                     mask=mask)  # fmt: skip
    problem = Problem(judged)
    return problem.losses(torch.as_tensor(fit.obj[problem.window])) * int(mask.sum())
