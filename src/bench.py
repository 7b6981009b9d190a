"""`make bench`: CPU seconds of every arm on the default study, in one run, with the machine -> metrics/bench.json.

Trainings are timed by their stages (logs/, so run `make repro` first on this machine); everything else here, also what
`train.portable` costs.
"""

import json
import os
import statistics
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from ptychodose.errors import StudyError
from ptychodose.formats.atomic import write_json
from ptychodose.formats.h5 import read_array
from ptychodose.networks import predict, training
from ptychodose.networks.procedural_scans import ProceduralScans, template
from ptychodose.physics import noise
from ptychodose.reconstruct import arms, reconstructors
from ptychodose.scans import cxi, views
from ptychodose.scans.scan import of_arrays
from ptychodose.scans.trial import Trial
from ptychodose.study import isa, machine, params
from ptychodose.study.stage import run

TEST, VIEWS, OUT = Path("data/scan/test.cxi"), Path("data/views"), Path("metrics/bench.json")
REPEATS = 3  # trainings with and without the pins, taking turns
PITCH, STEP = 2.4, 3  # px and nodes: about the default dense view


def main() -> None:
    """The study's test scan and bundles -> metrics/bench.json; ratios are to MAP, once through."""
    study = params.load()
    torch.set_num_threads(1)
    paths = [VIEWS / f"{name}.h5" for name in study.views()]
    rows: dict[str, dict[str, float]] = {}
    with cxi.dataset(TEST) as whole:
        trial = Trial(whole, views.read_built(paths, "test", study.group_sizes()))
        for name, arm in study.arms().items():
            job = json.loads(Path(f"data/bundles/{name}/training_manifest.json").read_text())["jobs"]
            if job:
                solver, view = predict.by_network(arms.network_of(job[0], whole.size)), str(arm.view)
                started = time.process_time()
                groups = trial.views[view].groups[arm.group_size]
                arms.stitched(trial.of(view), groups, solver, name, study.compare.block_groups)
                rows[name] = {"train_cpu_s": _trained(name), "solve_cpu_s": time.process_time() - started}
        found: dict[str, Any] = {}
        scan = trial.of("dense")
        for name, entry in reconstructors.REGISTRY.items():
            started, rng = time.process_time(), noise.stream(study.seed, "solver", name)
            found[name] = reconstructors.run(name, scan, study, rng, found)
            before = rows[entry.start]["solve_cpu_s"] if isinstance(entry, reconstructors.Refinement) else 0.0
            rows[name] = {"train_cpu_s": 0.0, "solve_cpu_s": before + time.process_time() - started}
    base = rows["map"]["solve_cpu_s"]
    for row in rows.values():
        row["solve_ratio_to_map"] = row["solve_cpu_s"] / base
    rounded = {name: {key: round(value, 2) for key, value in row.items()} for name, row in rows.items()}
    record = {"machine": machine.describe(), "dose": study.dose, "patterns": len(scan), "arms": rounded}
    write_json(OUT, {**record, "portable": {f"groups of {size}": _portable(size) for size in (1, 4)}})
    print(f"written: {OUT}")


def _portable(size: int) -> dict[str, float]:
    """CPU seconds of one short training on groups of `size` with isa.PINS and without, and their ratio."""
    free = {name: value for name, value in os.environ.items() if name not in isa.PINS}
    seconds: dict[str, list[float]] = {"pinned_cpu_s": [], "free_cpu_s": []}
    for _ in range(REPEATS):
        for name, environment in (("pinned_cpu_s", {**free, **isa.PINS}), ("free_cpu_s", free)):
            command = [sys.executable, __file__, "--training", str(size)]
            done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
            seconds[name].append(float(done.stdout))
    middle = {name: statistics.median(values) for name, values in seconds.items()}
    return {**middle, "ratio": round(middle["pinned_cpu_s"] / middle["free_cpu_s"], 3)}


def time_training(size: int) -> float:
    """CPU seconds of the loop of one short training on groups of `size`, in this process's environment."""
    torch.set_num_threads(1)
    settings = replace(params.load().train, pattern_visits=160, objects=20, validations=1)
    probe = read_array(Path("data/probe.h5"), "probe", "run `dvc repro probe`")
    positions, groups = template(PITCH, STEP, size, 7, 1)
    source = ProceduralScans(of_arrays(None, probe, positions, (0, 0)), groups, settings, 1)
    started = time.process_time()
    training.train(source, training.architecture(settings), settings, 1)
    return round(time.process_time() - started, 2)


def _trained(name: str) -> float:
    """CPU seconds of a training stage, from its log; StudyError when it did not run here."""
    path = Path(f"logs/train_{name}.json")
    if not path.is_file():
        raise StudyError(f"{path}: not found; `dvc repro -f train_{name}` times the training on this machine")
    return float(json.loads(path.read_text(encoding="utf-8"))["cpu_seconds"])


if __name__ == "__main__":
    if "--training" in sys.argv:
        print(time_training(int(sys.argv[-1])))
    else:
        run("bench", main)
