"""Stage `compare`: every arm reconstructs the held-out region; scores, curves, pictures, and the sealed manifest."""

import csv
import json
from pathlib import Path

import numpy as np
import torch

from ptychodose.compare import arms, figures
from ptychodose.formats.atomic import atomic_folder, write_json
from ptychodose.formats.h5 import read_array, write_arrays
from ptychodose.scans import cxi, views
from ptychodose.scans.scan import Scan
from ptychodose.score import comparison, scoring
from ptychodose.study import isa, manifest, params
from ptychodose.study.settings import Params
from ptychodose.study.stage import run
from ptychodose.study.training_manifest import read_training_manifest

TEST, TRUTH, VIEWS = Path("data/simulated/test.cxi"), Path("data/simulated/truth.h5"), Path("data/views")
MAP, LIMIT = Path("data/map"), Path("data/limit")
OUT, METRICS, JOBS = Path("data/reconstructions"), Path("metrics"), Path("data/training_manifest.json")
SHOWN = ("compare.json", "details.json", "frc.csv", "compare.png", "curves.png")


def main() -> None:
    """All that the stages made, and truth -> metrics/, data/reconstructions/, the joined manifests."""
    study = params.load()
    torch.use_deterministic_algorithms(True)
    torch.set_num_threads(1)  # as in training: the reconstructions' bytes depend on it
    view_paths = [VIEWS / f"{name}.h5" for name in study.views()]
    manifest.check_inputs("generate", [TEST, TRUTH])
    manifest.check_inputs("overlap", [*view_paths, VIEWS / "details.json"])
    manifest.check_inputs("reconstruct_map", [MAP])
    manifest.check_inputs("limit", [LIMIT])
    jobs = _training_manifest(study)
    truth = read_array(TRUTH, "obj", "run `dvc repro generate`")
    with cxi.dataset(TEST) as (header, counts):
        cxi.measured_dose(TEST, header, counts)
        test = Scan(header, counts, views.read_built(view_paths, "test", study.group_sizes() | {4}))
        rows = _rows(study, test, jobs["jobs"], truth)
        region = comparison.scored_region([test.positions(view) for view in test.views])
        spare = comparison.unseen_patterns(header, list(test.views.values()), region, study.compare.deviance_patterns)
        scores = {name: _score(row, truth, region, header) for name, row in rows.items()}
        for name, row in rows.items():
            scores[name]["deviance"] = comparison.deviance_per_pixel(row.obj, header, counts, spare)
    write_json(JOBS, jobs)
    with atomic_folder(OUT) as folder:
        for name, row in rows.items():
            write_arrays(folder / f"{name}.h5", {"obj": row.obj}, {"pixel_m": header.pixel_m})
    _write_metrics(study, header, region, scores)
    _draw(study, header, {name: row.obj[region] for name, row in rows.items()}, truth[region], scores)
    manifest.join(_upstream(study), "compare", [OUT, JOBS, *(METRICS / name for name in SHOWN)])


def _upstream(study: Params) -> list[str]:
    trained = [f"train_{name}" for name in study.arms()]
    return ["probe", "generate", "overlap", *trained, "reconstruct_map", "limit"]


def _rows(study: Params, test: Scan, jobs: list[dict], truth: np.ndarray) -> dict[str, arms.Row]:
    """Every row of the tables, controls first."""
    block, seed = study.compare.block_groups, study.seed_of("noise")
    solved = {path.stem: read_array(path, "obj", "run `dvc repro reconstruct_map`") for path in MAP.glob("*.h5")}
    rows = arms.controls(test, truth, block)
    rows |= arms.networks(test, study.arms(), jobs, block, seed)
    rows |= arms.registered(test, study, solved)
    return rows | arms.of_stage(test, solved)


def _score(row: arms.Row, truth: np.ndarray, region: tuple[slice, slice], header: cxi.Header) -> dict:
    given = {"view": row.view, "group_size": row.group_size, "share": row.share}
    return {**given, **scoring.score(row.obj, truth, region, header.pixel_m)}


def _training_manifest(study: Params) -> dict:
    """All arms' jobs, after checking each bundle folder against its stage's record."""
    documents = {}
    for arm in study.arms():
        folder = Path("data/bundles") / arm
        manifest.check_inputs(f"train_{arm}", [folder])
        remedy = f"run `dvc checkout {folder}` or `dvc repro train_{arm}`"
        documents[arm] = read_training_manifest(folder / "training_manifest.json", remedy, arm)
    return comparison.join_manifests(documents)


def _write_metrics(study: Params, header: cxi.Header, region: tuple[slice, slice], rows: dict[str, dict]) -> None:
    """compare.json (the headline), details.json (everything), frc.csv."""
    built = {name: row["test"] for name, row in _json(VIEWS / "details.json").items() if "test" in row}
    view = "dense" if "dense" in built else next(iter(built))
    totals = {
        "dose_requested": study.dose,
        "dose_measured": header.dose_measured,
        "photons_per_pixel": built[view]["photons_per_pixel"],
    }
    frame = {"region": [[part.start, part.stop] for part in region], "pixel_m": header.pixel_m, "views": built}
    made = {"map": _json(MAP / "record.json"), "limit": _json(LIMIT / "limit.json")}
    write_json(METRICS / "compare.json", {**totals, **{name: scoring.headline(row) for name, row in rows.items()}})
    write_json(METRICS / "details.json", {**totals, **frame, **made, "arms": rows})
    scoring.write_frc(METRICS / "frc.csv", rows)


def _json(path: Path) -> dict:
    return json.loads(path.read_text(encoding="utf-8"))


def _draw(study: Params, header: cxi.Header, objects: dict[str, np.ndarray], truth: np.ndarray, rows: dict) -> None:
    """compare.png and curves.png; what figures.HIDDEN names is left to the tables."""
    shown = {name: obj for name, obj in objects.items() if name not in figures.HIDDEN}
    scores = {name: scoring.headline(rows[name]) for name in shown}
    figures.save(figures.comparison(truth, shown, header.pixel_m, scores, study.dose), METRICS / "compare.png")
    frc = {name: rows[name]["aligned"]["frc"] for name in shown}
    taught = [name for name in study.arms() if name in rows and name != "own"]  # `own` has a loss of another kind
    limit = _json(LIMIT / "limit.json")["views"].get("dense")
    bound = None if limit is None else (limit["frc"]["frequency"], _frc_bound(limit["frc"], header.dose_measured))
    histories = {name: _history(name) for name in taught}
    figures.save(figures.curves(frc, histories, bound), METRICS / "curves.png")


def _frc_bound(limit: dict, dose: float) -> list[float]:
    """FRC with truth of an unbiased method at `dose`: sqrt(S / (1 + S)), S the ring's signal-to-noise ratio."""
    return [(s * dose / (1 + s * dose)) ** 0.5 for s in limit["ssnr_per_dose"]]


def _history(arm: str) -> list[dict[str, float]]:
    """The rows of an arm's history.csv."""
    with open(Path("data/bundles") / arm / "history.csv", newline="", encoding="utf-8") as file:
        return [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)]


if __name__ == "__main__":
    run("compare", main, lambda: isa.pins(params.load().train))
