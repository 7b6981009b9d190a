"""The commands for a scan from a beamline: diagnose and reconstruct it."""

import argparse
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from ptychodose.formats.untrusted import in_shell
from ptychodose.measured import diagnosis, reconstruction
from ptychodose.physics import noise
from ptychodose.scans import cxi
from ptychodose.scans.measured import REMEDY
from ptychodose.study import params


def add_options(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]", path: Callable[[str], Path]) -> None:
    """The verbs `diagnose` and `reconstruct`; `path` makes a path of a word of the command line."""
    look = verbs.add_parser("diagnose", help="which faults a measured scan shows, and what solving for each wins")
    look.add_argument("scan", type=path, metavar="SCAN.cxi")
    look.set_defaults(run=diagnose)
    solver = verbs.add_parser("reconstruct", help="reconstruct a measured scan; no stage needs to have run")
    reconstruction.add_options(solver, path)


def diagnose(options: argparse.Namespace) -> int:
    """Ten lines on a scan: what it has that its file does not say."""
    study = params.load()
    with cxi.dataset(options.scan, REMEDY) as stored:
        given = replace(stored.copy(), nodes=None)
    share = f"{study.reconstruct_map.heldout:.0%} of the photons judge"
    print(f"{len(given)} patterns, {given.signal:,.0f} counts each; {share}")
    for gain in diagnosis.diagnose(given, study.reconstruct_map, noise.stream(study.seed, "solver", "diagnose")):
        print(gain.line(), flush=True)
    print(f"next: python src/study.py reconstruct --scan {in_shell(options.scan)} --out recon.h5")
    return 0
