"""Do two files of results hold the same numbers, up to rounding? HDF5, bundles, JSON and CSV; nothing else is read."""

import csv
import io
import json
import os
import re
import resource
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path, PurePath
from tempfile import TemporaryDirectory
from typing import Any

import h5py
import numpy as np

from ptychodose.formats import archive, hdf5_guard, nexus
from ptychodose.formats.untrusted import DAMAGE, one_line
from ptychodose.study.manifest import content_digest

# Values agree when they differ by at most this share of the largest magnitude in their array. Another thread count or
# instruction set moved trained weights by 3e-5 of the largest one, and what is computed from them by about as much;
# arms of the study are told apart by per cents. A thousandth is well clear of both.
TOLERANCE = 1e-3
DIGEST = re.compile(r"[0-9a-f]{64}")
NOT_VALUES = {"environment", "environments", "software", "bytes", "bundle_size_bytes"}  # causes and sizes, not results
LONGEST = 600  # seconds that reading a file may take; the largest of a study takes two
MEMORY = 2**34  # bytes of address space that it may take: what libraries map, and 1 GiB of arrays some times over
DAMAGED = (*DAMAGE, csv.Error, NotImplementedError)
Values = dict[str, Any]  # arrays, numbers and texts, by what they are called in a message


def comparable(name: str) -> bool:
    """Whether files of this name are compared by value."""
    return PurePath(name).suffix in READERS


def apart(what: str, *words: object) -> str:
    """The answer of `python -m ptychodose.integrity.values WHAT WORDS`: what a library in C reads is read by a process
    of its own, which may crash, hang or run out of memory alone. ValueError when it did."""
    command = [sys.executable, "-m", __spec__.name, what, *map(str, words)]
    paths = os.pathsep.join([str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")])
    try:
        done = subprocess.run(command, capture_output=True, env={**os.environ, "PYTHONPATH": paths}, timeout=LONGEST)
    except subprocess.TimeoutExpired:
        raise ValueError(f"reading it took more than {LONGEST} s") from None
    if done.returncode < 0:
        raise ValueError(f"reading it crashed a process (signal {-done.returncode})")
    if done.returncode:
        raise ValueError(done.stderr.decode(errors="replace").strip().rpartition("\n")[2])
    return done.stdout.decode()


def disagreement(name: str, old: bytes, new: bytes) -> str | None:
    """The first thing in which two files of one name differ by more than TOLERANCE; None when they agree."""
    if PurePath(name).suffix in (".json", ".csv"):
        return compared(name, old, new)
    with TemporaryDirectory(prefix="ptychodose-") as folder:
        paths = [Path(folder, f"{word}{PurePath(name).suffix}") for word in ("old", "new")]
        for path, data in zip(paths, (old, new), strict=True):
            path.write_bytes(data)
        try:
            return apart("disagreement", *paths) or None
        except ValueError as error:
            return f"not comparable ({one_line(error, 80)})"


def compared(name: str, old: bytes, new: bytes) -> str | None:
    """`disagreement`, in this process."""
    read = READERS[PurePath(name).suffix]
    try:
        before, after = read(old), read(new)
        return next((key for key in before | after if not close(before.get(key, ...), after.get(key, ...))), None)
    except DAMAGED as error:
        return f"not comparable ({one_line(error, 80)})"


def close(old: Any, new: Any) -> bool:
    """Whether two arrays agree: numbers up to TOLERANCE, with NaN and infinity in the same places; all else equal."""
    old, new = np.asarray(old), np.asarray(new)
    if old.shape != new.shape:
        return False
    if old.dtype.kind not in "iufc" or new.dtype.kind not in "iufc":
        return bool(np.array_equal(old, new))
    old, new = (a.astype(np.complex128 if "c" in (old.dtype.kind, new.dtype.kind) else np.float64) for a in (old, new))
    finite = np.isfinite(old)
    if not np.array_equal(old[~finite], new[~finite], equal_nan=True) or not np.isfinite(new[finite]).all():
        return False
    old, new = old[finite], new[finite]
    scale = max(float(np.abs(old).max(initial=0)), float(np.abs(new).max(initial=0)))
    return bool((np.abs(new - old) <= TOLERANCE * scale).all())


def _hdf5(data: bytes) -> Values:
    """Datasets and attributes of the file itself, not what links lead to. What NeXus viewers are shown follows from the
    rest, and a phase of pi may turn into one of -pi."""
    with h5py.File(io.BytesIO(data), "r") as opened:
        found = {
            name: item for name, item in hdf5_guard.datasets(opened, links=True) if name.split("/")[0] != nexus.ENTRY
        }
        groups = {parent.as_posix() for name in found for parent in PurePath(name).parents} - {"."}
        items = {"/": opened, **found, **{name: opened[name] for name in groups}}
        values: Values = {f"values of {name}": each for name, each in hdf5_guard.arrays(found, finite=False).items()}
        for name, item in items.items():
            values |= {f"attribute {key} of {name}": each for key, each in hdf5_guard.attributes(item).items()}
    return values


def _zip(data: bytes) -> Values:
    found: Values = {}
    with zipfile.ZipFile(io.BytesIO(data)) as opened:
        for name, info in archive.members(opened).items():
            member = archive.unpacked(opened, info, hdf5_guard.MAX_ARRAYS)
            inside = READERS[PurePath(name).suffix](member) if comparable(name) else {"bytes": member}
            found |= {f"{name}: {entry}": value for entry, value in inside.items()}
    return found


def _json(data: bytes) -> Values:
    """Numbers of one name form one array: the NRMSE of every arm, say, so that an error of 1e-9 is compared with those
    of the other arms. Digests, sizes and environments follow from the rest or are its causes; they are left out."""
    others: Values = {}
    numbers: dict[str, list[float]] = {}
    for path, name, value in _leaves(json.loads(data)):
        number = isinstance(value, int | float) and not isinstance(value, bool)
        others[path] = "number" if number else value
        if number:
            numbers.setdefault(f"values of {name}", []).append(value)
    return others | numbers


def _leaves(value: Any, path: str = "", name: str = "") -> Iterator[tuple[str, str, Any]]:
    """Path, nearest key and value of everything that is not a mapping or a list, sorted by key."""
    if isinstance(value, dict):
        for key in sorted(set(value) - NOT_VALUES):
            yield from _leaves(value[key], f"{path}.{key}".lstrip("."), key)
    elif isinstance(value, list):
        for i, item in enumerate(value):
            yield from _leaves(item, f"{path}[{i}]", name)
    elif not (isinstance(value, str) and DIGEST.fullmatch(value)):
        yield path, name, value


def _csv(data: bytes) -> Values:
    """Columns by their header, as numbers (NaN for an empty cell) where all cells are; rows must be of one length."""
    rows = csv.reader(io.StringIO(data.decode()))
    return {f"column {name}": _numbers(cells) for name, *cells in zip(*rows, strict=True)}


def _numbers(cells: list[str]) -> list[float] | list[str]:
    try:
        return [float(cell or "nan") for cell in cells]
    except ValueError:
        return cells


READERS: dict[str, Callable[[bytes], Values]] = {
    ".h5": _hdf5, ".cxi": _hdf5, ".zip": _zip, ".json": _json, ".csv": _csv,
}  # fmt: skip


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    task, *given = sys.argv[1:]
    if task == "content":
        print(content_digest(Path(given[0])), end="")
    else:
        print(compared(given[0], *(Path(name).read_bytes() for name in given)) or "", end="")
