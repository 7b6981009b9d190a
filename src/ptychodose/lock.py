"""dvc.lock and DVC's cache, read as plain files: what DVC promises, without asking DVC."""

import configparser
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from ptychodose.errors import StudyError
from ptychodose.params import load_yaml


@dataclass(frozen=True)
class Locked:
    """One file DVC recorded: its stage, POSIX path, MD5; `cached` is None when DVC keeps no copy (cache: false),
    else the file of the cache."""

    stage: str
    path: str
    md5: str
    cached: Path | None


def md5_file(path: Path) -> str:
    """MD5 of a file's bytes, the digest DVC names cache objects by."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "md5").hexdigest()


def cache_folder() -> Path:
    """DVC's local cache of this repository: `cache.dir` of .dvc/config.local or .dvc/config, else .dvc/cache."""
    for name in ("config.local", "config"):
        parser = configparser.ConfigParser()
        parser.read(Path(".dvc") / name, encoding="utf-8")
        if parser.has_option("cache", "dir"):
            return (Path(".dvc") / Path(parser.get("cache", "dir")).expanduser()).resolve()
    return Path(".dvc/cache")


def cache_path(md5: str) -> Path:
    """Where DVC 3 keeps the object of an MD5 (of a folder: the MD5 ends in .dir)."""
    return cache_folder() / "files" / "md5" / md5[:2] / md5[2:]


def locked_files(uncached: set[str]) -> list[Locked]:
    """Every out of dvc.lock as files; folders are expanded through their listing in the cache.

    `uncached` names outs with `cache: false`. Raises StudyError when dvc.lock or a folder listing is unreadable.
    """
    found = []
    for stage, record in load_yaml("dvc.lock").get("stages", {}).items():
        for out in record.get("outs", []):
            path, md5 = str(out["path"]), str(out["md5"])
            if not md5.endswith(".dir"):
                found.append(Locked(stage, path, md5, None if path in uncached else cache_path(md5)))
                continue
            found += [Locked(stage, f"{path}/{name}", sub, cache_path(sub)) for name, sub in listing(path, md5)]
    return found


def listing(path: str, md5: str) -> list[tuple[str, str]]:
    """Names and MD5s of the files in a folder out, from DVC's listing of it. Raises StudyError when unusable."""
    source = cache_path(md5)
    try:
        data = source.read_bytes()
        if hashlib.md5(data, usedforsecurity=False).hexdigest() != md5.removesuffix(".dir"):
            raise ValueError("its MD5 does not match its name")
        return [(str(row["relpath"]), str(row["md5"])) for row in json.loads(data)]
    except (OSError, ValueError, KeyError, TypeError) as error:
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
