"""A scan that grows while it is measured: read again whenever its files change, drawn after a short MAP each time."""

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from ptychodose.errors import StudyError
from ptychodose.formats.png import save_figure
from ptychodose.iterative import poisson_map
from ptychodose.iterative.posterior import Posterior
from ptychodose.iterative.problem import Problem
from ptychodose.measured import figures
from ptychodose.scans import cxi
from ptychodose.scans.measured import REMEDY
from ptychodose.scans.scan import Scan
from ptychodose.study.settings import MapSettings

SHORT = 15  # iterations an update: what came lately starts flat, all else from the last object
POLL = 0.5  # seconds between looks at the files


def watch(path: Path, picture: Path, settings: MapSettings, idle: float) -> Scan:
    """The scan that a CXI file or a folder of CXI files has come to hold when nothing changed for `idle` seconds, or at
    an interrupt (Ctrl-C). StudyError when there was never one that could be read."""
    seen: object = None
    scan: Scan | None = None
    obj: NDArray[np.complex64] | None = None
    since = time.monotonic()
    try:
        while time.monotonic() - since < idle:
            now = _stamps(path)
            if now == seen:
                time.sleep(POLL)
                continue
            seen, (found, left_out) = now, gather(path)
            scan = found or scan
            if found is not None:
                obj = _update(found, obj, picture, settings)
            print("".join([_told(scan), *(f"; left out: {reason}" for reason in left_out)]), flush=True)
            since = time.monotonic()
    except KeyboardInterrupt:
        print("interrupted; now the result of what is there (Ctrl-C once more to leave it)", flush=True)
    if scan is None:
        raise StudyError(f"--scan {path}: no scan that can be read came; {REMEDY}")
    return scan


def _told(scan: Scan | None) -> str:
    return "live: nothing yet" if scan is None else f"live: {len(scan)} patterns, {scan.signal:,.0f} counts each"


def _stamps(path: Path) -> list[tuple[str, int, int]]:
    """What tells that files changed: name, size and time of each."""
    found = []
    for file in _files(path):
        try:
            state = file.stat()
        except OSError:  # gone since it was listed
            continue
        found.append((file.name, state.st_size, state.st_mtime_ns))
    return found


def _files(path: Path) -> Sequence[Path]:
    return sorted(path.glob("*.cxi")) if path.is_dir() else [path]


def gather(path: Path) -> tuple[Scan | None, list[str]]:
    """All parts that can be read and belong together, as one scan, and why others were left out: half-written files,
    and any of another probe, detector or frame than the first."""
    parts: list[Scan] = []
    left_out = []
    for file in _files(path):
        try:
            with cxi.dataset(file, REMEDY) as stored:
                part = replace(stored.copy(), nodes=None)
            if parts:
                _check_same(parts[0], part, file)
        except (StudyError, OSError) as error:
            left_out.append(str(error))
            continue
        parts.append(part)
    return (joined(parts) if parts else None), left_out


def _check_same(first: Scan, part: Scan, file: Path) -> None:
    for name in ("geometry", "shape", "probe", "background", "mask"):
        if not np.array_equal(getattr(first, name), getattr(part, name)):
            raise StudyError(f"{file}: its {name} is not that of the first part; parts of one scan share it")


def joined(parts: Sequence[Scan]) -> Scan:
    """Parts of one scan as one, in their order."""
    counts = np.concatenate([part.packed() for part in parts])
    dose = float(np.average([part.dose for part in parts], weights=[len(part) for part in parts]))
    return replace(parts[0], counts=counts, positions=np.concatenate([part.positions for part in parts]), dose=dose)


def _update(
    scan: Scan, last: NDArray[np.complex64] | None, picture: Path, settings: MapSettings
) -> NDArray[np.complex64]:
    """The object (H, W) after a short descent from the last one, drawn where its centres span a picture."""
    problem = Problem(scan)
    flat = problem.flat()
    start = (
        flat
        if last is None
        else torch.where(torch.as_tensor(problem.seen), torch.as_tensor(last[problem.window]), flat)
    )
    posterior = Posterior(problem, settings.prior, settings.smoothing, poisson_map.TYPICAL)
    canvas, _ = poisson_map.minimise(posterior, start, SHORT)
    obj = scan.flat()
    obj[problem.window] = np.where(problem.seen, canvas.numpy(), problem.level)
    if np.ptp(scan.positions, axis=0).min() > 16:
        save_figure(lambda: figures.so_far(obj, scan), picture)
    return obj
