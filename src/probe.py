"""Stage `probe`: probe, background and bad pixels: all that training on procedural objects may know.

Simulated: those of the base. Measured: as half B of the photons shows them, which no arm sees; its positions too, which
serve the reference.
"""

from pathlib import Path

import numpy as np

from ptychodose.experiment import solve
from ptychodose.formats.h5 import write_arrays
from ptychodose.physics import noise, overlap, portable
from ptychodose.scans import base, calibration, cxi, measured
from ptychodose.study import isa, params
from ptychodose.study.manifest import write_stage_manifest
from ptychodose.study.settings import Params
from ptychodose.study.stage import run

OUT = Path("data/probe.h5")


def main() -> None:
    """params.yaml and base or scan -> data/probe.h5. Neither dose nor object nor seed of a simulated study changes it,
    so trained networks outlive a change of those."""
    study = params.load()
    portable.deterministic(True)
    arrays, attributes = (_measured if study.generate.source == "measured" else _simulated)(study)
    write_arrays(OUT, arrays, attributes)
    write_stage_manifest("probe", inputs=base.files(study.generate), outputs=[OUT])


def _simulated(study: Params) -> tuple[dict[str, np.ndarray], dict[str, object]]:
    source = base.load(study.generate, noise.stream(0, "object"))  # its object is not used
    mask = (~source.mask).astype(np.uint8)
    arrays: dict[str, np.ndarray] = {"probe": source.probe, "background": source.background, "mask": mask}
    return arrays, {"diameter": overlap.encircled_diameter(source.probe)}


def _measured(study: Params) -> tuple[dict[str, np.ndarray], dict[str, object]]:
    """Half B solved; its dose; how many patterns each view will have, and how far they overlap."""
    with cxi.dataset(Path(study.generate.scan), measured.REMEDY) as stored:
        _, other = measured.halves(base.believed(stored, study.generate), study.seed_of("noise"))
    solved = solve.solve(other, study.solve, study.reconstruct_map)
    print("half B: " + ", ".join(f"{name} {value}" for name, value in solved.found.items()))
    attributes: dict[str, object] = {"diameter": solved.scan.diameter, "dose": solved.scan.dose}
    for view, ratio in study.views().items():
        if ratio is not None:
            index = measured.patterns_of(other, view, ratio)
            attributes[f"{view}_patterns"] = len(index)
            attributes[f"{view}_ratio"] = measured.ratio_of(other.positions[index], solved.scan.diameter)
    return calibration.arrays(solved.scan), attributes


if __name__ == "__main__":
    run("probe", main, lambda: isa.pins(params.load().train))
