"""Copies of one file in several places: what intact means, and putting an intact copy where a bad one is."""

import hashlib
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from ptychodose.errors import StudyError
from ptychodose.formats.atomic import atomic_path

READ_ONLY = 0o444  # DVC's mode of cache objects; what has another mode it would hash again, and delete when damaged


@dataclass(frozen=True)
class Digests:
    """SHA256 and MD5 of one file, lower-case hex, and its size; `problem` says why there are none (a failing disk,
    permissions)."""

    sha256: str
    md5: str
    size: int
    problem: str = ""


@dataclass(frozen=True)
class Wanted:
    """What a copy must be: the SHA256 of manifest.json (None for DVC's own listings, which it does not know) and the
    MD5 of dvc.lock."""

    sha256: str | None
    md5: str

    def met_by(self, found: Digests | None) -> bool:
        """Whether a file of these digests (None: there is none) is an intact copy."""
        return found is not None and found.md5 == self.md5 and self.sha256 in (None, found.sha256)


def digests(path: Path) -> Digests | None:
    """Both digests in one reading of the bytes; None when there is no such file."""
    sha256, md5, size = hashlib.sha256(), hashlib.md5(usedforsecurity=False), 0
    try:
        with open(path, "rb") as file:
            while block := file.read(1 << 20):
                sha256.update(block)
                md5.update(block)
                size += len(block)
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return None
    except OSError as error:
        return Digests("", "", 0, problem=f"not readable ({error.strerror})")
    return Digests(sha256.hexdigest(), md5.hexdigest(), size)


def put(source: Path, target: Path, wanted: Wanted, read_only: bool) -> None:
    """Replace `target` by a copy of `source`: written aside, checked, flushed to disk, renamed; a link is replaced,
    never written through. Raises StudyError, and leaves `target` as it was, when the copy is not what is wanted or
    the disk fails."""
    try:
        with atomic_path(target) as temporary:
            shutil.copyfile(source, temporary)
            if not wanted.met_by(digests(temporary)):
                raise StudyError(f"{target}: not replaced, the copy that was intact a moment ago no longer is")
            if read_only:
                os.chmod(temporary, READ_ONLY)
    except OSError as error:
        raise StudyError(f"{target}: {error.strerror or error}; free some space or check permissions") from None
