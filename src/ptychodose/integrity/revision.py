"""What git holds of a revision (optional here: None means git cannot tell), and why results differ from it, as far as
both recorded it: environments, parameters, code and data."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ptychodose.formats.untrusted import one_line
from ptychodose.study import manifest
from ptychodose.study.params import flat

LABEL = ", the same version: its build is no longer recorded; commit the new results to move on"
UNRECORDED = "nothing recorded differs: a machine, library or file that neither manifest.json nor dvc.lock knows"


# What would send git to another repository than the one that the current folder lies in.
ELSEWHERE = {"GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_COMMON_DIR", "GIT_OBJECT_DIRECTORY", "GIT_NAMESPACE"}


def _asked(*arguments: str) -> subprocess.CompletedProcess[bytes]:
    here = {name: value for name, value in os.environ.items() if name not in ELSEWHERE} | {"LC_ALL": "C"}
    return subprocess.run(["git", *arguments], capture_output=True, check=False, stdin=subprocess.DEVNULL, env=here)


def _git(*arguments: str) -> bytes | None:
    """Standard output of a git command in the current folder; None when it fails or git is not installed."""
    try:
        done = _asked(*arguments)
    except OSError:
        return None
    return done.stdout if done.returncode == 0 else None


def silence() -> str:
    """Why git says nothing of the current folder; "" when it does."""
    try:
        done = _asked("rev-parse", "--is-inside-work-tree")
    except OSError as error:
        return f"git cannot be run ({error.strerror})"
    lines = done.stderr.decode(errors="replace").splitlines() or ["fatal: this is no working copy"]
    return "" if done.stdout.strip() == b"true" else f"git does not answer ({one_line(lines[0])})"


def commit(name: str) -> str | None:
    """The commit a tag, branch or abbreviated hash means; None when git knows no such commit."""
    # --end-of-options: a name that starts with a dash is a name, never an option.
    found = _git("rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}")
    return None if found is None else found.decode().strip()


def content(revision: str, path: Path | str) -> bytes | None:
    """A file's bytes at a revision, `path` relative to the current folder; None when it is not there."""
    return _git("show", f"{revision}:./{Path(path).as_posix()}")


def differs(path: Path | str, revision: str = "HEAD") -> bool | None:
    """Whether a file's bytes differ from a revision's, a deleted file included; None when the revision has no such
    file."""
    held = content(revision, path)
    if held is None:
        return None
    return not Path(path).is_file() or Path(path).read_bytes() != held


def tracked() -> set[str] | None:
    """POSIX paths of the files git tracks below the current folder; None outside a repository."""
    listed = _git("ls-files", "-z")
    return None if listed is None else set(filter(None, listed.decode("utf-8", "surrogateescape").split("\0")))


def causes(old: dict[str, Any], new: dict[str, Any], then: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """One line per cause, from two joined manifests and two dvc.locks (empty mappings when there is none)."""
    lines = _environments(flat(old.get("environments")), flat(new.get("environments")))
    lines += [f"parameter: {name} {change}" for name, change in _changes(_parameters(then), _parameters(now))]
    before, after = _dependencies(then), _dependencies(now)
    for name, _ in _changes(before, after):
        word = "changed" if name in before and name in after else "new" if name in after else "no longer read"
        lines.append(f"code or data: {name} {word}")
    return lines or [UNRECORDED]


def _environments(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """Library versions, threads and instruction set by stage.key; a change of several stages is told once."""
    if bool(before) != bool(after):
        return [f"environment: recorded {'before' if before else 'now'} only"]
    stages: dict[str, list[str]] = {}
    for name, change in _changes(before, after):
        stage, _, key = name.partition(".")
        pair = before.get(name, 0), after.get(name, 0)
        change += LABEL * (pair[0] != pair[1] and len({manifest.public(str(value)) for value in pair}) == 1)
        stages.setdefault(f"{key} {change}", []).append(stage)
    return [f"environment: {change} ({', '.join(names)})" for change, names in stages.items()]


def _changes(before: dict[str, Any], after: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Names whose values differ, sorted, and `old -> new` as params.yaml writes them."""
    for name in sorted(before | after):
        pair = before.get(name, "nothing"), after.get(name, "nothing")
        if pair[0] != pair[1]:
            yield name, " -> ".join("null" if value is None else str(value) for value in pair)


def _stages(lock: dict[str, Any]) -> list[dict[str, Any]]:
    stages = lock.get("stages")
    return [record for record in stages.values() if isinstance(record, dict)] if isinstance(stages, dict) else []


def _parameters(lock: dict[str, Any]) -> dict[str, Any]:
    sections = [section for record in _stages(lock) for section in (record.get("params") or {}).values()]
    return {name: value for section in sections for name, value in flat(section).items()}


def _dependencies(lock: dict[str, Any]) -> dict[str, Any]:
    """MD5s by path of code and data that stages read and no stage wrote, neither in part nor in whole."""
    outs = {out.get("path") for record in _stages(lock) for out in record.get("outs") or []}
    deps = {dep.get("path"): dep.get("md5") for record in _stages(lock) for dep in record.get("deps") or []}
    made = {dep for dep in deps for out in outs if f"{dep}/".startswith(f"{out}/") or f"{out}/".startswith(f"{dep}/")}
    return {path: md5 for path, md5 in deps.items() if path not in made}
