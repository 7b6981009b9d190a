"""A scan with one fault of measured scans at a time: what each costs an arm that ignores, knows, or solves for it.

The study's own object, probe and dense view. `believed` is what a user is told: the nominal probe and positions, no
background, all pixels good. Truth scores, and makes the row of a fault that is known exactly; it solves for nothing.
"""

import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from scipy import fft

from ptychodose.compare import ladder
from ptychodose.experiment import solve
from ptychodose.physics import forward, noise
from ptychodose.reconstruct import reconstructors
from ptychodose.reconstruct.reconstructors import Reconstruction
from ptychodose.scans.scan import Scan
from ptychodose.score import scoring
from ptychodose.study.settings import MEASURED, Params

DOSE = 1e4  # photons per pattern
HOT, STOP, DEAD = (
    20.0,
    3,
    0.01,
)  # counts per pattern of a hot pixel; px of a beam stop's half side; share of dead pixels
TREMBLES = 7  # places that a vibrating probe is at, each for the same time
FAULTS = {
    "clean": (),
    "background 10 %": (("background", 0.1),),
    "background 100 %": (("background", 1.0),),
    "dead pixels": (("dead", DEAD),),
    "hot pixels": (("hot", 3),),
    "beam stop": (("stop", STOP),),
    "defocus": (("defocus", 0.6),),
    "aberrations": (("defocus", 1.3), ("astigmatism", 0.8), ("coma", 0.6)),
    "positions 0.3 px": (("positions", 0.3),),
    "positions 1 px": (("positions", 1.0),),
    "positions 2 px": (("positions", 2.0),),
    "second mode 20 %": (("modes", 0.2),),
    "vibration 1 px": (("vibration", 1.0),),
    "background, hot, defocus, positions": (("background", 0.1), ("hot", 3), ("defocus", 0.6), ("positions", 1.0)),
}  # phases in radians at the edge of the probe's spectrum (see `_aberrated`)


def flawed(fault: str, scan: Scan, obj: NDArray[np.complex64], rng: Generator) -> tuple[Scan, Scan]:
    """The scan as a user believes it to be, and as it is, with the same new counts; scan: planned, of object (H, W)."""
    true = believed = replace(scan, counts=None, rows=None, dose=DOSE)
    hot = np.zeros(scan.mask.shape)
    for kind, size in FAULTS[fault]:
        if kind == "background":
            true = replace(true, background=true.background + size * DOSE / scan.size**2)
        elif kind == "dead":
            true = replace(true, mask=true.mask & (rng.random(scan.mask.shape) >= size))
        elif kind == "stop":
            middle = slice(scan.size // 2 - int(size), scan.size // 2 + int(size))
            mask = scan.mask.copy()
            mask[middle, middle] = False
            true, believed = replace(true, mask=mask), replace(believed, mask=mask)
        elif kind == "hot":
            hot[tuple(rng.integers(0, scan.size, (2, int(size))))] = HOT
            true = replace(true, mask=true.mask & (hot == 0))
        elif kind == "positions":
            low, high = scan.size // 2, np.array(scan.shape) - scan.size // 2 - 1
            wrong = scan.positions + rng.normal(0, size, scan.positions.shape)
            believed = replace(believed, positions=np.clip(wrong, low, high))
        elif kind == "modes":
            true = replace(true, probe=_second_mode(true.probe, size))
        elif kind == "vibration":
            true = replace(true, probe=_trembling(true.probe, size, rng))
        else:
            true = replace(true, probe=_aberrated(true.probe, kind, size))
    counts = rng.poisson(true.expected(obj) + hot) * (true.mask | (hot > 0))
    return replace(believed, counts=counts), replace(true, counts=counts)


def _aberrated(probe: NDArray[np.complex64], kind: str, size: float) -> NDArray[np.complex64]:
    """The probe (M, N, N) behind a phase of `size` rad at the radius that holds 90 % of its spectrum."""
    far = fft.fftshift(fft.fft2(probe, axes=(-2, -1)), axes=(-2, -1))
    y, x = np.indices(probe.shape[-2:]) - probe.shape[-1] // 2
    radius, power = np.hypot(y, x), (np.abs(far) ** 2).sum(0)
    order = np.argsort(radius, axis=None)
    within = np.cumsum(power.ravel()[order]) / power.sum()
    edge = radius.ravel()[order][np.searchsorted(within, 0.9)]
    shapes = {"defocus": radius**2, "astigmatism": x**2 - y**2, "coma": x * radius**2 / edge}
    wave = far * np.exp(1j * size * shapes[kind] / edge**2)
    return fft.ifft2(fft.ifftshift(wave, axes=(-2, -1)), axes=(-2, -1)).astype(np.complex64)


def _second_mode(probe: NDArray[np.complex64], share: float) -> NDArray[np.complex64]:
    """The probe with `share` of its photons in a mode that is its own slope, orthogonal to it."""
    first = probe[0]
    second = first * (np.indices(first.shape)[1] - first.shape[-1] // 2)
    second = second - first * (np.vdot(first, second) / np.vdot(first, first))
    second = second * np.sqrt(np.vdot(first, first).real / np.vdot(second, second).real)
    return np.stack([first * (1 - share) ** 0.5, second * share**0.5]).astype(np.complex64)


def _trembling(probe: NDArray[np.complex64], rms: float, rng: Generator) -> NDArray[np.complex64]:
    """The probe at `TREMBLES` places `rms` px apart from its own: incoherent modes."""
    offsets = rng.normal(0, rms, (TREMBLES, 2))
    places = torch.as_tensor(offsets - offsets.mean(0))
    return (forward.shift_probe(torch.as_tensor(probe), places).numpy() / TREMBLES**0.5).astype(np.complex64)


def rows(params: Params, fault: str, seed: int = 1) -> Iterator[dict[str, Any]]:
    """Rows of one fault: treatment, arm, scores, CPU seconds."""
    scan, obj, region = ladder.of_study(params, DOSE, seed)["dense"]
    believed, true = flawed(fault, scan, obj, noise.stream(seed, "noise/test", fault))
    for treatment in ("ignored", "known", "solved"):
        started, found = time.process_time(), dict[str, Reconstruction]()
        given, told = {"ignored": believed, "known": true}.get(treatment), {}
        if given is None:
            answer = solve.solve(believed, MEASURED, params.reconstruct_map)
            given, told = answer.scan, {"found": answer.found}
        for arm in ("map", "hybrid"):
            found[arm] = reconstructors.run(arm, given, params, noise.stream(seed, "solver", "nuisance"), found)
            scores = scoring.headline(scoring.score(found[arm].obj, obj, region, 1e-9))
            seconds = round(time.process_time() - started, 1)
            yield {"fault": fault, "treatment": treatment, "arm": arm, "cpu_s": seconds, **scores, **told}


def table(found: list[dict[str, Any]]) -> str:
    """Markdown: NRMSE of every fault and arm, ignored, known and solved for; solved for in units of known and clean."""
    nrmse = {(row["fault"], row["arm"], row["treatment"]): row["nrmse"] for row in found}
    lines = ["| fault | arm | ignored | known | solved | / known | / clean |", "|---|---|---|---|---|---|---|"]
    for fault, arm in dict.fromkeys((row["fault"], row["arm"]) for row in found):
        ignored, known, solved = (nrmse[fault, arm, treatment] for treatment in ("ignored", "known", "solved"))
        clean = nrmse.get(("clean", arm, "known"), float("nan"))
        cells = [f"{value:.4f}" for value in (ignored, known, solved)]
        lines.append(f"| {fault} | {arm} | {' | '.join(cells)} | {solved / known:.2f} | {solved / clean:.2f} |")
    return "\n".join(lines)
