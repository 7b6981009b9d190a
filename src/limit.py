"""Stage `limit`: what the photons allow, whatever the method: Cramér-Rao and Bayesian bounds at every dose."""

from pathlib import Path

from ptychodose.bounds import limits
from ptychodose.errors import StudyError
from ptychodose.formats.atomic import atomic_folder, write_json
from ptychodose.physics import noise
from ptychodose.scans import acquisition, base, views
from ptychodose.score.region import scored_region
from ptychodose.study import params
from ptychodose.study.manifest import check_inputs, write_stage_manifest
from ptychodose.study.settings import Params
from ptychodose.study.stage import run

VIEWS, OUT = Path("data/views"), Path("data/limit")
GROUP = 4  # neighbouring patterns whose limit is set beside that of one pattern


def main() -> None:
    """Base, mask and the views that `overlap` wrote -> data/limit/limit.json; the dose of the study plays no part."""
    study = params.load()
    paths = [VIEWS / f"{name}.h5" for name in study.views()]
    check_inputs("overlap", paths)
    if study.generate.source == "measured":
        _write(study, paths, {"views": {}, "ratio": None, "skipped": "the bounds need the true object"})
        return
    source = base.load(study.generate, noise.stream(study.seed_of("object"), "object"))
    scan = acquisition.plan(source, study.generate, 1.0, study.seed_of("noise"))["test"]
    built = views.read_built(paths, "test", {view: {GROUP} for view in study.views()})
    if not built:
        raise StudyError("overlap: every view is null, so there is nothing to bound; give dense or sparse a ratio")
    region = scored_region([scan.positions[view.index] for view in built.values()])
    crop = limits.middle(region, study.limit.crop, study.limit.margin)
    known = limits.Known(source.obj, scan, limits.prior_of(source.obj[region]))
    rows, compared = {}, None
    for name, view in built.items():
        step = (1 - (study.views()[name] or 0.0)) * scan.diameter
        rows[name] = limits.photons(known, view.index, step)
        rows[name] |= limits.of_view(known, view.index, crop, study.limit.margin)
        if name == "dense":
            compared = limits.ratio(known, view.index[view.groups[GROUP]], study.limit.groups, crop)
    frame = {"rows": [crop[0].start, crop[0].stop], "columns": [crop[1].start, crop[1].stop]}
    _write(study, paths, {"views": rows, "ratio": compared, "crop": {**frame, "margin": study.limit.margin}})


def _write(study: Params, paths: list[Path], document: dict) -> None:
    with atomic_folder(OUT) as folder:
        write_json(folder / "limit.json", document)
    write_stage_manifest("limit", inputs=[*base.files(study.generate), *paths], outputs=[OUT])


if __name__ == "__main__":
    run("limit", main)
