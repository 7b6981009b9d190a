"""Stage `generate`: simulate Poisson counts of the finest scan at a dose, one CXI file per split, truth apart."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from ptychodose.formats.h5 import write_arrays
from ptychodose.physics import noise
from ptychodose.scans import acquisition, base, cxi
from ptychodose.study import params, progress
from ptychodose.study.manifest import write_stage_manifest
from ptychodose.study.stage import run

OUT = Path("data/scan")
TRUTH = OUT / "truth.h5"


def main() -> None:
    """params.yaml, base and mask -> data/scan/{train,test}.cxi and truth.h5."""
    study = params.load()
    source = base.load(study.generate, noise.stream(study.seed_of("object"), "object"))
    scans = acquisition.plan(source, study.generate, study.dose, study.seed_of("noise"))
    with progress.bar(sum(map(len, scans.values())), "generate", "pattern") as bar:
        for split, scan in scans.items():
            rng = noise.stream(study.seed_of("noise"), f"noise/{split}")
            blocks = acquisition.counts(source.obj, scan, rng)
            measured = cxi.write(OUT / f"{split}.cxi", scan, _watched(blocks, bar))
            bar.write(f"{split}: {len(scan)} patterns, {measured:.1f} counts each")
    write_arrays(TRUTH, {"obj": source.obj, "probe": source.probe})
    write_stage_manifest(
        "generate",
        inputs=base.files(study.generate),
        outputs=[OUT / "train.cxi", OUT / "test.cxi", TRUTH],
        parameters={"dose": study.dose, "seed": study.seed, "seeds": study.seeds, "generate": study.generate},
    )


def _watched(blocks: Iterator[np.ndarray], bar: "tqdm[Any]") -> Iterator[np.ndarray]:
    """Pass blocks on and count them on the bar."""
    for block in blocks:
        yield block
        bar.update(len(block))


if __name__ == "__main__":
    run("generate", main)
