"""The form of a stage manifest and of the joined one: what may stand in them, checked before anyone believes it."""

from pathlib import Path
from typing import Any

from ptychodose.formats.untrusted import MAX_JSON, is_inside, is_sha256, is_whole, parse_json, quoted, read_text

SCHEMA = 1
MAX_ROWS = 100_000


def demand(good: bool, complaint: str) -> None:
    """ValueError with `complaint` unless `good`."""
    if not good:
        raise ValueError(complaint)


def load(path: Path, joined: bool) -> dict[str, Any]:
    """The document at `path`: `joined` (rows by stage) or of the stage the file is named after.

    OSError when absent; ValueError for another schema, missing sections, and rows that name no file of the study by
    path, size and two SHA256. Rows and documents may say more than that.
    """
    document = parse_json(read_text(path, MAX_JSON))
    demand(isinstance(document, dict) and is_whole(document.get("schema"), SCHEMA, SCHEMA), "unknown schema")
    if joined:
        stages = document.get("stages")
        demand(isinstance(stages, dict) and all(isinstance(rows, list) for rows in stages.values()), "no stages")
        if "own" in document:  # manifests of 0.1.0 do not say how the stage that wrote them ran
            demand(isinstance(document["own"], dict), "no record of the stage that joined it")
            check_definition(document["own"])
        _check_rows([row for rows in stages.values() for row in rows])
    else:
        demand(document.get("stage") == path.stem, f"no record of stage {path.stem}")
        check_definition(document)
        _check_rows(document.get("outputs"))
        _check_rows(document.get("inputs"), anywhere=True)
    return document


def check_definition(document: dict[str, Any]) -> None:
    """ValueError unless a record says how its stage ran: command, parameters by name, code by path and SHA256."""
    code = document.get("code")
    demand(isinstance(document.get("command"), str), "no command")
    demand(isinstance(document.get("parameters"), dict), "no parameters")
    demand(isinstance(code, dict) and len(code) <= MAX_ROWS, "no record of its code")
    for path, digest in document["code"].items():
        demand(is_inside(path) and is_sha256(digest), f"{quoted(path)} is no file of code with a SHA256")


def _check_rows(rows: Any, anywhere: bool = False) -> None:
    """ValueError unless these are entries of files; `anywhere`: of what a stage read; a base of the user's may
    lie outside the study, and nobody looks into it."""
    demand(isinstance(rows, list) and len(rows) <= MAX_ROWS, "no list of files")
    for row in rows:
        demand(isinstance(row, dict), f"{quoted(row)} is no file")
        digests = [row.get(name) for name in ("sha256", "content_sha256")[: 1 if anywhere else 2]]
        check_file(row.get("path"), row.get("bytes"), tuple(digests), anywhere)


def check_file(path: Any, size: object, digests: tuple[object, ...], anywhere: bool = False) -> None:
    """ValueError unless a record names a file by a path inside the study (or `anywhere`), its size and SHA256."""
    good = is_inside(path) or (anywhere and isinstance(path, str) and path.isprintable() and path != "")
    demand(good, f"{quoted(path)} is not a path inside the study")
    demand(is_whole(size, 0, 2**62), f"bytes of {quoted(path)} are {quoted(size)}, not a size")
    for digest in digests:
        demand(is_sha256(digest), f"{quoted(path)} has no SHA256 but {quoted(digest)}")
