"""Does a trained bundle fit a measured scan? Its numbers, the doses that taught it and, where known, its probe."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import fft
from torch import nn

from ptychodose.errors import StudyError
from ptychodose.formats.atomic import sha256_file
from ptychodose.formats.h5 import read_array
from ptychodose.networks import unrolled
from ptychodose.networks.restore import restore
from ptychodose.scans.scan import Scan

BUNDLES, PROBE = Path("data/bundles"), Path("data/probe.h5")
# Least `resemblance` of the probe that taught a network with a scan's. Beside MAP, groups of 4 under a zone plate that
# is out of focus lost 14 to 17 % at 0.86, 21 to 36 % at 0.52.
ALIKE = 0.7


@dataclass(frozen=True)
class Bundle:
    """A network and what taught it: C, N, the lowest and highest dose, digests of what it learned from."""

    path: Path
    net: nn.Module
    group_size: int
    size: int
    doses: tuple[float, float]
    digests: frozenset[str]


def load(name: str, path: Path | None, group_size: int | None) -> Bundle:
    """The bundle at `path`, or the one that the study trained for arm `name`.

    Raises StudyError when there is none, when it is damaged, or when its C is not the arm's `group_size` (None: any).
    """
    where = path or BUNDLES / name / "wts.h5.zip"
    if not where.is_file():
        made = f"`dvc repro train_{name}` trains it; or" if path is None else "correct the path, or"
        raise StudyError(f"{where}: no such bundle; {made} give --bundle FILE")
    net, meta = restore(where, sha256_file(where), unrolled.build)
    doses, digests = meta.get("dose"), meta.get("trained_on")
    span = doses if isinstance(doses, list) else [doses]
    numbers = isinstance(meta.get("group_size"), int) and isinstance(meta.get("size"), int)
    if (
        not isinstance(digests, dict)
        or not numbers
        or not span
        or not all(isinstance(dose, int | float) and dose > 0 for dose in span)
    ):
        raise StudyError(f"{where}: does not say group_size, size, dose and trained_on; retrain it with `dvc repro`")
    if group_size is not None and meta["group_size"] != group_size:
        raise StudyError(
            f"{where}: trained on groups of C = {meta['group_size']}, but arm {name} has {group_size}; retrain it "
            f"(`dvc repro train_{name}`), or leave --arm out"
        )
    spread = (float(min(span)), float(max(span)))
    return Bundle(where, net, meta["group_size"], meta["size"], spread, frozenset(map(str, digests.values())))


def check(bundle: Bundle, scan: Scan, nearest: int) -> str:
    """One line on how well a bundle fits a scan; `nearest` patterns are what a group is drawn from.

    Raises StudyError, saying what to retrain, for another N, too few patterns, a dose outside those that taught it,
    or a probe that does not resemble the one that did.
    """
    if bundle.size != scan.size:
        raise StudyError(
            f"{bundle.path}: trained on patterns of N = {bundle.size}, and the scan's have {scan.size}; retrain it on "
            f"a base of N = {scan.size} (generate.base), or crop the patterns"
        )
    if len(scan) < nearest:
        raise StudyError(f"{bundle.path}: draws groups from {nearest} patterns, and the scan has {len(scan)}; use map")
    if not taught(bundle.doses, scan.dose):
        low, high = bundle.doses
        raise StudyError(
            f"{bundle.path}: taught by {low:g} to {high:g} photons per pattern, and the scan has {scan.dose:g}; "
            f"retrain it with train.dose_low and train.dose_high around that, or use map"
        )
    if not PROBE.is_file() or sha256_file(PROBE) not in bundle.digests:
        return f"bundle {bundle.path}: N, C and dose fit; whether its probe resembles the scan's could not be checked"
    alike = resemblance(read_array(PROBE, "probe", "run `dvc repro probe`"), scan.probe)
    if alike < ALIKE:
        raise StudyError(
            f"{bundle.path}: the probe that taught it correlates by {alike:.2f} with the scan's, less than {ALIKE:g}; "
            f"retrain it under that (generate.base with its probeGuess), or use map"
        )
    return f"bundle {bundle.path}: N, C and dose fit, its probe correlates by {alike:.2f} with the scan's"


def taught(doses: tuple[float, float], dose: float) -> bool:
    """Whether a dose is one of those, from the lowest to the highest, that taught a network: to 1 %, as the mean of
    counts is a little off the dose that was asked for."""
    return 0.99 * doses[0] <= dose <= 1.01 * doses[1]


def resemblance(a: NDArray[np.complexfloating], b: NDArray[np.complexfloating]) -> float:
    """Largest |correlation| of the brightest modes of two probes (M, N, N) over all shifts by whole pixels, 0 to 1:
    global phase, photons and place do not count."""
    spectra = [fft.fft2(max(probe, key=lambda mode: float(np.vdot(mode, mode).real))) for probe in (a, b)]
    norms = float(np.linalg.norm(spectra[0]) * np.linalg.norm(spectra[1]))
    return float(np.abs(fft.ifft2(spectra[0] * spectra[1].conj())).max() * spectra[0].size / max(norms, 1e-300))
