"""Checkpoints: an interrupted training goes on bit for bit, only equal work takes one up, damage costs time only."""

import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
import torch

from closure import closure
from ptychodose.networks import training
from ptychodose.refine import hybrid_training
from ptychodose.study import checkpoint
from ptychodose.study.checkpoint import Checkpoint
from sandbox import ROOT, Study, environment
from scenes import own, procedural, scene, tiny
from test_hybrid import QUICK, TINY


class Stop(BaseException):
    """A kill, at a known update."""


class Mortal(Checkpoint):
    """Dies after it kept `life` states."""

    life = 3

    def keep(self, make):
        super().keep(make)
        self.life -= 1
        if self.life == 0:
            raise Stop


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint, "FOLDER", tmp_path / "checkpoints")


@pytest.fixture(scope="module")
def bright():
    return scene(1e4)


def train(source, kept=None, **changes):
    settings = tiny(pattern_visits=64, **changes)
    return training.train(source, training.architecture(settings), settings, 1, kept, "train_x")


def equal(one, other):
    weights = [made.network.state_dict() for made in (one, other)]
    same = all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    return same and one.history == other.history and one.pattern_visits == other.pattern_visits


@pytest.mark.parametrize("kind", ["own", "procedural"])
@pytest.mark.parametrize("life", [1, 3, 8])
def test_an_interrupted_training_goes_on_bit_for_bit(bright, kind, life, capsys):
    def source():
        return own(bright, 4, thinning=0.5) if kind == "own" else procedural(4)

    whole = train(source(), thinning=0.5)
    mortal = Mortal("train_x", "0" * 64, 0)
    mortal.life = life
    with pytest.raises(Stop):
        train(source(), mortal, thinning=0.5)
    resumed = train(source(), Checkpoint("train_x", "0" * 64, 1e9), thinning=0.5)
    out, err = capsys.readouterr()
    assert f"resumed after {life} updates" in out and "train_x: 100%" in err, "in a log, by its stage's name"
    assert equal(whole, resumed)


@pytest.mark.slow
def test_the_hybrid_goes_on_bit_for_bit(monkeypatch):
    monkeypatch.setattr(hybrid_training, "JUDGES", 1)
    settings = replace(TINY, updates=4, scenes=2)
    whole, history, _ = hybrid_training.train(settings, QUICK, lambda text: None)
    with pytest.raises(Stop):
        hybrid_training.train(settings, QUICK, lambda text: None, Mortal("train_hybrid", "1" * 64, 0))
    said = []
    kept = Checkpoint("train_hybrid", "1" * 64, 1e9)
    again, repeated, _ = hybrid_training.train(settings, QUICK, said.append, kept)
    assert said[0] == "resumed after 3 updates" and repeated == history
    assert all(torch.equal(whole.state_dict()[name], value) for name, value in again.state_dict().items())


def test_every_kind_of_state_comes_back():
    state = {
        "tensors": {0: torch.tensor([1.5, -2.0]), 1: torch.tensor(3)},
        "generator": np.random.Generator(np.random.Philox(7)).bit_generator.state,
        "list": [None, True, 0.1, 2**70, "text", (1, 2)],
    }
    kept = Checkpoint("x", "2" * 64, 0)
    kept.keep(lambda: state)
    found = kept.load()
    assert found["list"] == state["list"] and set(found["tensors"]) == {0, 1}
    assert all(torch.equal(found["tensors"][k], v) and found["tensors"][k].dtype == v.dtype
               for k, v in state["tensors"].items())  # fmt: skip
    rngs = [np.random.Generator(np.random.Philox()) for _ in range(2)]
    for rng, source in zip(rngs, (state, found), strict=True):
        rng.bit_generator.state = source["generator"]
    assert (rngs[0].random(100) == rngs[1].random(100)).all()


def test_only_equal_work_takes_it_up(tmp_path):
    data, code = tmp_path / "data.h5", tmp_path / "code.py"
    data.write_bytes(b"1")
    code.write_text("x = 1")

    def digest(**parameters):
        return checkpoint.key([data], [code], parameters)

    first = digest(dose=1)
    Checkpoint("s", first, 0).keep(lambda: {"n": 1})
    assert Checkpoint("s", digest(dose=1), 0).load() == {"n": 1}
    others = [digest(dose=2)]
    code.write_text("x = 2")
    others.append(digest(dose=1))
    code.write_text("x = 1")
    data.write_bytes(b"2")
    others.append(digest(dose=1))
    assert len({first, *others}) == 4
    assert all(Checkpoint("s", other, 0).load() is None for other in others)
    kept = Checkpoint("s", others[0], 0)
    Checkpoint("s", first, 0).path.rename(kept.path)
    assert kept.load() is None, "its name is not all that is compared"


@pytest.mark.parametrize("name", ["train", "train_hybrid"])
def test_the_code_in_the_key_is_all_that_the_stage_imports(name):
    program = f"import {name} as stage; print(*stage.checkpoint.loaded_code(stage.ROOT / 'src'))"
    source = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run([sys.executable, "-c", program], env=source, capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) == closure(ROOT / f"src/{name}.py") | {"src/ptychodose/__init__.py"}


@pytest.mark.parametrize("damage", [b"", b"not a zip", None])
def test_a_damaged_checkpoint_costs_time_only(bright, damage, capsys):
    whole = train(procedural(4))
    with pytest.raises(Stop):
        train(procedural(4), Mortal("train_x", "3" * 64, 0))
    kept = Checkpoint("train_x", "3" * 64, 1e9)
    data = bytearray(kept.path.read_bytes())
    data[len(data) // 2] ^= 1
    kept.path.write_bytes(data if damage is None else damage)
    again = train(procedural(4), kept)
    said = capsys.readouterr()
    assert "starts over" in said.err and len(said.err.strip().splitlines()[-1]) < 300 and "resumed" not in said.out
    assert equal(whole, again)


def test_states_are_kept_now_and_then_and_cleared_at_the_end():
    kept = Checkpoint("x", "4" * 64, 1e9)
    kept.keep(lambda: pytest.fail("too early"))
    old, other = Checkpoint("x", "5" * 64, 0), Checkpoint("xy", "5" * 64, 0)
    for one in (old, other):
        one.keep(lambda: {})
    kept.clear()
    assert old.load() is None and other.load() == {}


@pytest.mark.soak
def test_a_killed_stage_goes_on_where_it_was_and_gives_the_same_bytes(finished, tmp_path):
    shutil.copytree(finished.folder, tmp_path / "study", symlinks=True)
    study = Study(tmp_path / "study", finished.home)
    study.edit("params.yaml", {"train": {"pattern_visits": 1600}})
    command = [sys.executable, "src/train.py", "dense", "--checkpoint", "0"]
    process = subprocess.Popen(command, cwd=study.folder, env=environment(study.home), stderr=subprocess.DEVNULL)
    while not list((study.folder / "logs/checkpoints").glob("train_dense-*.zip")):
        assert process.poll() is None, "it ended before it could be killed"
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert "resumed after" in study.dvc("repro", "-s", "train_dense").stdout
    assert not list((study.folder / "logs/checkpoints").glob("*")), "nothing is left to resume"
    bundle = (study.folder / "data/bundles/dense/wts.h5.zip").read_bytes()
    assert "resumed" not in study.dvc("repro", "--no-run-cache", "-f", "-s", "train_dense").stdout
    assert (study.folder / "data/bundles/dense/wts.h5.zip").read_bytes() == bundle
