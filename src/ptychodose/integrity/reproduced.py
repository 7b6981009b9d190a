"""Which holds against another revision: bytes identical, content within tolerance, or different; and why."""

import hashlib
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ptychodose.errors import StudyError
from ptychodose.integrity import lock, record, revision, values
from ptychodose.integrity.record import Row
from ptychodose.study import manifest
from ptychodose.study.params import load_yaml

IDENTICAL, SAME, WITHIN, PICTURE, DIFFERENT = "identical", "same content", "within tolerance", "picture", "different"
PICTURES = {".png", ".svg", ".pdf"}  # not compared by value: they follow the data, and fonts and libraries besides


@dataclass(frozen=True)
class Verdict:
    """One file against its counterpart: POSIX path, one of the five words above, what was compared."""

    path: str
    verdict: str
    detail: str


@dataclass(frozen=True)
class Comparison:
    """The study in the current folder against a revision: its name and commit, a verdict per file, and causes."""

    revision: str
    commit: str
    files: list[Verdict]
    because: list[str]

    @property
    def holds(self) -> str:
        """What holds of all files together: the weakest word, pictures aside."""
        found = {file.verdict for file in self.files}
        if DIFFERENT in found:
            return "different"
        if WITHIN in found:
            return "content within tolerance"
        return "same content" if found & {SAME, PICTURE} else "bytes identical"

    def line(self) -> str:
        """All of it in one line."""
        counts = Counter(file.verdict for file in self.files)
        words = [f"{counts[word]} {word}" for word in (IDENTICAL, SAME, WITHIN, PICTURE, DIFFERENT) if counts[word]]
        tolerance = f" (tolerance {values.TOLERANCE:g} of each array's largest value)" if counts[WITHIN] else ""
        return f"against {self.revision}: {self.holds}: {', '.join(words)}{tolerance}"


def against(name: str) -> Comparison:
    """Compare manifest.json of the current folder with that of a commit, tag or branch. Files whose content digests
    differ are compared by value where old bytes are still in git or in DVC's cache and new ones in the workspace.

    Raises StudyError when git has no such commit or no manifest there, or when dvc.lock is not readable.
    """
    commit = revision.commit(name)
    if commit is None:
        raise StudyError(f"{name}: git knows no such commit; `git log --oneline` and `git tag` list them")
    old = _then(commit, manifest.JOINED, manifest.read)
    if old is None:
        raise StudyError(f"{name}: has no {manifest.JOINED} that this version can read; name a commit with results")
    new = manifest.read(manifest.JOINED)
    before = {row.path: row for row in record.rows(old)}
    after = {row.path: row for row in record.rows(new)}
    then, now = _then(commit, Path("dvc.lock"), load_yaml) or {}, load_yaml("dvc.lock")
    held = _held(then)
    files = [
        _verdict(path, before.get(path), after.get(path), commit, held.get(path)) for path in sorted(before | after)
    ]
    alike = all(file.verdict == IDENTICAL for file in files)
    return Comparison(name, commit, files, [] if alike else revision.causes(old, new, then, now))


def _then(commit: str, path: Path, read: Callable[[Path], dict[str, Any]]) -> dict[str, Any] | None:
    """A record as a commit has it, checked like the one of today; None when it is not there or not readable."""
    text = revision.content(commit, path)
    with TemporaryDirectory(prefix="ptychodose-") as folder, suppress(StudyError):
        copy = Path(folder) / path.name
        copy.write_bytes(text or b"")
        return read(copy)
    return None


def _held(document: dict[str, Any]) -> dict[str, Path]:
    """Cache objects of another dvc.lock by path, as far as the cache still has the folders' listings."""
    found: dict[str, Path] = {}
    with suppress(StudyError):
        for out in lock.outs(document):
            found[out.path] = lock.cache_path(out.md5)
            if out.md5.endswith(".dir"):
                with suppress(OSError, ValueError):
                    inside = lock.names(found[out.path].read_bytes(), out.md5)
                    found |= {f"{out.path}/{name}": lock.cache_path(md5) for name, md5 in inside.items()}
    return found


def _verdict(path: str, old: Row | None, new: Row | None, commit: str, held: Path | None) -> Verdict:
    if old is None or new is None:
        return Verdict(path, DIFFERENT, "new here" if old is None else "no longer here")
    if old.sha256 == new.sha256:
        return Verdict(path, IDENTICAL, "same SHA256")
    if old.content_sha256 == new.content_sha256 and _holds_its_content(path, new):
        return Verdict(path, SAME, "same SHA256 of the content, in other container bytes")
    if Path(path).suffix in PICTURES:
        return Verdict(path, PICTURE, "a picture: follows the data, not compared by value")
    if not values.comparable(path):
        return Verdict(path, DIFFERENT, "other content, of a kind not compared by value")
    before = (held and _intact(held, old)) or _checked(revision.content(commit, path), old)
    after = _intact(Path(path), new)
    if before is None:
        return Verdict(path, DIFFERENT, f"other content; git and the cache no longer have the bytes of {commit[:12]}")
    if after is None:
        return Verdict(path, DIFFERENT, "other content; the workspace file is not the recorded one")
    problem = values.disagreement(path, before, after)
    return Verdict(path, DIFFERENT, problem) if problem else Verdict(path, WITHIN, "all values agree within tolerance")


def _holds_its_content(path: str, row: Row) -> bool:
    """Whether the workspace file has the content digest that manifest.json claims: verify compares bytes alone."""
    with suppress(ValueError):
        return values.apart("content", path) == row.content_sha256
    return False


def _intact(path: Path, row: Row) -> bytes | None:
    """A file's bytes, provided they still are what its manifest says."""
    with suppress(OSError):
        return _checked(path.read_bytes(), row)
    return None


def _checked(data: bytes | None, row: Row) -> bytes | None:
    return data if data is not None and hashlib.sha256(data).hexdigest() == row.sha256 else None
