"""PtychoPINN's NPZ, to write: amplitudes, positions in px, probe and object; exchange/ptychopinn.py reads it again."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ptychodose.errors import StudyError
from ptychodose.export.source import Solution
from ptychodose.formats import npz
from ptychodose.scans.scan import Scan


def write(out: Path, scan: Scan, solution: Solution | None) -> list[str]:
    """Write a scan and, if there is one, the object made of it, with the probe and positions that were found with it.

    The format has one mode of the probe, no background and no mask: returns a line on each that gets lost. StudyError
    for an object that is not of this scan.
    """
    probe, places = scan.probe, scan.positions
    if solution is not None:
        if solution.obj.shape != scan.shape:
            raise StudyError(
                f"--object {solution.path}: its object is {solution.obj.shape} px, the scan's {scan.shape}"
            )
        probe = probe if solution.probe is None else solution.probe
        places = places if solution.positions is None else solution.positions
        if places.shape != scan.positions.shape or probe.shape[1:] != scan.probe.shape[1:]:
            raise StudyError(f"--object {solution.path}: its positions and probe are not those of this scan")
    photons = (np.abs(probe.astype(np.complex128)) ** 2).sum((1, 2))
    brightest = int(photons.argmax())
    arrays: dict[str, NDArray] = {
        "diffraction": np.sqrt(scan.packed().astype(np.float64)).astype(np.float32),
        "xcoords": places[:, 1],
        "ycoords": places[:, 0],
        "xcoords_start": places[:, 1],
        "ycoords_start": places[:, 0],
        "scan_index": np.zeros(len(scan), np.int64),
        "probeGuess": probe[brightest],
    }
    if solution is not None:
        arrays["objectGuess"] = solution.obj
    npz.write(out, arrays)
    return _lost(scan, float(photons[brightest] / photons.sum()), len(probe))


def _lost(scan: Scan, share: float, modes: int) -> list[str]:
    lines = []
    if modes > 1:
        lines.append(f"probeGuess: the brightest of {modes} modes, {share:.1%} of the photons; the format has one")
    if scan.background.any():
        lines.append(f"background: {scan.background.mean():.3g} counts per pixel stay in the patterns; it has none")
    if not scan.mask.all():
        lines.append(f"mask: {int((~scan.mask).sum())} bad pixels are 0 in all patterns; it has none")
    return lines
