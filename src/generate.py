"""Stage `generate`: counts at a dose, one CXI file per split, and apart from them what judges reconstructions.

Simulated: Poisson counts of the finest scan; truth judges. Measured: half A of the scan's photons, thinned to the dose,
as both splits (there is one scan, and the arm that learns from its own learns from it); half B judges.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from ptychodose.formats.h5 import write_arrays
from ptychodose.physics import noise
from ptychodose.scans import acquisition, base, cxi, measured
from ptychodose.study import params, progress
from ptychodose.study.manifest import write_stage_manifest
from ptychodose.study.settings import Params
from ptychodose.study.stage import run

OUT = Path("data/scan")
TRUTH = OUT / "truth.h5"
SPLITS = [OUT / "train.cxi", OUT / "test.cxi"]


def main() -> None:
    """params.yaml and base or scan -> data/scan/{train,test}.cxi and truth.h5."""
    study = params.load()
    (_measured if study.generate.source == "measured" else _simulated)(study)
    write_stage_manifest("generate", inputs=base.files(study.generate), outputs=[*SPLITS, TRUTH])


def _simulated(study: Params) -> None:
    """Base and mask -> both splits, truth."""
    source = base.load(study.generate, noise.stream(study.seed_of("object"), "object"))
    scans = acquisition.plan(source, study.generate, study.dose, study.seed_of("noise"))
    with progress.bar(sum(map(len, scans.values())), "generate", "pattern") as bar:
        for split, scan in scans.items():
            rng = noise.stream(study.seed_of("noise"), f"noise/{split}")
            blocks = acquisition.counts(source.obj, scan, rng)
            seen = cxi.write(OUT / f"{split}.cxi", scan, _watched(blocks, bar))
            bar.write(f"{split}: {len(scan)} patterns, {seen:.1f} counts each")
    write_arrays(TRUTH, {"obj": source.obj, "probe": source.probe})


def _measured(study: Params) -> None:
    """Measured scan -> half A at the dose, half B."""
    with cxi.dataset(Path(study.generate.scan), measured.REMEDY) as stored:
        ours, other = measured.halves(base.believed(stored, study.generate), study.seed_of("noise"))
    scan = measured.at_dose(ours, study.dose, study.seed_of("noise"))
    for path in SPLITS:
        seen = cxi.write(path, scan, iter([scan.read().astype(np.uint32)]))
    cxi.write(TRUTH, other, iter([other.read().astype(np.uint32)]))
    print(f"{len(scan)} measured patterns: {seen:.1f} counts each of {ours.signal:.1f} in half A; half B is kept apart")


def _watched(blocks: Iterator[np.ndarray], bar: "tqdm[Any]") -> Iterator[np.ndarray]:
    """Pass blocks on and count them on the bar."""
    for block in blocks:
        yield block
        bar.update(len(block))


if __name__ == "__main__":
    run("generate", main)
