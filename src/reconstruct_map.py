"""Stage `reconstruct_map`: the Poisson MAP solution of every view, of equal photons, and of two halves of the data."""

from pathlib import Path

import torch

from ptychodose.formats.atomic import atomic_folder, write_json
from ptychodose.formats.h5 import write_arrays
from ptychodose.iterative import poisson_map
from ptychodose.physics import noise, portable
from ptychodose.scans import cxi, views
from ptychodose.scans.trial import SOLVED, Trial, read_found
from ptychodose.score import frc
from ptychodose.score.region import scored_region
from ptychodose.study import isa, params
from ptychodose.study.manifest import check_inputs, environment, write_stage_manifest
from ptychodose.study.settings import Params
from ptychodose.study.stage import run

TEST, VIEWS, OUT = Path("data/scan/test.cxi"), Path("data/views"), Path("data/map")

NAMES = {"dense": "map", "sparse": "map_sparse", "thinned": "map_thinned"}  # of each case
STREAMS = {"map": 0, "map_sparse": 1, "map_thinned": 2, "half data": 10}  # which "solver" stream each draws from


def main() -> None:
    """Test split and views -> data/map/{map,map_sparse,map_thinned}.h5 and record.json. No truth is read here."""
    study = params.load()
    portable.deterministic(True)
    torch.set_num_threads(1)  # the reconstructions' bytes depend on it
    paths = [VIEWS / f"{name}.h5" for name in study.views()]
    check_inputs("generate", [TEST])
    check_inputs("overlap", paths)
    check_inputs("solve", [SOLVED])
    with cxi.dataset(TEST) as scan:
        trial = Trial(scan, views.read_built(paths, "test", {}), read_found())
        solved = _solve(trial, study)
        halves = _half_data(trial, study, solved["map"].weight) if "map" in solved else None
    record = {name: {"weight": s.weight, "iterations": s.iterations, "tried": s.tried} for name, s in solved.items()}
    with atomic_folder(OUT) as folder:
        for name, solution in solved.items():
            write_arrays(folder / f"{name}.h5", {"obj": solution.obj}, {"weight": solution.weight})
        write_json(folder / "record.json", {"solved": record, "half_data": halves})
    write_stage_manifest("reconstruct_map", inputs=[TEST, *paths, SOLVED], outputs=[OUT], environment=environment())
    for name, solution in solved.items():
        print(f"{name}: weight {solution.weight:.3g} of {len(solution.tried)} tried, {solution.iterations} iterations")


def _solve(trial: Trial, study: Params) -> dict[str, poisson_map.Solution]:
    """MAP of the dense view, the sparse view, and the dense view with the sparse one's photons."""
    solved = {}
    for case, scan in trial.cases(study.seed_of("noise")).items():
        name = NAMES[case]
        rng = noise.stream(study.seed, "solver", STREAMS[name])
        solved[name] = poisson_map.solve(scan, study.reconstruct_map, rng)
    return solved


def _half_data(trial: Trial, study: Params, weight: float) -> dict:
    """FRC between reconstructions of two halves of the photons: resolution without truth.

    The halves' photons are independent, the prior is not: where it outweighs the data the curve is optimistic.
    """
    rng = noise.stream(study.seed, "solver", STREAMS["half data"])
    region = scored_region([trial.positions(name) for name in trial.views])
    objects = [
        poisson_map.solve(half, study.reconstruct_map, rng, weight).obj[region]
        for half in trial.of("dense").split(0.5, rng)
    ]
    return frc.half_summary(frc.ring_correlation(*objects), trial.scan.pixel_m)


if __name__ == "__main__":
    run("reconstruct_map", main, lambda: isa.pins(params.load().train))
