"""Does everything on disk still equal what the study recorded? Reads bytes, never DVC's state database."""

import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ptychodose import lock, manifest
from ptychodose.files import sha256_file

OK, MISSING, MISMATCH, UNLISTED = "OK", "missing", "mismatch", "unlisted"


@dataclass(frozen=True)
class Finding:
    """One checked thing: POSIX path, OK / missing / mismatch / unlisted, and what was compared."""

    path: str
    kind: str
    detail: str


def verify() -> list[Finding]:
    """Check manifest.json <-> dvc.lock <-> stage manifests <-> workspace <-> cache in the current folder.

    Returns a finding per file (several when several checks fail). Raises StudyError when manifest.json or dvc.lock
    cannot be read at all.
    """
    listed = _listed(manifest.read(manifest.JOINED))
    uncached = lock.uncached_outs()
    locked = {item.path: item for item in lock.locked_files(uncached)}
    findings = []
    for path, (stage, row) in sorted(listed.items()):
        problems = _workspace(path, row) + _against_lock(path, stage, locked.get(path), row)
        findings += problems or [Finding(path, OK, "bytes, dvc.lock and cache agree with manifest.json")]
    own = manifest.JOINED.as_posix()
    for path in sorted(set(locked) - set(listed) - {own}):
        findings.append(Finding(path, UNLISTED, "recorded in dvc.lock, absent from manifest.json"))
    findings += _joined_itself(locked.get(own))
    findings += _stage_manifests(listed)
    findings += _strays(listed)
    return findings


def _listed(document: dict[str, Any]) -> dict[str, tuple[str, dict[str, Any]]]:
    """Path -> (stage, entry) of the joined manifest."""
    return {row["path"]: (stage, row) for stage, rows in document["stages"].items() for row in rows}


def _workspace(path: str, row: dict[str, Any]) -> list[Finding]:
    file = Path(path)
    if not file.is_file():
        return [Finding(path, MISSING, "listed in manifest.json, not in the workspace")]
    if file.stat().st_size != row["bytes"] or sha256_file(file) != row["sha256"]:
        return [Finding(path, MISMATCH, "workspace bytes differ from manifest.json")]
    return []


def _against_lock(path: str, stage: str, item: lock.Locked | None, row: dict[str, Any]) -> list[Finding]:
    """The manifest's entry against dvc.lock and the cache object behind it."""
    if item is None:
        return [Finding(path, MISMATCH, "listed in manifest.json, absent from dvc.lock")]
    findings = []
    if item.stage != stage:
        findings.append(Finding(path, MISMATCH, f"stage {stage} in manifest.json, {item.stage} in dvc.lock"))
    if Path(path).is_file() and lock.md5_file(Path(path)) != item.md5:
        findings.append(Finding(path, MISMATCH, "workspace bytes differ from dvc.lock"))
    if item.cached is not None:
        if not item.cached.is_file():
            findings.append(Finding(path, MISSING, f"no cache object {item.md5}"))
        elif sha256_file(item.cached) != row["sha256"]:
            findings.append(Finding(path, MISMATCH, f"cache object {item.md5} is damaged"))
    return findings


def _joined_itself(item: lock.Locked | None) -> list[Finding]:
    path = manifest.JOINED.as_posix()
    if item is None:
        return [Finding(path, MISMATCH, "absent from dvc.lock")]
    if lock.md5_file(manifest.JOINED) != item.md5:
        return [Finding(path, MISMATCH, "bytes differ from dvc.lock")]
    return [Finding(path, OK, "bytes agree with dvc.lock")]


def _stage_manifests(listed: dict[str, tuple[str, dict[str, Any]]]) -> list[Finding]:
    """Every stage's own record must say the same of its outputs as the joined manifest."""
    findings = []
    for path in sorted(p for p in listed if Path(p).parent == manifest.FOLDER and Path(p).is_file()):
        for row in manifest.read(Path(path))["outputs"]:
            if listed.get(row["path"], ("", None))[1] != row:
                findings.append(Finding(row["path"], MISMATCH, f"{path} and manifest.json disagree"))
    return findings


def _strays(listed: dict[str, tuple[str, dict[str, Any]]]) -> list[Finding]:
    """Files in the stages' out folders that neither manifest.json nor git knows."""
    folders = {Path(path).parent for path in listed}
    present = {f.as_posix() for folder in folders if folder.is_dir() for f in folder.rglob("*") if f.is_file()}
    tracked = subprocess.run(["git", "ls-files", "-z"], capture_output=True, text=True, check=False).stdout.split("\0")
    strays = sorted(present - set(listed) - set(tracked))
    return [Finding(path, UNLISTED, "in an out folder, unknown to manifest.json and git") for path in strays]


def sha256sums() -> str:
    """The manifest in the format `sha256sum -c` reads."""
    listed = _listed(manifest.read(manifest.JOINED))
    return "".join(f"{row['sha256']}  {path}\n" for path, (_, row) in sorted(listed.items()))
