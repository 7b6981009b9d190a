"""Did every stage run as this checkout has it? Command, parameters, code and inputs, as the stage recorded them in its
manifest and DVC in dvc.lock, against dvc.yaml, params.yaml and the files."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ptychodose.errors import StudyError
from ptychodose.integrity import lock
from ptychodose.integrity.places import Digests, digests
from ptychodose.integrity.record import STALE, Finding, Record
from ptychodose.study import definition, manifest
from ptychodose.study.params import load_yaml

Known = dict[str, Digests | None]  # of files that several stages depend on


def check(study: Record) -> list[Finding]:
    """A finding per thing that a stage did not run with, naming both values and who recorded the other one. StudyError
    when dvc.yaml, dvc.lock or params.yaml cannot be read at all."""
    locked, values, known = lock.ran(load_yaml("dvc.lock")), load_yaml(definition.PARAMS), Known()
    findings = []
    for stage, declared in lock.repository().stages.items():
        if stage not in locked:
            findings.append(Finding("dvc.lock", STALE, f"stage {stage} of dvc.yaml has not run"))
            continue
        findings += _as_defined(stage, declared, values, "dvc.lock", locked[stage])
        findings += _dependencies(stage, locked[stage]["deps"], study, known)
        for path, own in _recorded(stage, study):
            findings += _as_defined(stage, declared, values, path, own)
            findings += _files(stage, own, path, study, known)
    return findings


def _recorded(stage: str, study: Record) -> Iterator[tuple[str, dict[str, Any]]]:
    """How a stage ran by its own record and that record's path; nothing when verify says already that it is damaged."""
    path = (manifest.FOLDER / f"{stage}.json").as_posix()
    try:
        if path in study.rows:
            yield path, manifest.read(Path(path))
        own = manifest.read(manifest.JOINED).get("own") or {}
        if own.get("stage") == stage:
            yield manifest.JOINED.as_posix(), own
    except StudyError:
        return


def _as_defined(
    stage: str, declared: lock.Declared, values: dict[str, Any], source: str, ran: dict[str, Any]
) -> Iterator[Finding]:
    """Command and parameters that dvc.yaml and params.yaml have otherwise than a record of the stage."""
    if ran["command"] != declared.command:
        yield _differs("dvc.yaml", f"command of {stage}", declared.command, ran["command"], source)
    for name in sorted({*declared.params, *ran["parameters"]}):
        now, then = definition.value_of(values, name), ran["parameters"].get(name)
        if name not in declared.params or now != then:
            yield _differs("params.yaml", f"{name}, of stage {stage},", now, then, source)


def _differs(path: str, what: str, now: object, then: object, source: str) -> Finding:
    """Both values, without what nested ones have in common."""
    if isinstance(now, dict) and isinstance(then, dict):
        keys = [key for key in {**now, **then} if now.get(key, ...) != then.get(key, ...)]
        now, then = ({key: value[key] for key in keys if key in value} for value in (now, then))
    return Finding(path, STALE, f"{what} is {now!r} here and {then!r} in {source}")


def _files(stage: str, own: dict[str, Any], source: str, study: Record, known: Known) -> Iterator[Finding]:
    """Code and inputs that are no longer what the stage read; outs of stages by what manifest.json has."""
    inputs = {row["path"]: row["sha256"] for row in own.get("inputs", [])}
    for path, then in sorted({**own["code"], **inputs}.items()):
        if path in study.rows:
            now: str | None = study.rows[path].sha256
        else:
            found = _digests(path, known)
            now = None if found is None else found.sha256
        if now is None:
            yield Finding(path, STALE, f"is gone, and stage {stage} read it, says {source}")
        elif now != then:
            yield Finding(path, STALE, f"is {now[:12]}, and stage {stage} read {then[:12]}, says {source}")


def _dependencies(stage: str, deps: dict[str, str], study: Record, known: Known) -> Iterator[Finding]:
    """Dependencies that dvc.lock has with another MD5 than their files; outs of stages are verify's own business."""
    outs = {out.path for out in study.files.values()} | {folder.out.path for folder in study.folders}
    for path, then in deps.items():
        if path in outs or any(out.startswith(f"{path}/") for out in outs):
            continue
        now = _md5(path, known)
        if now is None:
            yield Finding(path, STALE, f"is gone, and stage {stage} depends on it, says dvc.lock")
        elif now != then:
            yield Finding(path, STALE, f"is MD5 {now[:12]}, and {then[:12]} of stage {stage} in dvc.lock")


def _md5(path: str, known: Known) -> str | None:
    """MD5 of a file, or of the listing DVC makes of a folder (then it ends in .dir); None when nothing is there."""
    if not Path(path).is_dir():
        found = _digests(path, known)
        return None if found is None else found.md5
    inside = {file.relative_to(path).as_posix(): file for file in definition.files_of(Path(path))}
    names = {name: found.md5 for name, file in inside.items() if (found := _digests(file.as_posix(), known))}
    return hashlib.md5(lock.written(names), usedforsecurity=False).hexdigest() + ".dir"


def _digests(path: str, known: Known) -> Digests | None:
    if path not in known:
        known[path] = digests(Path(path))
    return known[path]
