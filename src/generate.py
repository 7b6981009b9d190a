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

OUT = Path("data/simulated")
TRUTH = OUT / "truth.h5"


def main() -> None:
    """params.yaml and the base -> data/simulated/{train,test}.cxi and truth.h5."""
    study = params.load()
    source = base.load(study.generate, noise.stream(study.seed_of("object"), "object"))
    headers = acquisition.plan(source, study.generate, study.dose, study.seed_of("noise"))
    total = sum(len(header.positions) for header in headers.values())
    with progress.bar(total, "generate", "pattern") as bar:
        for split, header in headers.items():
            rng = noise.stream(study.seed_of("noise"), f"noise/{split}")
            blocks = acquisition.counts(source.obj, header, rng)
            measured = cxi.write(OUT / f"{split}.cxi", header, _watched(blocks, bar))
            bar.write(f"{split}: {len(header.positions)} patterns, {measured:.1f} counts each")
    write_arrays(TRUTH, {"obj": source.obj, "probe": source.probe})
    write_stage_manifest(
        "generate",
        inputs=[Path(study.generate.base)],
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
