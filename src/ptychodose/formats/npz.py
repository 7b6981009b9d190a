"""NPZ files of plain arrays: nothing pickled, read member by member, nothing absurdly large, one-line errors."""

import io
import math
import warnings
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from ptychodose.errors import StudyError
from ptychodose.formats import archive
from ptychodose.formats.untrusted import DAMAGE, one_line, regular

PICKLE, PICKLED = b"\x80", "pickled data, which is never loaded"  # how every pickle since Python 2.3 starts


class Structured(ValueError):
    """An array of records: in order, but nothing that is computed with."""


def write(path: Path, arrays: Mapping[str, NDArray]) -> None:
    """Write arrays of numbers by name, sorted and without times. numpy.savez stamps them with the clock."""
    members = {}
    for name in sorted(arrays):
        stream = io.BytesIO()
        np.lib.format.write_array(stream, np.ascontiguousarray(arrays[name]), (1, 0), allow_pickle=False)
        members[f"{name}.npy"] = stream.getvalue()
    archive.write(path, members)


def read(path: Path, wanted: Iterable[str], max_bytes: int, where: str) -> dict[str, NDArray[np.generic]]:
    """The members of `wanted` that the archive has, in their shape and native byte order, read-only.

    `where` names what asked for the file. Raises StudyError for a missing, damaged or pickled archive, for one with
    links, names twice or outside it, and for a member of more than `max_bytes`, which is refused before it is read.
    """
    with _opened(path, where) as file, zipfile.ZipFile(file) as zipped:
        infos = archive.members(zipped)
        found = {key: infos[f"{key}.npy"] for key in wanted if f"{key}.npy" in infos}
        return {key: _array(key, archive.unpacked(zipped, info, max_bytes)) for key, info in found.items()}


def names(path: Path, where: str) -> set[str]:
    """Names of an archive's arrays. StudyError as `read`."""
    with _opened(path, where) as file, zipfile.ZipFile(file) as zipped:
        return {name.removesuffix(".npy") for name in archive.members(zipped)}


def read_npy(path: Path, max_bytes: int, where: str) -> NDArray[np.generic]:
    """The one array of a .npy file of at most `max_bytes`. StudyError as `read`."""
    with _opened(path, where) as file:
        data = file.read(max_bytes + 1)
        if len(data) > max_bytes:
            raise ValueError(f"more than {max_bytes / 2**20:.1f} MiB; too large")
        return _array(path.name, data)


@contextmanager
def _opened(path: Path, where: str) -> Iterator[BinaryIO]:
    """A file that is no pickle; what is wrong with it becomes a StudyError."""
    try:
        with open(regular(path), "rb") as file:
            if file.read(1) == PICKLE:
                raise ValueError(PICKLED)
            file.seek(0)
            yield file
    except FileNotFoundError:
        raise StudyError(f"{where}: {path} not found; correct the path") from None
    except Structured as error:
        remedy = "save one array of plain numbers, e.g. a['re'] + 1j * a['im'] of a complex one"
        raise StudyError(f"{path}: {error}; {remedy}") from None
    except DAMAGE as error:
        remedy = "fetch it again, or save plain arrays with numpy.savez, cropped if too large"
        raise StudyError(f"{path}: damaged or no NPZ of plain arrays ({one_line(error)}); {remedy}") from None


def _array(key: str, data: bytes) -> NDArray[np.generic]:
    """The array in the bytes of a .npy file. ValueError for a pickle, and for anything else that is no array."""
    stream = io.BytesIO(data)
    if np.lib.format.read_magic(stream) != (1, 0):  # later ones are for records
        raise ValueError(f"{key} is no plain array")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of Python's parser about odd text: that would be more than one line
            shape, fortran, dtype = np.lib.format.read_array_header_1_0(stream)  # of 10,000 characters at most
    except Exception as error:  # numpy evaluates the header as a literal, which can raise anything
        raise ValueError(f"{key} has an unreadable header ({type(error).__name__})") from None
    if dtype.hasobject:
        raise ValueError(PICKLED)
    if dtype.names is not None:
        raise Structured(f"{key} is an array of records with fields {one_line(', '.join(dtype.names), 60)}")
    if dtype.kind not in "biufcSU" or min(shape, default=0) < 0:
        raise ValueError(f"{key} is {one_line(dtype, 40)} {one_line(shape, 40)}, neither numbers nor text")
    start, number = stream.tell(), math.prod(shape)
    if number * dtype.itemsize != len(data) - start:
        raise ValueError(f"{key} claims {one_line(shape, 40)} but holds {len(data) - start} bytes")
    values = np.frombuffer(data, dtype, number, start).reshape(shape, order="F" if fortran else "C")
    return values.astype(dtype.newbyteorder("="), copy=False)
