"""DVC's experiment queue through its command line, and the results of its experiments through git."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any

from ptychodose.errors import StudyError

QUEUED, RUNNING, SUCCESS, FAILED = "Queued", "Running", "Success", "Failed"
RESULT = "metrics/details.json"
LOGS = ".dvc/tmp/exps/celery"


class DvcQueue:
    """The queue of the study in the current folder. Every method raises StudyError when its command fails."""

    def __init__(self) -> None:
        own = Path(sys.executable).parent  # the queue starts `dvc` from PATH, in the background and without a word
        path = f"{own}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
        self._environment = {**os.environ, "PATH": path, "OMP_NUM_THREADS": "1", "DVC_NO_ANALYTICS": "1"}

    def _run(self, *command: str) -> str:
        # Files, not pipes: workers inherit them, and a pipe would only end when the last worker does.
        with TemporaryFile("w+", encoding="utf-8") as out, TemporaryFile("w+", encoding="utf-8") as wrong:
            status = self._wait(command, out, wrong)
            out.seek(0)
            wrong.seek(0)
            said, text = wrong.read().strip(), out.read()
        if status:
            lines = (said or text.strip() or "no message").splitlines()
            line = next((line for line in lines if line.startswith(("ERROR", "error", "fatal"))), lines[-1])
            raise StudyError(f"`{' '.join(command)}` failed: {line}")
        return text

    def _wait(self, command: Sequence[str], out: IO[str], wrong: IO[str]) -> int:
        """Exit status. Ctrl-C does not reach the command: DVC, stopped half way, would leave params.yaml changed."""
        try:
            process = subprocess.Popen(
                command, env=self._environment, stdout=out, stderr=wrong, stdin=subprocess.DEVNULL,
                start_new_session=True,
            )  # fmt: skip
        except FileNotFoundError:
            raise StudyError(f"{command[0]}: not found on PATH; run `make setup`, and install git") from None
        try:
            return process.wait()
        except KeyboardInterrupt:
            process.wait()
            raise

    def submit(self, name: str, changes: Iterable[str]) -> None:
        """Queue an experiment with changes of params.yaml such as dose=1000."""
        self._run("dvc", "exp", "run", "--queue", "-n", name, *(part for change in changes for part in ("-S", change)))

    def start(self, workers: int) -> None:
        """See to it that this many workers (1 or more) run; they end by themselves when the queue is empty."""
        self._run("dvc", "queue", "start", "-j", str(workers))

    def states(self) -> tuple[dict[str, str], int]:
        """State of every experiment in the queue's books by name (running before done), and the number of live workers.

        Workers that do not answer within a second count as dead, so believe a low number only when it repeats.
        """
        text = self._run("dvc", "queue", "status")
        workers = re.search(r"Worker status: (\d+) active, (\d+) idle", text)
        if workers is None:
            raise StudyError("`dvc queue status` has no line `Worker status`; install requirements.lock")
        rows = re.findall(rf"^[0-9a-f]{{7}} {{2}}(\S+) .*({QUEUED}|{RUNNING}|{SUCCESS}|{FAILED})\s*$", text, re.M)
        return dict(reversed(rows)), int(workers[1]) + int(workers[2])

    def finished(self) -> dict[str, str]:
        """Git ref of every experiment there is, by name, whatever commit it started from."""
        refs = self._run("git", "for-each-ref", "--format=%(refname)", "refs/exps").split()
        return {ref.rsplit("/", 1)[1]: ref for ref in refs if re.fullmatch(r"refs/exps/\w\w/\w{38}/[^/]+", ref)}

    def details(self, ref: str) -> dict[str, Any]:
        """metrics/details.json of an experiment. Nothing is checked out."""
        try:
            document = json.loads(self._run("git", "show", f"{ref}:{RESULT}"))
        except ValueError:
            document = None
        if not isinstance(document, dict):
            raise StudyError(f"{ref}: {RESULT} is damaged; `dvc exp remove {ref.rsplit('/', 1)[1]}`, then repeat")
        return document

    def fetch(self, ref: str, path: str, to: Path) -> None:
        """Copy a file or folder that DVC keeps for an experiment to the new path `to`."""
        self._run("dvc", "get", ".", path, "--rev", ref, "-o", str(to))

    def forget(self, name: str, state: str) -> None:
        """Take an experiment that failed, or whose worker died, out of the queue's books, so that it can be repeated.

        Its result, if there is one, stays in git.
        """
        if state == RUNNING:
            self._run("dvc", "queue", "kill", name)
        self._run("dvc", "queue", "remove", name)

    def reason(self, name: str) -> str:
        """The line of a failed experiment's log that says why."""
        try:
            lines = self._run("dvc", "queue", "logs", name).splitlines()
        except StudyError as error:
            return str(error)
        wrong = [line.strip() for line in lines if re.search(r"error|killed|exception", line, re.I)]
        return wrong[0] if wrong else "no reason in its log"


def untracked(names: Sequence[str]) -> list[str]:
    """Those of the files that git does not know, which a queued experiment would therefore miss."""
    known = subprocess.run(["git", "ls-files", "-z"], capture_output=True, text=True, check=False).stdout.split("\0")
    return sorted(set(names) - set(known))
