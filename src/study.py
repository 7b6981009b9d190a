"""Everything that is not a stage: python src/study.py {verify|answer|benchmark}."""

import argparse
import json
import os
import sys
from dataclasses import asdict
from pathlib import Path

from ptychodose import answer, benchmark, params, verify
from ptychodose.errors import StudyError
from ptychodose.files import write_json
from ptychodose.stage import ROOT


def show_verify(options: argparse.Namespace) -> int:
    """Re-read every artifact; exit status 0 only if all hold."""
    if options.sha256sums:
        print(verify.sha256sums(), end="")
        return 0
    findings = verify.verify()
    bad = [finding for finding in findings if finding.kind != verify.OK]
    if options.json:
        print(json.dumps({"ok": not bad, "findings": [asdict(f) for f in findings]}, indent=1))
        return int(bool(bad))
    for finding in findings if options.verbose else bad:
        print(f"{finding.kind:9} {finding.path}: {finding.detail}")
    files = len({finding.path for finding in findings})
    if bad:
        print(f"NOT verified: {len(bad)} findings in {files} files; `dvc checkout` or `dvc pull` may restore them")
    else:
        print(f"verified: {files} files equal manifest.json, dvc.lock and their cache objects")
    return int(bool(bad))


def show_answer(_: argparse.Namespace) -> int:
    """Print the study's answer from metrics/compare.json."""
    path = Path("metrics/compare.json")
    if not path.is_file():
        raise StudyError(f"{path}: not found; run `make repro`")
    print(answer.table(json.loads(path.read_text(encoding="utf-8")), _details()))
    print("pictures: metrics/compare.png, metrics/curves.png; everything else: metrics/details.json")
    print("next: dvc exp run -S dose=1000 (with .venv active), then compare: see Variants in README.md")
    return 0


def _details() -> dict:
    path = Path("metrics/details.json")
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def run_benchmark(options: argparse.Namespace) -> int:
    """Train and run every arm on a family of files; write the scores as JSON."""
    result = benchmark.run(options.data, options.family, params.load())
    write_json(options.json, result)
    for dose, rows in result.items():
        print(f"\n{options.family}, {dose} photons per pattern")
        for arm, row in rows.items():
            seconds = f"{row['seconds']:6.1f} s" + (
                f" + {row['train_seconds']:.0f} s training" * (row["train_seconds"] > 0)
            )
            print(f"  {arm:10} NRMSE {row['nrmse']:.4f}  phase SSIM {row['phase_ssim']:.3f}  {seconds}")
    print(f"written: {options.json}")
    return 0


def _path(text: str) -> Path:
    """A path as typed, made absolute before this program goes to its own folder."""
    return Path(text).absolute()


def main() -> int:
    """Parse the command line and run one verb."""
    parser = argparse.ArgumentParser(prog="python src/study.py", description=__doc__)
    verbs = parser.add_subparsers(title="verbs", required=True)
    check = verbs.add_parser("verify", help="compare every artifact with manifest.json, dvc.lock and the cache")
    kind = check.add_mutually_exclusive_group()
    kind.add_argument("--json", action="store_true", help="print findings as JSON")
    kind.add_argument("--sha256sums", action="store_true", help="print the manifest for `sha256sum -c`")
    kind.add_argument("--verbose", action="store_true", help="list intact files too")
    check.set_defaults(run=show_verify)
    verbs.add_parser("answer", help="print the table of the last comparison").set_defaults(run=show_answer)
    bench = verbs.add_parser("benchmark", help="train and run every arm on files <family>_d<dose>_{train,test}.npz")
    bench.add_argument("--data", type=_path, required=True, metavar="DIR", help="folder of the files")
    bench.add_argument("--family", required=True, help="the files' first part, e.g. nat")
    bench.add_argument("--json", type=_path, required=True, metavar="OUT", help="where the scores go")
    bench.set_defaults(run=run_benchmark)
    options = parser.parse_args(sys.argv[1:] or ["--help"])
    os.chdir(ROOT)
    try:
        return int(options.run(options))
    except StudyError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    raise SystemExit(main())
