"""Zip archives from anywhere: nothing is ever extracted, and what a member claims is checked before it is read. Our own
have their members stored uncompressed, in order, with a fixed date, so that equal members give equal bytes."""

import stat
import zipfile
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from ptychodose.formats.atomic import atomic_path
from ptychodose.formats.untrusted import quoted

MAX_MEMBERS = 10_000
EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest date a zip can hold


def write(path: Path, members: Mapping[str, bytes]) -> None:
    """Write an archive of `members` by name, as a whole or not at all."""
    with atomic_path(path) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as made:
        for name, data in members.items():
            member = zipfile.ZipInfo(name, EPOCH)
            member.external_attr = (stat.S_IFREG | 0o644) << 16
            made.writestr(member, data)


def members(archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    """Members by name. ValueError for names twice or outside the archive, links, encryption, or too many."""
    infos = archive.infolist()
    if len(infos) > MAX_MEMBERS:
        raise ValueError(f"{len(infos)} members, more than {MAX_MEMBERS}")
    found: dict[str, zipfile.ZipInfo] = {}
    for info in infos:
        name, path = info.filename, PurePosixPath(info.filename.replace("\\", "/"))
        faults = {
            "is there twice": name in found,
            "points outside the archive": path.is_absolute() or ".." in path.parts or ":" in name[:2],
            "is a link": stat.S_ISLNK(info.external_attr >> 16),
            "is encrypted": info.flag_bits & 1,
        }
        for fault, found_so in faults.items():
            if found_so:
                raise ValueError(f"member {quoted(name)} {fault}")
        found[name] = info
    return found


def unpacked(archive: zipfile.ZipFile, info: zipfile.ZipInfo, max_bytes: int, compressed: bool = True) -> bytes:
    """The bytes of a member that claims at most `max_bytes`; stored ones only unless `compressed` (deflate).

    ValueError for a claim that is too large, before anything is unpacked. Memory stays below the claim, and grows
    with what is there, whatever the member unpacks to.
    """
    name, size = quoted(info.filename), info.file_size
    if size > max_bytes:
        raise ValueError(f"member {name} claims {size / 2**20:.1f} MiB, more than {max_bytes / 2**20:.1f}; too large")
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)[: 1 + compressed]:
        raise ValueError(f"member {name} is compressed in a way that is not accepted")
    with archive.open(info) as stream:
        data = stream.read(size)  # never read(): that would unpack all there is before it cuts
        if len(data) != size or stream.read(1):
            raise EOFError(f"member {name} is not as long as it claims")
    return data
