"""How every stage script runs: at home in its own copy of the study, alone, and failing in one line."""

import ctypes
import errno
import fcntl
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from ptychodose.errors import StudyError
from ptychodose.formats.atomic import remove_stale, write_json
from ptychodose.formats.untrusted import one_line, quoted
from ptychodose.study import machine
from ptychodose.study.failing import advice, check_machine, of_machine
from ptychodose.study.isa import PINS

ROOT = Path(__file__).resolve().parents[3]  # of this copy: DVC's temporary experiments have their own
Environment = Callable[[], Mapping[str, str | None]]
LOGS = Path("logs")
OUTS = (Path("data"), Path("metrics"), LOGS)  # where killed writers may have left temporary files
PR_SET_PDEATHSIG = 1  # linux/prctl.h
LOCKLESS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP}  # flock on a file system without it, some NFS say


def run(name: str, main: Callable[[], None], environment: Environment = lambda: PINS, parsed: bool = False) -> None:
    """Run a stage's `main` in the repository root, under a lock, and exit. Words on the command line are help or a
    mistake, unless the script has `parsed` them.

    What `environment` returns must be set before libraries load: otherwise the process starts itself again with it.

    A StudyError or a failing machine becomes one line on stderr and exit status 1, and a last line says what to do.
    Durations go to logs/<name>.json, which nothing digests. On Linux the stage dies with its parent.
    """
    if not parsed:
        _no_words(name)
    here = os.getcwd()
    os.chdir(ROOT)
    _die_with_parent()
    started = time.time()
    try:
        _restart_with(environment(), here)
        check_machine()
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
        gone = "whoever read what it prints has gone" if error.errno == errno.EPIPE else None
        if (said := gone or of_machine(error)) is None:
            raise
        _fail(name, said)
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
    print(f"error: {one_line(message, 2000)}\n{name} did not finish; {advice(name)}", file=sys.stderr)
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
    another process holds it; where the file system has no locks, a line says that nobody looks."""
    LOGS.mkdir(exist_ok=True)
    path = LOGS / f"{name}.lock"
    if path.is_symlink():
        raise StudyError(f"{path}: a link, which may lead anywhere; remove it, then retry")
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        raise StudyError(f"{name} is already running in this folder; wait for it or stop it, then retry") from None
    except OSError as error:
        if error.errno not in LOCKLESS:
            raise
        told = f"{path}: this file system has no locks ({error.strerror}), so nothing prevents two runs at once"
        print(f"note: {told}; start only one", file=sys.stderr)
    try:
        yield
    finally:
        os.close(handle)


def _die_with_parent() -> None:
    """Ask the kernel for it. DVC may have died before, while libraries loaded: it and its stages share a session,
    which whoever adopts an orphan does not."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if "DVC_STAGE" in os.environ and os.getsid(os.getppid()) != os.getsid(0):
            raise SystemExit("error: the DVC that started this stage is gone")


def _log(name: str, seconds: float) -> None:
    spent = {"seconds": round(seconds, 1), "cpu_seconds": round(time.process_time(), 1)}
    with suppress(OSError, ImportError):
        write_json(LOGS / f"{name}.json", {"stage": name, **spent, "machine": machine.describe()})
