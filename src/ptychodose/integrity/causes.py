"""Why results differ between two revisions, as far as they recorded it: environments, parameters, code and data."""

from collections.abc import Iterator
from typing import Any

UNRECORDED = "nothing recorded differs: a machine, library or file that neither manifest.json nor dvc.lock knows"
NOTHING = "nothing"


def found(old: dict[str, Any], new: dict[str, Any], then: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """One line per cause, from two joined manifests and two dvc.locks (empty mappings when there is none)."""
    lines = [*_environments(old, new), *_parameters(then, now), *_dependencies(then, now)]
    return lines or [UNRECORDED]


def _environments(old: dict[str, Any], new: dict[str, Any]) -> Iterator[str]:
    """Recorded environments of stages (library versions, threads, instruction set), equal changes told once."""
    before, after = _flat(old.get("environments")), _flat(new.get("environments"))
    if bool(before) != bool(after):
        yield f"environment: recorded {'before' if before else 'now'} only"
        return
    changes: dict[str, list[str]] = {}
    for name in sorted(before | after):
        if before.get(name, NOTHING) != after.get(name, NOTHING):
            stage, _, key = name.partition(".")
            changes.setdefault(f"{key} {_change(before.get(name, NOTHING), after.get(name, NOTHING))}", []).append(
                stage
            )
    yield from (f"environment: {change} ({', '.join(stages)})" for change, stages in changes.items())


def _parameters(then: dict[str, Any], now: dict[str, Any]) -> Iterator[str]:
    before, after = ({k: v for record in _stages(lock) for k, v in _settings(record)} for lock in (then, now))
    for name in sorted(before | after):
        if before.get(name, NOTHING) != after.get(name, NOTHING):
            yield f"parameter: {name} {_change(before.get(name, NOTHING), after.get(name, NOTHING))}"


def _dependencies(then: dict[str, Any], now: dict[str, Any]) -> Iterator[str]:
    """Code and data that stages read and no stage wrote."""
    before, after = _read(then), _read(now)
    for name in sorted(before | after):
        if before.get(name) != after.get(name):
            word = "changed" if name in before and name in after else "new" if name in after else "no longer read"
            yield f"code or data: {name} {word}"


def _stages(lock: dict[str, Any]) -> list[dict[str, Any]]:
    stages = lock.get("stages")
    return [record for record in stages.values() if isinstance(record, dict)] if isinstance(stages, dict) else []


def _settings(record: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    for section in (record.get("params") or {}).values():
        yield from _flat(section).items()


def _read(lock: dict[str, Any]) -> dict[str, Any]:
    outs = {out.get("path") for record in _stages(lock) for out in record.get("outs") or []}
    deps = {dep.get("path"): dep.get("md5") for record in _stages(lock) for dep in record.get("deps") or []}
    inside = {path for path in deps for out in outs if path == out or str(path).startswith(f"{out}/")}
    return {path: md5 for path, md5 in deps.items() if path not in inside}


def _flat(value: Any, name: str = "") -> dict[str, Any]:
    """Nested mappings as one, keys joined by dots."""
    if not isinstance(value, dict):
        return {name: value} if name else {}
    return {k: v for key, item in value.items() for k, v in _flat(item, f"{name}.{key}".lstrip(".")).items()}


def _change(old: Any, new: Any) -> str:
    """Values as params.yaml writes them."""
    return " -> ".join("null" if value is None else str(value) for value in (old, new))
