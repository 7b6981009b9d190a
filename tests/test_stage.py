"""The stage runner: one line and exit status 1 for bad input, one writer at a time, no orphan."""

import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ptychodose.study import stage

SRC = Path(__file__).parents[1] / "src"
SCRIPT = """
import errno, os, sys, time
from pathlib import Path
from ptychodose.study import stage
from ptychodose.errors import StudyError
from ptychodose.formats.atomic import atomic_path
stage.ROOT = Path({root!r})

def main():
    {body}

stage.run("demo", main)
"""


def launch(tmp_path, body, **options):
    script = SCRIPT.format(root=str(tmp_path), body=body)
    environment = {**os.environ, "PYTHONPATH": str(SRC)}
    return subprocess.Popen(
        [sys.executable, "-c", script],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        **options,
    )


def finish(process):
    out, err = process.communicate(timeout=60)
    return process.returncode, out, err


def test_a_good_run_logs_its_duration_outside_the_outs(tmp_path):
    code, out, err = finish(launch(tmp_path, "print(os.getcwd())"))
    assert (code, err) == (0, "") and out.strip() == str(tmp_path)
    assert json.loads((tmp_path / "logs" / "demo.json").read_text())["stage"] == "demo"


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ('raise StudyError("params.yaml: dose: -1 is outside (0, 1e12]")', "dose: -1"),
        ('raise OSError(errno.ENOSPC, "No space left on device", "data/x.h5")', "data/x.h5: No space left"),
        ("raise MemoryError", "out of memory"),
        ("raise KeyboardInterrupt", "interrupted"),
        ("raise BrokenPipeError(errno.EPIPE, 'Broken pipe')", "whoever read what it prints has gone"),
        ("raise OSError(errno.EMFILE, 'Too many open files')", "ulimit -n"),
    ],
)
def test_failures_are_one_line_and_how_to_get_the_result_back(tmp_path, body, words):
    code, out, err = finish(launch(tmp_path, body))
    lines = err.splitlines()
    assert code == 1 and out == "" and "Traceback" not in err
    assert len(lines) == 2 and lines[0].startswith("error: ") and words in lines[0] and "then `dvc repro`" in lines[1]


def test_a_full_disk_leaves_nothing(tmp_path):
    body = (
        "import resource, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); "
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000)); "
        "ctx = atomic_path(Path('out.bin')); p = ctx.__enter__()\n"
        "    try: p.write_bytes(bytes(5000))\n"
        "    except OSError as e: ctx.__exit__(type(e), e, e.__traceback__); raise"
    )
    code, _, err = finish(launch(tmp_path, body))
    assert code == 1 and "File too large" in err and "Traceback" not in err
    assert not list(tmp_path.glob("*out.bin*"))


def test_a_lock_is_no_link_and_what_it_leads_to_stays_as_it_is(tmp_path):
    (tmp_path / "logs").mkdir()
    (tmp_path / "mine.txt").write_text("mine")
    (tmp_path / "logs" / "demo.lock").symlink_to(tmp_path / "mine.txt")
    code, _, err = finish(launch(tmp_path, "pass"))
    assert code == 1 and "logs/demo.lock: a link" in err and "Traceback" not in err
    (tmp_path / "logs" / "demo.lock").unlink()
    (tmp_path / "logs" / "demo.json").symlink_to(tmp_path / "mine.txt")
    assert finish(launch(tmp_path, "pass"))[0] == 0
    assert (tmp_path / "mine.txt").read_text() == "mine"


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_told_of(tmp_path, monkeypatch, capsys, number):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("fcntl.flock", lambda *_: (_ for _ in ()).throw(OSError(number, os.strerror(number))))
    with stage.alone("demo"):
        said = capsys.readouterr().err
    assert said.count("\n") == 1 and said.startswith("note: logs/demo.lock: this file system has no locks")


def test_a_second_writer_is_refused(tmp_path):
    first = launch(tmp_path, "print('in', flush=True); time.sleep(30)")
    assert first.stdout.readline() == "in\n"
    code, _, err = finish(launch(tmp_path, "pass"))
    first.kill()
    finish(first)
    assert code == 1 and "already running" in err
    assert finish(launch(tmp_path, "pass"))[0] == 0, "a killed stage releases its lock"


@pytest.mark.skipif(sys.platform != "linux", reason="prctl is Linux")
def test_a_stage_dies_with_its_parent(tmp_path):
    script = tmp_path / "stage.py"
    script.write_text(SCRIPT.format(root=str(tmp_path), body="print(os.getpid(), flush=True); time.sleep(60)"))
    parent = subprocess.Popen(
        [sys.executable, "-c", f"import subprocess, sys; subprocess.run([sys.executable, {str(script)!r}])"],
        stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(SRC)},
    )  # fmt: skip
    pid = int(parent.stdout.readline())
    parent.send_signal(signal.SIGKILL)
    parent.communicate()
    for _ in range(100):
        if not Path(f"/proc/{pid}").exists() or "State:\tZ" in Path(f"/proc/{pid}/status").read_text():
            return
        time.sleep(0.05)
    os.kill(pid, signal.SIGKILL)
    pytest.fail("the stage outlived its parent")


def test_without_the_projects_environment_one_line_says_what_to_do(tmp_path):
    code = subprocess.run(
        [sys.executable, "-S", "-c", "import ptychodose"],
        capture_output=True, text=True, env={"PYTHONPATH": str(SRC), "PATH": os.environ["PATH"]}, cwd=tmp_path,
    )  # fmt: skip
    assert code.returncode == 1 and "make setup" in code.stderr and len(code.stderr.splitlines()) == 1
