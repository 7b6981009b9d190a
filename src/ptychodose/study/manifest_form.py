"""The form of a stage manifest and of the joined one: what may stand in them, checked before anyone believes it."""

from pathlib import Path
from typing import Any

from ptychodose.formats.untrusted import MAX_JSON, is_inside, is_sha256, is_whole, parse_json, quoted, read_text

SCHEMA = 1
MAX_ROWS = 100_000


def load(path: Path, joined: bool) -> dict[str, Any]:
    """The document at `path`: `joined` (rows by stage) or of the stage the file is named after.

    OSError when absent; ValueError for another schema, missing sections, and rows that name no file of the study by
    path, size and two SHA256. Rows and documents may say more than that.
    """
    document = parse_json(read_text(path, MAX_JSON))
    if not isinstance(document, dict) or not is_whole(document.get("schema"), SCHEMA, SCHEMA):
        raise ValueError("unknown schema")
    if joined:
        stages = document.get("stages")
        if not isinstance(stages, dict) or not all(isinstance(value, list) for value in stages.values()):
            raise ValueError("no stages")
        _check_rows([row for rows in stages.values() for row in rows])
    else:
        if document.get("stage") != path.stem or not isinstance(document.get("parameters"), dict):
            raise ValueError(f"no record of stage {path.stem}")
        _check_rows(document.get("outputs"))
        _check_rows(document.get("inputs"), anywhere=True)
    return document


def _check_rows(rows: object, anywhere: bool = False) -> None:
    """ValueError unless these are entries of files; `anywhere`: a base of the user's may lie outside the study."""
    if not isinstance(rows, list) or len(rows) > MAX_ROWS:
        raise ValueError("no list of files")
    for row in rows:
        if not isinstance(row, dict):
            raise ValueError(f"{quoted(row)} is no file")
        path = row.get("path")
        if not is_inside(path) and not (anywhere and isinstance(path, str) and path.isprintable() and path):
            raise ValueError(f"{quoted(path)} is not a path inside the study")
        if not is_whole(row.get("bytes"), 0, 2**62):
            raise ValueError(f"bytes of {quoted(path)} are {quoted(row.get('bytes'))}")
        if not is_sha256(row.get("sha256")) or not is_sha256(row.get("content_sha256")):
            raise ValueError(f"{quoted(path)} has no SHA256")
