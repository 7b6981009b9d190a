"""Stage `reconstruct_map`: the Poisson MAP solution of every view, of equal photons, and of two halves of the data."""

from pathlib import Path

import numpy as np
import torch

from ptychodose.formats.atomic import atomic_folder, write_json
from ptychodose.formats.h5 import write_arrays
from ptychodose.iterative import poisson_map
from ptychodose.physics import noise
from ptychodose.scans import cxi, scan, views
from ptychodose.score import comparison, frc
from ptychodose.study import isa, params
from ptychodose.study.manifest import check_inputs, environment, write_stage_manifest
from ptychodose.study.settings import Params
from ptychodose.study.stage import run

TEST, VIEWS, OUT = Path("data/simulated/test.cxi"), Path("data/views"), Path("data/map")


def main() -> None:
    """Test split and views -> data/map/{map,map_sparse,map_thinned}.h5 and record.json. No truth is read here."""
    study = params.load()
    torch.use_deterministic_algorithms(True)
    torch.set_num_threads(1)  # the reconstructions' bytes depend on it
    paths = [VIEWS / f"{name}.h5" for name in study.views()]
    check_inputs("generate", [TEST])
    check_inputs("overlap", paths)
    with cxi.dataset(TEST) as (header, counts):
        cxi.measured_dose(TEST, header, counts)
        test = scan.Scan(header, counts, views.read_built(paths, "test", {4} & study.group_sizes()))
        solved = _solve(test, study)
        halves = _half_data(test, study, solved["map"].weight) if "map" in solved else None
    record = {name: {"weight": s.weight, "iterations": s.iterations, "tried": s.tried} for name, s in solved.items()}
    with atomic_folder(OUT) as folder:
        for name, solution in solved.items():
            write_arrays(folder / f"{name}.h5", {"obj": solution.obj, "probe": solution.probe})
        write_json(folder / "record.json", {"solved": record, "half_data": halves})
    write_stage_manifest(
        "reconstruct_map",
        inputs=[TEST, *paths],
        outputs=[OUT],
        parameters={"seed": study.seed, "seeds": study.seeds, "reconstruct_map": study.reconstruct_map},
        environment=environment(),
    )
    for name, solution in solved.items():
        print(f"{name}: weight {solution.weight:.3g} of {len(solution.tried)} tried, {solution.iterations} iterations")


def _solve(test: scan.Scan, study: Params) -> dict[str, poisson_map.Solution]:
    """MAP of the dense view, the sparse view, and the dense view with the sparse one's photons."""
    header, settings, solved = test.header, study.reconstruct_map, {}
    cases = {"map": ("dense", 1.0), "map_sparse": ("sparse", 1.0), "map_thinned": ("dense", scan.equal_total(test))}
    for number, (name, (view, share)) in enumerate(cases.items()):
        if view not in test.views or share is None:
            continue
        counts = test.read(view) if share == 1 else scan.thinned(test, share, study.seed_of("noise"))
        probe = (header.probe * np.float32(share**0.5)).astype(np.complex64)
        rng = noise.stream(study.seed, "solver", number)
        solved[name] = poisson_map.solve(counts, probe, test.positions(view), header.shape, settings, rng)
    return solved


def _half_data(test: scan.Scan, study: Params, weight: float) -> dict:
    """FRC between reconstructions of two halves of the photons: resolution without truth.

    The halves' photons are independent, the prior is not: where it outweighs the data the curve is optimistic.
    """
    header, settings = test.header, study.reconstruct_map
    counts, rng = test.read("dense"), noise.stream(study.seed, "solver", 10)
    first = noise.thin(counts, 0.5, rng)
    probe = (header.probe * np.float32(0.5**0.5)).astype(np.complex64)
    region = comparison.scored_region([test.positions(name) for name in test.views])
    objects = [
        poisson_map.solve(half, probe, test.positions("dense"), header.shape, settings, rng, weight).obj[region]
        for half in (first, counts - first)
    ]
    return frc.half_summary(frc.ring_correlation(*objects), header.pixel_m)


if __name__ == "__main__":
    run("reconstruct_map", main, lambda: isa.pins(params.load().train))
