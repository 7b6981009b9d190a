"""Stage `probe`: the probe of the base, at unit energy, and the detector's background and mask. It is all that training
on procedural objects may know."""

from pathlib import Path

import numpy as np

from ptychodose.formats.h5 import write_arrays
from ptychodose.physics import noise, overlap
from ptychodose.scans import base
from ptychodose.study import params
from ptychodose.study.manifest import write_stage_manifest
from ptychodose.study.stage import run

OUT = Path("data/probe.h5")


def main() -> None:
    """params.yaml, base and mask -> data/probe.h5. Neither dose nor object nor seed changes it, so trained networks
    outlive a change of those."""
    study = params.load()
    source = base.load(study.generate, noise.stream(0, "object"))  # its object is not used
    arrays: dict[str, np.ndarray] = {
        "probe": source.probe,
        "background": source.background,
        "mask": (~source.mask).astype(np.uint8),
    }
    write_arrays(OUT, arrays, {"diameter": overlap.encircled_diameter(source.probe)})
    settings = {"generate": study.generate}
    write_stage_manifest("probe", inputs=base.files(study.generate), outputs=[OUT], parameters=settings)


if __name__ == "__main__":
    run("probe", main)
