"""Zip archives from anywhere: nothing is ever extracted, and what a member claims is checked before it is read."""

import stat
import struct
import zipfile
import zlib
from pathlib import PurePosixPath

from ptychodose.formats.untrusted import quoted

MAX_MEMBERS = 10_000
DEFLATE_RATIO = 1032  # the most that a byte of deflate can hold (zlib.net/zlib_tech.html)
# All that reading a damaged archive raises; memory and overflow: of a header that claims more than there is.
DAMAGE = (
    OSError, ValueError, EOFError, LookupError, zipfile.BadZipFile, zipfile.LargeZipFile, zlib.error, struct.error,
    RuntimeError, MemoryError, OverflowError,
)  # fmt: skip


def members(archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    """Members by name. ValueError for names twice or outside the archive, links, encryption, or too many."""
    infos = archive.infolist()
    if len(infos) > MAX_MEMBERS:
        raise ValueError(f"{len(infos)} members, more than {MAX_MEMBERS}")
    found: dict[str, zipfile.ZipInfo] = {}
    for info in infos:
        name, path = info.filename, PurePosixPath(info.filename.replace("\\", "/"))
        if name in found:
            raise ValueError(f"member {quoted(name)} is there twice")
        if path.is_absolute() or ".." in path.parts or ":" in name[:2]:
            raise ValueError(f"member {quoted(name)} points outside the archive")
        if stat.S_ISLNK(info.external_attr >> 16):
            raise ValueError(f"member {quoted(name)} is a link")
        if info.flag_bits & 1:
            raise ValueError(f"member {quoted(name)} is encrypted")
        found[name] = info
    return found


def read(archive: zipfile.ZipFile, info: zipfile.ZipInfo, max_bytes: int, compressed: bool = True) -> bytes:
    """The bytes of a member that claims at most `max_bytes`; stored ones only unless `compressed` (deflate).

    ValueError for a claim that is too large or that the packed bytes cannot hold, before anything is unpacked.
    Memory stays below the claim whatever the member unpacks to.
    """
    name, size = quoted(info.filename), info.file_size
    if size > max_bytes:
        raise ValueError(f"member {name} claims {size / 2**20:.1f} MiB, more than {max_bytes / 2**20:.1f}; too large")
    if info.compress_type not in ((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) if compressed else (zipfile.ZIP_STORED,)):
        raise ValueError(f"member {name} is compressed in a way that is not accepted")
    ratio = DEFLATE_RATIO if info.compress_type == zipfile.ZIP_DEFLATED else 1
    if size > ratio * info.compress_size:
        raise ValueError(f"member {name} claims {size} bytes, more than its {info.compress_size} can hold")
    with archive.open(info) as stream:
        data = stream.read(size)  # never read(): that would unpack all there is before it cuts
        if len(data) != size or stream.read(1):
            raise EOFError(f"member {name} is not as long as it claims")
    return data
