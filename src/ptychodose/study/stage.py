"""How every stage script runs: at home in its own copy of the study, alone, and failing in one line."""

import ctypes
import errno
import fcntl
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from ptychodose.errors import StudyError
from ptychodose.formats.atomic import remove_stale
from ptychodose.formats.untrusted import quoted
from ptychodose.study import machine
from ptychodose.study.isa import PINS

ROOT = Path(__file__).resolve().parents[3]  # of this copy: DVC's temporary experiments have their own
Environment = Callable[[], Mapping[str, str | None]]
LOGS = Path("logs")
OUTS = (Path("data"), Path("metrics"), LOGS)  # where killed writers may have left temporary files
PR_SET_PDEATHSIG = 1  # linux/prctl.h
DISK = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO, errno.ESTALE}
DISK |= {errno.EEXIST, errno.ENOTDIR, errno.EISDIR}  # something else stands where an output belongs


def run(name: str, main: Callable[[], None], environment: Environment = lambda: PINS, parsed: bool = False) -> None:
    """Run a stage's `main` in the repository root, under a lock, and exit. Words on the command line are help or a
    mistake, unless the script has `parsed` them.

    What `environment` returns must be set before libraries load: otherwise the process starts itself again with it.

    A StudyError or a failing disk becomes one line on stderr and exit status 1; DVC removes a stage's outs before
    it runs, so the last line says how to get the previous result back. Durations go to logs/<name>.json, which
    nothing digests. On Linux the stage dies with its parent.
    """
    if not parsed:
        _no_words(name)
    here = os.getcwd()
    os.chdir(ROOT)
    _die_with_parent()
    started = time.time()
    try:
        _restart_with(environment(), here)
        with alone(name):
            remove_stale(ROOT, deep=False)
            for folder in OUTS:
                remove_stale(folder)
            main()
    except KeyboardInterrupt:
        _fail(name, "interrupted")
    except StudyError as error:
        _fail(name, str(error))
    except MemoryError:
        _fail(name, "out of memory; close other programs or lower train.patterns_per_batch, compare.block_groups")
    except OSError as error:
        if error.errno not in DISK:
            raise
        remedy = "check free space, permissions and what stands there, then retry"
        _fail(name, f"{error.filename or 'output'}: {error.strerror}; {remedy}")
    _log(name, time.time() - started)


def _no_words(name: str) -> None:
    """Exit with what the script does (0) when that is asked for, in one line (2) when anything else is."""
    words = sys.argv[1:]
    where = "it takes no arguments: what it can be told is in params.yaml"
    if {"-h", "--help"} & set(words):
        print(f"{(sys.modules['__main__'].__doc__ or name).strip()}\n\n{where}")
        raise SystemExit(0)
    if words:
        print(
            f"error: {quoted(words[0])}: not understood by {name}; {where}, --help says what it does", file=sys.stderr
        )
        raise SystemExit(2)


def _fail(name: str, message: str) -> None:
    back = "`git checkout dvc.lock params.yaml && dvc checkout` brings the last committed result back"
    print(f"error: {message}\n{name} did not finish; {back}", file=sys.stderr)
    raise SystemExit(1)


def _restart_with(environment: Mapping[str, str | None], folder: str) -> None:
    """Become the same command line, typed in `folder`, under `environment` (None unsets); dvc.yaml sets the usual
    one beforehand, so there is nothing to do then."""
    if any(os.environ.get(name) != value for name, value in environment.items()):
        os.chdir(folder)
        wanted = {name: value for name, value in {**os.environ, **environment}.items() if value is not None}
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], wanted)


@contextmanager
def alone(name: str) -> Iterator[None]:
    """Hold the lock of a stage; a killed DVC can leave one running, and two writers must never meet. StudyError when
    another process holds it."""
    LOGS.mkdir(exist_ok=True)
    with open(LOGS / f"{name}.lock", "w", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StudyError(f"{name} is already running in this folder; wait for it or stop it, then retry") from None
        yield


def _die_with_parent() -> None:
    """Ask the kernel for it. DVC may have died before, while libraries loaded: it and its stages share a session,
    which whoever adopts an orphan does not."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if "DVC_STAGE" in os.environ and os.getsid(os.getppid()) != os.getsid(0):
            raise SystemExit("error: the DVC that started this stage is gone")


def _log(name: str, seconds: float) -> None:
    with suppress(OSError, ImportError), open(LOGS / f"{name}.json", "w", encoding="utf-8") as file:
        spent = {"seconds": round(seconds, 1), "cpu_seconds": round(time.process_time(), 1)}
        json.dump({"stage": name, **spent, "machine": machine.describe()}, file)
