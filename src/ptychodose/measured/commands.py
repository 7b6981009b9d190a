"""The commands for a scan from a beamline: diagnose and reconstruct it."""

import argparse
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ptychodose.compare.figures import scale_bar
from ptychodose.experiment import solve
from ptychodose.formats.h5 import write_arrays
from ptychodose.formats.png import save_figure
from ptychodose.measured import diagnosis, quality
from ptychodose.physics import noise
from ptychodose.reconstruct import reconstructors
from ptychodose.reconstruct.reconstructors import Reconstruction
from ptychodose.scans import cxi
from ptychodose.scans.scan import Scan
from ptychodose.score.metrics import phase_of
from ptychodose.study import params
from ptychodose.study.settings import MEASURED

SOLVE = {"measured": MEASURED, "none": solve.NOTHING}
REMEDY = "make it anew: python src/study.py import FILE --out SCAN.cxi"


def add_options(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]", path: Callable[[str], Path]) -> None:
    """The verbs `diagnose` and `reconstruct`; `path` makes a path of a word of the command line."""
    look = verbs.add_parser("diagnose", help="which faults a measured scan shows, and what solving for each wins")
    look.add_argument("scan", type=path, metavar="SCAN.cxi")
    look.set_defaults(run=diagnose)
    solver = verbs.add_parser("reconstruct", help="reconstruct a measured scan; no stage needs to have run")
    solver.add_argument("--scan", type=path, required=True, metavar="SCAN.cxi")
    solver.add_argument(
        "--out", type=path, required=True, metavar="OUT.h5", help="object and all that was found; a PNG beside"
    )
    solver.add_argument("--arm", choices=tuple(reconstructors.REGISTRY), default="map")
    solver.add_argument("--solve", choices=tuple(SOLVE), default="measured", help="what to find beside the object")
    solver.set_defaults(run=reconstruct)


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


def reconstruct(options: argparse.Namespace) -> int:
    """Solve for what is unknown, reconstruct, say how good it is without truth, write it and draw it."""
    study = params.load()
    rng = noise.stream(study.seed, "solver", options.arm)
    with cxi.dataset(options.scan, REMEDY) as stored:
        given = replace(stored.copy(), nodes=None)
    answer = solve.solve(given, SOLVE[options.solve], study.reconstruct_map)
    print("found: " + ", ".join(f"{name} {_short(value)}" for name, value in answer.found.items()))
    scan, made = answer.scan, dict[str, Reconstruction]()
    made["map"] = reconstructors.run("map", scan, study, rng)
    if options.arm != "map":
        made[options.arm] = reconstructors.run(options.arm, scan, study, rng, made)
    best, weight = made[options.arm], made["map"].weight
    assert weight is not None
    deviance = quality.heldout_deviance(scan, study.reconstruct_map, weight, rng)
    halves = quality.half_data(scan, study.reconstruct_map, weight, rng)
    of_nyquist, half_period = quality.resolution(halves)
    arrays: dict[str, NDArray] = {"obj": best.obj, "probe": scan.probe, "positions": scan.positions}
    arrays |= {"background": scan.background, "mask": scan.mask}
    if best.error is not None:
        arrays["error"] = best.error
    said = {"arm": options.arm, "pixel_m": scan.pixel_m, "weight": weight, "found": json.dumps(answer.found),
            "heldout_deviance": deviance[0], "half_data_frc_1_7": of_nyquist}  # fmt: skip
    write_arrays(options.out, arrays, said)
    picture = options.out.with_suffix(".png")
    save_figure(_drawn(best, scan, options.arm), picture)
    print(f"held-out deviance per pixel (MAP): {deviance[0]:.3f}, of a featureless object {deviance[1]:.3f}")
    nm = "" if half_period is None else f", a half period of {half_period:.1f} nm"
    print(f"half-data FRC (MAP) above 1/7 up to {of_nyquist:.2f} of Nyquist{nm}")
    print(f"written: {options.out}, {picture}")
    return 0


def _short(value: object) -> str:
    return (
        f"{value:.3g}"
        if isinstance(value, float)
        else str([round(v, 3) for v in value] if isinstance(value, list) else value)
    )


def _drawn(made: Reconstruction, scan: Scan, arm: str) -> Figure:
    """Amplitude and phase where the scan's centres are."""
    image = quality.in_region(made.obj, scan)
    figure = Figure(figsize=(9.0, 4.4), layout="constrained")
    panels = {"amplitude": (np.abs(image), "gray"), "phase (rad)": (phase_of(image), "cividis")}
    for axes, (name, (values, colours)) in zip(figure.subplots(1, 2), panels.items(), strict=True):
        low, high = np.percentile(values, [0.5, 99.5])
        drawn = axes.imshow(values, cmap=colours, vmin=low, vmax=max(high, low + 1e-3), interpolation="nearest")
        axes.set(xticks=[], yticks=[], title=name)
        figure.colorbar(drawn, ax=axes, shrink=0.8)
        scale_bar(axes, image.shape, scan.pixel_m)
    figure.suptitle(
        f"{arm} of a measured scan, {scan.signal:,.0f} counts per pattern; there is no truth to compare with"
    )
    return figure
