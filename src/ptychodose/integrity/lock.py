"""dvc.lock, DVC's listings of folders and DVC's cache, read as plain files; of DVC itself is only asked where its cache
is and what dvc.yaml declares."""

import hashlib
import json
import os
import re
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from ptychodose.errors import CouldNotCheck, StudyError
from ptychodose.formats.untrusted import is_inside, one_line

MD5 = re.compile(r"[0-9a-f]{32}")
FILES = {"deps": "dependency", "outs": "output"}  # of a stage, in dvc.yaml and dvc.lock
READ = ("dvc.lock", ".dvcignore", "params.yaml")  # beside dvc.yaml
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


@dataclass(frozen=True)
class Declared:
    """A stage of dvc.yaml with its templates filled in: command (after `cd` where it has a `wdir`), dotted names of
    params.yaml, dependencies, outs, and those of them that DVC keeps no copy of (`cache: false`)."""

    command: str
    params: list[str]
    deps: list[str]
    outs: list[str]
    uncached: list[str]


@dataclass(frozen=True)
class Repository:
    """What DVC says of the study: the folder of its cache's objects, its stages by name, and the .dvc file of whatever
    `dvc add` keeps."""

    objects: Path
    stages: dict[str, Declared]
    added: dict[str, str]


def repository() -> Repository:
    """DVC's own word on its configuration, of every level, and on dvc.yaml, in the current folder. StudyError for a
    dvc.yaml it cannot read; CouldNotCheck when it cannot say where its cache is."""
    return _asked(os.getcwd())


@cache
def _asked(folder: str) -> Repository:
    from dvc.repo import Repo  # type: ignore[import-untyped]  # half a second

    try:
        with Repo(folder) as repo:
            objects = Path(repo.cache.local.path)
            with suppress(OSError):
                os.stat(objects)  # ValueError for what is no path
            try:
                stages = repo.index.stages
                found = {stage.name: _declared(stage, folder) for stage in stages if getattr(stage, "name", None)}
                files = [(stage.path_in_repo, out) for stage in stages if stage.is_data_source for out in stage.outs]
                added = {os.path.relpath(out.fs_path, folder): path for path, out in files}
            except Exception as error:  # of DVC, of YAML, of what is odd in an odd file
                text = " ".join(str(error).split())
                name = next((file for file in READ if file in text), "dvc.yaml")
                raise StudyError(
                    f"{name}: DVC cannot read it ({one_line(text)}); `git restore {name}`, or mend it"
                ) from None
    except StudyError:
        raise
    except Exception as error:
        text = one_line(" ".join(str(error).split()) or type(error).__name__)
        raise CouldNotCheck(f".dvc: DVC cannot open this repository ({text}); see `dvc config --list`") from None
    return Repository(objects.relative_to(folder) if objects.is_relative_to(folder) else objects, found, added)


def _declared(stage: Any, folder: str) -> Declared:
    """Of one of DVC's stages."""
    where = os.path.relpath(stage.wdir, folder)
    command = str(stage.cmd) if where == "." else f"cd {where} && {stage.cmd}"
    params = [name for dep in stage.deps for name in getattr(dep, "params", [])]
    deps = [dep.def_path for dep in stage.deps if not getattr(dep, "params", [])]
    outs = {out.def_path: out.use_cache for out in stage.outs}
    return Declared(command, params, deps, list(outs), [path for path, kept in outs.items() if not kept])


def cache_path(md5: str) -> Path:
    """Where DVC 3 keeps the object of an MD5 (of a folder: the MD5 ends in .dir)."""
    return repository().objects / md5[:2] / md5[2:]


def objects() -> list[Path]:
    """Everything in the cache but folders, sorted, whatever its name."""
    return sorted(path for path in repository().objects.rglob("*") if path.is_symlink() or not path.is_dir())


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


def ran(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """How every stage of a dvc.lock ran: `command`, `parameters` by dotted name, `deps` and `outs` (MD5 by path).
    StudyError as `outs`."""
    found = {}
    try:
        for stage, record in document.get("stages", {}).items():
            params = [item for file in (record.get("params") or {}).values() for item in file.items()]
            files = {key: {str(row["path"]): str(row["md5"]) for row in record.get(key) or []} for key in FILES}
            found[str(stage)] = {"command": record.get("cmd"), "parameters": dict(params), **files}
    except (AttributeError, KeyError, TypeError, ValueError):
        raise StudyError("dvc.lock: damaged; restore it with `git restore dvc.lock`") from None
    return found


def uncached_outs() -> set[str]:
    """Paths of outs declared `cache: false` in dvc.yaml."""
    return {path for stage in repository().stages.values() for path in stage.uncached}


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
