"""Stages `train_*`: one physics-informed network each.

    python src/train.py {baseline|dense|wide|sparse|own|cnn} [--dry-run] [--checkpoint SECONDS]

The arms share `train:` of params.yaml and differ in one line. All but `own` learn from procedural objects under the
study's probe, at all doses at once; `own` learns from the counts of the study's training scan. No truth of the study
is read here.
"""

import argparse
import csv
from dataclasses import asdict, replace
from math import isqrt
from pathlib import Path

import numpy as np
import torch

from ptychodose.errors import StudyError
from ptychodose.formats import bundle
from ptychodose.formats.atomic import atomic_folder, sha256_file, write_json
from ptychodose.formats.h5 import read_arrays
from ptychodose.networks import training
from ptychodose.networks.own_scan import OwnScan
from ptychodose.networks.procedural_scans import ProceduralScans, template
from ptychodose.networks.sources import Source
from ptychodose.physics import lattice
from ptychodose.scans import cxi, views
from ptychodose.scans.scan import of_arrays
from ptychodose.study import checkpoint, isa, params
from ptychodose.study.checkpoint import Checkpoint
from ptychodose.study.manifest import check_inputs, environment, write_stage_manifest
from ptychodose.study.settings import ARMS, Arm, Params
from ptychodose.study.stage import ROOT, run

DATA, PROBE, BUNDLES = Path("data/scan/train.cxi"), Path("data/probe.h5"), Path("data/bundles")


def main(arm_name: str, dry_run: bool, seconds: float) -> None:
    """Train one arm -> data/bundles/<arm>/{wts.h5.zip, history.csv, training_manifest.json}."""
    study = params.load()
    torch.set_num_threads(study.train.threads)  # of the whole process, so that its record says what was used
    arm, out = study.arms()[arm_name], BUNDLES / arm_name
    inputs = [DATA, Path(f"data/views/{arm.view}.h5")] if arm_name == "own" else [PROBE]
    job = {"arm": arm_name, "C": arm.group_size, "gridsize": _gridsize(arm_name, arm), **_taught_by(study, arm_name)}
    if dry_run:
        print(f"would train {arm_name}: groups of {arm.group_size} from {', '.join(map(str, inputs))} -> {out}/")
        return
    reason = _skipped(study, arm_name, arm, inputs)
    kept = _checkpoint(study, arm_name, inputs, seconds) if reason is None else None
    with atomic_folder(out) as folder:
        if reason is None:
            result = _train(study, arm_name, folder, inputs, kept)
            document = {"jobs": [{**job, "status": "success", "result": result}], "skipped": []}
        else:
            document = {"jobs": [], "skipped": [{**job, "reason": reason}]}
        write_json(folder / "training_manifest.json", document)
    write_stage_manifest(
        f"train_{arm_name}",
        inputs=[] if arm.view is None else inputs,
        outputs=[out],
        environment=environment(),
    )
    if kept is not None:
        kept.clear()
    _announce(document)


def _gridsize(arm_name: str, arm: Arm) -> int:
    """Side of a square group: C = gridsize^2; 0 for a whole scan."""
    side = isqrt(arm.group_size)
    if side**2 != arm.group_size:
        raise StudyError(
            f"train_{arm_name}.group_size: {arm.group_size} is not a square; nearest usable value: {side**2}"
        )
    return side


def _taught_by(study: Params, arm_name: str) -> dict:
    """The dose of the scan an arm learns from, or the range of doses of its procedural scans."""
    return {"dose": study.dose} if arm_name == "own" else {"dose": [study.train.dose_low, study.train.dose_high]}


def _skipped(study: Params, arm_name: str, arm: Arm, inputs: list[Path]) -> str | None:
    """Why the arm is not trained, or None; checks the inputs of one that is."""
    if arm.view is None:
        return f"train_{arm_name}.view is null in params.yaml"
    if study.views()[arm.view] is None:
        return f"overlap.{arm.view} is null in params.yaml"
    few = _too_few(study, arm_name, arm) if study.generate.source == "measured" else None
    if few is not None:
        return few
    for path in inputs:
        check_inputs("probe" if path == PROBE else "generate" if path == DATA else "overlap", [path])
    return None


def _too_few(study: Params, arm_name: str, arm: Arm) -> str | None:
    """Why a measured scan has too few patterns for the arm's groups, or None."""
    _, attributes = read_arrays(PROBE, "run `dvc repro probe`")
    patterns = int(str(attributes[f"{arm.view}_patterns"]))
    rule = views.Rule(frozenset({arm.group_size}), study.overlap.neighbours)
    if rule.fillable(patterns):
        return None
    wanted = 2 * rule.nearest(arm.group_size)
    return (
        f"view {arm.view} of the measured scan has {patterns} patterns, fewer than the {wanted} that {arm_name} needs"
    )


def _checkpoint(study: Params, arm_name: str, inputs: list[Path], seconds: float) -> Checkpoint:
    """Where this very training keeps its state, whatever of code, inputs, parameters and environment matters."""
    code = checkpoint.loaded_code(ROOT / "src")
    parameters = {"arm": arm_name, "study": asdict(study), "environment": environment()}
    return Checkpoint(f"train_{arm_name}", checkpoint.key(inputs, code, parameters), seconds)


def _train(study: Params, arm_name: str, folder: Path, inputs: list[Path], kept: Checkpoint | None) -> dict:
    """Train and write bundle and history into `folder`, to be renamed to the arm's."""
    arm, out = study.arms()[arm_name], BUNDLES / arm_name
    source, size = _own_scan(study, arm, inputs[1]) if arm_name == "own" else _procedural(study, arm)
    spec = training.architecture(study.train, arm.architecture)
    trained = training.train(source, spec, study.train, study.seed_of("network"), kept, f"train_{arm_name}")
    meta = {
        "architecture": trained.network.spec,
        "group_size": arm.group_size,
        "size": size,
        **_taught_by(study, arm_name),
        "trained_on": {path.as_posix(): sha256_file(path) for path in inputs},
        "pattern_visits": trained.pattern_visits,
        "software": environment(),
    }
    weights = {name: tensor.numpy() for name, tensor in trained.network.state_dict().items()}
    sha256, written = bundle.save(folder / "wts.h5.zip", meta, weights)
    with open(folder / "history.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(trained.history[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(trained.history)
    return {
        "bundle_path": (out / "wts.h5.zip").as_posix(),
        "bundle_sha256": sha256,
        "bundle_size_bytes": written,
        "epochs_completed": trained.epochs_completed,
        "final_loss": trained.final_loss,
        "pattern_visits": trained.pattern_visits,
    }


def _procedural(study: Params, arm: Arm) -> tuple[Source, int]:
    """Scans like the arm's view, under the study's probe and detector, over procedural objects; and N."""
    arrays, attributes = read_arrays(PROBE, "run `dvc repro probe`")
    ratio, nodes = study.views()[str(arm.view)] or 0.0, study.generate.nodes_per_diameter
    if f"{arm.view}_ratio" in attributes:  # a measured scan's own, as near as the lattice has it
        own = float(str(attributes[f"{arm.view}_ratio"]))
        ratio = 1 - min(max(round(nodes * (1 - own)), 1), nodes) / nodes
    step = lattice.stride(ratio, nodes, f"overlap.{arm.view}")
    pitch = float(attributes["diameter"]) / study.generate.nodes_per_diameter  # type: ignore[arg-type]
    seed = study.seed_of("network")
    positions, groups = template(pitch, step, arm.group_size, study.overlap.neighbours, seed)
    planned = of_arrays(None, arrays["probe"], positions, (0, 0))
    planned = replace(planned, background=arrays["background"], mask=arrays["mask"] == 0)
    if "dose" in attributes:  # a measured scan's, in photons
        unit = (planned.probe / np.sqrt(planned.incident)).astype(np.complex64)
        planned = replace(planned, probe=unit, dose=float(str(attributes["dose"])))
    device = training.accelerator(study.train.accelerator)
    return ProceduralScans(planned, groups, study.train, seed, device), planned.size


def _own_scan(study: Params, arm: Arm, view_path: Path) -> tuple[Source, int]:
    """The study's own training scan, with a strip held out; and N."""
    view = views.read(view_path, "train", {arm.group_size})
    with cxi.dataset(DATA) as whole:
        scan = whole.select(view.index).copy()
    device = training.accelerator(study.train.accelerator)
    return OwnScan(scan, view.groups[arm.group_size], study.train, device), scan.size


def _announce(document: dict) -> None:
    """Say what was trained; the numbers are those of the manifest."""
    for job in document["jobs"]:
        result, where = job["result"], f"[{job['arm']}]"
        print(f"bundle {where}: {result['bundle_path']}")
        print(f"SHA256 {where}: {result['bundle_sha256']}")
        print(f"size   {where}: {result['bundle_size_bytes']} bytes")
    for job in document["skipped"]:
        print(f"skipped [{job['arm']}]: {job['reason']}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("arm", choices=ARMS)
    parser.add_argument("--dry-run", action="store_true", help="say what would be trained, do nothing")
    parser.add_argument(
        "--checkpoint", type=float, default=30, metavar="SECONDS", help="keep the state this often (default 30)"
    )
    options = parser.parse_args()
    run(
        f"train_{options.arm}",
        lambda: main(options.arm, options.dry_run, options.checkpoint),
        lambda: isa.pins(params.load().train),
        parsed=True,
    )
