"""The command `import`: say what a file of another program holds, check it, write it as CXI."""

import argparse
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from scipy.spatial import cKDTree

from ptychodose.errors import StudyError
from ptychodose.exchange import found, orientation, pixels, reading
from ptychodose.exchange.found import Found, Told
from ptychodose.formats.untrusted import in_shell
from ptychodose.physics.probes import Geometry, zone_plate_probe
from ptychodose.scans import base, cxi
from ptychodose.scans.scan import Scan
from ptychodose.study import params

HARMLESS = "half a pixel off"  # of all positions alike: the scan is the same, only the file's object is not in place


def add_options(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]", path: Callable[[str], Path]) -> None:
    """The verb `import`; `path` makes a path of a word of the command line."""
    take = verbs.add_parser("import", help="read another program's file of a measured scan and write it as CXI")
    take.add_argument("file", type=path, metavar="FILE")
    take.add_argument(
        "--out", type=path, metavar="OUT.cxi", help="where the scan goes; without it, only say what is there"
    )
    take.add_argument("--check", action="store_true", help="predict the patterns with the file's own probe and object")
    take.add_argument("--format", choices=tuple(reading.FORMATS), help="of the file, if its names do not tell")
    for name, meaning in (
        ("energy-ev", "photon energy, if the file does not say it, or not rightly"),
        ("distance-m", "sample to detector, likewise"),
        ("pixel-um", "detector pixel, likewise"),
        ("counts-per-unit", "the detector's gain, or the photons of a normalised pattern"),
    ):
        take.add_argument(f"--{name}", type=float, help=meaning)
    for name, choices, meaning in (
        ("zero-frequency", ("centre", "corner"), "where it lies, if the light does not tell"),
        ("values", ("amplitude", "intensity"), "what the patterns are, if their values do not tell"),
        ("pattern-axis", ("first", "last"), "which axis counts patterns, if their number does not tell"),
        ("orient", tuple(orientation.TURNS), "read the positions otherwise; turn: they are the sample's"),
    ):  # fmt: skip
        take.add_argument(f"--{name}", choices=choices, help=meaning)
    take.add_argument("--mask-good", type=int, choices=(0, 1), help="what a good pixel is in the mask, if unclear")
    for name, meaning in (
        ("positions", "a .npy of (n, 2) px, y then x, for a file without"),
        ("patterns", "the patterns of a product of ptychodus"),
        ("product", "a .ptyr with probe and object, beside a .ptyd"),
        ("zone-plate", "a recipe such as data/base/synthetic.yaml, whose probe is one more start if the file has none"),
    ):
        take.add_argument(f"--{name}", type=path, metavar="FILE", help=meaning)
    size = take.add_mutually_exclusive_group()
    for name, what in (("crop", "cut the patterns to N x N"), ("pad", "fill them to N x N with bad pixels")):
        size.add_argument(f"--{name}", type=int, metavar="N", help=f"{what}, about zero frequency")
    take.set_defaults(run=import_scan)


def import_scan(options: argparse.Namespace) -> int:
    """Say what a file holds, check it if asked, write it if told where."""
    taken = reading.read(options.file, _told(options), options.format)
    print("\n".join(taken.how))
    if options.check:
        _check(taken, options.file)
    taken = _of_size(taken, options)
    if options.zone_plate and taken.probe is not None:
        raise StudyError(
            f"--zone-plate: {options.file} has a probe of its own, which a solver starts from; drop the flag"
        )
    if options.out is None:
        print(_light(taken) if taken.probe is None else _summary(found.to_scan(taken, taken.geometry), taken))
        print("next: the same with --out data/raw/scan.cxi")
        return 0
    if taken.geometry is None:
        raise StudyError(
            f"geometry: the file does not say it; give {', '.join(taken.lacks)}, which set the object pixel"
        )
    if taken.probe is None:
        taken = _with_probe(taken, taken.geometry, options.zone_plate)
    scan = found.to_scan(taken, taken.geometry)
    print(_summary(scan, taken))
    cxi.write(options.out, scan, iter([scan.read().astype(np.uint32)]))
    out = in_shell(options.out)
    print(f"written: {out}")
    print(f"next: dvc add {out} && git add {out}.dvc {in_shell(options.out.parent / '.gitignore')}")
    print(f"then: python src/study.py reconstruct --scan {out} --out recon.h5")
    return 0


def _told(options: argparse.Namespace) -> Told:
    for name in ("energy_ev", "distance_m", "pixel_um", "counts_per_unit"):
        value = getattr(options, name)
        if value is not None and not 0 < value < 1e12:
            raise StudyError(f"--{name.replace('_', '-')}: {value:g} is not a positive number")
    return Told(
        energy_ev=options.energy_ev,
        distance_m=options.distance_m,
        pixel_um=options.pixel_um,
        per_unit=options.counts_per_unit,
        zero=options.zero_frequency,
        values=options.values,
        pattern_axis=options.pattern_axis,
        mask_good=options.mask_good,
        positions=options.positions,
        patterns=options.patterns,
        product=options.product,
        orient=options.orient,
    )


def _check(taken: Found, path: Path) -> None:
    """Residuals of the file's own model. StudyError when another reading of the positions fits clearly better."""
    residuals = orientation.residuals(taken)
    for name, value in residuals.items():
        print(f"  residual {name}: {value:.4f}")
    line, right = orientation.verdict(residuals)
    print(f"orientation {line}")
    if not right and HARMLESS not in line:
        raise StudyError(
            f"{path}: the file's own object does not predict its patterns as read; read it otherwise, or mend the file"
        )


def _of_size(taken: Found, options: argparse.Namespace) -> Found:
    """The scan with the size that is asked for, which must be one that every arm takes."""
    size, sides = options.crop or options.pad, taken.counts.shape[-2:]
    if (options.crop or 0) > min(sides) or (options.pad or max(sides)) < max(sides):
        raise StudyError(f"--{'crop' if options.crop else 'pad'}: {size} for patterns of {sides[0]} x {sides[1]} px")
    if size:
        taken, line = pixels.resized(taken, size)
        print(line)
    found.check_size(taken.counts.shape, str(options.file))
    return taken


def _with_probe(taken: Found, geometry: Geometry, plate: Path | None) -> Found:
    """The scan with a probe that its own counts tell, to start from; which, and how clearly, is said."""
    size = taken.counts.shape[-1]
    others = {} if plate is None else {str(plate): zone_plate_probe(size, geometry, base.plate_of(plate))}
    from ptychodose.experiment import start  # torch takes seconds to load, which a file with a probe does not need

    print("probe: the file has none; looking for one that explains the counts (minutes)", flush=True)
    scan = found.to_scan(replace(taken, probe=np.ones((1, size, size), np.complex64)), geometry)
    told = start.probe_from(scan, params.load().reconstruct_map, others)
    name = told.name if told.name in others else f"{told.name}, of the mean pattern"
    print(
        f"probe: {name}; {told.lead:.3g} nats per pattern likelier than the next of {len(told.tried)} starts. "
        "Only its amplitude was measured: look at the picture that it gives"
    )
    return replace(taken, probe=told.probe)


def _light(taken: Found) -> str:
    """What can be said without a probe."""
    per_pattern = taken.counts.sum(dtype=np.int64) / len(taken.counts)
    return f"{per_pattern:.4g} counts per pattern; no probe, so that overlap and photons per pixel are not known"


def _summary(scan: Scan, taken: Found) -> str:
    """What a planner wants to know first."""
    step = 0.0
    if len(scan) > 1:
        step = float(np.median(cKDTree(scan.positions).query(scan.positions, 2)[0][:, 1]))
    area = float(np.prod(np.ptp(scan.positions, axis=0)))
    photons = scan.signal * len(scan) / max(area, 1.0)
    size = "" if scan.geometry is None else f" of {scan.pixel_m * 1e9:.3g} nm"
    return (
        f"{scan.signal:.4g} counts per pattern, {photons:.3g} per object pixel{size}; "
        f"D90 {scan.diameter:.1f} px, median step {step:.1f} px: overlap {1 - step / scan.diameter:.2f}; "
        f"object {scan.shape[0]} x {scan.shape[1]} px{'' if taken.obj is None else ', the file has one of its own'}"
    )
