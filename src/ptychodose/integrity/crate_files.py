"""What a crate may describe: the runs of dvc.lock and the files behind them, each checked against its record."""

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ptychodose.errors import StudyError
from ptychodose.formats.untrusted import is_inside
from ptychodose.integrity import copies, listings, record
from ptychodose.study import manifest
from ptychodose.study.params import load_yaml

BESIDE = (
    "CITATION.cff",
    "LICENSE",
    "README.md",
    "dvc.lock",
    "dvc.yaml",
    "params.yaml",
    "pyproject.toml",
    "requirements.lock",
)  # no stage makes these, git keeps them
SCRIPT = re.compile(r"\bsrc/\w+\.py\b")


@dataclass(frozen=True)
class Described:
    """Size and SHA256 of a file that was read."""

    size: int
    sha256: str


@dataclass(frozen=True)
class Run:
    """One stage as dvc.lock has it: its command, the script in it, files used and made, parameters by dotted key."""

    stage: str
    command: str
    script: str
    uses: list[str]
    makes: list[str]
    parameters: dict[str, Any]


def read() -> tuple[list[Run], dict[str, Described]]:
    """Runs in the order of dvc.lock, and every file by path, sorted.

    Raises StudyError naming the first file that is missing, differs from manifest.json, or, being none of its, from
    dvc.lock.
    """
    rows = {row.path: row for row in record.rows(manifest.read(manifest.JOINED))}
    files = {path: _digests(path) for path in BESIDE}
    for path, row in rows.items():
        check(path, Described(row.bytes, row.sha256), Path(path))
        files[path] = copies.Digests(row.sha256, "", row.bytes)
    try:
        runs = [_run(stage, entry, rows, files) for stage, entry in load_yaml("dvc.lock")["stages"].items()]
    except (AttributeError, KeyError, TypeError):
        raise StudyError("dvc.lock: damaged; restore it with `git restore dvc.lock`") from None
    return runs, {path: Described(files[path].size, files[path].sha256) for path in sorted(files)}


def _run(stage: str, entry: dict[str, Any], rows: dict[str, record.Row], files: dict[str, copies.Digests]) -> Run:
    """One stage of dvc.lock; its files that are new to `files` are read, checked and added."""
    named: dict[str, list[str]] = {"deps": [], "outs": []}
    for kind, found in named.items():
        for item in entry[kind]:
            names = _expand(item["path"], rows)
            files |= {name: _digests(name) for name in names if name not in files}
            if any(name not in rows for name in names):
                _check_md5(stage, item, {name: files[name].md5 for name in names})
            found += names
    return Run(stage, entry["cmd"], _script(stage, entry["cmd"]), named["deps"], named["outs"], _flat(entry))


def check(path: str, wanted: Described, file: Path) -> None:
    """Raise StudyError unless `file` has the size and SHA256 that manifest.json gives to `path`."""
    found = copies.digests(file)
    if found is None:
        raise StudyError(f"{path}: missing; run `dvc checkout` or `dvc pull`")
    if (found.size, found.sha256) != (wanted.size, wanted.sha256):
        raise StudyError(f"{path}: differs from manifest.json; `python src/study.py verify` says what to do")


def _digests(path: str) -> copies.Digests:
    found = copies.digests(Path(path))
    if found is None or found.problem:
        raise StudyError(f"{path}: {'missing' if found is None else found.problem}; restore it with git or `dvc pull`")
    return found


def _expand(path: str, rows: dict[str, record.Row]) -> list[str]:
    """The files of a dependency or out: itself, or what manifest.json, else the disk, has in the folder."""
    if not is_inside(path):
        raise StudyError(f"{path}: not a path inside the study, so a crate cannot hold it; copy it to data/base")
    listed = sorted(name for name in rows if name == path or name.startswith(f"{path}/"))
    if listed or not Path(path).is_dir():
        return listed or [path]
    return sorted(file.as_posix() for file in Path(path).rglob("*") if file.is_file())


def _check_md5(stage: str, item: dict[str, Any], found: dict[str, str]) -> None:
    """Files that manifest.json does not have must be those dvc.lock saw."""
    path, md5 = str(item["path"]), str(item["md5"])
    actual = found.get(path, "")
    if md5.endswith(".dir"):
        names = {name.removeprefix(f"{path}/"): value for name, value in found.items()}
        actual = hashlib.md5(listings.written(names), usedforsecurity=False).hexdigest() + ".dir"
    if actual != md5:
        raise StudyError(f"{path}: differs from what stage {stage} recorded in dvc.lock; run `dvc repro`")


def _script(stage: str, command: str) -> str:
    found = SCRIPT.search(command)
    if found is None:
        raise StudyError(f"dvc.lock: the command of stage {stage} names no script of src/")
    return found.group()


def _flat(entry: dict[str, Any]) -> dict[str, Any]:
    """The stage's parameters by dotted key; params.yaml is the only parameter file."""
    flat: dict[str, Any] = {}
    left = list(entry.get("params", {}).get("params.yaml", {}).items())
    while left:
        key, value = left.pop(0)
        if isinstance(value, dict):
            left += [(f"{key}.{name}", inside) for name, inside in value.items()]
        else:
            flat[key] = value
    return dict(sorted(flat.items()))
