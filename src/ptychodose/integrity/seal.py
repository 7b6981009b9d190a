"""One digest over the whole manifest, to be kept where the study's files cannot be edited: a paper, a signed tag.

Whoever can edit a file, dvc.lock and manifest.json together passes every check inside the repository. The seal is the
check outside.
"""

import hashlib
import json
import re

from ptychodose.errors import StudyError
from ptychodose.study import manifest

DIGEST = re.compile(r"[0-9a-f]{64}")


def seal() -> str:
    """SHA256, lower-case hex, of manifest.json as canonical JSON (sorted keys, no spaces): the same however the file is
    laid out, another after any edit of any entry. Raises StudyError when there is no readable manifest."""
    document = manifest.read(manifest.JOINED)
    try:
        text = json.dumps(document, sort_keys=True, separators=(",", ":"), allow_nan=False)
    except ValueError:
        raise StudyError(
            f"{manifest.JOINED}: holds a number that is not finite; `git restore {manifest.JOINED}`"
        ) from None
    return hashlib.sha256(text.encode()).hexdigest()


def expected(text: str) -> str:
    """A digest as typed, upper case allowed. Raises StudyError unless it is 64 hex digits."""
    digest = text.strip().lower()
    if not DIGEST.fullmatch(digest):
        raise StudyError(f"--expect {text[:80]!r}: not a seal; expected the 64 hex digits that `verify --seal` prints")
    return digest
