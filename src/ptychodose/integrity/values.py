"""Do two files of results hold the same numbers, up to rounding? HDF5, bundles, JSON and CSV; nothing else is read."""

import csv
import io
import json
import re
import zipfile
from collections.abc import Callable, Iterator
from pathlib import PurePath
from typing import IO, Any

import h5py
import numpy as np

# Values agree when they differ by at most this share of the largest magnitude in their array. Another thread count or
# instruction set moved trained weights by 3e-5 of the largest one, and what is computed from them by about as much;
# arms of the study are told apart by per cents. A thousandth is well clear of both.
TOLERANCE = 1e-3
DIGEST = re.compile(r"[0-9a-f]{64}")
NOT_VALUES = {"environment", "environments", "software", "bytes", "bundle_size_bytes"}  # causes and sizes, not results
DAMAGED = (OSError, ValueError, KeyError, TypeError, RuntimeError, RecursionError, EOFError, zipfile.BadZipFile,
           NotImplementedError, csv.Error)  # fmt: skip


def comparable(name: str) -> bool:
    """Whether files of this name are compared by value."""
    return PurePath(name).suffix in READERS


def disagreement(name: str, old: IO[bytes], new: IO[bytes]) -> str | None:
    """The first thing in which two files of one name differ by more than TOLERANCE; None when they agree."""
    try:
        return next(READERS[PurePath(name).suffix](old, new), None)
    except DAMAGED as error:
        return f"not comparable ({str(error)[:80]})"


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


def _hdf5(old: IO[bytes], new: IO[bytes]) -> Iterator[str]:
    with h5py.File(old, "r") as before, h5py.File(new, "r") as after:
        names, others = _names(before), _names(after)
        yield from (f"{name} is in one of them only" for name in sorted(set(names) ^ set(others)))
        for name in names:
            one, two = before[name], after[name]
            if isinstance(one, h5py.Dataset) and not close(one[()], two[()]):
                yield f"values of {name}"
            for key in sorted(set(one.attrs) | set(two.attrs)):
                if key not in one.attrs or key not in two.attrs or not close(one.attrs[key], two.attrs[key]):
                    yield f"attribute {key} of {name}"


def _names(file: h5py.File) -> list[str]:
    """Groups and datasets of the file itself; links are not followed."""
    found = ["/"]
    file.visit(found.append)
    return sorted(found)


def _zip(old: IO[bytes], new: IO[bytes]) -> Iterator[str]:
    with zipfile.ZipFile(old) as before, zipfile.ZipFile(new) as after:
        names = sorted(before.namelist())
        if names != sorted(after.namelist()):
            yield "members"
        for name in names:
            one, two = before.read(name), after.read(name)
            if one != two and not comparable(name):
                yield f"member {name}"
            elif one != two and (found := disagreement(name, io.BytesIO(one), io.BytesIO(two))):
                yield f"{name}: {found}"


def _json(old: IO[bytes], new: IO[bytes]) -> Iterator[str]:
    """Numbers of one name form one array: the NRMSE of every arm, say, so that an error of 1e-9 is compared with those
    of the other arms. Digests, sizes and environments follow from the rest or are its causes; they are left out."""
    numbers: list[dict[str, list[float]]] = [{}, {}]
    others: list[dict[str, object]] = [{}, {}]
    for i, file in enumerate((old, new)):
        for path, name, value in _leaves(json.load(file)):
            number = isinstance(value, int | float) and not isinstance(value, bool)
            others[i][path] = "number" if number else value
            if number:
                numbers[i].setdefault(name, []).append(value)
    yield from (path for path in others[0] | others[1] if others[0].get(path, ...) != others[1].get(path, ...))
    yield from (f"values of {name}" for name in numbers[0] if not close(numbers[0][name], numbers[1][name]))


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


def _csv(old: IO[bytes], new: IO[bytes]) -> Iterator[str]:
    """Columns by their header; what is not a number must be the same text."""
    before, after = ([*csv.reader(io.StringIO(file.read().decode()))] for file in (old, new))
    if [len(row) for row in before] != [len(row) for row in after] or before[:1] != after[:1]:
        yield "rows or columns"
        return
    for i, name in enumerate(before[0] if before else ()):
        columns = [[_number(row[i]) for row in table[1:] if i < len(row)] for table in (before, after)]
        texts = [[cell if isinstance(cell, str) else None for cell in column] for column in columns]
        if texts[0] != texts[1] or not close(*([c for c in column if not isinstance(c, str)] for column in columns)):
            yield f"column {name}"


def _number(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text


READERS: dict[str, Callable[[IO[bytes], IO[bytes]], Iterator[str]]] = {
    ".h5": _hdf5, ".cxi": _hdf5, ".zip": _zip, ".json": _json, ".csv": _csv,
}  # fmt: skip
