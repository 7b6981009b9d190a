"""Stage `overlap`: choose the patterns of each view, group neighbours, measure overlap and photons per pixel."""

from pathlib import Path

import h5py
import numpy as np

from ptychodose.compare import figures
from ptychodose.formats.atomic import write_json
from ptychodose.physics import lattice, noise
from ptychodose.scans import cxi, views
from ptychodose.study import params
from ptychodose.study.manifest import check_inputs, write_stage_manifest
from ptychodose.study.settings import Params
from ptychodose.study.stage import run

OUT = Path("data/views")
SPLITS = {split: Path(f"data/simulated/{split}.cxi") for split in views.SPLITS}
HEADLINE = ("m2_between_images", "photons_per_pixel", "alpha")


def main() -> None:
    """data/simulated/{train,test}.cxi -> data/views/: selections, measures (JSON), a picture."""
    study = params.load()
    check_inputs("generate", list(SPLITS.values()))
    details, drawn = {}, {}
    for number, (name, ratio) in enumerate(study.views().items()):
        path = OUT / f"{name}.h5"
        if ratio is None:
            reason = f"overlap.{name} is null in params.yaml"
            views.write_skipped(path, name, reason)
            details[name] = {"skipped": reason}
            continue
        step = lattice.stride(ratio, study.generate.nodes_per_diameter, f"overlap.{name}")
        built, details[name] = _build(study, name, step, noise.stream(study.seed, "views", number))
        views.write(path, name, built)
        drawn[name] = built
    headers = {split: _header(path) for split, path in SPLITS.items()}
    outputs = [OUT / f"{name}.h5" for name in study.views()]
    outputs += [OUT / "overlap.json", OUT / "details.json", OUT / "views.png"]
    write_json(OUT / "overlap.json", _headline(details))
    write_json(OUT / "details.json", details)
    figures.save(figures.views(headers, drawn), OUT / "views.png")
    write_stage_manifest(
        "overlap",
        inputs=list(SPLITS.values()),
        outputs=outputs,
        parameters={
            "seed": study.seed,
            "overlap": study.overlap,
            "generate": study.generate,
            "group_sizes": sorted(study.group_sizes()),
        },
    )


def _build(study: Params, name: str, step: int, rng: np.random.Generator) -> tuple[dict, dict]:
    """Both splits of one view, and their measures."""
    sizes = study.group_sizes() | {4}  # groups of 4 measure M1 and M3 of every view
    built, measured = {}, {}
    for split, path in SPLITS.items():
        with cxi.dataset(path) as (header, counts):
            cxi.measured_dose(path, header, counts)
            wanted = study.overlap.train_patterns if split == "train" else None
            where = f"overlap.{name}, {split} split"
            view = views.select(header, step, wanted, sizes, study.overlap.neighbours, rng, where)
            photons = _photons(counts, view.index)
        built[split] = view
        measured[split] = views.describe(header, view, step, 4, study.overlap.neighbours, photons)
    return built, measured


def _header(path: Path) -> cxi.Header:
    with cxi.dataset(path) as (header, _):
        return header


def _photons(counts: h5py.Dataset, index: np.ndarray) -> float:
    """Detected photons of the chosen patterns, read one at a time."""
    return float(sum(int(counts[i].sum(dtype=np.int64)) for i in np.sort(index)))


def _headline(details: dict) -> dict:
    """What `dvc exp show` lists: per view, of the test split."""
    return {name: {key: row["test"][key] for key in HEADLINE} for name, row in details.items() if "skipped" not in row}


if __name__ == "__main__":
    run("overlap", main)
