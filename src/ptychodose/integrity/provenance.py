"""Did every stage run as this checkout has it? Command, parameters, code and inputs, as the stage recorded them in its
manifest and DVC in dvc.lock, against dvc.yaml, params.yaml and the files."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ptychodose.errors import StudyError
from ptychodose.formats.untrusted import quoted
from ptychodose.integrity import lock
from ptychodose.integrity.places import Digests, digests
from ptychodose.integrity.record import STALE, Finding, Record
from ptychodose.study import definition, manifest
from ptychodose.study.params import load_yaml

Known = dict[str, Digests | None]  # of files that several stages depend on
Difference = tuple[str, str]  # a path, and what was found, up to the names of stages
LOCK, MANIFEST = "in dvc.lock, of", "in the manifest of"


def check(study: Record) -> list[Finding]:
    """A finding per thing that stages did not run with, naming both values, the stages, and who recorded the other one.
    StudyError when dvc.yaml, dvc.lock or params.yaml cannot be read at all."""
    locked, values, known = lock.ran(load_yaml("dvc.lock")), load_yaml(definition.PARAMS), Known()
    stages: dict[Difference, list[str]] = {}
    graph = lock.repository().stages
    for stage in {**graph, **locked}:
        found = [("dvc.lock", "stages of dvc.yaml have not run:")]
        if stage not in graph:
            found = [("dvc.yaml", "stages of dvc.lock are no longer there:")]
        elif stage in locked:
            ran, declared = locked[stage], graph[stage]
            found = [*_as_defined(declared, values, LOCK, ran), *_graph(declared, ran)]
            found += _dependencies(ran, study, known)
            for own in _recorded(stage, study):
                found += [*_as_defined(declared, values, MANIFEST, own), *_undeclared(declared, own)]
                found += _files(own, study, known)
        for difference in dict.fromkeys(found):
            stages.setdefault(difference, []).append(stage)
    return [Finding(path, STALE, f"{text} {', '.join(names)}") for (path, text), names in stages.items()]


def _recorded(stage: str, study: Record) -> Iterator[dict[str, Any]]:
    """How a stage ran by its own record; nothing when there is none, or verify says already that it is damaged."""
    path = manifest.FOLDER / f"{stage}.json"
    try:
        if path.as_posix() in study.rows:
            yield manifest.read(path)
        own = manifest.read(manifest.JOINED).get("own") or {}
        if own.get("stage") == stage:
            yield own
    except StudyError:
        return


def _as_defined(
    declared: lock.Declared, values: dict[str, Any], source: str, ran: dict[str, Any]
) -> Iterator[Difference]:
    """Command and parameters that dvc.yaml and params.yaml have otherwise than a record of the stage."""
    if ran["command"] != declared.command:
        now, then = (str(words).split() for words in (declared.command, ran["command"]))
        new, old = (" ".join(w for w in one if w not in other) for one, other in ((now, then), (then, now)))
        yield "dvc.yaml", _both("the command", new, old, source)
    for name in sorted({*declared.params, *ran["parameters"]}):
        value, recorded = definition.value_of(values, name), ran["parameters"].get(name)
        if name not in declared.params or value != recorded:
            yield "params.yaml", _both(name, value, recorded, source)


def _graph(declared: lock.Declared, ran: dict[str, Any]) -> Iterator[Difference]:
    """Dependencies and outputs that only one of dvc.yaml and dvc.lock has."""
    for key, word in lock.FILES.items():
        here = getattr(declared, key)
        for path in sorted(set(here) ^ set(ran[key])):
            one, other = ("declared", "not") if path in here else ("not declared", "is")
            yield "dvc.yaml", f"{word} {quoted(path)} is {one} here and {other} {LOCK}"


def _undeclared(declared: lock.Declared, own: dict[str, Any]) -> Iterator[Difference]:
    """Folders of code that a stage has read by its own record and that are no dependency any more."""
    for path in own["code"]:
        if not any(f"{path}/".startswith(f"{dep}/") for dep in declared.deps):
            folder = Path(path).parent.as_posix()
            yield "dvc.yaml", f"code of {quoted(folder)} is not declared here and was read {MANIFEST}"


def _both(what: str, now: object, then: object, source: str) -> str:
    """Both values, without what nested ones have in common."""
    if isinstance(now, dict) and isinstance(then, dict):
        keys = [key for key in {**now, **then} if now.get(key, ...) != then.get(key, ...)]
        now, then = ({key: value[key] for key in keys if key in value} for value in (now, then))
    return f"{what} is {quoted(now, 200)} here and {quoted(then, 200)} {source}"


def _files(own: dict[str, Any], study: Record, known: Known) -> Iterator[Difference]:
    """Code and inputs that are no longer what the stage read; outs of stages by what manifest.json has."""
    inputs = {row["path"]: row["sha256"] for row in own.get("inputs", [])}
    for path, then in sorted({**own["code"], **inputs}.items()):
        if path in study.rows:
            now: str | None = study.rows[path].sha256
        else:
            found = _digests(path, known)
            now = None if found is None else found.sha256
        if now != then:
            yield path, _changed("SHA256", now, then, MANIFEST)


def _changed(digest: str, now: str | None, then: str, source: str) -> str:
    return f"{'is gone' if now is None else f'is {digest} {now[:12]} here'} and {then[:12]} {source}"


def _dependencies(ran: dict[str, Any], study: Record, known: Known) -> Iterator[Difference]:
    """Dependencies that dvc.lock has with another MD5 than their files; outs of stages are verify's own business."""
    outs = {out.path for out in study.files.values()} | {folder.out.path for folder in study.folders}
    for path, then in ran["deps"].items():
        if path in outs or any(out.startswith(f"{path}/") for out in outs):
            continue
        now = _md5(path, known)
        if now != then:
            yield path, _changed("MD5", now, then, LOCK)


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
