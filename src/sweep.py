"""The sweep over doses, overlaps and seeds: python src/sweep.py {run|draw|table|readme}."""

import argparse
import os
import sys
import time
from pathlib import Path
from typing import Any

from ptychodose.errors import StudyError
from ptychodose.formats.atomic import write_json
from ptychodose.formats.png import save_figure
from ptychodose.formats.untrusted import MAX_JSON, parse_json, read_text
from ptychodose.score.region import Region
from ptychodose.study import machine, params, progress
from ptychodose.study.failing import ends
from ptychodose.study.stage import ROOT, alone
from ptychodose.sweeps import charts, design, gallery, markdown, results_csv
from ptychodose.sweeps.dvc_queue import DvcQueue, untracked
from ptychodose.sweeps.sitting import Sitting

FOLDER, README, BENCH = Path("metrics/sweep"), Path("README.md"), Path("metrics/bench.json")
TABLE, LIMIT, MACHINE = FOLDER / "sweep.csv", FOLDER / "limit.json", FOLDER / "machine.json"


def run(options: argparse.Namespace) -> int:
    """Bring every run of the design into metrics/sweep/sweep.csv; exit status 0 only if none failed."""
    study, document = params.load(), params.load_yaml("params.yaml")
    code = design.code_digest(Path("."))
    if missing := untracked([name for name in design.code_files(Path(".")) if name != study.generate.base]):
        raise StudyError(f"{missing[0]}: git does not know it, so queued runs would miss it; `git add {missing[0]}`")
    star, heat = design.star(study), design.heat(study)
    lender = next(each for each in design.centres(study) if each.dose == design.LEAD_DOSE)  # limits scale with dose
    wanted = design.ordered({"star": star, "heat": heat, "all": star + heat}[options.design])
    rows = results_csv.read(TABLE) if TABLE.is_file() else []
    have = {results_csv.run_of(row) for row in rows if row["code"] == code}
    todo = [each for each in wanted if each not in have][: options.limit_runs]
    print(f"{len(wanted)} runs of code {code}: {len(have & set(wanted))} in {TABLE}, {len(todo)} to do")

    def collect(each: design.Run, details: dict[str, Any]) -> None:
        results_csv.add(TABLE, each, code, details)
        if each == lender and details.get("limit"):
            write_json(LIMIT, details["limit"])

    started = time.monotonic()
    with alone("sweep"), progress.bar(len(todo), "sweep", "run") as bar:
        sitting = Sitting(DvcQueue(), collect, bar.update, options.jobs, {each.training for each in have})
        try:
            sitting.work({each.name(code): each for each in todo}, lambda each: design.overrides(each, study, document))
        finally:
            if bar.n:
                _record(code, int(bar.n), len(sitting.failed), options.jobs, time.monotonic() - started)
    for name, reason in sitting.failed.items():
        print(f"failed: {name}: {reason}")
    again = f"{len(sitting.failed)} of {len(todo)} runs failed; next: mend the reason, then `make sweep` repeats them"
    print(again if sitting.failed else "next: python src/sweep.py draw, then python src/sweep.py readme --write")
    return int(bool(sitting.failed))


def _record(code: str, runs: int, failed: int, jobs: int, seconds: float) -> None:
    """Add this sitting to machine.json: what it ran on, how long it took."""
    counts = {"code": code, "runs": runs, "failed": failed, "jobs": jobs, "wall_s": round(seconds)}
    before = (_json(MACHINE) or {"sittings": []})["sittings"]
    write_json(MACHINE, {"sittings": [*before, machine.describe() | counts]})


def _json(path: Path) -> Any:
    """A JSON document, or None when the file does not exist. Raises StudyError for one that is damaged."""
    if not path.is_file():
        return None
    try:
        return parse_json(read_text(path, MAX_JSON))
    except ValueError as error:
        raise StudyError(f"{path}: not JSON ({error}); `git restore {path}`") from None


def draw(_: argparse.Namespace) -> int:
    """Draw every figure the table allows."""
    rows, limit, bench = results_csv.read(TABLE), _json(LIMIT), _json(BENCH)
    star, heat = results_csv.latest(rows, "star"), results_csv.latest(rows, "heat")
    if star and heat and star[0]["code"] != heat[0]["code"]:
        print("note: star and heat were measured with different code; `make sweep` repeats the older one")
    wanted = {
        "dose.png": lambda: charts.quality_vs_dose(rows, limit),
        "photons.png": lambda: charts.quality_vs_photons(rows, limit),
        "overlap.png": lambda: charts.heat_maps(rows),
        "cost.png": lambda: charts.quality_vs_cost(rows, bench),
        "gallery.png": lambda: gallery.gallery(*_centre_objects(star)),
    }
    for name, make in wanted.items():
        try:
            save_figure(make, FOLDER / name)
            print(FOLDER / name, "drawn")
        except StudyError as error:
            print(FOLDER / name, f"skipped: {error}")
    print("next: python src/sweep.py readme --write")
    return 0


def _centre_objects(
    star: list[results_csv.Row],
) -> tuple[dict[float, gallery.Images], dict[float, Region], dict[float, float]]:
    """Objects, scored region and photons per pixel by dose, of the star's centre runs that this clone still has."""
    queue, images, regions, photons = DvcQueue(), {}, {}, {}
    refs = queue.finished()
    for run in design.centres(params.load()) if star else []:
        if ref := refs.get(run.name(star[0]["code"])):
            details = queue.details(ref)
            regions[run.dose] = slice(*details["region"][0]), slice(*details["region"][1])
            images[run.dose] = gallery.objects(queue, ref)
            photons[run.dose] = details["photons_per_pixel"]
    return images, regions, photons


def table(_: argparse.Namespace) -> int:
    """Print every table as Markdown."""
    rows, limit = results_csv.read(TABLE), _json(LIMIT)
    if results_csv.latest(rows, "star"):
        print(markdown.star_table(rows, limit, design.DOSES), markdown.source_table(rows), sep="\n")
    if results_csv.latest(rows, "heat"):
        print(markdown.heat_table(rows, "dense"), markdown.heat_table(rows, "map"), sep="\n")
    if rows and (code := rows[-1]["code"]) != design.code_digest(Path(".")):
        print(f"measured with code {code}, which has changed since; `make sweep` repeats it", file=sys.stderr)
    return 0


def readme(options: argparse.Namespace) -> int:
    """Check or write the block of README.md that the sweep answers."""
    text = markdown.star_table(results_csv.read(TABLE), _json(LIMIT))
    same = markdown.replace_block(README, text, options.write)
    if not same and not options.write:
        raise StudyError(f"{README} differs from {TABLE}; run `python src/sweep.py readme --write`")
    print(f"{README} {'holds' if same else 'now holds'} what {TABLE} says; next: commit both")
    return 0


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return int(text)


def main() -> int:
    """Parse the command line and run one verb."""
    parser = argparse.ArgumentParser(prog="python src/sweep.py", description=__doc__)
    verbs = parser.add_subparsers(title="verbs", required=True)
    work = verbs.add_parser("run", help="run what is missing with DVC's queue; go on where the last sitting stopped")
    work.add_argument("--jobs", type=_count, default=2, help="runs at a time, a core each (default 2)")
    work.add_argument("--design", choices=("star", "heat", "all"), default="all", help="which runs (default all)")
    work.add_argument("--limit-runs", type=_count, metavar="N", help="do at most N of the missing runs")
    work.set_defaults(verb=run)
    verbs.add_parser("draw", help="figures from the table").set_defaults(verb=draw)
    verbs.add_parser("table", help="all tables as Markdown").set_defaults(verb=table)
    page = verbs.add_parser("readme", help="the table between the markers of README.md")
    kind = page.add_mutually_exclusive_group(required=True)
    kind.add_argument("--check", action="store_true", help="fail when it differs from the sweep's")
    kind.add_argument("--write", action="store_true", help="replace it")
    page.set_defaults(verb=readme)
    options = parser.parse_args(sys.argv[1:] or ["--help"])
    os.chdir(ROOT)
    try:
        return int(options.verb(options))
    except StudyError as error:
        print(f"error: {error}", file=sys.stderr)
    except KeyboardInterrupt:
        print("\ninterrupted; runs go on: `make sweep` collects them, `dvc queue stop --kill` ends them")
    return 1


if __name__ == "__main__":
    raise SystemExit(ends(main))
