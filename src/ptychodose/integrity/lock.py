"""dvc.lock and DVC's cache, read as plain files: what DVC promises, without asking DVC."""

import configparser
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ptychodose.errors import StudyError
from ptychodose.formats.untrusted import is_inside
from ptychodose.integrity import listings
from ptychodose.study.params import load_yaml

OBJECT = re.compile(r"[0-9a-f]{32}(\.dir)?")  # an MD5, of a folder's listing with .dir


@dataclass(frozen=True)
class Out:
    """One out as dvc.lock has it: stage, POSIX path, MD5 (of a folder: of its listing, ending in .dir)."""

    stage: str
    path: str
    md5: str


@dataclass(frozen=True)
class Locked:
    """One file DVC recorded: its stage, POSIX path, MD5; `cached` is None when DVC keeps no copy (cache: false),
    else the file of the cache."""

    stage: str
    path: str
    md5: str
    cached: Path | None


def cache_folder() -> Path:
    """DVC's cache of this repository: `cache.dir` of the first that sets it of .dvc/config.local, .dvc/config and the
    user's configuration, relative to that file; else .dvc/cache. StudyError when one is not readable."""
    user = os.environ.get("DVC_GLOBAL_CONFIG_DIR") or Path(os.environ.get("XDG_CONFIG_HOME") or "~/.config") / "dvc"
    for path in (Path(".dvc/config.local"), Path(".dvc/config"), Path(user).expanduser() / "config"):
        parser = configparser.ConfigParser(interpolation=None, strict=False)
        try:
            parser.read(path, encoding="utf-8")
        except (configparser.Error, UnicodeDecodeError):
            raise StudyError(f"{path}: not readable as DVC's configuration; correct or restore it") from None
        if parser.has_option("cache", "dir"):
            return (path.parent / Path(parser.get("cache", "dir").strip("\"'")).expanduser()).resolve()
    return Path(".dvc/cache")


def objects_folder() -> Path:
    """Where DVC 3 keeps the objects of its cache."""
    return cache_folder() / "files" / "md5"


def cache_path(md5: str) -> Path:
    """Where DVC 3 keeps the object of an MD5 (of a folder: the MD5 ends in .dir)."""
    return objects_folder() / md5[:2] / md5[2:]


def objects() -> Iterator[Path]:
    """Every file of the cache, sorted, whatever its name."""
    folder = objects_folder()
    yield from sorted(path for path in (folder.rglob("*") if folder.is_dir() else ()) if path.is_file())


def outs(document: dict[str, Any]) -> list[Out]:
    """The outs of a dvc.lock. Raises StudyError for entries that are not relative paths with an MD5."""
    found = []
    try:
        for stage, record in document.get("stages", {}).items():
            found += [Out(str(stage), str(out["path"]), str(out["md5"])) for out in record.get("outs") or []]
    except (AttributeError, KeyError, TypeError):
        raise StudyError("dvc.lock: damaged; restore it with `git restore dvc.lock`") from None
    for out in found:
        if not OBJECT.fullmatch(out.md5) or not is_inside(out.path):
            raise StudyError(f"dvc.lock: {out.path}: unusable path or MD5; restore it with `git restore dvc.lock`")
    return found


def files_of(out: Out, uncached: set[str], names: dict[str, str] | None = None) -> list[Locked]:
    """An out as files; `names` is a folder's listing, `uncached` names outs with `cache: false`."""
    if names is None:
        return [Locked(out.stage, out.path, out.md5, None if out.path in uncached else cache_path(out.md5))]
    return [Locked(out.stage, f"{out.path}/{name}", md5, cache_path(md5)) for name, md5 in sorted(names.items())]


def listing(path: str, md5: str) -> list[tuple[str, str]]:
    """Names and MD5s of the files in a folder out, from DVC's listing of it. Raises StudyError when unusable."""
    try:
        return list(listings.parse(cache_path(md5).read_bytes(), md5).items())
    except (OSError, ValueError) as error:
        raise StudyError(
            f"{path}: DVC's listing of this folder is not usable ({str(error)[:80]}); run `dvc pull` or `dvc repro -f`"
        ) from None


def uncached_outs() -> set[str]:
    """Paths of outs declared `cache: false` in dvc.yaml."""
    found = set()
    for stage in load_yaml("dvc.yaml").get("stages", {}).values():
        for kind in ("outs", "metrics", "plots"):
            for out in stage.get(kind, []):
                if isinstance(out, dict):
                    found |= {path for path, options in out.items() if options and options.get("cache") is False}
    return found
