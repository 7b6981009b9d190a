"""Command `reconstruct`: solve for what is unknown, run an arm, say how good it is without truth, write and draw it."""

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ptychodose.errors import StudyError
from ptychodose.experiment import solve
from ptychodose.formats.png import save_figure
from ptychodose.formats.untrusted import in_shell
from ptychodose.measured import figures, live, methods, quality, result
from ptychodose.measured.methods import Method
from ptychodose.physics import noise
from ptychodose.reconstruct import bundles
from ptychodose.reconstruct.reconstructors import Reconstruction
from ptychodose.scans import cxi
from ptychodose.scans.measured import REMEDY
from ptychodose.scans.scan import Scan
from ptychodose.score.frc import Curve
from ptychodose.study import params, progress
from ptychodose.study.settings import Params, Solve

OWN = "params"  # of --solve: the section `solve` of params.yaml
STEPS = 5  # what is unknown, the arm, the arm without held-out photons, twice the arm on halves


def add_options(solver: argparse.ArgumentParser, path: Callable[[str], Path]) -> None:
    """The options of the verb; `path` makes a path of a word of the command line."""
    solver.add_argument(
        "--scan", type=path, required=True, metavar="SCAN.cxi", help="with --live: or a folder of parts"
    )
    solver.add_argument(
        "--out", type=path, required=True, metavar="OUT.h5", help="object and all that was found; a PNG beside"
    )
    solver.add_argument("--arm", choices=methods.NAMES, help="default map; of a network, its bundle must be there")
    solver.add_argument("--bundle", type=path, metavar="wts.h5.zip", help="the network's, instead of data/bundles/ARM/")
    solver.add_argument(
        "--solve",
        choices=(*Solve.named, OWN),
        default="measured",
        help="what to find beside the object: all, nothing, or section solve of params.yaml",
    )
    solver.add_argument("--live", action="store_true", help="draw what is there while the scan grows, then reconstruct")
    solver.add_argument(
        "--idle", type=float, default=60.0, metavar="SECONDS", help="--live ends when nothing came (60)"
    )
    solver.set_defaults(run=reconstruct)


def reconstruct(options: argparse.Namespace) -> int:
    """All of it; nothing is written before everything is there."""
    study = params.load()
    method = methods.of(options.arm, options.bundle, study)
    result.place(options.out)
    given = _watched(options, study) if options.live else _read(options.scan)
    if method.bundle is not None:
        print("\n".join(_fits(method.bundle, given, study)), flush=True)
    answer = _answer(given, method, study.solve if options.solve == OWN else Solve.named[options.solve], study)
    pixel_m = answer.scan.pixel_m
    said = result.of_choices(answer.made, answer.found) | result.of_quality(answer.deviance, answer.curve, pixel_m)
    result.write(options.out, answer.made, (given, answer.scan), {"arm": method.name, **said})
    title = (
        f"{method.name} of {len(given)} patterns, {given.signal:,.0f} counts each; there is no truth to compare with"
    )
    draw = partial(figures.result, answer.made.obj, answer.scan, given, answer.curve, title)
    save_figure(draw, result.picture_of(options.out))
    _say(answer, method.name)
    out, tiff = in_shell(options.out), in_shell(options.out.with_suffix(".tif"))
    print(f"written: {out}, {in_shell(result.picture_of(options.out))}")
    print(f"next: python src/study.py export {out} --as tiff --out {tiff}")
    return 0


def _fits(bundle: bundles.Bundle, given: Scan, study: Params) -> Iterator[str]:
    """What can be said of how a bundle fits a scan, and the halves of it that quality is of."""
    yield bundles.check(bundle, given, study.overlap.neighbours)
    half, low = given.dose / 2, bundle.doses[0]
    if half < low:
        yield f"half-data FRC will be of {half:g} photons per pattern, fewer than the {low:g} that taught the network"


@dataclass(frozen=True)
class _Answer:
    """The scan as found and what was found; the arm's object; how well it predicts held-out photons (and how well a
    featureless object does); the correlation of two halves."""

    scan: Scan
    found: dict[str, float | int | list[float] | list[int]]
    made: Reconstruction
    deviance: tuple[float, float]
    curve: Curve


def _answer(given: Scan, method: Method, unknown: Solve, study: Params) -> _Answer:
    rng = noise.stream(study.seed, "solver", method.name)
    with progress.steps(STEPS, method.name) as begin:
        begin("what is unknown")
        solved = solve.solve(given, unknown, study.reconstruct_map)
        begin("object")
        made = method.run(solved.scan, rng, None)

        def arm(part: Scan) -> NDArray[np.complex64]:
            begin(f"quality, of {part.dose / given.dose:.0%} of the photons")
            return method.run(part, rng, made.weight).obj

        deviance = quality.heldout_deviance(solved.scan, arm, study.reconstruct_map.heldout, rng)
        curve = quality.half_data(solved.scan, arm, rng)
    return _Answer(solved.scan, solved.found, made, deviance, curve)


def _say(answer: _Answer, name: str) -> None:
    """What was found and how good the object is."""
    if answer.found:
        print("found: " + ", ".join(f"{what} {_short(value)}" for what, value in answer.found.items()))
    print(f"held-out deviance per pixel ({name}): {answer.deviance[0]:.3f}, of a featureless object "
          f"{answer.deviance[1]:.3f}")  # fmt: skip
    for line, threshold in quality.THRESHOLDS.items():
        of_nyquist, half_period = quality.resolution(answer.curve, threshold, answer.scan.pixel_m)
        nm = "" if half_period is None else f", a half period of {half_period:.1f} nm"
        print(f"half-data FRC ({name}) above {line} up to {of_nyquist:.2f} of Nyquist{nm}")


def _short(value: object) -> str:
    if isinstance(value, list):
        return str([round(item, 3) for item in value])
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _watched(options: argparse.Namespace, study: Params) -> Scan:
    """What a growing scan has come to."""
    if options.idle <= 0:
        raise StudyError(f"--idle {options.idle:g}: wait for more than 0 seconds")
    return live.watch(options.scan, result.picture_of(options.out), study.reconstruct_map, options.idle)


def _read(path: Path) -> Scan:
    """A scan in memory. StudyError for anything else."""
    if path.is_dir():
        raise StudyError(f"--scan {path}: a folder; name a CXI file, or add --live")
    with cxi.dataset(path, REMEDY) as stored:
        return replace(stored.copy(), nodes=None)
