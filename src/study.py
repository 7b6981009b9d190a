"""Everything that is not a stage: python src/study.py {verify|answer|import|diagnose|reconstruct|export|…} --help."""

import argparse
import os
import sys
from pathlib import Path

from ptychodose.compare import answer
from ptychodose.errors import StudyError
from ptychodose.formats.atomic import write_json
from ptychodose.formats.untrusted import DAMAGE, MAX_JSON, one_line, parse_json, read_text
from ptychodose.integrity import attest, verify_command
from ptychodose.score.words import ssim_text
from ptychodose.study import machine, params
from ptychodose.study.failing import ends
from ptychodose.study.stage import ROOT


def show_answer(_: argparse.Namespace) -> int:
    """Print the study's answer from metrics/compare.json."""
    print(answer.read(Path("metrics/compare.json"), Path("metrics/details.json")))
    print("pictures: metrics/compare.png, metrics/curves.png; everything else: metrics/details.json")
    print("next: dvc exp run -S dose=1000 (with .venv active), then compare: see Variants in README.md")
    return 0


def run_benchmark(options: argparse.Namespace) -> int:
    """Train and run every arm on a family of files; write the scores as JSON."""
    from ptychodose.compare import benchmark  # torch takes seconds to load, which no other verb should pay

    _as_stages()
    result = benchmark.run(options.data, options.family, params.load())
    write_json(options.json, result)
    for dose, rows in result.items():
        print(f"\n{options.family}, {dose} photons per pattern")
        for arm, row in rows.items():
            lost = arm != "flat" and row["nrmse"] >= rows["flat"]["nrmse"]
            seconds = f"{row['seconds']:6.1f} s" + (
                f" + {row['train_seconds']:.0f} s training" * (row["train_seconds"] > 0)
            )
            print(
                f"  {arm:10} NRMSE {row['nrmse']:.4f}  phase SSIM {ssim_text(row['phase_ssim'])}  {seconds}"
                f"{'  NOT better than the flat object' if lost else ''}"
            )
    print(f"written: {options.json}")
    return 0


def run_ladder(options: argparse.Namespace) -> int:
    """MAP and hybrid at every dose and seed of the ladder; rungs that are in the file already are not climbed again."""
    from ptychodose.compare import ladder  # as above

    _as_stages()
    study, rows = params.load(), _kept(options, "set", "dose", "seed")
    for rung in ladder.rungs():
        if rung not in {(row["set"], row["dose"], row["seed"]) for row in rows}:
            rows += ladder.climb(study, *rung)
            write_json(options.json, {"machine": machine.describe(), "rows": rows})
            print(f"{rung[0]}, {rung[1]:g} photons per pattern, seed {rung[2]}: done", flush=True)
    print(ladder.table(rows))
    print(f"written: {options.json}")
    return 0


def run_nuisance(options: argparse.Namespace) -> int:
    """Faults of measured scans, one at a time: ignored, known and solved for; faults already in the file are kept."""
    from ptychodose.compare import nuisances  # as above

    _as_stages()
    study, rows = params.load(), _kept(options, "fault")
    for fault in nuisances.FAULTS:
        if fault not in {row["fault"] for row in rows}:
            rows += nuisances.rows(study, fault)
            write_json(options.json, {"machine": machine.describe(), "rows": rows})
            print(f"{fault}: done", flush=True)
    print(nuisances.table(rows))
    print(f"written: {options.json}")
    return 0


def _kept(options: argparse.Namespace, *keys: str) -> list[dict]:
    """The rows of the file that `--resume` goes on with, each of which has `keys`; none without it."""
    if not options.resume or not options.json.is_file():
        return []
    try:
        rows = parse_json(read_text(options.json, MAX_JSON))["rows"]
        [[row[key] for key in keys] for row in rows]
    except DAMAGE as error:
        raise StudyError(f"{options.json}: not rows of this verb ({one_line(error)}); leave out --resume") from None
    return list(rows)


def _as_stages() -> None:
    """One thread and deterministic algorithms."""
    import torch

    from ptychodose.physics import portable

    torch.set_num_threads(1)
    portable.deterministic(True)


def write_crate(options: argparse.Namespace) -> int:
    """Describe the study as an RO-Crate."""
    from ptychodose.archive import crate  # its library takes half a second to load, which no other verb should pay

    number = crate.write(options.out, options.with_data)
    print(f"written: {options.out}, {number} files {'copied' if options.with_data else 'named by path and SHA256'}")
    return 0


def write_attestation(_: argparse.Namespace) -> int:
    """Say what this machine has, for others to read."""
    path, ran, stages = attest.write()
    print(f"written: {path}, {ran} of {stages} stages ran here")
    print(f"next: sign it if you like (docs/trust.md), then `git add {path.parent}` and commit")
    return 0


def _path(text: str) -> Path:
    """A path as typed, made absolute before this program goes to its own folder."""
    return Path(text).absolute()


def main() -> int:
    """Parse the command line and run one verb."""
    parser = argparse.ArgumentParser(prog="python src/study.py", description=__doc__)
    verbs = parser.add_subparsers(title="verbs", required=True)
    check = verbs.add_parser("verify", help="compare every artifact with manifest.json, dvc.lock and the cache")
    verify_command.add_options(check)
    verbs.add_parser("answer", help="print the table of the last comparison").set_defaults(run=show_answer)
    bench = verbs.add_parser("benchmark", help="train and run every arm on files <family>_d<dose>_{train,test}.npz")
    bench.add_argument("--data", type=_path, required=True, metavar="DIR", help="folder of the files")
    bench.add_argument("--family", required=True, help="the files' first part, e.g. nat")
    bench.add_argument("--json", type=_path, required=True, metavar="OUT", help="where the scores go")
    bench.set_defaults(run=run_benchmark)
    steps = verbs.add_parser("ladder", help="MAP, hybrid and their error bars over doses and seeds, drawn anew")
    steps.add_argument("--json", type=_path, required=True, metavar="OUT", help="where the scores go")
    steps.add_argument("--resume", action="store_true", help="go on with the file that is there")
    steps.set_defaults(run=run_ladder)
    faults = verbs.add_parser("nuisance", help="faults of measured scans: ignored, known, and solved for")
    faults.add_argument("--json", type=_path, required=True, metavar="OUT", help="where the scores go")
    faults.add_argument("--resume", action="store_true", help="go on with the file that is there")
    faults.set_defaults(run=run_nuisance)
    if {"import", "--help", "-h"} & set(sys.argv[1:2] or ["--help"]):
        from ptychodose.exchange import command as exchange  # as above: scipy

        exchange.add_options(verbs, _path)
    if {"diagnose", "reconstruct", "--help", "-h"} & set(sys.argv[1:2] or ["--help"]):
        from ptychodose.measured import commands  # as above: torch

        _as_stages()
        commands.add_options(verbs, _path)
    if {"export", "--help", "-h"} & set(sys.argv[1:2] or ["--help"]):
        from ptychodose.export import command  # as above: matplotlib

        command.add_options(verbs, _path)
    said = verbs.add_parser("attest", help="verify, then say in attestations/ which seal this machine has")
    said.set_defaults(run=write_attestation)
    made = verbs.add_parser("crate", help="describe files, stages, parameters and software as an RO-Crate")
    made.add_argument("--out", type=_path, default=ROOT / "crate", metavar="DIR", help="folder to write (crate/)")
    made.add_argument("--with-data", action="store_true", help="copy the files into it")
    made.set_defaults(run=write_crate)
    options = parser.parse_args(sys.argv[1:] or ["--help"])
    os.chdir(ROOT)
    try:
        return int(options.run(options))
    except StudyError as error:
        print(f"error: {one_line(error, 2000)}", file=sys.stderr)  # a file's name may hold anything
        return error.status
    except KeyboardInterrupt:
        print("error: interrupted; nothing was written", file=sys.stderr)
        return 130


if __name__ == "__main__":
    raise SystemExit(ends(main))
