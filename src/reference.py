"""Stage `reference`: the object that reconstructions are compared with: truth of a simulated study; of a measured one
the MAP reconstruction of half B of the photons, which no arm sees. It has errors of its own and is called reference."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from ptychodose.formats.h5 import read_array, read_arrays, write_arrays
from ptychodose.iterative import poisson_map
from ptychodose.physics import noise, portable
from ptychodose.scans import calibration, cxi
from ptychodose.study import isa, params
from ptychodose.study.manifest import check_inputs, environment, write_stage_manifest
from ptychodose.study.settings import Params
from ptychodose.study.stage import run

TRUTH, PROBE, OUT = Path("data/scan/truth.h5"), Path("data/probe.h5"), Path("data/reference.h5")
TRUE, MEASURED = "truth", "reference (MAP of the other half of the photons)"


def main() -> None:
    """data/scan/truth.h5 and data/probe.h5 -> data/reference.h5: obj (H, W), attribute `kind`."""
    study = params.load()
    portable.deterministic(True)
    torch.set_num_threads(1)
    check_inputs("generate", [TRUTH])
    check_inputs("probe", [PROBE])
    if study.generate.source == "measured":
        write_arrays(OUT, {"obj": _of_half(study)}, {"kind": MEASURED})
    else:
        write_arrays(OUT, {"obj": read_array(TRUTH, "obj", "run `dvc repro generate`")}, {"kind": TRUE})
    write_stage_manifest("reference", inputs=[TRUTH, PROBE], outputs=[OUT], environment=environment())


def _of_half(study: Params) -> NDArray[np.complex64]:
    """MAP of half B, calibrated by itself."""
    found, _ = read_arrays(PROBE, "run `dvc repro probe`")
    with cxi.dataset(TRUTH) as stored:
        half = calibration.onto(replace(stored.copy(), nodes=None), found, PROBE, "probe")
    return poisson_map.solve(half, study.reconstruct_map, noise.stream(study.seed, "solver", "reference")).obj


if __name__ == "__main__":
    run("reference", main, lambda: isa.pins(params.load().train))
