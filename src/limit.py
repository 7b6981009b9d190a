"""Stage `limit`: what the photons allow, whatever the method: Cramér-Rao and Bayesian bounds at every dose."""

from pathlib import Path

from ptychodose.bounds import limits
from ptychodose.errors import StudyError
from ptychodose.formats.atomic import atomic_folder, write_json
from ptychodose.physics import lattice, noise
from ptychodose.scans import acquisition, base, cxi, views
from ptychodose.score import comparison
from ptychodose.study import params
from ptychodose.study.manifest import write_stage_manifest
from ptychodose.study.settings import Params
from ptychodose.study.stage import run

OUT = Path("data/limit")
GROUP = 4  # neighbouring patterns whose limit is set beside that of one pattern


def main() -> None:
    """params.yaml and the base -> data/limit/limit.json; the dose of the study plays no part."""
    study = params.load()
    source = base.load(study.generate, noise.stream(study.seed_of("object"), "object"))
    header = acquisition.plan(source, study.generate, 1.0, study.seed_of("noise"))["test"]
    built = _views(study, header)
    region = comparison.scored_region([header.positions[view.index] for view in built.values()])
    crop = limits.middle(region, study.limit.crop, study.limit.margin)
    known = limits.Known(source.obj, header.probe, limits.prior_of(source.obj[region]))
    rows, compared = {}, None
    for name, view in built.items():
        positions = header.positions[view.index]
        rows[name] = limits.photons(known, positions, _stride(study, name) * header.pitch)
        rows[name] |= limits.of_view(known, positions, crop, study.limit.margin)
        if name == "dense" and GROUP in view.groups:
            compared = limits.ratio(known, positions, view.groups[GROUP], study.limit.groups, crop)
    frame = {"rows": [crop[0].start, crop[0].stop], "columns": [crop[1].start, crop[1].stop]}
    document = {"views": rows, "ratio": compared, "crop": {**frame, "margin": study.limit.margin}}
    with atomic_folder(OUT) as folder:
        write_json(folder / "limit.json", document)
    shared = {"seed": study.seed, "seeds": study.seeds, "generate": study.generate, "overlap": study.overlap}
    write_stage_manifest(
        "limit",
        inputs=[Path(study.generate.base)],
        outputs=[OUT],
        parameters={**shared, "limit": study.limit},
    )


def _views(study: Params, header: cxi.Header) -> dict[str, views.View]:
    """Test selections of the views that are not null, by the rules of stage `overlap`."""
    built = {}
    sizes = {GROUP} if study.overlap.neighbours >= GROUP else set()
    for number, (name, ratio) in enumerate(study.views().items()):
        if ratio is not None:
            rng, where = noise.stream(study.seed, "views", number), f"overlap.{name}, test split"
            step = _stride(study, name)
            built[name] = views.select(header, step, None, sizes, study.overlap.neighbours, rng, where)
    if not built:
        raise StudyError("overlap: every view is null, so there is nothing to bound; give dense or sparse a ratio")
    return built


def _stride(study: Params, name: str) -> int:
    return lattice.stride(study.views()[name], study.generate.nodes_per_diameter, f"overlap.{name}")


if __name__ == "__main__":
    run("limit", main)
