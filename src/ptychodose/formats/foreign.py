"""HDF5 files as other programs write them, under the guard: soft links within the file and texts of variable length,
which they have everywhere, are read; everything else that `hdf5_guard` refuses stays refused."""

import math
import mmap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from ptychodose.formats import hdf5_guard
from ptychodose.formats.untrusted import DAMAGE as DAMAGE
from ptychodose.formats.untrusted import one_line, quoted, regular

SOFT = 4  # links on one way
SMALL, LARGE = 2**28, 2**33  # bytes of an array that is no stack of patterns, and of one that is
HEAP = b"GCOL\x01"  # how a global heap starts, where HDF5 keeps texts of variable length
SCALES = {"m": 1.0, "mm": 1e-3, "um": 1e-6, "µm": 1e-6, "nm": 1e-9, "pm": 1e-12}
LONGEST = 200  # characters of a text


class Foreign:
    """An open file; paths are relative to its root. All methods raise ValueError for what they refuse."""

    def __init__(self, file: h5py.File, path: Path) -> None:
        self._file, self._path, self._sound = file, path, False

    def names(self, path: str = "") -> list[str]:
        """Names in the root or in the group `path`; none where there is no group."""
        group = self._file if not path else hdf5_guard.member(self._file, path, SOFT)
        if not isinstance(group, h5py.Group):
            return []
        if len(group) > hdf5_guard.MAX_NAMES:
            raise ValueError(f"{quoted(path)} has more than {hdf5_guard.MAX_NAMES} members")
        return sorted(group)

    def first(self, *paths: str) -> str | None:
        """The first of `paths` that is there."""
        for path in paths:
            try:
                hdf5_guard.member(self._file, path, SOFT)
            except KeyError:
                continue
            return path
        return None

    def array(self, path: str, most: int = SMALL, finite: bool = True) -> NDArray:
        """All of a dataset of at most `most` bytes, finite unless that is False."""
        item = hdf5_guard.dataset(self._file, path, SOFT, pairs=True)
        return hdf5_guard.arrays({path: item}, most, finite)[path]

    def number(self, path: str) -> float | None:
        """The one finite number of a dataset, whatever its shape; None where it is missing."""
        if self.first(path) is None:
            return None
        values = self.array(path, 64).ravel()
        if len(values) != 1 or values.dtype.kind not in "iuf":
            raise ValueError(f"{quoted(path)} is not one number")
        return float(values[0])

    def attribute(self, path: str, name: str) -> float | str | None:
        """A number or short text beside a dataset, group or (path "") the root; None where it is missing."""
        item = hdf5_guard.member(self._file, path, SOFT) if path else self._file
        if name not in item.attrs:
            return None
        kind = h5py.check_string_dtype(h5py.h5a.open(item.id, name.encode()).dtype)
        if kind is not None and kind.length is None:
            return self._text(item, name)
        found = hdf5_guard.attribute(item, name)
        values = np.ravel(found)
        if len(values) != 1:
            raise ValueError(f"attribute {quoted(name)} is not one number or text")
        return found if isinstance(found, str) else float(values[0])

    def _text(self, item: h5py.Group | h5py.Dataset, name: str) -> str:
        """A text of variable length, read only where no heap of the file can make HDF5 run forever."""
        if not self._sound:
            check_heaps(self._path)
            self._sound = True
        found = item.attrs.get_id(name)
        if math.prod(found.shape or ()) != 1:
            raise ValueError(f"attribute {quoted(name)} is not one text")
        value = np.ravel(np.asarray(item.attrs[name], object))[0]
        return one_line(value.decode("utf-8") if isinstance(value, bytes) else value, LONGEST)

    def metres(self, path: str) -> float | None:
        """A length in metres by its attribute `units`, metres where it has none; None where it is missing."""
        value = self.number(path)
        return None if value is None else value * self.scale(path)

    def scale(self, path: str) -> float:
        """Metres in one unit of a dataset, by its attribute `units`; 1 where it has none."""
        units = self.attribute(path, "units")
        if units is not None and units not in SCALES:
            raise ValueError(f"{path} is in {quoted(units, 20)}, none of {', '.join(SCALES)}")
        return 1.0 if units is None else SCALES[str(units)]


@contextmanager
def opened(path: Path) -> Iterator[Foreign]:
    """Open a file to read. One of `untrusted.DAMAGE` when it is no HDF5."""
    with h5py.File(regular(path), "r") as file:
        yield Foreign(file, path)


def check_heaps(path: Path) -> None:
    """ValueError unless every global heap in a file's bytes ends: HDF5 2.0 runs forever over one whose sizes are
    damaged. Objects follow each other, 16 bytes of head (a number, then at 8 the size), their data padded to 8 bytes;
    number 0 is the free rest (HDF5 File Format Specification, III.E)."""
    with open(regular(path), "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        start = data.find(HEAP)
        while start >= 0:
            end, at = start + int.from_bytes(data[start + 8 : start + 16], "little"), start + 16
            while at + 16 <= end <= len(data):
                number, size = (int.from_bytes(data[at + a : at + b], "little") for a, b in ((0, 2), (8, 16)))
                at += size if number == 0 else 16 + -(-size // 8) * 8
                if number == 0 and size < 16:
                    break
            if not end - 16 < at <= end <= len(data):
                raise ValueError("a damaged heap of texts")
            start = data.find(HEAP, start + 8)
