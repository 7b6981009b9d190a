"""What a crate describes: the runs of dvc.lock and the files behind them, provided all are as recorded."""

import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ptychodose.errors import StudyError
from ptychodose.formats.atomic import sha256_file
from ptychodose.formats.untrusted import DAMAGE, MAX_JSON, is_inside, one_line, quoted, read_text
from ptychodose.integrity import record, revision, verify
from ptychodose.study import manifest
from ptychodose.study.params import flat, load_yaml

BESIDE = {
    "CITATION.cff", "LICENSE", "README.md", "dvc.lock", "dvc.yaml", "params.yaml", "pyproject.toml", "requirements.lock"
}  # fmt: skip  # no stage makes these, git keeps them
SCRIPT = re.compile(r"\bsrc/\w+\.py\b")


@dataclass(frozen=True)
class Run:
    """One stage as dvc.lock has it: its command, the script in it, files used and made, parameters by dotted key."""

    stage: str
    command: str
    script: str
    uses: list[str]
    makes: list[str]
    parameters: dict[str, Any]


def read() -> tuple[list[Run], dict[str, str]]:
    """Runs in the order of dvc.lock, and the SHA256 of every file by path, sorted.

    Raises StudyError when `verify` finds anything, and when a file beside them is missing.
    """
    _check_study()
    rows = {row.path: row.sha256 for row in record.rows(manifest.read(manifest.JOINED))}
    known = sorted(rows.keys() | (revision.tracked() or set()))
    runs = [_run(stage, entry, known) for stage, entry in load_yaml("dvc.lock")["stages"].items()]
    names = BESIDE.union(rows, *(run.uses + run.makes for run in runs))
    try:
        return runs, {name: rows.get(name) or sha256_file(Path(name)) for name in sorted(names)}
    except OSError as error:
        raise StudyError(f"{error.filename}: {error.strerror}; restore it with git") from None


def _check_study() -> None:
    """Files must be those on record, and code, data and parameters those that every stage ran with."""
    bad = next((finding for finding in verify.verify() if finding.kind != record.OK), None)
    if bad is not None:
        raise StudyError(f"{bad.path}: {bad.detail}; `python src/study.py verify` says all of it and what to do")


def _run(stage: str, entry: dict[str, Any], known: list[str]) -> Run:
    """One stage of a dvc.lock that DVC accepts; `known` are the files of manifest.json and of git, sorted."""
    script = SCRIPT.search(entry["cmd"])
    if script is None:
        raise StudyError(f"dvc.lock: the command of stage {stage} names no script of src/")
    uses, makes = (
        [name for item in entry.get(kind, []) for name in _expand(item["path"], known)] for kind in ("deps", "outs")
    )
    parameters = flat(entry.get("params", {}).get("params.yaml", {}))
    return Run(stage, entry["cmd"], script.group(), uses, makes, dict(sorted(parameters.items())))


def _expand(path: str, known: list[str]) -> list[str]:
    """The files of a dependency or out: itself, or what is known in the folder."""
    if not is_inside(path):
        raise StudyError(f"{path}: not a path inside the study, so a crate cannot hold it; copy it to data/base")
    return [name for name in known if name.startswith(f"{path}/")] if Path(path).is_dir() else [path]


def citation() -> dict[str, Any]:
    """CITATION.cff, whose title, version, licence, authors, keywords and date are such that a crate can hold them.
    Raises StudyError naming the key that is not (the citation file format 1.2 allows more)."""
    cited = load_yaml("CITATION.cff")
    authors, date = cited.get("authors"), str(cited.get("date-released", "2000-01-01"))
    good = {key: _is_text(cited.get(key)) for key in ("title", "version")}
    good["license"] = _is_text(cited.get("license")) and re.fullmatch(r"[\w.+-]+", str(cited["license"])) is not None
    good["authors"] = isinstance(authors, list) and authors != [] and all(map(_is_author, authors))
    good["keywords"] = _are_texts(cited.get("keywords", []))
    good["date-released"] = re.fullmatch(r"\d{4}-\d\d-\d\d", date) is not None
    for key, fits in good.items():
        if not fits:
            raise StudyError(f"CITATION.cff: {key}: {quoted(cited.get(key))} is none that a crate can hold; correct it")
    return cited


def _is_text(value: object) -> bool:
    return isinstance(value, str | int | float) and str(value).strip() != "" and str(value).isprintable()


def _are_texts(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(each, str) and each.isprintable() for each in value)


def _is_author(row: object) -> bool:
    """A name in one piece or in two, and an address that is one."""
    if not isinstance(row, dict) or not all(map(_is_text, row.values())):
        return False
    links = (str(row[key]) for key in ("orcid", "website") if key in row)
    return not {"name", "given-names", "family-names"}.isdisjoint(row) and all(
        re.match("https?://", each) for each in links
    )


def project() -> dict[str, Any]:
    """Section `project` of pyproject.toml, with description and dependencies. Raises StudyError where it lacks them."""
    try:
        found = tomllib.loads(read_text(Path("pyproject.toml"), MAX_JSON)).get("project")
        if not isinstance(found, dict) or not _are_texts([found.get("description")]):
            raise ValueError("no description in [project]")
        if not _are_texts(found.get("dependencies")):
            raise ValueError("no dependencies in [project]")
    except DAMAGE as error:
        raise StudyError(f"pyproject.toml: {one_line(error)}; `git restore pyproject.toml`") from None
    return found
