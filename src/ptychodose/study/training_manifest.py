"""What a training left behind: its jobs with their bundles and digests, or why an arm was skipped."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ptychodose.errors import StudyError
from ptychodose.formats.untrusted import is_inside, is_sha256, is_whole, one_line, parse_json, quoted, read_text

MAX_BYTES, MAX_ROWS = 2**20, 1000
LARGEST_GROUP = 1000  # of C, as in `settings`


def read_training_manifest(path: Path, remedy: str, arm: str | None = None) -> dict[str, Any]:
    """The training manifest at `path`: {"jobs": [...], "skipped": [...]}, of `arm` alone when one is given.

    Every job names its arm, its group size C if groups matter to it, and under `result` its bundle by a path inside
    the repository, by SHA256 and by size. Raises StudyError in one line ending in `remedy` when the file is missing or
    says anything else.
    """
    try:
        document = parse_json(read_text(path, MAX_BYTES))
        if (
            not isinstance(document, dict)
            or not _is_list(document.get("jobs"))
            or not _is_list(document.get("skipped"))
        ):
            raise ValueError("no lists of jobs and skipped arms")
        for job in document["jobs"]:
            _check_job(job, arm)
        for row in document["skipped"]:
            _check_arm(row, arm)
            if not isinstance(row.get("reason"), str):
                raise ValueError("an arm is skipped without a reason")
    except (OSError, ValueError) as error:
        reason = "not found" if isinstance(error, FileNotFoundError) else one_line(error)
        raise StudyError(f"{path}: missing or not a training manifest ({reason}); {remedy}") from None
    return document


def join_manifests(documents: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    """One training manifest of all arms: their jobs and skipped jobs, in the order of the tables."""
    return {kind: [job for doc in documents.values() for job in doc[kind]] for kind in ("jobs", "skipped")}


def _is_list(value: object) -> bool:
    return isinstance(value, list) and len(value) <= MAX_ROWS and all(isinstance(row, dict) for row in value)


def _check_arm(row: dict[str, Any], arm: str | None) -> None:
    name = row.get("arm")
    if not isinstance(name, str) or not name.isidentifier() or len(name) > 100 or arm not in (None, name):
        raise ValueError(f"arm {quoted(name)} instead of {arm or 'a name'}")


def _check_job(job: dict[str, Any], arm: str | None) -> None:
    """ValueError unless what later readers take from a job is there and sane."""
    _check_arm(job, arm)
    if "C" in job and not is_whole(job["C"], 0, LARGEST_GROUP):
        raise ValueError(f"C is {quoted(job['C'])}")
    result = job.get("result")
    if not isinstance(result, dict):
        raise ValueError("a job without a result")
    if not is_inside(result.get("bundle_path")):
        raise ValueError(f"bundle_path {quoted(result.get('bundle_path'))} is not inside the repository")
    if not is_sha256(result.get("bundle_sha256")):
        raise ValueError(f"bundle_sha256 {quoted(result.get('bundle_sha256'))} is no SHA256")
    if not is_whole(result.get("bundle_size_bytes"), 0, 2**40):
        raise ValueError(f"bundle_size_bytes is {quoted(result.get('bundle_size_bytes'))}")
