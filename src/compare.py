"""Stage `compare`: every arm reconstructs the held-out region; scores, curves, one picture, and the sealed manifest."""

import csv
import json
from pathlib import Path

import h5py
import numpy as np
import torch

from ptychodose import (
    bundle,
    comparison,
    cxi,
    figures,
    manifest,
    network,
    params,
    predict,
    progress,
    scan,
    scoring,
    views,
)
from ptychodose.errors import StudyError
from ptychodose.files import atomic_folder, write_json
from ptychodose.groups import Patterns
from ptychodose.h5 import read_arrays, write_arrays
from ptychodose.settings import Params
from ptychodose.stage import run

TEST, TRUTH = Path("data/simulated/test.cxi"), Path("data/simulated/truth.h5")
OUT, METRICS, JOBS = Path("data/reconstructions"), Path("metrics"), Path("data/training_manifest.json")
UPSTREAM = ("generate", "overlap", "train_baseline", "train_dense")


def main() -> None:
    """Bundles, test split and truth -> metrics/, data/reconstructions/, the joined training and study manifests."""
    study = params.load()
    torch.use_deterministic_algorithms(True)
    torch.set_num_threads(1)  # as in training: the reconstructions' bytes depend on it
    manifest.check_inputs("generate", [TEST, TRUTH])
    manifest.check_inputs("overlap", [Path(f"data/views/{name}.h5") for name in study.views()])
    jobs = _training_manifest(study)
    truth = read_arrays(TRUTH, "run `dvc repro generate`")[0]["obj"]
    with cxi.dataset(TEST) as (header, counts):
        cxi.measured_dose(TEST, header, counts)
        chosen = _views(study)
        region = comparison.scored_region([header.positions[view.index] for view in chosen.values()])
        objects = _reconstruct(study, jobs, header, counts, truth)
        spare = comparison.unseen_patterns(header, list(chosen.values()), region, study.compare.deviance_patterns)
        details = {name: scoring.score(obj, truth, region, header.pixel_m) for name, obj in objects.items()}
        for name, obj in objects.items():
            details[name]["deviance"] = comparison.deviance_per_pixel(obj, header, counts, spare)
    _write(study, header, jobs, objects, truth, region, details)


def _training_manifest(study: Params) -> dict:
    """All arms' jobs, after checking each bundle folder against its stage's record."""
    documents = {}
    for arm in study.arms():
        folder = Path("data/bundles") / arm
        manifest.check_inputs(f"train_{arm}", [folder])
        documents[arm] = json.loads((folder / "training_manifest.json").read_text(encoding="utf-8"))
    return comparison.join_manifests(documents)


def _views(study: Params) -> dict[str, views.View]:
    paths = {name: Path(f"data/views/{name}.h5") for name in study.views()}
    return {name: views.read(path, "test", 1) for name, path in paths.items() if views.skipped(path) is None}


def _reconstruct(
    study: Params, jobs: dict, header: cxi.Header, counts: h5py.Dataset, truth: np.ndarray
) -> dict[str, np.ndarray]:
    """Objects (H, W) of the control rows and of every trained arm."""
    objects = {"flat": comparison.flat_object(header)}
    solvers = {"oracle": (study.train_dense, predict.by_object(truth))}
    for job in jobs["jobs"]:
        arm = study.arms()[job["arm"]]
        solvers[job["arm"]] = (arm, predict.by_network(_network(job, arm.group_size, len(header.probe))))
    for name, (arm, solve) in solvers.items():
        view = views.read(Path(f"data/views/{arm.view}.h5"), "test", arm.group_size)
        groups = scan.covering(view.groups[arm.group_size])
        positions = header.positions[view.index]
        patterns = Patterns(counts, positions, header.probe, header.dose_measured, rows=view.index)
        with progress.bar(len(groups), f"compare {name}", "group") as bar:
            objects[name], _ = predict.reconstruct(
                solve, patterns, groups, header.shape, study.compare.block_groups, bar.update
            )
    return objects


def _network(job: dict, group_size: int, size: int) -> torch.nn.Module:
    """The bundle's network with its weights; StudyError when it is not what this study trains."""
    path = Path(job["result"]["bundle_path"])
    meta, weights = bundle.load(path, job["result"]["bundle_sha256"])
    if (meta.get("group_size"), meta.get("size")) != (group_size, size):
        raise StudyError(
            f"{path}: trained on groups of {meta.get('group_size')} at N = {meta.get('size')}, but params.yaml asks "
            f"for groups of {group_size} at N = {size}; run `dvc repro train_{job['arm']}`"
        )
    net = network.build(meta.get("architecture", {}))
    try:
        net.load_state_dict({name: torch.as_tensor(value) for name, value in weights.items()}, strict=True)
    except RuntimeError as error:
        raise StudyError(f"{path}: weights do not fit the network ({str(error).splitlines()[0][:80]})") from None
    return net.eval()


def _write(
    study: Params,
    header: cxi.Header,
    jobs: dict,
    objects: dict[str, np.ndarray],
    truth: np.ndarray,
    region: tuple[slice, slice],
    details: dict[str, dict],
) -> None:
    """Every output of the stage, the joined manifest last."""
    photons = _photons_per_pixel(study)
    write_json(JOBS, jobs)
    with atomic_folder(OUT) as folder:
        for name, obj in objects.items():
            write_arrays(folder / f"{name}.h5", {"obj": obj}, {"pixel_m": header.pixel_m})
    headline = {name: scoring.headline(row) for name, row in details.items()}
    totals = {
        "dose_requested": study.dose,
        "dose_measured": header.dose_measured,
        "photons_per_pixel": photons,
    }
    region_rows = [[part.start, part.stop] for part in region]
    write_json(METRICS / "compare.json", {**totals, **headline})
    write_json(METRICS / "details.json", {**totals, "region": region_rows, "pixel_m": header.pixel_m, "arms": details})
    scoring.write_frc(METRICS / "frc.csv", details)
    shown = {name: obj for name, obj in objects.items() if name != "flat"}
    figure = figures.comparison(
        truth[region], {k: v[region] for k, v in shown.items()}, header.pixel_m, headline, study.dose
    )
    figures.save(figure, METRICS / "compare.png")
    frc = {name: details[name]["aligned"]["frc"] for name in shown}
    figures.save(
        figures.curves(frc, {job["arm"]: _history(job["arm"]) for job in jobs["jobs"]}), METRICS / "curves.png"
    )
    names = ("compare.json", "details.json", "compare.png", "curves.png", "frc.csv")
    outputs = [OUT, JOBS, *(METRICS / name for name in names)]
    manifest.join(UPSTREAM, "compare", outputs)


def _history(arm: str) -> list[dict[str, float]]:
    """The rows of an arm's history.csv."""
    with open(Path("data/bundles") / arm / "history.csv", newline="", encoding="utf-8") as file:
        return [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)]


def _photons_per_pixel(study: Params) -> float:
    """Detected photons per object pixel of the test scan the dense arm reconstructs from."""
    rows = json.loads(Path("data/views/details.json").read_text(encoding="utf-8"))
    return float(rows[study.train_dense.view]["test"]["photons_per_pixel"])


if __name__ == "__main__":
    run("compare", main)
