"""Stage `solve`: what the test scan leaves unknown beside its object, found for each view from that view's photons."""

from pathlib import Path

import torch

from ptychodose.experiment import solve
from ptychodose.formats.atomic import atomic_folder, write_json
from ptychodose.formats.h5 import write_arrays
from ptychodose.physics import portable
from ptychodose.scans import calibration, cxi, views
from ptychodose.scans.trial import SOLVED, Trial
from ptychodose.study import isa, params
from ptychodose.study.manifest import check_inputs, environment, write_stage_manifest
from ptychodose.study.settings import NOTHING, Params
from ptychodose.study.stage import run

TEST, VIEWS = Path("data/scan/test.cxi"), Path("data/views")


def main() -> None:
    """Test split and views -> data/solved/{dense,sparse,thinned}.h5 and found.json; no file where nothing is unknown.
    No truth is read here."""
    study = params.load()
    portable.deterministic(True)
    torch.set_num_threads(1)  # what is found depends on it
    paths = [VIEWS / f"{name}.h5" for name in study.views()]
    check_inputs("generate", [TEST])
    check_inputs("overlap", paths)
    with atomic_folder(SOLVED) as folder:
        write_json(folder / "found.json", {} if study.solve == NOTHING else _solve(study, paths, folder))
    write_stage_manifest("solve", inputs=[TEST, *paths], outputs=[SOLVED], environment=environment())


def _solve(study: Params, paths: list[Path], folder: Path) -> dict[str, dict]:
    found = {}
    with cxi.dataset(TEST) as scan:
        trial = Trial(scan, views.read_built(paths, "test", {}))
        for case, recorded in trial.cases(study.seed_of("noise")).items():
            solved = solve.solve(recorded, study.solve, study.reconstruct_map)
            write_arrays(folder / f"{case}.h5", calibration.arrays(solved.scan))
            found[case] = solved.found
            print(f"{case}: " + ", ".join(f"{name} {value}" for name, value in solved.found.items()), flush=True)
    return found


if __name__ == "__main__":
    run("solve", main, lambda: isa.pins(params.load().train))
