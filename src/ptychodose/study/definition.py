"""How a stage is defined: its command, parameters and code, as dvc.yaml, params.yaml and the files have them."""

import re
from pathlib import Path
from typing import Any

from ptychodose.formats.atomic import sha256_file
from ptychodose.study.params import load_yaml

GRAPH, PARAMS = Path("dvc.yaml"), Path("params.yaml")
CODE = ("src", "requirements.lock")  # what is code among a stage's dependencies: the rest is data


def of(stage: str) -> dict[str, Any]:
    """What stage `stage` is about to do, for its manifest: `command` (its template filled in), `parameters` (values in
    params.yaml by dotted name) and `code` (SHA256 by path). StudyError when a file cannot be read."""
    graph = load_yaml(GRAPH)
    declared = (graph.get("stages") or {}).get(stage) or {}
    words = {name: str(value) for entry in graph.get("vars") or [] for name, value in entry.items()}
    command = re.sub(r"\$\{(\w+)\}", lambda found: words.get(found[1], found[0]), str(declared.get("cmd", "")))
    parameters = load_yaml(PARAMS) if declared.get("params") else {}
    files = [file for dep in declared.get("deps") or [] if Path(dep).parts[0] in CODE for file in files_of(Path(dep))]
    return {
        "command": command,
        "parameters": {name: value_of(parameters, name) for name in declared.get("params") or []},
        "code": {file.as_posix(): sha256_file(file) for file in sorted(set(files))},
    }


def files_of(path: Path) -> list[Path]:
    """A file, or all files below a folder but for compiled ones, sorted."""
    inside = path.rglob("*") if path.is_dir() else [path]
    return sorted(file for file in inside if "__pycache__" not in file.parts and file.is_file())


def value_of(document: Any, name: str, absent: Any = None) -> Any:
    """The value at a dotted name of nested mappings; `absent` where there is none."""
    value = document
    for part in name.split("."):
        if not isinstance(value, dict) or part not in value:
            return absent
        value = value[part]
    return value
