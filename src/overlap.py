"""Stage `overlap`: choose the patterns of each view, group neighbours, measure overlap and photons per pixel."""

from pathlib import Path

import numpy as np

from ptychodose.errors import StudyError
from ptychodose.formats.atomic import write_json
from ptychodose.formats.png import save_figure
from ptychodose.physics import lattice, noise
from ptychodose.scans import cxi, figures, measured, views
from ptychodose.scans.scan import Scan
from ptychodose.study import params
from ptychodose.study.manifest import check_inputs, write_stage_manifest
from ptychodose.study.settings import ARMS, Params
from ptychodose.study.stage import run

OUT = Path("data/views")
SPLITS = {split: Path(f"data/scan/{split}.cxi") for split in views.SPLITS}
HEADLINE = ("m2_between_images", "photons_per_pixel", "alpha")


def main() -> None:
    """data/scan/{train,test}.cxi -> data/views/: selections, measures (JSON), a picture."""
    study = params.load()
    check_inputs("generate", list(SPLITS.values()))
    simulated, details = study.generate.source == "simulate", dict[str, dict]()
    drawn: dict[str, dict[str, views.View]] = {}
    with cxi.dataset(SPLITS["train"]) as train, cxi.dataset(SPLITS["test"]) as test:
        scans = {"train": train, "test": test}
        if simulated:
            _check_numbers(study, train, test)
        for number, (name, ratio) in enumerate(study.views().items()):
            path = OUT / f"{name}.h5"
            if ratio is None:
                reason = f"overlap.{name} is null in params.yaml"
                views.write_skipped(path, name, reason)
                details[name] = {"skipped": reason}
                continue
            step = lattice.stride(ratio, study.generate.nodes_per_diameter, f"overlap.{name}") if simulated else None
            drawn[name], details[name] = _build(study, name, step, scans, noise.stream(study.seed, "views", number))
            views.write(path, name, drawn[name])
        save_figure(lambda: figures.views(scans, drawn), OUT / "views.png")
    write_json(OUT / "overlap.json", _headline(details))
    write_json(OUT / "details.json", details)
    outputs = [OUT / f"{name}.h5" for name in study.views()]
    outputs += [OUT / "overlap.json", OUT / "details.json", OUT / "views.png"]
    write_stage_manifest("overlap", inputs=list(SPLITS.values()), outputs=outputs)


def _check_numbers(study: Params, train: Scan, test: Scan) -> None:
    """StudyError, with one command that works for all views, unless each can have its training patterns in groups."""
    rooms: dict[str, list[views.Room]] = {"train": [], "test": []}
    for number, (name, ratio) in enumerate(study.views().items()):
        if ratio is not None:
            step = lattice.stride(ratio, study.generate.nodes_per_diameter, f"overlap.{name}")
            for split, scan, wanted in (("train", train, study.overlap.train_patterns), ("test", test, None)):
                rng = noise.stream(study.seed, "views", number)
                rooms[split].append(views.room(scan, step, wanted, _rule(study, name, split), rng))
    asked = (study.overlap.train_patterns, study.overlap.neighbours)
    usable = views.fitting(rooms["train"], rooms["test"], *asked) if rooms["train"] else asked
    if usable is None:
        held = [f"{part.sizes[0]} for groups of {part.largest}" for parts in rooms.values() for part in parts]
        raise StudyError(
            f"overlap: no numbers of patterns and neighbours fit: complete scans of the views hold {', '.join(held)}; "
            "lower group_size of the arms, raise overlap.sparse or dense, or use a larger generate.base"
        )
    if usable != asked:
        names = ("train_patterns", "neighbours")
        words = [f"-S overlap.{k}={new}" for k, new, old in zip(names, usable, asked, strict=True) if new != old]
        raise StudyError(
            f"overlap: train_patterns = {asked[0]} and neighbours = {asked[1]} do not fit the {len(train)} patterns of "
            f"the finest scan; nearest usable value together: `dvc exp run {' '.join(words)}`"
        )


def _rule(study: Params, name: str, split: str) -> views.Rule:
    sizes = study.group_sizes(["own"] if split == "train" else ARMS)[name] | {4}  # 4 measure M1 and M3 of every view
    return views.Rule(frozenset(sizes), study.overlap.neighbours)


def _build(
    study: Params, name: str, step: int | None, scans: dict[str, Scan], rng: np.random.Generator
) -> tuple[dict, dict]:
    """Both splits of one view, and their measures; `step` is None for a measured scan, which has no lattice."""
    built, found = {}, {}
    for split, scan in scans.items():
        wanted, rule = study.overlap.train_patterns if split == "train" else None, _rule(study, name, split)
        where = f"overlap.{name}, {split} split"
        if step is None:
            index = measured.patterns_of(scan, name, study.views()[name] or 0.0)
            few = views.Rule(rule.fillable(len(index)) | {4}, rule.neighbours)
            built[split] = views.grouped(scan, index, np.zeros(len(index), np.int32), few, rng, where)
        else:
            built[split] = views.select(scan, step, wanted, rule, rng, where)
        found[split] = views.describe(scan, built[split], step, 4, study.overlap.neighbours)
    return built, found


def _headline(details: dict) -> dict:
    """What `dvc exp show` lists: per view, of the test split."""
    return {name: {key: row["test"][key] for key in HEADLINE} for name, row in details.items() if "skipped" not in row}


if __name__ == "__main__":
    run("overlap", main)
