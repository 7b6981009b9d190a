"""What the study says of its files: the rows of manifest.json beside the entries of dvc.lock."""

from dataclasses import dataclass
from typing import Any

from ptychodose.errors import StudyError
from ptychodose.formats.untrusted import is_inside
from ptychodose.integrity import listings, lock
from ptychodose.integrity.copies import Wanted
from ptychodose.study import manifest
from ptychodose.study.params import load_yaml

MISSING, MISMATCH = "missing", "mismatch"


@dataclass(frozen=True)
class Row:
    """One entry of manifest.json and the stage it is filed under."""

    stage: str
    path: str
    bytes: int
    sha256: str
    content_sha256: str


@dataclass(frozen=True)
class Folder:
    """A folder out: its dvc.lock entry, what is wrong with its listing in the cache ("" when nothing is), and the MD5s
    by name, None when they cannot be told."""

    out: lock.Out
    kind: str
    names: dict[str, str] | None


@dataclass(frozen=True)
class Record:
    """Rows by path, files of dvc.lock by path, folder outs, and paths filed under two stages."""

    rows: dict[str, Row]
    files: dict[str, lock.Locked]
    folders: list[Folder]
    twice: list[str]

    def unlisted_folder(self, path: str) -> Folder | None:
        """The folder out a file lies in whose listing cannot be told: then dvc.lock says nothing of the file."""
        near = (folder for folder in self.folders if path.startswith(f"{folder.out.path}/") and folder.names is None)
        return next(near, None)

    def wanted(self, path: str) -> Wanted | None:
        """What a copy of a file must be; None when manifest.json or dvc.lock does not say."""
        if path not in self.rows or path not in self.files:
            return None
        return Wanted(self.rows[path].sha256, self.files[path].md5)


def rows(document: dict[str, Any], name: str = manifest.JOINED.as_posix()) -> list[Row]:
    """The rows of a joined manifest. Raises StudyError when it is not one, or when a path leaves the study."""
    try:
        found = [
            Row(str(stage), str(row["path"]), int(row["bytes"]), str(row["sha256"]), str(row["content_sha256"]))
            for stage, entries in document["stages"].items()
            for row in entries
        ]
    except (AttributeError, KeyError, TypeError, ValueError):
        raise StudyError(f"{name}: damaged manifest; restore it with `git restore {name}`") from None
    for row in found:
        if not is_inside(row.path):
            raise StudyError(f"{name}: {row.path}: not a path inside the study; restore it with `git restore {name}`")
    return found


def read() -> Record:
    """Both records of the study in the current folder. Raises StudyError when manifest.json or dvc.lock cannot be read
    at all; a folder's damaged listing is part of the answer."""
    listed = rows(manifest.read(manifest.JOINED))
    by_path = {row.path: row for row in listed}
    uncached, files, folders = lock.uncached_outs(), [], []
    for out in lock.outs(load_yaml("dvc.lock")):
        if out.md5.endswith(".dir"):
            folder = _folder(out, by_path)
            folders.append(folder)
            files += [] if folder.names is None else lock.files_of(out, uncached, folder.names)
        else:
            files += lock.files_of(out, uncached)
    return Record(by_path, {item.path: item for item in files}, folders, _repeated([row.path for row in listed]))


def _repeated(paths: list[str]) -> list[str]:
    return sorted({path for path in paths if paths.count(path) > 1})


def _folder(out: lock.Out, by_path: dict[str, Row]) -> Folder:
    """A folder out with its names: from DVC's listing, else from a listing made again of intact files."""
    try:
        data, kind = lock.cache_path(out.md5).read_bytes(), ""
    except OSError:
        data, kind = b"", MISSING
    try:
        return Folder(out, "", listings.parse(data, out.md5))
    except ValueError:
        again = rebuilt(out, by_path)
        return Folder(out, kind or MISMATCH, None if again is None else listings.parse(again, out.md5))


def rebuilt(out: lock.Out, by_path: dict[str, Row]) -> bytes | None:
    """A folder's listing made again from files that equal manifest.json, wherever they are; None when one is lost."""
    start = f"{out.path}/"
    wanted = {
        path.removeprefix(start): (row.bytes, row.sha256) for path, row in by_path.items() if path.startswith(start)
    }
    return listings.rebuild(out.md5, wanted, out.path, lock.objects())
