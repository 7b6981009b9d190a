"""Attestations: what a machine says of its rebuild, what verify lists of them, and signatures by ssh-keygen."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import yaml

import mini
import study as study_command
from damage import flip, remote
from mini import ARRAY
from ptychodose.errors import CouldNotCheck, StudyError
from ptychodose.integrity import attest, record, revision
from ptychodose.study import machine
from sandbox import clone
from test_verify_units import run

INTEL = {"cpu": "Intel X", "cores": 4, "system": "Debian 12, x86_64"}


@pytest.fixture(autouse=True)
def study(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "none"))
    mini.make()


def ran(*stages):
    """What DVC keeps of a stage that ran here."""
    for number, stage in enumerate(stages):
        entry = yaml.safe_load(Path("dvc.lock").read_text())["stages"][stage]
        mini.write(f".dvc/cache/runs/ab/{'a' * 64}/{number}", yaml.safe_dump(entry, sort_keys=False))


def other(name, **changes):
    """An attestation of another machine."""
    said = {"seal": record.seal(), "date": "2026-11-01", "machine": INTEL, "outcome": "verified: 6 files",
            "ran_here": 3, "stages": 3, "versions": {}, **changes}  # fmt: skip
    mini.write(f"attestations/{name}.json", json.dumps(said))


def test_a_rebuild_is_written_once_per_machine_without_names(monkeypatch):
    ran("one", "two")
    path, number, stages = attest.write()
    said = json.loads(path.read_text())
    assert (number, stages) == (said["ran_here"], said["stages"]) == (2, 2) and said["seal"] == record.seal()
    assert said["outcome"].startswith("verified: ") and re.fullmatch(r"\d{4}-\d\d-\d\d", said["date"])
    assert set(said["versions"]) == {"python", *machine.LIBRARIES} and said["machine"]["cpu"]
    assert re.fullmatch(r"[0-9a-f]{16}\.json", path.name) and str(Path.cwd()) not in path.read_text()
    assert set(said["machine"]) == {"cpu", "cores", "system"} and len(said) == 7
    assert attest.write()[0] == path and len(list(path.parent.iterdir())) == 1
    monkeypatch.setattr(attest, "_system", lambda: "Other OS, x86_64")
    assert attest.write()[0] != path


def test_what_was_only_pulled_is_no_rebuild():
    assert attest.write()[1:] == (0, 2)
    ran("one")
    mini.write(".dvc/cache/runs/ab/damaged/0", "][")
    assert attest.write()[1:] == (1, 2)
    assert attest.line(record.seal()).endswith("this seal by nobody; 1 checked without running every stage")
    ran("one", "two")
    mini.write_array(np.ones(3))
    mini.record()  # of other outs than those runs made
    mini.commit("again")
    assert attest.write()[1:] == (0, 2)


def test_a_damaged_study_is_not_attested(monkeypatch):
    flip(Path(ARRAY))
    with pytest.raises(StudyError, match=f"^{ARRAY}: workspace bytes differ.*; nothing to attest"):
        attest.write()
    flip(Path(ARRAY))
    monkeypatch.setattr(revision, "silence", lambda: "git is not there")
    with pytest.raises(CouldNotCheck, match="git is not there"):
        attest.write()
    assert not attest.FOLDER.exists()


def test_a_folder_that_cannot_be_written_is_one_line():
    attest.FOLDER.write_text("")
    with pytest.raises(StudyError, match=r"^attestations/\w+\.json: .*; check free space and permissions$"):
        attest.write()


def test_verify_lists_who_rebuilt_this_seal(capsys):
    assert run() == 0 and "rebuilt" not in capsys.readouterr().out
    other("a")
    other("b", machine={**INTEL, "cpu": "AMD Y\n\x1b[2J"})
    other("c", seal="0" * 64)
    other("d", ran_here=2)
    mini.write("attestations/e.json", "{}")
    Path("attestations/f.json").symlink_to("/dev/zero")
    assert run() == 0
    (line,) = (line for line in capsys.readouterr().out.splitlines() if line.startswith("rebuilt"))
    assert line == (
        "rebuilt, as attestations/ says: Intel X, Debian 12, x86_64, 2026-11-01 | AMD Y\\n\\x1b[2J, Debian 12, x86_64, "
        "2026-11-01; 1 checked without running every stage; 1 of other seals; "
        "not readable: attestations/e.json, attestations/f.json"
    )
    assert run("--json") == 0 and json.loads(capsys.readouterr().out)["attested"] == line
    flip(Path(ARRAY))
    assert run() == 1 and "rebuilt" not in capsys.readouterr().out


@pytest.mark.parametrize(
    "wrong",
    [{"seal": "x"}, {"ran_here": 4}, {"stages": 0, "ran_here": 0}, {"machine": None}, {"machine": {"cpu": 1}},
     {"date": 5}, {"ran_here": True}, {"stages": 10**9, "ran_here": 1}],
)  # fmt: skip
def test_what_is_no_attestation_counts_for_nothing(wrong):
    other("a", **wrong)
    assert attest.read() == ([], ["attestations/a.json"])


@pytest.mark.slow
def test_real_dvc_tells_what_ran_here_from_what_was_pulled(copied, tmp_path):
    stages = (
        len(yaml.safe_load((copied.folder / "dvc.lock").read_text())["stages"]) - 1
    )  # all outs of `compare` are git's
    remote(copied, tmp_path / "far")
    elsewhere = clone(copied, tmp_path / "clone")
    elsewhere.dvc("pull", "-q")
    assert f", 0 of {stages} stages ran here" in elsewhere.study("attest").stdout
    assert f", {stages} of {stages} stages ran here" in copied.study("attest").stdout
    copied.commit("attested")
    assert "\nrebuilt, as attestations/ says: " in copied.study("verify").stdout


@pytest.mark.skipif(not shutil.which("ssh-keygen"), reason="no ssh-keygen")
def test_a_signature_holds_until_the_file_changes(tmp_path):
    """The commands of docs/trust.md, with a throw-away key."""
    path, _, _ = attest.write()
    commands = (Path(__file__).parents[1] / "docs/trust.md").read_text()
    sign, trust, check = re.findall(r"^ssh-keygen .*$|^echo .*$", commands, re.M)
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", "key"], check=True)

    def shell(line):
        line = line.replace("attestations/NAME.json", path.as_posix()).replace("~/.ssh/id_ed25519", "key")
        return subprocess.run(line, shell=True, capture_output=True, text=True, check=False)

    for line in (sign, trust, check):
        done = shell(line)
        assert done.returncode == 0, (line, done)
    assert "Good" in done.stdout
    path.write_text(path.read_text().replace('"stages": 2', '"stages": 3'))
    assert shell(check).returncode and attest.read()[1] == [], "the file is readable, the signature is not its own"


def test_the_command_says_what_was_written(capsys):
    assert study_command.write_attestation(None) == 0
    assert re.match(r"written: attestations/\w+\.json, 0 of 2 stages ran here\nnext: ", capsys.readouterr().out)
