"""Nothing half-written ever carries a final name."""

import errno
import json
import os
from pathlib import Path

import numpy as np
import pytest

from ptychodose.errors import StudyError
from ptychodose.formats import atomic
from ptychodose.formats.h5 import write_arrays


def leftovers(folder):
    return sorted(p.name for p in folder.iterdir())


def test_a_finished_file_replaces_the_old_one(tmp_path):
    path = tmp_path / "new" / "a.txt"
    for text in ("one", "two"):
        with atomic.atomic_path(path) as temporary:
            temporary.write_text(text)
            assert not path.exists() or path.read_text() == "one"
        assert path.read_text() == text
    assert leftovers(path.parent) == ["a.txt"]


def fail_within(writing, error):
    """Write half of something, then fail."""
    with writing as temporary:
        (temporary / "c" if temporary.is_dir() else temporary).write_text("half")
        raise error


@pytest.mark.parametrize(
    "error", [ValueError("x"), OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()]
)
def test_a_failure_keeps_the_old_file_and_leaves_nothing(tmp_path, error):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(type(error)):
        fail_within(atomic.atomic_path(path), error)
    assert path.read_text() == "old" and leftovers(tmp_path) == ["a.txt"]


def test_folders_are_replaced_whole(tmp_path):
    path = tmp_path / "out"
    with atomic.atomic_folder(path) as folder:
        (folder / "a").write_text("1")
    with atomic.atomic_folder(path) as folder:
        (folder / "b").write_text("2")
    assert leftovers(path) == ["b"]
    with pytest.raises(RuntimeError):
        fail_within(atomic.atomic_folder(path), RuntimeError())
    assert leftovers(path) == ["b"] and leftovers(tmp_path) == ["out"]


def test_a_killed_writer_leaves_no_final_name(tmp_path):
    pid = os.fork()
    if pid == 0:
        with atomic.atomic_path(tmp_path / "a.txt") as temporary:
            temporary.write_text("half")
            os.kill(os.getpid(), 9)
    os.waitpid(pid, 0)
    assert not (tmp_path / "a.txt").exists()


def test_json_is_sorted_and_refuses_nan(tmp_path):
    path = tmp_path / "a.json"
    atomic.write_json(path, {"b": 1, "a": [0.1, None]})
    assert path.read_text().index('"a"') < path.read_text().index('"b"') and path.read_text().endswith("}\n")
    assert json.loads(path.read_text()) == {"a": [0.1, None], "b": 1}
    with pytest.raises(ValueError, match="not JSON compliant"):
        atomic.write_json(path, {"a": float("nan")})
    assert json.loads(path.read_text())["b"] == 1


@pytest.mark.parametrize("value", [np.nan, np.inf, 1j * np.nan])
def test_no_file_of_arrays_is_written_that_no_reader_takes(tmp_path, value):
    with pytest.raises(StudyError, match=r"a\.h5: obj came out as NaN or infinity"):
        write_arrays(tmp_path / "a.h5", {"obj": np.array([1, value])})
    assert list(tmp_path.iterdir()) == []


def test_sha256_of_a_known_text(tmp_path):
    path = tmp_path / "abc"
    path.write_bytes(b"abc")
    assert atomic.sha256_file(path) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert isinstance(path, Path)


def test_what_a_killed_writer_left_is_removed_and_a_living_one_is_spared(tmp_path):
    dead = os.fork()
    if dead == 0:
        os._exit(0)
    os.waitpid(dead, 0)
    alive = os.getppid()
    for pid in (dead, alive):
        (tmp_path / f".a.json.{pid}.tmp").write_text("half")
        (tmp_path / "sub" / f".out.{pid}.tmp").mkdir(parents=True)
        (tmp_path / "sub" / f".out.{pid}.tmp" / "part").write_text("half")
    (tmp_path / ".notes.tmp").write_text("somebody's")
    atomic.remove_stale(tmp_path, deep=False)
    assert (tmp_path / "sub" / f".out.{dead}.tmp").is_dir() and not (tmp_path / f".a.json.{dead}.tmp").exists()
    atomic.remove_stale(tmp_path)
    atomic.remove_stale(tmp_path / "absent")
    left = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file())
    assert left == [f".a.json.{alive}.tmp", ".notes.tmp", f"sub/.out.{alive}.tmp/part"]
