"""Stage `compare`: score every reconstruction against truth or reference, draw, seal the manifest."""

import csv
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ptychodose.bounds.lines import frc_at_dose
from ptychodose.compare import figures
from ptychodose.errors import StudyError
from ptychodose.formats.atomic import write_json
from ptychodose.formats.h5 import read_arrays
from ptychodose.formats.png import save_figure
from ptychodose.formats.untrusted import one_line
from ptychodose.networks import predict
from ptychodose.physics import portable
from ptychodose.scans import cxi, views
from ptychodose.scans.groups import covering
from ptychodose.scans.scan import Scan
from ptychodose.scans.trial import SOLVED, Trial, read_found
from ptychodose.score import scoring
from ptychodose.score.region import Region, deviance_per_pixel, scored_region, unseen_patterns
from ptychodose.study import isa, manifest, params
from ptychodose.study.settings import Params
from ptychodose.study.stage import run

TEST, TRUTH, VIEWS = Path("data/scan/test.cxi"), Path("data/scan/truth.h5"), Path("data/views")
REFERENCE = Path("data/reference.h5")
MAP, LIMIT, FOUND, METRICS = Path("data/map"), Path("data/limit"), Path("data/reconstructions"), Path("metrics")
Arrays = Mapping[str, np.ndarray]
MEASURED = "measured"
SHOWN = ("compare.json", "details.json", "frc.csv", "compare.png", "curves.png")


@dataclass(frozen=True)
class Judge:
    """What reconstructions are compared with: obj (H, W), and whether it is `truth` or a `reference` with errors of its
    own (`kind` says of what sort)."""

    obj: np.ndarray
    kind: str

    @property
    def label(self) -> str:
        """A word for pictures."""
        return self.kind.split(" ")[0]

    @property
    def title(self) -> str:
        """What a picture shows."""
        simulated = "held-out region (simulated, known probe)"
        return simulated if self.kind == "truth" else f"measured scan beside its {self.kind}"


def main() -> None:
    """All reconstructions, and what judges them -> metrics/ and the joined manifest."""
    study = params.load()
    portable.deterministic(True)
    torch.set_num_threads(1)
    view_paths = [VIEWS / f"{name}.h5" for name in study.views()]
    manifest.check_inputs("generate", [TEST, TRUTH])
    manifest.check_inputs("overlap", [*view_paths, VIEWS / "details.json"])
    made = {"reconstruct_map": MAP, "limit": LIMIT, "reconstruct": FOUND, "solve": SOLVED, "reference": REFERENCE}
    for stage, path in made.items():
        manifest.check_inputs(stage, [path])
    arrays, attributes = read_arrays(REFERENCE, "run `dvc repro reference`")
    judge = Judge(arrays["obj"], str(attributes["kind"]))
    with cxi.dataset(TEST) as scan:
        trial = Trial(scan, views.read_built(view_paths, "test", {"dense": {4}}), read_found())
        rows = _rows(study, trial, judge.obj)
        region = scored_region([trial.positions(view) for view in trial.views])
        scores: dict[str, dict[str, Any]] = {}
        for name, (found, given) in rows.items():
            scores[name] = {**given, **scoring.score(found["obj"], judge.obj, region, scan.pixel_m, found.get("error"))}
        for name, value in _deviances(study, trial, rows, region).items():
            scores[name]["deviance"] = value
        for name, curve in _json(FOUND / "half_data.json").items():
            scores[name]["half_data"] = curve
    _write_metrics(study, scan, region, scores, judge)
    _draw(study, scan, judge, region, {name: found for name, (found, _) in rows.items()}, scores)
    stages = ["probe", "generate", "overlap", *(f"train_{name}" for name in study.arms())]
    outputs = [METRICS / name for name in SHOWN]
    manifest.join([*stages, "solve", "reconstruct_map", "reconstruct", "limit", "reference"], "compare", outputs)


def _deviances(study: Params, trial: Trial, rows: dict, region: Region) -> dict[str, float | None]:
    """Poisson deviance per pixel of photons that no row has seen: of a simulated scan, patterns that no view uses; of a
    measured one, the row's own patterns in half B, under what was found of them in half A. None where probe and
    positions were solved for though truth is known: they share unknowns with the object that truth does not have."""
    if study.generate.source != MEASURED:
        if trial.found:
            return dict.fromkeys(rows)
        used = [view.index for view in trial.views.values()]
        spare = unseen_patterns(trial.scan, used, region, study.compare.deviance_patterns)
        return {name: deviance_per_pixel(found["obj"], trial.scan, spare) for name, (found, _) in rows.items()}
    values: dict[str, float | None] = {}
    with cxi.dataset(TRUTH) as half:
        for name, (found, given) in rows.items():
            case = "dense" if given["view"] is None else given["view"] if given["share"] == 1 else "thinned"
            judged = trial.under(case, half)
            values[name] = deviance_per_pixel(found["obj"], judged, np.arange(len(judged)))
    return values


def _rows(study: Params, trial: Trial, truth: np.ndarray) -> dict[str, tuple[Arrays, dict[str, Any]]]:
    """Object (H, W), and perhaps standard error, of every row of the tables, controls first, and what it was given. The
    oracle, truth through the same stitching, is made here: no other stage may see truth."""
    found = {path.stem: read_arrays(path, "run `dvc repro reconstruct`") for path in FOUND.glob("*.h5")}
    none = {"view": None, "group_size": None, "share": 1.0}
    rows = {name: (arrays, {**none, **_without(given, "pixel_m")}) for name, (arrays, given) in found.items()}
    if "dense" in trial.views and study.generate.source != MEASURED:
        groups, block = covering(trial.views["dense"].groups[4]), study.compare.block_groups
        obj, _ = predict.reconstruct(predict.by_object(truth), trial.of("dense"), groups, block)
        rows["oracle"] = ({"obj": obj}, {"view": "dense", "group_size": 4, "share": 1.0})
    order = ("flat", "oracle", *study.arms(), "map", "hybrid")
    return {name: rows[name] for name in [*filter(rows.__contains__, order), *sorted(set(rows) - set(order))]}


def _without(values: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in values.items() if key != name}


def _write_metrics(study: Params, scan: Scan, region: Region, rows: dict[str, dict], judge: Judge) -> None:
    """compare.json (the headline), details.json (everything), frc.csv."""
    built = {name: row["test"] for name, row in _json(VIEWS / "details.json").items() if "test" in row}
    view = "dense" if "dense" in built else next(iter(built))
    totals: dict[str, Any] = {
        "dose_requested": study.dose,
        "dose_measured": scan.signal,
        "photons_per_pixel": built[view]["photons_per_pixel"],
    }
    if study.generate.source == MEASURED:
        totals["judged_by"] = judge.kind
    frame = {"region": [[part.start, part.stop] for part in region], "pixel_m": scan.pixel_m, "views": built}
    made: dict[str, Any] = {"map": _json(MAP / "record.json"), "limit": _json(LIMIT / "limit.json")}
    made |= {"judged_by": judge.kind, "solved": _json(SOLVED / "found.json")}
    write_json(METRICS / "compare.json", {**totals, **{name: scoring.headline(row) for name, row in rows.items()}})
    write_json(METRICS / "details.json", {**totals, **frame, **made, "arms": rows})
    scoring.write_frc(METRICS / "frc.csv", rows)


def _json(path: Path) -> dict:
    return json.loads(path.read_text(encoding="utf-8"))


def _draw(study: Params, scan: Scan, judge: Judge, region: Region, found: dict[str, Arrays], rows: dict) -> None:
    """compare.png and curves.png; what figures.HIDDEN names is left to the tables."""
    shown = {name: (row["obj"], row.get("error")) for name, row in found.items() if name not in figures.HIDDEN}
    scores = {name: scoring.headline(rows[name]) for name in shown}
    titles = judge.label, f"{judge.title}, {study.dose:g} photons per pattern"
    save_figure(
        lambda: figures.comparison(judge.obj, shown, region, scan.pixel_m, scores, titles), METRICS / "compare.png"
    )
    frc = {name: rows[name]["aligned"]["frc"] for name in shown}
    taught = [name for name in study.arms() if name in rows and name != "own"]  # `own` has a loss of another kind
    limit = _json(LIMIT / "limit.json")["views"].get("dense")
    line = None if limit is None else frc_at_dose(limit["frc"], study.dose)
    bound = None if line is None else (limit["frc"]["frequency"], line.tolist())
    histories = {name: _history(name) for name in taught}
    save_figure(lambda: figures.curves(frc, histories, bound), METRICS / "curves.png")


def _history(arm: str) -> list[dict[str, float]]:
    """The rows of an arm's history.csv."""
    path = Path("data/bundles") / arm / "history.csv"
    try:
        with open(path, newline="", encoding="utf-8") as file:
            return [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)]
    except (ValueError, TypeError, csv.Error) as error:
        raise StudyError(f"{path}: damaged ({one_line(error)}); run `dvc checkout -f {path.parent}`") from None


if __name__ == "__main__":
    run("compare", main, lambda: isa.pins(params.load().train))
