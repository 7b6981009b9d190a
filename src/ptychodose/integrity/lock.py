"""dvc.lock, DVC's listings of folders and DVC's cache, read as plain files: what DVC promises, without asking DVC."""

import configparser
import hashlib
import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ptychodose.errors import StudyError
from ptychodose.formats.untrusted import is_inside
from ptychodose.study.params import load_yaml

MD5 = re.compile(r"[0-9a-f]{32}")
OBJECT = re.compile(r"[0-9a-f]{32}(\.dir)?")  # an MD5, of a folder's listing with .dir


@dataclass(frozen=True)
class Out:
    """One out of dvc.lock, or one file of a folder out: stage, POSIX path, MD5 (of a folder: of its listing, ending in
    .dir), and whether DVC keeps a copy (not with cache: false)."""

    stage: str
    path: str
    md5: str
    kept: bool = True

    @property
    def cached(self) -> Path | None:
        """The file of the cache, whether it is there or not; None when DVC keeps none."""
        return cache_path(self.md5) if self.kept else None


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


def objects() -> list[Path]:
    """Every file of the cache, sorted, whatever its name."""
    return sorted(path for path in objects_folder().rglob("*") if path.is_file())


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


def uncached_outs() -> set[str]:
    """Paths of outs declared `cache: false` in dvc.yaml."""
    stages = load_yaml("dvc.yaml").get("stages", {}).values()
    declared = [out for stage in stages for kind in ("outs", "metrics", "plots") for out in stage.get(kind, [])]
    options = [item for out in declared if isinstance(out, dict) for item in out.items()]
    return {path for path, option in options if option and option.get("cache") is False}


def names(data: bytes, md5: str) -> dict[str, str]:
    """MD5 by name of the files in a folder, from DVC's listing of it. ValueError unless the bytes are the listing that
    `md5` names and all names stay inside the folder."""
    if hashlib.md5(data, usedforsecurity=False).hexdigest() != md5.removesuffix(".dir"):
        raise ValueError("its MD5 does not match its name")
    try:
        found = {str(row["relpath"]): str(row["md5"]) for row in json.loads(data)}
    except (KeyError, TypeError, RecursionError):
        raise ValueError("not a listing of names and MD5s") from None
    if not all(MD5.fullmatch(value) and is_inside(name) for name, value in found.items()):
        raise ValueError("a name or MD5 in it is not usable")
    return found


def written(found: dict[str, str]) -> bytes:
    """The bytes DVC 3 writes for a folder (dvc_data.hashfile.tree.Tree.as_bytes): sorted by name, default JSON."""
    return json.dumps([{"md5": found[name], "relpath": name} for name in sorted(found)], sort_keys=True).encode()
