"""`make bench`: CPU seconds of every arm on the default study, in one run, with the machine -> metrics/bench.json.

Trainings are timed by their stages (logs/, so run `make repro` first on this machine); everything else here.
"""

import json
import time
from pathlib import Path

import torch

from ptychodose import arms, cxi, machine, noise, params, predict, reconstructors, views
from ptychodose.errors import StudyError
from ptychodose.files import write_json
from ptychodose.stage import run
from ptychodose.testscan import Scan

TEST, VIEWS, OUT = Path("data/simulated/test.cxi"), Path("data/views"), Path("metrics/bench.json")


def main() -> None:
    """The study's test scan and bundles -> metrics/bench.json; ratios are to MAP, once through."""
    study = params.load()
    torch.set_num_threads(1)
    paths = [VIEWS / f"{name}.h5" for name in study.views()]
    rows: dict[str, dict[str, float]] = {}
    with cxi.dataset(TEST) as (header, counts):
        test = Scan(header, counts, views.read_built(paths, "test", study.group_sizes()))
        for name, arm in study.arms().items():
            job = json.loads(Path(f"data/bundles/{name}/training_manifest.json").read_text())["jobs"]
            if job:
                solver = predict.by_network(arms.restore(job[0], len(header.probe)))
                started = time.process_time()
                arms.stitched(test, str(arm.view), arm.group_size, solver, name, study.compare.block_groups)
                rows[name] = {"train_cpu_s": _trained(name), "solve_cpu_s": time.process_time() - started}
        found = {}
        data, positions = test.read("dense"), test.positions("dense")
        for name, entry in reconstructors.REGISTRY.items():
            started, rng = time.process_time(), noise.stream(study.seed, "solver")
            found[name] = reconstructors.run(name, data, header.probe, positions, header.shape, study, rng, found)
            before = rows[entry.start]["solve_cpu_s"] if isinstance(entry, reconstructors.Refinement) else 0.0
            rows[name] = {"train_cpu_s": 0.0, "solve_cpu_s": before + time.process_time() - started}
    base = rows["map"]["solve_cpu_s"]
    for row in rows.values():
        row["solve_ratio_to_map"] = row["solve_cpu_s"] / base
    rounded = {name: {key: round(value, 2) for key, value in row.items()} for name, row in rows.items()}
    write_json(OUT, {"machine": machine.describe(), "dose": study.dose, "patterns": len(positions), "arms": rounded})
    print(f"written: {OUT}")


def _trained(name: str) -> float:
    """CPU seconds of a training stage, from its log; StudyError when it did not run here."""
    path = Path(f"logs/train_{name}.json")
    if not path.is_file():
        raise StudyError(f"{path}: not found; `dvc repro -f train_{name}` times the training on this machine")
    return float(json.loads(path.read_text(encoding="utf-8"))["cpu_seconds"])


if __name__ == "__main__":
    run("bench", main)
