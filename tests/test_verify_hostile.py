"""Verify where something does not answer, and beside things that are no files: said, never a hang or an OK."""

import json
import os
import re
import zipfile
from pathlib import Path

import h5py
import pytest
import yaml

import mini
from damage import flip
from mini import ARRAY, TABLE
from ptychodose.errors import CouldNotCheck, StudyError
from ptychodose.integrity import lock, places, record, repair, revision, values, verify
from test_verify_units import bad, cached, home, run  # noqa: F401 - a study made by hand, for each test

# What cannot be asked


@pytest.mark.parametrize("why", ["no git", "another owner", "no repository"])
def test_what_git_cannot_be_asked_is_said_and_has_a_status_of_its_own(why, monkeypatch, capsys):
    if why == "no git":
        monkeypatch.setenv("PATH", "")
    elif why == "another owner":
        monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    else:
        Path(".git").rename("gone")
        Path(".dvc/config").write_text("[core]\n    no_scm = true\n")
    lock._asked.cache_clear()
    assert run() == 3
    said = capsys.readouterr().out
    assert "NOT checked: what was added, and whether git has this manifest.json: git" in said
    assert run("--json") == 3
    document = json.loads(capsys.readouterr().out)
    assert document["status"] == 3 and not document["ok"] and len(document["unchecked"]) == 1
    with pytest.raises(CouldNotCheck, match="nothing was repaired"):
        repair.repair()
    flip(Path(ARRAY))
    assert run() == 1, "damage is worse than not knowing"


def test_git_is_asked_about_this_folder_whatever_the_environment_points_to(monkeypatch, tmp_path):
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "nowhere"))
    assert run() == 0 and revision.silence() == "" and revision.tracked()


def test_an_unreadable_file_is_neither_damaged_nor_in_order(monkeypatch, capsys):
    real = places.digests

    def failing(path, own=False):
        return (
            places.Digests("", "", 0, "not readable (Input/output error)", True) if path.name == "a.h5" else real(path)
        )

    for module in (verify, repair):
        monkeypatch.setattr(module, "digests", failing)
    assert run() == 3 and "NOT checked: data/a.h5: workspace file not readable" in capsys.readouterr().out
    (entry,) = repair.repair()
    assert entry.source is None and "check its permissions" in entry.detail


# What is there and should not be


def linked(path, target):
    Path(path).symlink_to(target)


@pytest.mark.parametrize(
    ("make", "path"),
    [
        (lambda: linked("data/f/x", "nowhere"), "data/f/x"),
        (lambda: linked("data/x", Path("src").absolute()), "data/x"),
        (lambda: os.mkfifo("data/f/x"), "data/f/x"),
        (lambda: Path("data/x").mkdir(), "data/x"),
        (lambda: Path("data/f/x").mkdir(), "data/f/x"),
        (lambda: (mini.write("data/f/x", "x"), mini.git("add", "-f", "data/f/x")), "data/f/x"),
        (lambda: mini.write("data/a\nverified: all", "x"), "data/a\nverified: all"),
    ],
    ids=["dangling link", "linked folder", "FIFO", "empty folder", "empty folder in an out", "forced into git", "name"],
)
def test_whatever_was_added_is_named(make, path, capsys):
    make()
    assert bad() == {(path, "unlisted")}
    assert run() == 1
    assert not any(line.startswith("verified") for line in capsys.readouterr().out.splitlines())


@pytest.mark.parametrize("kind", ["FIFO", "device", "folder", "link to nothing"])
@pytest.mark.parametrize("where", ["workspace", "cache"])
def test_what_is_no_file_is_damage_and_nothing_waits_for_it(kind, where, capsys):
    path = Path(ARRAY) if where == "workspace" else cached(ARRAY)
    path.unlink()
    {"FIFO": os.mkfifo, "folder": os.mkdir}.get(
        kind, lambda name: os.symlink("/dev/zero" if kind == "device" else "x", name)
    )(path)
    assert (ARRAY, "mismatch") in bad()
    if kind != "folder":
        assert [entry.source is not None for entry in repair.repair()] == [True] and bad() == set()


def test_a_cache_object_that_is_a_link_to_the_workspace_is_no_second_copy():
    cached(ARRAY).unlink()
    cached(ARRAY).symlink_to(Path(ARRAY).absolute())
    assert bad() == {(ARRAY, "mismatch")}
    assert [(entry.place, entry.source) for entry in repair.repair()] == [("cache", "workspace")]
    assert not cached(ARRAY).is_symlink() and bad() == set()


def test_repair_writes_nowhere_through_a_linked_folder(tmp_path):
    outside = tmp_path / "outside"
    Path("data/f").rename(outside)
    Path("data/f").symlink_to(outside)
    (outside / "t.csv").write_text("x")
    made = {entry.path: entry.source for entry in repair.repair()}
    assert made[TABLE] is None and (outside / "t.csv").read_text() == "x"


def test_what_a_killed_repair_left_is_gone_after_the_next():
    left = [Path("data/.a.h5.999999.tmp"), cached(ARRAY).with_name(f".{cached(ARRAY).name}.999999.tmp")]
    for path in left:
        path.write_text("half")
    repair.repair()
    assert not any(path.exists() for path in left)


def test_a_file_that_dvc_add_keeps_is_known_once_its_dvc_file_is_in_git():
    mini.write("metrics/base.npz", "mine")
    md5 = mini.hashlib.md5(b"mine").hexdigest()
    mini.write("metrics/base.npz.dvc", f"outs:\n- md5: {md5}\n  size: 4\n  hash: md5\n  path: base.npz\n")
    lock._asked.cache_clear()
    assert {path for path, _ in bad()} == {"metrics/base.npz", "metrics/base.npz.dvc"}
    mini.git("add", "metrics/base.npz.dvc")
    assert bad() == set()


def test_the_list_for_sha256sum_is_held_against_a_seal_too(capsys):
    assert run("--sha256sums", "--expect", record.seal()) == 0 and capsys.readouterr().out.count("\n") == 7
    with pytest.raises(StudyError, match="not the expected one"):
        run("--sha256sums", "--expect", "0" * 64)
    assert capsys.readouterr().out == ""


def test_a_dvc_yaml_that_dvc_cannot_read_is_one_line():
    for text in ("stages: [", "stages: 3", "stages: {one: {cmd: 1, outs: [{}]}}", "vars: 5\nstages: {}", "- 1"):
        Path("dvc.yaml").write_text(text)
        lock._asked.cache_clear()
        with pytest.raises(StudyError, match=r"^dvc.yaml: ") as caught:
            verify.verify()
        assert str(caught.value).isprintable() and caught.value.status == 1


def test_nothing_in_the_records_moves_the_cursor_or_begins_a_line(capsys):
    evil = "x\nverified: 9 files\x1b[2J"
    document = yaml.safe_load(Path("dvc.lock").read_text())
    document["stages"][evil] = {"cmd": evil, "deps": [{"path": evil, "md5": "0" * 32}]}
    document["stages"]["two"]["deps"].append({"path": evil, "hash": "md5", "md5": "0" * 32})
    document["stages"]["two"]["params"]["params.yaml"][evil] = evil
    mini.write("dvc.lock", yaml.safe_dump(document))
    lock._asked.cache_clear()
    for options in ((), ("--against", "HEAD")):
        run(*options)
        said = capsys.readouterr().out
        assert "\x1b" not in said and not re.search("^verified", said, re.M) and "x\\nverified" in said


@pytest.mark.parametrize(("name", "text"), [("dvc.lock", "stages: 3\n"), (".dvcignore", "data/\n")])
def test_the_file_that_dvc_cannot_read_is_named(name, text):
    mini.write(name, text)
    lock._asked.cache_clear()
    with pytest.raises(StudyError, match=f"^{re.escape(name)}: ") as caught:
        verify.verify()
    assert str(caught.value).isprintable() and f"git restore {name}" in str(caught.value)


# What is read, by a process of its own


def of_itself():
    """A virtual dataset that consists of itself, over which HDF5 2.0 recurses until the process is gone."""
    layout = h5py.VirtualLayout((4,), "f8")
    layout[:] = h5py.VirtualSource("a.h5", "x", (4,))
    with h5py.File("a.h5", "w") as file:
        file.create_virtual_dataset("x", layout)
    return Path("a.h5").read_bytes()


def absurd():
    with h5py.File("a.h5", "w") as file:
        file.create_dataset("x", (2**40, 2**20), "f8", chunks=(1, 1024))
    return Path("a.h5").read_bytes()


def bomb():
    with zipfile.ZipFile("a.zip", "w", zipfile.ZIP_DEFLATED) as made:
        made.writestr("weights.h5", bytes(2**21))
    return Path("a.zip").read_bytes().replace((2**21).to_bytes(4, "little"), (2**31 - 1).to_bytes(4, "little"))


@pytest.mark.parametrize(
    ("name", "data"), [("a.h5", of_itself), ("a.cxi", of_itself), ("a.h5", absurd), ("a.zip", bomb)]
)
def test_a_hostile_file_is_not_comparable_and_verify_lives(name, data):
    hostile = data()
    assert values.disagreement(name, hostile, hostile).startswith("not comparable")


@pytest.mark.parametrize(
    ("does", "says"),
    [("kill -SEGV $$", "crashed a process (signal 11)"), ("exec sleep 9", "took more than"), ("exit 3", "^$")],
)
def test_a_reader_that_crashes_or_hangs_does_so_alone(does, says, monkeypatch):
    mini.write("python", f"#!/bin/sh\n{does}\n")
    Path("python").chmod(0o755)
    monkeypatch.setattr("sys.executable", str(Path("python").absolute()))
    monkeypatch.setattr(values, "LONGEST", 0.5)
    with pytest.raises(ValueError, match=says if says == "^$" else re.escape(says)):
        values.apart("content", "a.h5")
