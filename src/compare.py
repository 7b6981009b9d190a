"""Stage `compare`: every arm reconstructs the held-out region; scores, curves, pictures, and the sealed manifest."""

import csv
import json
from pathlib import Path

import numpy as np
import torch

from ptychodose import arms, comparison, cxi, figures, manifest, params, scoring, views
from ptychodose.files import atomic_folder, write_json
from ptychodose.h5 import read_arrays, write_arrays
from ptychodose.settings import Params
from ptychodose.stage import run

TEST, TRUTH, VIEWS = Path("data/simulated/test.cxi"), Path("data/simulated/truth.h5"), Path("data/views")
OUT, METRICS, JOBS = Path("data/reconstructions"), Path("metrics"), Path("data/training_manifest.json")
SHOWN = ("compare.json", "details.json", "frc.csv", "compare.png", "curves.png")
UPSTREAM = ("generate", "overlap", "train_baseline", "train_dense")


def main() -> None:
    """Bundles, test split and truth -> metrics/, data/reconstructions/, the joined training and study manifests."""
    study = params.load()
    torch.use_deterministic_algorithms(True)
    torch.set_num_threads(1)  # as in training: the reconstructions' bytes depend on it
    manifest.check_inputs("generate", [TEST, TRUTH])
    manifest.check_inputs("overlap", [VIEWS / f"{name}.h5" for name in study.views()] + [VIEWS / "details.json"])
    jobs = _training_manifest(study)
    truth = read_arrays(TRUTH, "run `dvc repro generate`")[0]["obj"]
    with cxi.dataset(TEST) as (header, counts):
        cxi.measured_dose(TEST, header, counts)
        test = arms.Scan(header, counts, _views(study))
        objects = arms.reconstruct(test, study.arms(), jobs["jobs"], truth, study.compare.block_groups)
        region = comparison.scored_region([header.positions[view.index] for view in test.views.values()])
        spare = comparison.unseen_patterns(header, list(test.views.values()), region, study.compare.deviance_patterns)
        rows = {name: scoring.score(obj, truth, region, header.pixel_m) for name, obj in objects.items()}
        for name, obj in objects.items():
            rows[name]["deviance"] = comparison.deviance_per_pixel(obj, header, counts, spare)
    write_json(JOBS, jobs)
    with atomic_folder(OUT) as folder:
        for name, obj in objects.items():
            write_arrays(folder / f"{name}.h5", {"obj": obj}, {"pixel_m": header.pixel_m})
    _write_metrics(study, header, region, rows)
    _draw(study, header, jobs, {name: obj[region] for name, obj in objects.items()}, truth[region], rows)
    manifest.join(UPSTREAM, "compare", [OUT, JOBS, *(METRICS / name for name in SHOWN)])


def _training_manifest(study: Params) -> dict:
    """All arms' jobs, after checking each bundle folder against its stage's record."""
    documents = {}
    for arm in study.arms():
        folder = Path("data/bundles") / arm
        manifest.check_inputs(f"train_{arm}", [folder])
        documents[arm] = json.loads((folder / "training_manifest.json").read_text(encoding="utf-8"))
    return comparison.join_manifests(documents)


def _views(study: Params) -> dict[str, views.View]:
    """Test selections of the views that were built, with the groups of every arm."""
    sizes = {arm.group_size for arm in study.arms().values()}
    paths = {name: VIEWS / f"{name}.h5" for name in study.views()}
    return {name: views.read(path, "test", sizes) for name, path in paths.items() if views.skipped(path) is None}


def _write_metrics(study: Params, header: cxi.Header, region: tuple[slice, slice], rows: dict[str, dict]) -> None:
    """compare.json (the headline), details.json (everything), frc.csv."""
    measured = json.loads((VIEWS / "details.json").read_text(encoding="utf-8"))
    totals = {
        "dose_requested": study.dose,
        "dose_measured": header.dose_measured,
        "photons_per_pixel": measured[study.train_dense.view]["test"]["photons_per_pixel"],
    }
    frame = {"region": [[part.start, part.stop] for part in region], "pixel_m": header.pixel_m}
    write_json(METRICS / "compare.json", {**totals, **{name: scoring.headline(row) for name, row in rows.items()}})
    write_json(METRICS / "details.json", {**totals, **frame, "arms": rows})
    scoring.write_frc(METRICS / "frc.csv", rows)


def _draw(
    study: Params, header: cxi.Header, jobs: dict, objects: dict[str, np.ndarray], truth: np.ndarray, rows: dict
) -> None:
    """compare.png and curves.png; the flat object is left to the tables."""
    shown = {name: obj for name, obj in objects.items() if name != "flat"}
    scores = {name: scoring.headline(rows[name]) for name in shown}
    figures.save(figures.comparison(truth, shown, header.pixel_m, scores, study.dose), METRICS / "compare.png")
    frc = {name: rows[name]["aligned"]["frc"] for name in shown}
    figures.save(
        figures.curves(frc, {job["arm"]: _history(job["arm"]) for job in jobs["jobs"]}), METRICS / "curves.png"
    )


def _history(arm: str) -> list[dict[str, float]]:
    """The rows of an arm's history.csv."""
    with open(Path("data/bundles") / arm / "history.csv", newline="", encoding="utf-8") as file:
        return [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)]


if __name__ == "__main__":
    run("compare", main)
