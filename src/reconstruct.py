"""Stage `reconstruct`: every arm reconstructs the held-out region from the same photons. No truth is read here."""

from pathlib import Path

import torch

from ptychodose.formats.atomic import atomic_folder, write_json
from ptychodose.formats.h5 import read_arrays, write_arrays
from ptychodose.physics import portable
from ptychodose.reconstruct import arms
from ptychodose.reconstruct.reconstructors import Reconstruction
from ptychodose.scans import cxi, views
from ptychodose.scans.trial import SOLVED, Trial, read_found
from ptychodose.score import frc
from ptychodose.score.region import scored_region
from ptychodose.study import isa, params
from ptychodose.study.manifest import check_inputs, environment, write_stage_manifest
from ptychodose.study.settings import Params
from ptychodose.study.stage import run
from ptychodose.study.training_manifest import join_manifests, read_training_manifest

TEST, VIEWS, MAP, BUNDLES = (Path(f"data/{name}") for name in ("scan/test.cxi", "views", "map", "bundles"))
OUT, JOBS = Path("data/reconstructions"), Path("data/training_manifest.json")


def main() -> None:
    """Test split, views, bundles, MAP solutions -> data/reconstructions/<arm>.h5, data/training_manifest.json."""
    study = params.load()
    portable.deterministic(True)
    torch.set_num_threads(1)  # as in training: the reconstructions' bytes depend on it
    paths = [VIEWS / f"{name}.h5" for name in study.views()]
    check_inputs("generate", [TEST])
    check_inputs("overlap", paths)
    check_inputs("solve", [SOLVED])
    check_inputs("reconstruct_map", [MAP])
    jobs = _jobs(study)
    solved = {path.stem: _solution(path) for path in MAP.glob("*.h5")}
    with cxi.dataset(TEST) as scan:
        trained = [job["arm"] for job in jobs["jobs"]]
        trial = Trial(scan, views.read_built(paths, "test", study.group_sizes(trained)), read_found())
        rows = {"flat": arms.Row(scan.flat(), view=None)} | arms.networks(trial, study, jobs["jobs"])
        rows |= arms.registered(trial, study, solved) | arms.of_stage(trial, study, solved)
        halves = _half_data(trial, study, jobs["jobs"], solved) if study.generate.source == "measured" else {}
        with atomic_folder(OUT) as folder:
            write_json(folder / "half_data.json", halves)
            for name, row in rows.items():
                write_arrays(folder / f"{name}.h5", row.arrays(), {"pixel_m": scan.pixel_m, **row.given()})
    write_json(JOBS, jobs)
    inputs = [
        TEST,
        *paths,
        SOLVED,
        MAP,
        *(BUNDLES / name for name in study.arms()),
        Path(study.train_hybrid.bundle).parent,
    ]
    write_stage_manifest("reconstruct", inputs, [OUT, JOBS], environment())


def _solution(path: Path) -> Reconstruction:
    """What the MAP stage made of a view."""
    arrays, known = read_arrays(path, "run `dvc repro reconstruct_map`")
    return Reconstruction(arrays["obj"], weight=float(str(known["weight"])))


def _half_data(trial: Trial, study: Params, jobs: list[dict], solved: dict[str, Reconstruction]) -> dict[str, dict]:
    """Of a measured scan, which has no truth: FRC between what an arm makes of two halves of the photons."""
    region = scored_region([trial.positions(name) for name in trial.views])
    weight = solved["map"].weight if "map" in solved else None
    made = {} if weight is None else arms.of_halves(trial, study, jobs, weight)
    curves = {name: frc.ring_correlation(one[region], other[region]) for name, (one, other) in made.items()}
    return {name: frc.half_summary(curve, trial.scan.pixel_m) for name, curve in curves.items()}


def _jobs(study: Params) -> dict:
    """All arms' jobs, after checking each bundle folder against its stage's record."""
    documents = {}
    for arm in study.arms():
        folder = BUNDLES / arm
        check_inputs(f"train_{arm}", [folder])
        remedy = f"run `dvc checkout {folder}` or `dvc repro train_{arm}`"
        documents[arm] = read_training_manifest(folder / "training_manifest.json", remedy, arm)
    return join_manifests(documents)


if __name__ == "__main__":
    run("reconstruct", main, lambda: isa.pins(params.load().train))
