"""Stage `compare`: score every reconstruction against truth, draw, and seal the manifest."""

import csv
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ptychodose.bounds.lines import frc_at_dose
from ptychodose.compare import figures
from ptychodose.formats.atomic import write_json
from ptychodose.formats.h5 import read_array, read_arrays
from ptychodose.formats.png import save_figure
from ptychodose.networks import predict
from ptychodose.physics import portable
from ptychodose.scans import cxi, views
from ptychodose.scans.groups import covering
from ptychodose.scans.scan import Scan
from ptychodose.scans.trial import Trial
from ptychodose.score import scoring
from ptychodose.score.region import Region, deviance_per_pixel, scored_region, unseen_patterns
from ptychodose.study import isa, manifest, params
from ptychodose.study.settings import Params
from ptychodose.study.stage import run

TEST, TRUTH, VIEWS = Path("data/scan/test.cxi"), Path("data/scan/truth.h5"), Path("data/views")
MAP, LIMIT, FOUND, METRICS = Path("data/map"), Path("data/limit"), Path("data/reconstructions"), Path("metrics")
Arrays = Mapping[str, np.ndarray]
SHOWN = ("compare.json", "details.json", "frc.csv", "compare.png", "curves.png")


def main() -> None:
    """All reconstructions, and truth -> metrics/ and the joined manifest."""
    study = params.load()
    portable.deterministic(True)
    torch.set_num_threads(1)
    view_paths = [VIEWS / f"{name}.h5" for name in study.views()]
    manifest.check_inputs("generate", [TEST, TRUTH])
    manifest.check_inputs("overlap", [*view_paths, VIEWS / "details.json"])
    for stage, folder in (("reconstruct_map", MAP), ("limit", LIMIT), ("reconstruct", FOUND)):
        manifest.check_inputs(stage, [folder])
    truth = read_array(TRUTH, "obj", "run `dvc repro generate`")
    with cxi.dataset(TEST) as scan:
        trial = Trial(scan, views.read_built(view_paths, "test", {"dense": {4}}))
        rows = _rows(study, trial, truth)
        region = scored_region([trial.positions(view) for view in trial.views])
        used = [view.index for view in trial.views.values()]
        spare = unseen_patterns(scan, used, region, study.compare.deviance_patterns)
        scores: dict[str, dict[str, Any]] = {}
        for name, (arrays, given) in rows.items():
            obj = arrays["obj"]
            scores[name] = {**given, **scoring.score(obj, truth, region, scan.pixel_m, arrays.get("error"))}
            scores[name]["deviance"] = deviance_per_pixel(obj, scan, spare)
    _write_metrics(study, scan, region, scores)
    _draw(study, scan, truth, region, {name: arrays for name, (arrays, _) in rows.items()}, scores)
    stages = ["probe", "generate", "overlap", *(f"train_{name}" for name in study.arms())]
    outputs = [METRICS / name for name in SHOWN]
    manifest.join([*stages, "reconstruct_map", "reconstruct", "limit"], "compare", outputs)


def _rows(study: Params, trial: Trial, truth: np.ndarray) -> dict[str, tuple[Arrays, dict[str, Any]]]:
    """Object (H, W), and perhaps standard error, of every row of the tables, controls first, and what it was given. The
    oracle, truth through the same stitching, is made here: no other stage may see truth."""
    found = {path.stem: read_arrays(path, "run `dvc repro reconstruct`") for path in FOUND.glob("*.h5")}
    none = {"view": None, "group_size": None, "share": 1.0}
    rows = {name: (arrays, {**none, **_without(given, "pixel_m")}) for name, (arrays, given) in found.items()}
    if "dense" in trial.views:
        groups, block = covering(trial.views["dense"].groups[4]), study.compare.block_groups
        obj, _ = predict.reconstruct(predict.by_object(truth), trial.of("dense"), groups, block)
        rows["oracle"] = ({"obj": obj}, {"view": "dense", "group_size": 4, "share": 1.0})
    order = ("flat", "oracle", *study.arms(), "map", "hybrid")
    return {name: rows[name] for name in [*filter(rows.__contains__, order), *sorted(set(rows) - set(order))]}


def _without(values: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in values.items() if key != name}


def _write_metrics(study: Params, scan: Scan, region: Region, rows: dict[str, dict]) -> None:
    """compare.json (the headline), details.json (everything), frc.csv."""
    built = {name: row["test"] for name, row in _json(VIEWS / "details.json").items() if "test" in row}
    view = "dense" if "dense" in built else next(iter(built))
    totals = {
        "dose_requested": study.dose,
        "dose_measured": scan.signal,
        "photons_per_pixel": built[view]["photons_per_pixel"],
    }
    frame = {"region": [[part.start, part.stop] for part in region], "pixel_m": scan.pixel_m, "views": built}
    made = {"map": _json(MAP / "record.json"), "limit": _json(LIMIT / "limit.json")}
    write_json(METRICS / "compare.json", {**totals, **{name: scoring.headline(row) for name, row in rows.items()}})
    write_json(METRICS / "details.json", {**totals, **frame, **made, "arms": rows})
    scoring.write_frc(METRICS / "frc.csv", rows)


def _json(path: Path) -> dict:
    return json.loads(path.read_text(encoding="utf-8"))


def _draw(study: Params, scan: Scan, truth: np.ndarray, region: Region, found: dict[str, Arrays], rows: dict) -> None:
    """compare.png and curves.png; what figures.HIDDEN names is left to the tables."""
    shown = {name: (row["obj"], row.get("error")) for name, row in found.items() if name not in figures.HIDDEN}
    scores = {name: scoring.headline(rows[name]) for name in shown}
    save_figure(figures.comparison(truth, shown, region, scan.pixel_m, scores, study.dose), METRICS / "compare.png")
    frc = {name: rows[name]["aligned"]["frc"] for name in shown}
    taught = [name for name in study.arms() if name in rows and name != "own"]  # `own` has a loss of another kind
    limit = _json(LIMIT / "limit.json")["views"].get("dense")
    line = None if limit is None else frc_at_dose(limit["frc"], study.dose)
    bound = None if line is None else (limit["frc"]["frequency"], line.tolist())
    histories = {name: _history(name) for name in taught}
    save_figure(figures.curves(frc, histories, bound), METRICS / "curves.png")


def _history(arm: str) -> list[dict[str, float]]:
    """The rows of an arm's history.csv."""
    with open(Path("data/bundles") / arm / "history.csv", newline="", encoding="utf-8") as file:
        return [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)]


if __name__ == "__main__":
    run("compare", main, lambda: isa.pins(params.load().train))
