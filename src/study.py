"""Everything that is not a stage: python src/study.py {verify|answer}."""

import argparse
import json
import os
import sys
from dataclasses import asdict
from pathlib import Path

from ptychodose import verify
from ptychodose.errors import StudyError
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
    document = json.loads(path.read_text(encoding="utf-8"))
    print(f"\ndose {document['dose_requested']:g}: {document['photons_per_pixel']:.0f} photons per object pixel")
    print(f"{'arm':10} {'NRMSE':>7} {'phase SSIM':>11} {'FRC 0.5 (of Nyquist)':>21}")
    for arm, row in document.items():
        if isinstance(row, dict):
            lost = arm != "flat" and row["nrmse"] >= document["flat"]["nrmse"]
            remark = "  NOT better than the flat object" if lost else ""
            print(f"{arm:10} {row['nrmse']:7.3f} {row['phase_ssim']:11.3f} {row['frc50']:21.2f}{remark}")
    print("pictures: metrics/compare.png, metrics/curves.png; everything else: metrics/details.json")
    print("next: dvc exp run -S dose=1000 (with .venv active), then compare: see Variants in README.md")
    return 0


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
    options = parser.parse_args(sys.argv[1:] or ["--help"])
    os.chdir(ROOT)
    try:
        return int(options.run(options))
    except StudyError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    raise SystemExit(main())
