"""NPZ files of plain arrays, read member by member: nothing pickled, nothing absurdly large, one-line errors."""

import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ptychodose.errors import StudyError

# Of a file that is no archive or a damaged one; memory and overflow: of a header that claims more than there is.
DAMAGE = (
    OSError, EOFError, KeyError, zipfile.BadZipFile, zipfile.LargeZipFile, zlib.error, NotImplementedError,
    MemoryError, OverflowError,
)  # fmt: skip


def read(path: Path, wanted: Iterable[str], max_bytes: int, where: str) -> dict[str, NDArray[np.generic]]:
    """The members of `wanted` that the archive has; anything else in it is ignored.

    `where` names what asked for the file. Raises StudyError for a missing, damaged or pickled archive, and for a
    member of more than `max_bytes`, which is refused before it is read.
    """
    try:
        with open(path, "rb") as file:
            archive = np.load(file, allow_pickle=False)
            if not isinstance(archive, np.lib.npyio.NpzFile):
                raise zipfile.BadZipFile
            with archive:
                return {key: _array(archive, key) for key in wanted if _small_enough(path, archive, key, max_bytes)}
    except FileNotFoundError:
        raise StudyError(f"{where}: {path} not found; correct the path") from None
    except ValueError as error:
        if "pickle" not in str(error).lower():
            raise StudyError(f"{path}: damaged array ({error}); fetch the file again") from None
        raise StudyError(
            f"{path}: holds pickled data, which is never loaded; save plain arrays with numpy.savez"
        ) from None
    except DAMAGE as error:
        raise StudyError(f"{path}: truncated or not an NPZ ({type(error).__name__}); fetch the file again") from None


def _array(archive: np.lib.npyio.NpzFile, key: str) -> NDArray[np.generic]:
    """A member; what does not start like an array comes back from numpy as bytes and is refused."""
    values = archive[key]
    if not isinstance(values, np.ndarray):
        raise zipfile.BadZipFile
    return values


def _small_enough(path: Path, archive: np.lib.npyio.NpzFile, key: str, max_bytes: int) -> bool:
    """Whether the archive has `key`, refusing a member that would not fit before it is read."""
    if key not in archive.files:
        return False
    size = archive.zip.getinfo(f"{key}.npy").file_size  # type: ignore[union-attr]
    if size > max_bytes:
        raise StudyError(f"{path}: {key} is {size / 2**30:.1f} GiB, more than {max_bytes / 2**30:.1f}; crop it")
    return True
