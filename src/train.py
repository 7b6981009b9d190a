"""Stages `train_dense` and `train_baseline`: one physics-informed network each, from measured counts alone.

    python src/train.py {dense|baseline} [--dry-run]

The arms share `train:` of params.yaml and differ in group_size only. No truth is read here.
"""

import argparse
import csv
from math import isqrt
from pathlib import Path

import numpy as np

from ptychodose import bundle, cxi, params, training, views
from ptychodose.errors import StudyError
from ptychodose.files import atomic_folder, sha256_file, write_json
from ptychodose.manifest import check_inputs, environment, write_stage_manifest
from ptychodose.settings import Arm, Params
from ptychodose.stage import run

DATA = Path("data/simulated/train.cxi")
BUNDLES = Path("data/bundles")


def main(arm_name: str, dry_run: bool) -> None:
    """Train one arm -> data/bundles/<arm>/{wts.h5.zip, history.csv, training_manifest.json}."""
    study = params.load()
    arm = study.arms()[arm_name]
    view_path = Path(f"data/views/{arm.view}.h5")
    out = BUNDLES / arm_name
    job = {"arm": arm_name, "dose": study.dose, "C": arm.group_size, "gridsize": _gridsize(arm_name, arm)}
    if dry_run:
        print(f"would train {arm_name}: groups of {arm.group_size} from {view_path} at dose {study.dose:g} -> {out}/")
        return
    check_inputs("generate", [DATA])
    check_inputs("overlap", [view_path])
    reason = views.skipped(view_path)
    with atomic_folder(out) as folder:
        if reason is None:
            result = _train(study, arm, view_path, folder, out)
            document = {"jobs": [{**job, "status": "success", "result": result}], "skipped": []}
        else:
            document = {"jobs": [], "skipped": [{**job, "reason": reason}]}
        write_json(folder / "training_manifest.json", document)
    write_stage_manifest(
        f"train_{arm_name}",
        inputs=[DATA, view_path],
        outputs=[out],
        parameters={"dose": study.dose, "seed": study.seed_of("network"), "train": study.train, "arm": arm},
        environment=environment(),
    )
    _announce(document)


def _gridsize(arm_name: str, arm: Arm) -> int:
    """Side of a square group: C = gridsize^2."""
    side = isqrt(arm.group_size)
    if side**2 != arm.group_size:
        raise StudyError(
            f"train_{arm_name}.group_size: {arm.group_size} is not a square; nearest usable value: {side**2}"
        )
    return side


def _train(study: Params, arm: Arm, view_path: Path, folder: Path, out: Path) -> dict:
    """Train on the view's patterns and write bundle and history into `folder`, to be renamed to `out`."""
    view = views.read(view_path, "train", {arm.group_size})
    with cxi.dataset(DATA) as (header, stored):
        cxi.measured_dose(DATA, header, stored)
        order = np.argsort(view.index)  # HDF5 reads increasing indices only
        counts = stored[view.index[order]][np.argsort(order)]  # (n, N, N)
    positions, groups = header.positions[view.index], view.groups[arm.group_size]
    trained = training.train(counts, positions, groups, header.probe, study.train, study.seed_of("network"))
    meta = {
        "architecture": trained.network.spec,
        "group_size": arm.group_size,
        "size": len(header.probe),
        "dose_requested": study.dose,
        "dose_measured": header.dose_measured,
        "trained_on": {str(path.as_posix()): sha256_file(path) for path in (DATA, view_path)},
        "pattern_visits": trained.pattern_visits,
        "software": environment(),
    }
    weights = {name: tensor.numpy() for name, tensor in trained.network.state_dict().items()}
    sha256, size = bundle.save(folder / "wts.h5.zip", meta, weights)
    with open(folder / "history.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(trained.history[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(trained.history)
    return {
        "bundle_path": (out / "wts.h5.zip").as_posix(),
        "bundle_sha256": sha256,
        "bundle_size_bytes": size,
        "epochs_completed": trained.epochs_completed,
        "final_loss": trained.final_loss,
        "pattern_visits": trained.pattern_visits,
    }


def _announce(document: dict) -> None:
    """Say what was trained; the numbers are those of the manifest."""
    for job in document["jobs"]:
        result, where = job["result"], f"[{job['arm']}, dose {job['dose']:g}]"
        print(f"bundle {where}: {result['bundle_path']}")
        print(f"SHA256 {where}: {result['bundle_sha256']}")
        print(f"size   {where}: {result['bundle_size_bytes']} bytes")
    for job in document["skipped"]:
        print(f"skipped [{job['arm']}, dose {job['dose']:g}]: {job['reason']}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("arm", choices=["dense", "baseline"])
    parser.add_argument("--dry-run", action="store_true", help="say what would be trained, do nothing")
    options = parser.parse_args()
    run(f"train_{options.arm}", lambda: main(options.arm, options.dry_run))
