"""The golden record: the tiny study and one scene give what was recorded, and a failure names what moved."""

import copy

import pytest

import golden

SUM = "1" * 64
RECORD = {
    "digests": {"train_cnn": {"data/bundles/cnn/wts.h5.zip": SUM}, "limit": {"data/limit/limit.json": SUM}},
    "environments": {"train_cnn": {"torch": "2.0"}},
    "compare": {"map": {"nrmse": 0.25, "iterations": 30, "view": "dense", "weight": None, "shift_px": [0.5, -0.5]}},
    "details": {"correlation": [1 - i / 50 for i in range(30)]},
}


@pytest.mark.slow
def test_the_tiny_study_is_as_recorded(finished):
    honoured = golden.honours_pins()
    rel = golden.PINNED if honoured else golden.UNPINNED
    changes = golden.moved(golden.load("tiny"), golden.tiny(finished.folder), rel, with_bytes=honoured)
    assert not changes, golden.said(changes)
    if not honoured:
        pytest.skip(f"numbers agree within {rel:g}; digests not compared, since this CPU lacks AVX2 or FMA")


def test_the_scene_is_as_recorded():
    changes = golden.moved(golden.load("scene"), golden.scene(), golden.SCENE)
    assert not changes, golden.said(changes)


def altered(change, **given):
    """Names and texts of what moves when `change` is applied to a copy of RECORD."""
    new = copy.deepcopy(RECORD)
    change(new)
    return golden.moved(golden.condensed(RECORD), golden.condensed(new), golden.PINNED, **given)


@pytest.mark.parametrize(
    ("key", "value", "named"),
    [
        ("nrmse", 0.25 * (1 + 3e-7), {}),
        ("nrmse", 0.250001, {"compare.map.nrmse": "0.25 -> 0.250001"}),
        ("iterations", 31, {"compare.map.iterations": "30 -> 31"}),
        ("iterations", 30.0, {"compare.map.iterations": "30 -> 30.0"}),
        ("view", "sparse", {"compare.map.view": "dense -> sparse"}),
        ("weight", 0.4, {"compare.map.weight": "None -> 0.4"}),
        ("shift_px", [0.5, 0.5], {"compare.map.shift_px.1": "-0.5 -> 0.5"}),
        ("shift_px", [0.5], {"compare.map.shift_px.1": "-0.5 -> absent"}),
        ("new", 1, {"compare.map.new": "absent -> 1"}),
    ],
)
def test_what_moved_is_named(key, value, named):
    assert altered(lambda new: new["compare"]["map"].update({key: value})) == named


def test_what_is_gone_is_named():
    assert altered(lambda new: new["compare"].clear())["compare.map.nrmse"] == "0.25 -> absent"


def test_a_long_list_is_compared_in_the_middle_too():
    changes = altered(lambda new: new["details"]["correlation"].__setitem__(15, 0.70001))
    assert list(changes) == ["details.correlation.sha256"]
    assert not altered(lambda new: new["details"]["correlation"].__setitem__(15, 0.7000001))


def test_bytes_are_compared_only_where_asked_for():
    def change(new):
        new["digests"]["limit"]["data/limit/limit.json"] = "2" * 64
        new["environments"]["train_cnn"]["torch"] = "3.0"
        new["details"]["correlation"][15] = 0.0

    named = {"digests.limit.data/limit/limit.json", "environments.train_cnn.torch", "details.correlation.sha256"}
    assert set(altered(change)) == named
    assert altered(change, with_bytes=False) == {}


def test_a_failure_says_whether_numbers_moved_and_how_to_record_anew():
    changes = altered(lambda new: new["digests"]["limit"].update({"data/limit/limit.json": "2" * 64}))
    text = golden.said(changes)
    assert text.startswith("all numbers agree, but the bytes of 1 files moved (of stage limit):")
    assert f"  digests.limit.data/limit/limit.json: {SUM} -> {'2' * 64}\n" in text and golden.COMMAND in text
    many = {f"compare.{i}": "1 -> 2" for i in range(100)}
    lines = golden.said(many | changes).splitlines()
    assert lines[0].startswith("101 entries") and lines[40:42] == ["  compare.39: 1 -> 2", "  and 61 more"]


def test_recording_prints_what_moved_and_leaves_what_did_not(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(golden, "FOLDER", tmp_path)
    golden.write("some", golden.condensed(RECORD), golden.PINNED)
    assert golden.load("some") == golden.condensed(RECORD)
    before = (tmp_path / "some.json").read_bytes()
    new = copy.deepcopy(RECORD)
    new["compare"]["map"]["nrmse"] = 0.25 * (1 + 3e-7)
    golden.write("some", golden.condensed(new), golden.PINNED)
    assert (tmp_path / "some.json").read_bytes() == before
    new["compare"]["map"]["nrmse"] = 0.5
    capsys.readouterr()
    golden.write("some", golden.condensed(new), golden.PINNED)
    assert capsys.readouterr().out == "some: compare.map.nrmse: 0.25 -> 0.5\nsome: 1 entries moved\n"
    assert golden.load("some") == golden.condensed(new)
