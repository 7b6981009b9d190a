"""The runner: what it queues, collects, repeats and reports, against a queue in memory, a fake dvc and the real one."""

import json
import os
import stat
import subprocess
import sys
import time

import pytest

import sweep_scene as scene
from closure import ROOT
from ptychodose.errors import StudyError
from ptychodose.study import params
from ptychodose.sweeps import design, dvc_queue, results_csv
from ptychodose.sweeps.dvc_queue import FAILED, QUEUED, RUNNING, SUCCESS
from ptychodose.sweeps.sitting import Sitting
from sandbox import fresh


class FakeQueue:
    """Each worker finishes one run per look; `bad` runs fail; `deaf` readings report no workers though they live."""

    def __init__(self, bad=(), states=None, done=(), deaf=0, stillborn=False):
        self.bad, self.books, self.results = bad, dict(states or {}), set(done)
        self.deaf, self.stillborn, self.workers = deaf, stillborn, 0
        self.submitted, self.forgotten, self.started = [], [], []

    def submit(self, name, changes):
        self.submitted.append((name, changes))
        self.books[name] = QUEUED

    def start(self, workers):
        self.started.append(workers)
        self.workers = 0 if self.stillborn else workers

    def states(self):
        if QUEUED not in self.books.values():
            self.workers = 0  # DVC's end when there is nothing to do
        answer = dict(self.books), 0 if self.deaf > 0 else self.workers
        self.deaf -= 1
        return answer

    def finished(self):
        waiting = [name for name, state in self.books.items() if state == QUEUED]
        for name in waiting[: self.workers]:
            self.books[name] = FAILED if name in self.bad else SUCCESS
            if name not in self.bad:
                self.results.add(name)
        return {name: f"ref/{name}" for name in self.results}

    def details(self, ref):
        return {"name": ref.removeprefix("ref/")}

    def forget(self, name, state):
        self.forgotten.append((name, state))
        del self.books[name]

    def reason(self, name):
        return f"error: {name} is unlucky"


@pytest.fixture(scope="module")
def runs():
    study = params.load(ROOT / "params.yaml")
    return {run.name(scene.CODE): run for run in design.ordered(scene.everything(study))}


def work(queue, runs, jobs=2, trained=(), refused=lambda run: False):
    collected = []

    def collect(run, _):
        if refused(run):
            raise StudyError("no entry 'arms'")
        collected.append(run)

    sitting = Sitting(queue, collect, lambda: None, jobs, set(trained))
    sitting.pause, sitting.patience = 0.0, 1
    return sitting.work(runs, lambda run: [f"dose={run.dose:g}"]), collected


def test_every_run_is_queued_once_in_order_and_collected(runs):
    queue = FakeQueue()
    failed, collected = work(queue, runs)
    assert failed == {} and set(collected) == set(runs.values()) and len(collected) == 72
    assert [name for name, _ in queue.submitted] == list(runs) and queue.started == [2]


def test_a_failed_run_does_not_stop_the_rest_and_says_why(runs):
    bad = list(runs)[3]
    failed, collected = work(FakeQueue(bad=[bad]), runs)
    assert failed == {bad: f"error: {bad} is unlucky"} and len(collected) == 71


def test_a_result_that_cannot_be_read_counts_as_failed(runs):
    failed, collected = work(FakeQueue(), runs, refused=lambda run: run.dose == 300)
    assert set(failed.values()) == {"no entry 'arms'"} and len(failed) == 12 and len(collected) == 60


def test_one_worker_until_the_only_network_is_trained_then_all(runs):
    same = {name: run for name, run in runs.items() if run.training == ("star", 0.7, 2026)}
    queue = FakeQueue()
    work(queue, same)
    assert queue.started == [1, 2]
    queue = FakeQueue()
    work(queue, same, trained=[("star", 0.7, 2026)])
    assert queue.started == [2], "an earlier sitting trained it"


def test_a_second_sitting_collects_what_finished_and_repeats_what_failed(runs):
    names = list(runs)
    queue = FakeQueue(states={names[0]: SUCCESS, names[1]: FAILED, names[2]: QUEUED}, done=[names[0]])
    failed, collected = work(queue, runs)
    assert failed == {} and len(collected) == 72
    assert queue.forgotten == [(names[1], FAILED)]
    assert {names[0], names[2]}.isdisjoint(name for name, _ in queue.submitted), "neither is queued again"


def test_workers_that_fail_to_answer_once_or_twice_are_believed_alive(runs):
    queue = FakeQueue(deaf=3)  # the first reading is the one before anything is queued
    assert work(queue, runs)[0] == {} and queue.started == [2] and queue.forgotten == []


def test_what_a_dead_worker_held_is_repeated(runs):
    names = list(runs)[:3]
    queue = FakeQueue(states={names[0]: RUNNING})
    failed, collected = work(queue, {name: runs[name] for name in names})
    assert failed == {} and len(collected) == 3
    assert queue.forgotten == [(names[0], RUNNING)] and queue.started == [2, 1]


def test_workers_that_never_live_end_in_one_line(runs):
    with pytest.raises(StudyError, match="workers end without a result"):
        work(FakeQueue(stillborn=True), runs)


FAKE_DVC = """#!{python}
import json, os, subprocess, sys
with open(os.environ["FAKE_LOG"], "a") as file:
    print(json.dumps([sys.argv[1:], os.environ["OMP_NUM_THREADS"]]), file=file)
if sys.argv[1:3] == ["queue", "status"]:
    print("Task     Name               Created    Status")
    print("a654ff4  sweep-ab-v0.7      06:34 PM   Running")
    print("c050865  sweep-ab-v0.6      Nov 24, 2026  Success")
    print("b050865  sweep-ab-v0.7      06:34 PM   Failed")
    print("16a2388                     06:34 PM   Queued")
    print()
    print("Worker status: 1 active, 2 idle")
elif sys.argv[1:3] == ["queue", "start"]:
    subprocess.Popen(["sleep", "8"])  # a worker: holds the output open
elif sys.argv[1:3] == ["queue", "logs"]:
    print("Running stage 'compare':\\nerror: dose: 0 is outside (0, 1e+12]\\nERROR: failed to reproduce")
elif sys.argv[1:3] == ["queue", "remove"]:
    sys.exit("WARNING: x\\nERROR: 'none' is not a valid experiment name")
"""


@pytest.fixture
def shell(tmp_path, monkeypatch):
    """A git repository as current folder, and a fake dvc beside the interpreter that the queue believes in."""
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin/dvc"
    program.write_text(FAKE_DVC.format(python=sys.executable))
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "bin/python"))
    monkeypatch.setenv("FAKE_LOG", str(tmp_path / "log"))
    for key in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{key}_NAME", "t")
        monkeypatch.setenv(f"GIT_{key}_EMAIL", "t@t")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def git(*arguments):
    return subprocess.run(["git", *arguments], check=True, capture_output=True, text=True).stdout.strip()


def test_what_dvc_is_asked_and_how_its_answers_are_read(shell):
    queue = dvc_queue.DvcQueue()
    queue.submit("sweep-x", ["dose=1000", "seeds.noise=3"])
    begun = time.monotonic()
    queue.start(2)
    assert time.monotonic() - begun < 6, "starting does not wait for the workers' end"
    assert queue.states() == ({"sweep-ab-v0.7": RUNNING, "sweep-ab-v0.6": SUCCESS}, 3)
    assert queue.reason("sweep-x") == "error: dose: 0 is outside (0, 1e+12]"
    with pytest.raises(StudyError, match=r"ERROR: 'none' is not a valid"):
        queue.forget("none", FAILED)
    asked = [json.loads(line) for line in (shell / "log").read_text().splitlines()]
    words = "exp run --queue -n sweep-x -S dose=1000 -S seeds.noise=3"
    assert asked[:2] == [[words.split(), "1"], [["queue", "start", "-j", "2"], "1"]]


def test_results_are_read_from_the_experiments_ref(shell):
    git("init", "-q")
    (shell / "metrics").mkdir()
    (shell / "metrics/details.json").write_text('{"arms": {}}')
    git("add", "metrics")
    git("commit", "-qm", "x")
    for ref in (f"refs/exps/ab/{'c' * 38}/sweep-1", "refs/exps/celery/failed", "refs/exps/exec/EXEC_HEAD"):
        git("update-ref", ref, "HEAD")
    queue = dvc_queue.DvcQueue()
    (name, ref), *others = queue.finished().items()
    assert name == "sweep-1" and not others and queue.details(ref) == {"arms": {}}
    (shell / "metrics/details.json").write_text("{")
    git("commit", "-qam", "y")
    git("update-ref", ref, "HEAD")
    with pytest.raises(StudyError, match="damaged"):
        queue.details(ref)
    assert dvc_queue.untracked(["metrics/details.json", "src/new.py"]) == ["src/new.py"]


def test_no_dvc_and_no_repository_end_in_one_line(shell, monkeypatch):
    with pytest.raises(StudyError, match="not a git repository"):
        dvc_queue.DvcQueue().finished()
    (shell / "bin/dvc").unlink()
    monkeypatch.setenv("PATH", os.defpath)
    with pytest.raises(StudyError, match="make setup"):
        dvc_queue.DvcQueue().start(1)


@pytest.mark.soak
def test_two_runs_with_the_real_queue_then_nothing_to_do(tmp_path):
    made = fresh(tmp_path / "study", tmp_path / "home")
    made.edit("params.yaml", {"overlap": {"sparse": None}, "train_sparse": {"view": None}, "train_cnn": {"view": None}})
    made.commit("fewer arms")
    sweep_py = (sys.executable, "src/sweep.py")
    done = made.run(*sweep_py, "run", "--design", "star", "--limit-runs", "2")
    assert "0 in metrics/sweep/sweep.csv, 2 to do" in done.stdout and "next: python src/sweep.py draw" in done.stdout
    rows = results_csv.read(made.folder / "metrics/sweep/sweep.csv")
    assert {row["seed_network"] for row in rows} == {2026, 2027} and {row["dose"] for row in rows} == {1e4}
    assert {"flat", "oracle", "dense"} <= {row["arm"] for row in rows}
    assert all(row["nbar"] > 0 and row["overlap"] == pytest.approx(0.7) for row in rows if row["arm"] == "dense")
    assert "dense" in json.loads((made.folder / "metrics/sweep/limit.json").read_text())["views"]
    (sitting,) = json.loads((made.folder / "metrics/sweep/machine.json").read_text())["sittings"]
    assert sitting["runs"] == 2 and sitting["failed"] == 0 and str(tmp_path) not in json.dumps(sitting)
    assert made.run("git", "status", "--porcelain").stdout == "?? metrics/\n", "the workspace is left as it was"
    (made.folder / "metrics/sweep/sweep.csv").unlink()
    done = made.run(*sweep_py, "run", "--design", "star", "--limit-runs", "2")
    assert results_csv.read(made.folder / "metrics/sweep/sweep.csv") == rows, "collected again, without a run"
    drawn = made.run(*sweep_py, "draw").stdout
    assert "dose.png drawn" in drawn and "gallery.png drawn" in drawn
