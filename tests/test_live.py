"""A scan that grows while it is measured: parts joined, what does not belong named, an end with a result."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import h5py
import numpy as np
import pytest

from ptychodose.errors import StudyError
from ptychodose.measured import live
from ptychodose.study import params
from scenes import ROOT, measured, written

STUDY = params.load(ROOT / "params.yaml")


def test_parts_are_joined_and_what_does_not_belong_is_named(tmp_path):
    scan = measured()
    for number, index in enumerate((np.arange(40), np.arange(40, 88))):
        written(tmp_path / f"p{number}.cxi", scan.select(index))
    data = (tmp_path / "p0.cxi").read_bytes()
    (tmp_path / "p2.cxi").write_bytes(data[: len(data) // 2])
    written(tmp_path / "p3.cxi", replace(scan, probe=scan.probe * np.complex64(1.01)))
    whole, left_out = live.gather(tmp_path)
    assert np.array_equal(whole.read(), scan.read()) and np.allclose(whole.positions, scan.positions)
    assert len(left_out) == 2 and "p2.cxi" in left_out[0] and "p3.cxi: its probe is not that" in left_out[1]
    one, nothing = live.gather(tmp_path / "p1.cxi")
    assert len(one) == 48 and nothing == []


def test_a_watch_follows_the_file_and_ends_when_nothing_comes(tmp_path, monkeypatch, capsys):
    scan, path, picture = measured(), tmp_path / "s.cxi", tmp_path / "r.png"
    growth = iter([lambda: path.write_bytes(b"not yet"), lambda: written(path, scan.select(np.arange(50))),
                   lambda: written(path, scan)])  # fmt: skip
    pause = time.sleep
    monkeypatch.setattr(live.time, "sleep", lambda seconds: next(growth, lambda: pause(0.02))())
    monkeypatch.setattr(live, "SHORT", 2)
    found = live.watch(path, picture, STUDY.reconstruct_map, 1.0)
    told = capsys.readouterr().out.splitlines()
    assert [line.split(";")[0].split(",")[0] for line in told] == [
        "live: nothing yet", "live: nothing yet", "live: 50 patterns", "live: 88 patterns"
    ]  # fmt: skip
    assert len(found) == 88 and picture.stat().st_size > 10_000 and "left out" in told[1]


def test_a_watch_of_nothing_is_refused_in_one_line(tmp_path):
    with pytest.raises(StudyError, match="no scan that can be read came"):
        live.watch(tmp_path / "never.cxi", tmp_path / "r.png", STUDY.reconstruct_map, 0.1)


def test_an_update_starts_from_the_last_object(tmp_path, monkeypatch):
    scan, starts = measured(), []
    minimise = live.poisson_map.minimise
    monkeypatch.setattr(
        live.poisson_map, "minimise", lambda p, start, n: (starts.append(start), minimise(p, start, n))[1]
    )
    part = scan.select(np.arange(44))
    first = live._update(part, None, tmp_path / "r.png", STUDY.reconstruct_map)
    live._update(scan, first, tmp_path / "r.png", STUDY.reconstruct_map)
    problem = live.Problem(part)
    known = np.zeros(scan.shape, bool)
    known[problem.window] = problem.seen
    whole = live.Problem(scan)
    both = np.zeros(scan.shape, bool)
    both[whole.window] = whole.seen & known[whole.window]
    assert both.sum() > 0.95 * known.sum()
    assert (starts[0] == starts[0][0, 0]).all() and np.abs(first[known] - part.level).max() > 0.1
    assert np.array_equal(starts[1].numpy()[both[whole.window]], first[both])


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_ctrl_c_ends_a_watch_with_the_final_result(tmp_path):
    path, out = written(tmp_path / "s.cxi", measured()), tmp_path / "r.h5"
    words = [
        sys.executable,
        ROOT / "src/study.py",
        "reconstruct",
        "--scan",
        path,
        "--out",
        out,
        "--live",
        "--solve",
        "nothing",
    ]
    running = subprocess.Popen(
        [*map(str, words), "--idle", "600"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    assert running.stdout.readline().startswith("live: 88 patterns") and not out.exists()
    running.send_signal(signal.SIGINT)
    rest, _ = running.communicate(timeout=120)
    assert running.returncode == 0 and "interrupted" in rest and "next: python src/study.py export" in rest
    with h5py.File(out) as file:
        assert file["obj"].shape == measured().shape
