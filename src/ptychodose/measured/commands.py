"""The commands for a scan from a beamline: import a file, diagnose and reconstruct a scan."""

import argparse
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from ptychodose.errors import StudyError
from ptychodose.measured import diagnosis, found, orientation, ptychopinn, reconstruction
from ptychodose.measured.found import Found
from ptychodose.physics import noise
from ptychodose.physics.probes import Geometry
from ptychodose.scans import cxi
from ptychodose.scans.measured import REMEDY
from ptychodose.scans.scan import Scan
from ptychodose.study import params


def add_options(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]", path: Callable[[str], Path]) -> None:
    """The verbs `import`, `diagnose` and `reconstruct`; `path` makes a path of a word of the command line."""
    take = verbs.add_parser("import", help="read another program's file of a measured scan and write it as CXI")
    take.add_argument("file", type=path, metavar="FILE")
    take.add_argument(
        "--out", type=path, metavar="OUT.cxi", help="where the scan goes; without it, only say what is there"
    )
    take.add_argument("--check", action="store_true", help="predict the patterns with the file's own probe and object")
    for name, unit in (("energy-ev", "photon energy"), ("distance-m", "sample to detector"),
                       ("pixel-um", "detector pixel"), ("counts-per-unit", "the detector's gain")):  # fmt: skip
        take.add_argument(f"--{name}", type=float, help=f"{unit}, which the file does not say")
    take.add_argument(
        "--zero-frequency", choices=("centre", "corner"), help="where it lies, if the light does not tell"
    )
    take.set_defaults(run=import_scan)
    look = verbs.add_parser("diagnose", help="which faults a measured scan shows, and what solving for each wins")
    look.add_argument("scan", type=path, metavar="SCAN.cxi")
    look.set_defaults(run=diagnose)
    solver = verbs.add_parser("reconstruct", help="reconstruct a measured scan; no stage needs to have run")
    reconstruction.add_options(solver, path)


def import_scan(options: argparse.Namespace) -> int:
    """Say what a file holds, check it if asked, write it if told where."""
    if not ptychopinn.knows(options.file):
        raise StudyError(f"{options.file}: not a known kind of file; PtychoPINN's .npz can be read")
    taken = ptychopinn.read(options.file, options.counts_per_unit, options.zero_frequency)
    for line in taken.how:
        print(line)
    if options.check:
        residuals = orientation.residuals(taken)
        for name, value in residuals.items():
            print(f"  residual {name}: {value:.4f}")
        line, right = orientation.verdict(residuals)
        print(f"orientation {line}")
        if not right:
            raise StudyError(
                f"{options.file}: the file's own object does not predict its patterns as read; mend the file"
            )
    if options.out is None:
        print("next: the same with --out data/raw/scan.cxi")
        return 0
    scan = found.to_scan(taken, _geometry(options))
    print(_summary(scan, taken))
    cxi.write(options.out, scan, iter([scan.read().astype(np.uint32)]))
    print(f"written: {options.out}")
    print(f"next: python src/study.py reconstruct --scan {options.out} --out recon.h5")
    return 0


def _geometry(options: argparse.Namespace) -> Geometry:
    given = {"--energy-ev": options.energy_ev, "--distance-m": options.distance_m, "--pixel-um": options.pixel_um}
    missing = [name for name, value in given.items() if value is None or not 0 < value < 1e7]
    if missing:
        raise StudyError(f"geometry: the file does not say it; give {', '.join(missing)}, which set the object pixel")
    return Geometry(options.energy_ev, options.distance_m, options.pixel_um * 1e-6)


def _summary(scan: Scan, taken: Found) -> str:
    """What a planner wants to know first."""
    distance = np.linalg.norm(scan.positions[:, None] - scan.positions[None], axis=-1) + 1e9 * np.eye(len(scan))
    step, area = float(np.median(distance.min(1))), float(np.prod(np.ptp(scan.positions, axis=0)))
    photons = scan.signal * len(scan) / max(area, 1.0)
    return (
        f"{scan.signal:.4g} counts per pattern, {photons:.3g} per object pixel of {scan.pixel_m * 1e9:.3g} nm; "
        f"D90 {scan.diameter:.1f} px, median step {step:.1f} px: overlap {1 - step / scan.diameter:.2f}; "
        f"object {scan.shape[0]} x {scan.shape[1]} px{'' if taken.obj is None else ', the file has one of its own'}"
    )


def diagnose(options: argparse.Namespace) -> int:
    """Ten lines on a scan: what it has that its file does not say."""
    study = params.load()
    with cxi.dataset(options.scan, REMEDY) as stored:
        given = replace(stored.copy(), nodes=None)
    share = f"{study.reconstruct_map.heldout:.0%} of the photons judge"
    print(f"{len(given)} patterns, {given.signal:,.0f} counts each; {share}")
    for gain in diagnosis.diagnose(given, study.reconstruct_map, noise.stream(study.seed, "solver", "diagnose")):
        print(gain.line(), flush=True)
    print(f"next: python src/study.py reconstruct --scan {options.scan} --out recon.h5")
    return 0
