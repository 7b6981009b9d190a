"""MAP and hybrid over a ladder of doses and seeds, everything drawn anew: what they reach, and whether error bars hold.

The study's own object, probe and views, and a family that no choice and no training has seen: circuits (lines of a few
widths in three layers) under an aberrated Gaussian beam. No networks take part, so a rung takes seconds.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptychodose.iterative import poisson_map
from ptychodose.physics import lattice, noise, simulate
from ptychodose.reconstruct import reconstructors
from ptychodose.reconstruct.reconstructors import Reconstruction
from ptychodose.refine import transfer
from ptychodose.scans import acquisition, base, views
from ptychodose.scans.scan import Scan, of_arrays
from ptychodose.score import scoring
from ptychodose.score.coverage import LEVELS
from ptychodose.score.region import Region, scored_region
from ptychodose.study.settings import Params

DOSES = (300.0, 1e3, 1e4, 1e5)  # photons per pattern
SEEDS = (1, 2, 3, 4, 5)
USUAL = 0.6  # overlap ratio
EPOCHS = 30  # iterations of maximum likelihood, whose early end is its only guard against noise
SHAPE, STEP = (190, 180), 5.0  # circuits: object px, scan step px
Case = tuple[Scan, NDArray[np.complex64], Region]


def of_study(params: Params, dose: float, seed: int) -> dict[str, Case]:
    """The test split of the study at a root seed and dose: scan, truth, scored region of each of its views, and of one
    at the overlap that maximum likelihood is usually given."""
    source = base.load(params.generate, noise.stream(seed, "object"))
    scan = acquisition.plan(source, params.generate, dose, seed)["test"]
    blocks = list(acquisition.counts(source.obj, scan, noise.stream(seed, "noise/test")))
    whole = replace(scan, counts=np.concatenate(blocks))
    built = {}
    for number, (name, ratio) in enumerate({**params.views(), "usual": USUAL}.items()):
        if ratio is not None:
            step = lattice.stride(ratio, params.generate.nodes_per_diameter, f"overlap.{name}")
            rule, rng = views.Rule(frozenset({4}), params.overlap.neighbours), noise.stream(seed, "views", number)
            built[name] = whole.select(views.select(whole, step, None, rule, rng, f"overlap.{name}").index)
    region = scored_region([part.positions for part in built.values()])
    return {name: (part, source.obj, region) for name, part in built.items()}


def of_circuit(_: Params, dose: float, seed: int) -> dict[str, Case]:
    """A circuit under an aberrated Gaussian beam."""
    obj, probe = circuit(SHAPE, noise.stream(seed, "object")), transfer.aberrated(noise.stream(seed, "procedural"))
    half = len(probe) / 2
    bounds = [(half, length - half) for length in SHAPE]
    positions = lattice.finest_scan(bounds[0], bounds[1], STEP, noise.stream(seed, "jitter/test")).positions
    scan = of_arrays(None, simulate.scale_to_dose(obj, probe[None], positions, dose), positions, SHAPE)
    counts = noise.draw_counts(scan.expected(obj), noise.stream(seed, "noise/test"))
    return {"dense": (replace(scan, counts=counts, dose=dose), obj, scored_region([positions]))}


def circuit(shape: tuple[int, int], rng: np.random.Generator) -> NDArray[np.complex64]:
    """Three layers of straight lines 2 to 6 px wide along either axis, up to half a radian each, absorbing a little."""
    thick = np.zeros(shape)
    for _ in range(3):
        layer = np.zeros(shape)
        for _ in range(shape[0] * shape[1] // 600):
            (y, x), wide, long = rng.integers(0, shape), rng.integers(2, 7), rng.integers(15, 80)
            height, width = (wide, long) if rng.random() < 0.5 else (long, wide)
            layer[y : y + height, x : x + width] = 1
        thick += rng.uniform(0.3, 1) * layer
    return ((1 - 0.06 * thick) * np.exp(-0.5j * thick)).astype(np.complex64)


SETS: dict[str, Callable[[Params, float, int], dict[str, Case]]] = {"study": of_study, "circuit": of_circuit}


def rungs() -> list[tuple[str, float, int]]:
    """Set, dose and seed of every rung, in the order in which they are run."""
    return [(name, dose, seed) for seed in SEEDS for dose in DOSES for name in SETS]


def climb(params: Params, name: str, dose: float, seed: int) -> Iterator[dict[str, Any]]:
    """Rows of one rung: set, dose, seed, view, arm, its scores, what held-out photons chose, CPU seconds."""
    for view, (scan, truth, region) in SETS[name](params, dose, seed).items():
        for arm, (made, seconds) in _solved(params, scan, noise.stream(seed, "solver", view), view == "usual").items():
            row = scoring.score(made.obj, truth, region, 1e-9, made.error)
            chosen = {key: value for key in ("weight", "blend") if (value := getattr(made, key)) is not None}
            place = {"set": name, "dose": dose, "seed": seed, "view": view, "arm": arm, "cpu_s": round(seconds, 1)}
            yield {**place, **scoring.headline(row), **row.get("error_bars", {}), **chosen}


def _solved(
    params: Params, scan: Scan, rng: np.random.Generator, usual: bool
) -> dict[str, tuple[Reconstruction, float]]:
    """What the arms make of a scan, and their CPU seconds: MAP and hybrid, or maximum likelihood as it is `usual`."""
    started = time.process_time()
    if usual:
        settings = replace(params.reconstruct_map, iterations=EPOCHS)
        likely = Reconstruction(poisson_map.solve(scan, settings, rng, weight=0.0).obj)
        return {"likelihood": (likely, time.process_time() - started)}
    solved = reconstructors.run("map", scan, params, rng)
    between = time.process_time()
    refined = reconstructors.run("hybrid", scan, params, rng, {"map": solved})
    solved = replace(solved, error=refined.start_error)
    return {"map": (solved, between - started), "hybrid": (refined, time.process_time() - between)}


def table(rows: list[dict[str, Any]]) -> str:
    """Markdown: mean NRMSE ± standard deviation over seeds, and the shares of errors within the nominal 68 and 95 %."""
    doses = sorted({row["dose"] for row in rows})
    lines = [
        "| set, view, arm | " + " | ".join(f"{dose:,.0f}" for dose in doses) + " |",
        "|---" * (len(doses) + 1) + "|",
    ]
    for key in dict.fromkeys((row["set"], row["view"], row["arm"]) for row in rows):
        cells = []
        for dose in doses:
            some = [row for row in rows if (row["set"], row["view"], row["arm"]) == key and row["dose"] == dose]
            errors = [row["nrmse"] for row in some]
            spread = f" ± {np.std(errors, ddof=1):.4f}" if len(errors) > 1 else ""
            held = [[100 * row[f"within_{p}"] for row in some if f"within_{p}" in row] for p in LEVELS]
            bars = f" ({' / '.join(f'{np.mean(shares):.0f}' for shares in held)})" if held[0] else ""
            cells.append(f"{np.mean(errors):.4f}{spread}{bars}" if some else "")
        lines.append(f"| {', '.join(key)} | " + " | ".join(cells) + " |")
    return "\n".join(lines)
