"""A sitting of the sweep: queue what is missing, keep workers at it, take every result as soon as it is there.

Nothing is lost by an interruption: DVC's workers go on with what they have begun, and the next sitting first collects
what finished meanwhile, then leaves alone what is still queued or running.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ptychodose.errors import StudyError
from ptychodose.sweeps.design import Run
from ptychodose.sweeps.dvc_queue import FAILED, LOGS, QUEUED, RUNNING, SUCCESS, DvcQueue

DOUBTS = 3  # readings in a row that must miss workers before they count as dead: a busy worker may fail to answer
RESTARTS = 3  # times the workers may be started again without a result in between


@dataclass
class Sitting:
    """The queue, what to do with a result (`collect`, may raise StudyError) and with a finished run (`tick`).

    `trained` are the sets of networks that exist already (Run.training); `pause` in seconds, between looks at git;
    DVC, which is slower, is asked every `patience` looks.
    """

    queue: DvcQueue
    collect: Callable[[Run, dict[str, Any]], None]
    tick: Callable[[], object]
    jobs: int
    trained: set[tuple[str, float, int]] = field(default_factory=set)
    pause: float = field(default=5.0, init=False)
    patience: int = field(default=6, init=False)
    failed: dict[str, str] = field(default_factory=dict, init=False)  # name -> reason

    def work(self, runs: Mapping[str, Run], changes: Callable[[Run], list[str]]) -> dict[str, str]:
        """Bring every run (by experiment name, in queue order) to a result; return reasons of those that failed.

        A failed run does not stop the rest. Raises StudyError when the queue itself does not work.
        """
        self._pending, self._changes, self._workers, self._doubts, self._restarts = dict(runs), changes, 0, 0, 0
        self._submit()
        looks = 0
        while self._pending:
            self._staff()
            time.sleep(self.pause)
            looks += 1
            answer = self.queue.states() if looks % self.patience == 0 else None
            self._collect()  # after the states: whatever succeeded by then has its ref by now
            if answer is not None:
                self._drop_failed(answer[0])
                self._revive(*answer)
        return self.failed

    def _collect(self) -> None:
        """Take the results that are there."""
        refs = self.queue.finished()
        for name in [name for name in self._pending if name in refs]:
            run = self._pending[name]
            try:
                self.collect(run, self.queue.details(refs[name]))
            except StudyError as error:
                self.failed[name] = str(error)
            self._done(name)

    def _done(self, name: str) -> None:
        self.trained.add(self._pending.pop(name).training)
        self._restarts = 0
        self.tick()

    def _submit(self) -> None:
        """Take what is there, then queue what neither waits nor runs; earlier failures get another chance."""
        states = self.queue.states()[0] if self._pending else {}
        self._collect()
        for name in self._pending:
            if states.get(name) not in (QUEUED, RUNNING):
                self._repeat(name, states.get(name))

    def _staff(self) -> None:
        """As many workers as there are networks to train, so that no two train the same; all once they exist."""
        untrained = {run.training for run in self._pending.values()} - self.trained
        wanted = min(self.jobs, len(untrained) or self.jobs)
        if wanted > self._workers:
            self.queue.start(wanted)
            self._workers = wanted

    def _drop_failed(self, states: Mapping[str, str]) -> None:
        for name in list(self._pending):
            if states.get(name) == FAILED:
                self.failed[name] = self.queue.reason(name)
            elif states.get(name) == SUCCESS:
                self.failed[name] = "finished, but DVC could not store its result"
            if name in self.failed:
                self._done(name)

    def _revive(self, states: Mapping[str, str], workers: int) -> None:
        """Workers that died (a killed session, a restarted machine) are replaced, and what they held is repeated."""
        alive = [name for name in self._pending if states.get(name) in (QUEUED, RUNNING)]
        lost = [name for name in self._pending if name not in alive]  # taken out of the queue by hand
        if workers >= min(self._workers, len(alive)) and not lost:
            self._doubts = 0
            return
        self._doubts += 1
        if self._doubts < DOUBTS:
            return
        if self._restarts == RESTARTS:
            raise StudyError(f"the queue's workers end without a result; see {LOGS}/*.out, then run `make sweep` again")
        if workers == 0:
            lost += [name for name in alive if states[name] == RUNNING]
        for name in lost:
            self._repeat(name, states.get(name))
        self._workers, self._doubts, self._restarts = 0, 0, self._restarts + 1

    def _repeat(self, name: str, state: str | None) -> None:
        """Queue a run again, after taking what the queue knows of it out of its books."""
        if state is not None:
            self.queue.forget(name, state)
        self.queue.submit(name, self._changes(self._pending[name]))
