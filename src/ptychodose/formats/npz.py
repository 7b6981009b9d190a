"""NPZ files of plain arrays, read member by member: nothing pickled, nothing absurdly large, one-line errors."""

import io
import math
import warnings
import zipfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ptychodose.errors import StudyError
from ptychodose.formats import archive
from ptychodose.formats.untrusted import one_line, quoted

HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
LONGEST_HEADER = 10_000  # characters; numpy's own limit, beyond which its parser could be made to crash
PICKLE = b"\x80"  # how every pickle since Python 2.3 starts


def read(path: Path, wanted: Iterable[str], max_bytes: int, where: str) -> dict[str, NDArray[np.generic]]:
    """The members of `wanted` that the archive has, in native byte order and read-only; other arrays are ignored.

    `where` names what asked for the file. Raises StudyError for a missing, damaged or pickled archive, for one with
    links, names twice or outside it, and for a member of more than `max_bytes`, which is refused before it is read.
    """
    try:
        with open(path, "rb") as file:
            if file.read(1) == PICKLE:
                raise _pickled(path)
            with zipfile.ZipFile(file) as zipped:
                infos = archive.members(zipped)
                found = {key: infos[f"{key}.npy"] for key in wanted if f"{key}.npy" in infos}
                return {key: _array(path, zipped, key, info, max_bytes) for key, info in found.items()}
    except FileNotFoundError:
        raise StudyError(f"{where}: {path} not found; correct the path") from None
    except ValueError as error:
        raise StudyError(f"{path}: damaged array ({one_line(error)}); fetch the file again") from None
    except archive.DAMAGE as error:
        raise StudyError(f"{path}: truncated or not an NPZ ({type(error).__name__}); fetch the file again") from None


def _pickled(path: Path) -> StudyError:
    return StudyError(f"{path}: holds pickled data, which is never loaded; save plain arrays with numpy.savez")


def _array(path: Path, zipped: zipfile.ZipFile, key: str, info: zipfile.ZipInfo, max_bytes: int) -> NDArray[np.generic]:
    """A member as an array; StudyError when it is pickled or too large, ValueError when it is not an array."""
    size = info.file_size
    if size > max_bytes:
        raise StudyError(f"{path}: {key} is {size / 2**30:.1f} GiB, more than {max_bytes / 2**30:.1f}; crop it")
    data = archive.read(zipped, info, max_bytes)
    stream = io.BytesIO(data[: LONGEST_HEADER + 100])
    shape, fortran, dtype = _header(stream)
    if dtype.hasobject:
        raise _pickled(path)
    if dtype.kind not in "biufcSU" or min(shape, default=0) < 0:
        raise ValueError(f"{quoted(key)} is {one_line(dtype, 40)} {one_line(shape, 40)}, neither numbers nor text")
    start, claimed = stream.tell(), math.prod(shape) * dtype.itemsize
    if claimed != size - start:
        raise ValueError(f"{quoted(key)} claims {one_line(shape, 40)} but holds {size - start} bytes")
    values = np.frombuffer(data, dtype, math.prod(shape), start).reshape(shape, order="F" if fortran else "C")
    return values.astype(dtype.newbyteorder("="), copy=False)


def _header(stream: io.BytesIO) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Shape, Fortran order and dtype; ValueError for anything that is no header."""
    version = np.lib.format.read_magic(stream)
    if version not in HEADERS:
        raise ValueError(f"format {version} of numpy is not accepted")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of Python's parser about odd text: that would be more than one line
            shape, fortran, dtype = HEADERS[version](stream, max_header_size=LONGEST_HEADER)
    except Exception as error:  # numpy evaluates the header as a literal, which can raise anything
        raise ValueError(f"unreadable header ({type(error).__name__})") from None
    return tuple(int(side) for side in shape), bool(fortran), dtype
