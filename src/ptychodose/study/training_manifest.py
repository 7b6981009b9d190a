"""What a training left behind: its jobs with their bundles and digests, or why an arm was skipped."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ptychodose.errors import StudyError
from ptychodose.formats.untrusted import is_whole, one_line, parse_json, quoted, read_text
from ptychodose.study.manifest_form import check_file, demand

MAX_MANIFEST, MAX_ROWS = 2**20, 1000
LARGEST_GROUP = 1000  # of C, as in `settings`


def read_training_manifest(path: Path, remedy: str, arm: str | None = None) -> dict[str, Any]:
    """The training manifest at `path`: {"jobs": [...], "skipped": [...]}, of `arm` alone when one is given.

    Every job names its arm, its group size C if groups matter to it, and under `result` its bundle by a path inside
    the repository, by SHA256 and by size. Raises StudyError in one line ending in `remedy` when the file is missing or
    says anything else.
    """
    try:
        document = parse_json(read_text(path, MAX_MANIFEST))
        lists = isinstance(document, dict) and all(_is_list(document.get(kind)) for kind in ("jobs", "skipped"))
        demand(lists, "no lists of jobs and skipped arms")
        for row in (*document["jobs"], *document["skipped"]):
            name = row.get("arm")
            good = isinstance(name, str) and name.isidentifier() and len(name) <= 100 and arm in (None, name)
            demand(good, f"arm {quoted(name)} instead of {arm or 'a name'}")
        for job in document["jobs"]:
            _check_job(job)
        for row in document["skipped"]:
            demand(isinstance(row.get("reason"), str), "an arm is skipped without a reason")
    except (OSError, ValueError) as error:
        reason = "not found" if isinstance(error, FileNotFoundError) else one_line(error)
        raise StudyError(f"{path}: missing or not a training manifest ({reason}); {remedy}") from None
    return document


def join_manifests(documents: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    """One training manifest of all arms: their jobs and skipped jobs, in the order of the tables."""
    return {kind: [job for doc in documents.values() for job in doc[kind]] for kind in ("jobs", "skipped")}


def _is_list(value: object) -> bool:
    return isinstance(value, list) and len(value) <= MAX_ROWS and all(isinstance(row, dict) for row in value)


def _check_job(job: dict[str, Any]) -> None:
    """ValueError unless what later readers take from a job is there and sane."""
    demand(is_whole(job.get("C", 0), 0, LARGEST_GROUP), f"C is {quoted(job.get('C'))}")
    result: Any = job.get("result")
    demand(isinstance(result, dict), "a job without a result")
    check_file(result.get("bundle_path"), result.get("bundle_size_bytes"), (result.get("bundle_sha256"),))
