"""What the study says of its files: the rows of manifest.json beside the entries of dvc.lock; and the seal.

Whoever can edit a file, dvc.lock and manifest.json together passes every check inside the repository. The seal, one
digest over the whole manifest, is the check outside: it is kept where the study's files cannot be edited, in a paper
or a signed tag.
"""

import hashlib
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ptychodose.errors import StudyError
from ptychodose.formats.untrusted import is_sha256
from ptychodose.integrity import lock
from ptychodose.integrity.places import Wanted, digests
from ptychodose.study import manifest
from ptychodose.study.params import load_yaml

OK, MISSING, MISMATCH, UNLISTED = "OK", "missing", "mismatch", "unlisted"
STALE = "stale"  # not what a stage ran with
UNREADABLE = "unreadable"


@dataclass(frozen=True)
class Finding:
    """One checked thing: POSIX path, one of the words above, and what was compared."""

    path: str
    kind: str
    detail: str


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
    files: dict[str, lock.Out]
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

    def objects(self) -> dict[str, tuple[str, Wanted | None]]:
        """Every object that dvc.lock names and DVC keeps: MD5 -> a path it belongs to, and what it must be (None when
        manifest.json does not list that path)."""
        found: dict[str, tuple[str, Wanted | None]] = {
            folder.out.md5: (folder.out.path, folder_wanted(folder.out.md5)) for folder in self.folders
        }
        for item in self.files.values():
            if item.kept and found.get(item.md5, ("", None))[1] is None:
                found[item.md5] = (item.path, self.wanted(item.path))
        return found


def folder_wanted(md5: str) -> Wanted:
    """What a folder's listing must be: manifest.json does not know it."""
    return Wanted(None, md5.removesuffix(".dir"))


def rows(document: dict[str, Any]) -> list[Row]:
    """The rows of a joined manifest that `manifest.read` has checked."""
    return [
        Row(stage, row["path"], row["bytes"], row["sha256"], row["content_sha256"])
        for stage, entries in document["stages"].items()
        for row in entries
    ]


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
            inside = (folder.names or {}).items()
            files += [lock.Out(out.stage, f"{out.path}/{name}", md5) for name, md5 in inside]
        else:
            files.append(replace(out, kept=out.path not in uncached))
    paths = [row.path for row in listed]
    twice = sorted({path for path in paths if paths.count(path) > 1})
    return Record(by_path, {item.path: item for item in files}, folders, twice)


def _folder(out: lock.Out, by_path: dict[str, Row]) -> Folder:
    """A folder out with its names: from DVC's listing, else from a listing made again of intact files."""
    try:
        data, kind = lock.cache_path(out.md5).read_bytes(), MISMATCH
    except OSError:
        data, kind = b"", MISSING
    try:
        return Folder(out, "", lock.names(data, out.md5))
    except ValueError:
        return Folder(out, kind, rebuilt(out, by_path))


def rebuilt(out: lock.Out, by_path: dict[str, Row]) -> dict[str, str] | None:
    """MD5 by name in a folder whose listing is lost, or None. The MD5s are those of files in the workspace or the cache
    that equal manifest.json; they count only if their listing's own MD5 is the one dvc.lock names."""
    inside = {path: row for path, row in by_path.items() if path.startswith(f"{out.path}/")}
    sizes = {row.bytes for row in inside.values()}
    files = (path for path in (*map(Path, inside), *lock.objects()) if path.is_file() and path.stat().st_size in sizes)
    known = {found.sha256: found.md5 for found in map(digests, files) if found is not None}
    names = {path.removeprefix(f"{out.path}/"): known.get(row.sha256, "") for path, row in inside.items()}
    made = hashlib.md5(lock.written(names), usedforsecurity=False).hexdigest()
    return names if made == out.md5.removesuffix(".dir") else None


def seal() -> str:
    """SHA256, lower-case hex, of manifest.json as canonical JSON (sorted keys, no spaces): the same however the file is
    laid out, another after any edit of any entry. Raises StudyError when there is no readable manifest."""
    text = json.dumps(manifest.read(manifest.JOINED), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def expected_seal(text: str) -> str:
    """A seal as typed, upper case allowed. Raises StudyError unless it is 64 hex digits."""
    digest = text.strip().lower()
    if not is_sha256(digest):
        raise StudyError(f"--expect {text[:80]!r}: not a seal; expected the 64 hex digits that `verify --seal` prints")
    return digest
