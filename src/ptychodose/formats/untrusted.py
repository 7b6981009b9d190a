"""What every reader of foreign bytes shares: excerpts fit for a one-line message, bounded reads, strict JSON, paths."""

import errno
import json
import math
import os
import re
import shlex
import stat
import struct
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Hashable, Iterable
from pathlib import Path, PurePosixPath
from typing import Any

MAX_PIXELS = 2**26  # 64 Mpx of object: refuse an absurd shape before it is allocated
MAX_JSON = 2**24  # 16 MiB; the largest document of a study has some 20 kB
MERGE = re.compile(r"^<{7} |^>{7} ", re.M)
SHA256 = re.compile(r"[0-9a-f]{64}")
# All that libraries raise over a damaged file; memory and overflow: of a header that claims more than there is;
# recursion is a RuntimeError, bad UTF-8 a ValueError.
DAMAGE = (
    OSError, EOFError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RuntimeError, MemoryError,
    SyntaxError, struct.error, zlib.error, zipfile.BadZipFile, zipfile.LargeZipFile,
)  # fmt: skip


def one_line(value: object, length: int = 100, form: Callable[[object], str] = str) -> str:
    """Text of `value` for a message: at most `length` characters, none of which moves a cursor or starts a line."""
    try:
        text = form(value)
    except (ValueError, RecursionError):  # integers of more than 4300 digits have no text
        text = f"an absurd {type(value).__name__}"
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text[:length])
    return shown if len(text) <= length and len(shown) <= length else f"{shown[: length - 1]}…"


def quoted(value: object, length: int = 60) -> str:
    """`repr(value)` under the rules of `one_line`."""
    return one_line(value, length, repr)


def in_shell(path: Path) -> str:
    """A path as a shell takes it, relative to the study where it lies in there."""
    here = Path.cwd()
    return shlex.quote(str(path.relative_to(here) if path.is_relative_to(here) else path))


def regular(path: Path) -> Path:
    """The path, if a regular file is there, perhaps behind a link: a FIFO would wait forever, a device has no end.
    OSError otherwise."""
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    return path


def read_text(path: Path, max_bytes: int) -> str:
    """The UTF-8 text of a file. OSError when absent; ValueError when it is larger than `max_bytes`, not UTF-8, or in
    the middle of a merge."""
    with open(regular(path), "rb") as file:
        size = os.fstat(file.fileno()).st_size
        if size > max_bytes:
            raise ValueError(f"larger than {max_bytes / 2**20:g} MiB")
        text = file.read(size).decode("utf-8")
    if MERGE.search(text):
        raise ValueError("marks of a merge: `git checkout --ours` or `--theirs` of it, then `dvc repro`")
    return text


def parse_json(text: str | bytes) -> Any:
    """JSON without what Python adds to it: NaN, infinity and repeated keys are a ValueError, as is everything else
    that is wrong with it."""
    try:
        return json.loads(text, parse_constant=_finite, parse_float=_finite, object_pairs_hook=_unique)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{one_line(text, 20)} is no finite number")
    return number


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise ValueError(f"key {quoted(repeated(name for name, _ in pairs))} stands there twice")
    return made


def repeated(names: Iterable[Hashable]) -> Hashable:
    """The first of `names` that is there again, or None."""
    return next((name for name, count in Counter(names).items() if count > 1), None)


def is_inside(path: object) -> bool:
    """Whether `path` is a POSIX path, relative and printable, that stays below the folder it starts from."""
    if not isinstance(path, str) or not path.isprintable() or not 0 < len(path) <= 1000 or "\\" in path:
        return False
    parts = PurePosixPath(path).parts
    return bool(parts) and not PurePosixPath(path).is_absolute() and ".." not in parts


def is_sha256(value: object) -> bool:
    """Whether `value` is 64 lower-case hex digits."""
    return isinstance(value, str) and SHA256.fullmatch(value) is not None


def is_whole(value: object, low: int, high: int) -> bool:
    """Whether `value` is an integer (not a truth value) in [low, high]."""
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high
