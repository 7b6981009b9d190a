"""Writing without half-written files: everything is written aside, flushed to disk and renamed."""

import fnmatch
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ptychodose.formats.untrusted import regular


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success fsync and rename it, on failure remove it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        is_folder = temporary.is_dir()
        for file in [*temporary.rglob("*"), temporary] if is_folder else [temporary]:
            _sync(file)
        if is_folder and path.exists():
            shutil.rmtree(path)
        os.replace(temporary, path)
        _sync(path.parent)
    finally:
        _remove(temporary)


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yield an empty temporary folder beside `path`; on success it replaces `path`, on failure it is removed."""
    with atomic_path(path) as temporary:
        temporary.mkdir()
        yield temporary


def remove_stale(folder: Path, deep: bool = True) -> None:
    """Remove what killed writers of `atomic_path` and `atomic_folder` left in `folder` and, if `deep`, below it.

    Living writers are spared; that they rename their work meanwhile does no harm.
    """
    for base, folders, names in os.walk(folder):  # passes over what vanishes
        for name in fnmatch.filter([*folders, *names], ".*.tmp"):
            number = name.split(".")[-2]
            if number.isdigit() and not _alive(int(number)):
                _remove(Path(base, name))
        if not deep:
            break


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return pid != os.getpid()


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_json(path: Path, document: Any) -> None:
    """Write JSON with sorted keys, one line per entry and a final newline. ValueError for NaN or infinity."""
    text = json.dumps(document, sort_keys=True, indent=1, allow_nan=False) + "\n"
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def sha256_file(path: Path) -> str:
    """SHA256 of a file's bytes, 64 lower-case hex digits, read in blocks. OSError for what is no regular file."""
    with open(regular(path), "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
