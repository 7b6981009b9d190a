"""How a stage or a command ends that cannot go on: in one line, with advice that takes nothing of the user's away."""

import errno
import math
import os
import resource
import sys
import tempfile
from collections.abc import Callable
from typing import Any

from ptychodose.errors import StudyError
from ptychodose.formats.untrusted import DAMAGE, quoted
from ptychodose.study.definition import value_of
from ptychodose.study.params import flat, load_yaml

DISK = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO, errno.ESTALE}
DISK |= {errno.EEXIST, errno.ENOTDIR, errno.EISDIR}  # something else stands where an output belongs
OPEN = {errno.EMFILE, errno.ENFILE}
FILES = 64  # open at a time; a training needs about ten, and what is left at the limit cannot even be removed
SHOWN = 3  # changed parameters
GONE = 141  # exit status of a program whose reader has gone, as the shell says of SIGPIPE


def check_machine() -> None:
    """StudyError unless files can be opened and written at all: libraries fail in many ways where they cannot."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    soft, hard = (math.inf if limit == resource.RLIM_INFINITY else limit for limit in limits)
    if hard < FILES:
        raise StudyError(f"no more than {hard} files can be open at a time; raise that limit to {FILES} (`ulimit -n`)")
    if soft < FILES:
        resource.setrlimit(resource.RLIMIT_NOFILE, (FILES, limits[1]))
    try:
        tempfile.gettempdir()
    except FileNotFoundError:
        raise StudyError("nothing can be written, in no folder; check free space, TMPDIR and `ulimit -f`") from None


def of_machine(error: OSError) -> str | None:
    """One line for an error that is the disk's or a limit's; None for one that is the program's."""
    if error.errno in OPEN:
        return f"{error.strerror}; `ulimit -n` says how many may be, close other programs or raise it, then retry"
    remedy = "check free space, permissions and what stands there, then retry"
    return f"{error.filename or 'output'}: {error.strerror}; {remedy}" if error.errno in DISK else None


def advice(stage: str) -> str:
    """What to do after a stage failed: DVC has removed its outs, and brings them back where its parameters are those of
    dvc.lock again."""
    changed = _changed(stage)
    if not changed:
        return "mend that, then `dvc repro`"
    more = f" and {len(changed) - SHOWN} more" if len(changed) > SHOWN else ""
    said = ", ".join(changed[:SHOWN]) + more
    return f"changed in params.yaml since its last result: {said}; mend that or change it back, then `dvc repro`"


def _changed(stage: str) -> list[str]:
    """Keys of params.yaml whose values are not those the stage ran with, `key old -> new`; none where unknown."""
    try:
        then = load_yaml("dvc.lock")["stages"][stage]["params"]["params.yaml"]
        document = load_yaml("params.yaml")
        now = {key: value_of(document, key, "missing") for key in then}
        before, after = flat(then), flat(now)
    except (StudyError, *DAMAGE):
        return []
    keys = [key for key in before | after if before.get(key, "missing") != after.get(key, "missing")]
    return [f"{key} {_word(before, key)} -> {_word(after, key)}" for key in keys]


def _word(values: dict[str, Any], key: str) -> str:
    value = values.get(key, "missing")
    return "null" if value is None else quoted(value).strip("'")


def ends(main: Callable[[], int]) -> int:
    """Exit status of a command's `main`, which ends without a traceback when the disk fails or when the reader of its
    output goes (`| head`)."""
    try:
        try:
            return main()
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is still to be flushed goes there
        return GONE
    except OSError as error:
        if (said := of_machine(error)) is None:
            raise
        print(f"error: {said}", file=sys.stderr)
        return 1
