"""Which holds against another revision, and why: bytes identical, content within tolerance, or different."""

import argparse
import io
import json
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest

import mini
from mini import ARRAY, METRIC, NOTES, PICTURE, TABLE
from ptychodose.errors import StudyError
from ptychodose.integrity import lock, record, reproduced, revision, values, verify_command


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "none"))
    mini.make()


def run(*arguments):
    parser = argparse.ArgumentParser()
    verify_command.add_options(parser)
    return verify_command.run(parser.parse_args(arguments))


def verdicts(name="HEAD"):
    return {file.path: file.verdict for file in reproduced.against(name).files}


def test_the_same_study_is_identical(home, capsys):
    found = reproduced.against("HEAD")
    assert (
        found.holds == "bytes identical" and found.because == [] and {f.verdict for f in found.files} == {"identical"}
    )
    assert run() == 0 and "against HEAD: bytes identical: 7 identical\n" in capsys.readouterr().out


def test_every_word_has_its_case(home, capsys):
    mini.write_array(np.linspace(0, 1, 50), chunks=(7,))  # the same content in other container bytes
    mini.write(TABLE, "frequency,name,flat\n0.0,a,1.0000001\n0.5,b,\n")
    mini.write(NOTES, json.dumps({"bytes": 6, "sha256": "1" * 64, "view": "dense"}))
    mini.write_metric(0.6)
    mini.write(PICTURE, b"\x89PNG two")
    mini.record()
    expected = {ARRAY: "same content", TABLE: "within tolerance", NOTES: "within tolerance", METRIC: "different",
                PICTURE: "picture"}  # fmt: skip
    found = verdicts()
    assert expected.items() <= found.items() and found["data/manifests/one.json"] == "within tolerance"
    assert run() == 0, "a plain verify reports and passes"
    assert "against HEAD: different: " in capsys.readouterr().out
    assert run("--against", "HEAD") == 1
    said = capsys.readouterr().out
    assert f"different        {METRIC}: values of nrmse" in said and "tolerance 0.001" in said
    mini.write_metric(0.5001)
    mini.record()
    assert reproduced.against("HEAD").holds == "content within tolerance" and run("--against", "HEAD") == 0
    mini.commit("again")
    assert reproduced.against("HEAD").holds == "bytes identical" and verdicts("HEAD~1")[TABLE] == "within tolerance"


def test_files_that_came_or_went_are_different(home):
    Path(NOTES).rename("data/f/other.json")
    mini.record()
    found = {file.path: file.detail for file in reproduced.against("HEAD").files if file.verdict == "different"}
    assert found[NOTES] == "no longer here" and found["data/f/other.json"] == "new here"


def test_old_bytes_count_only_while_they_are_what_their_manifest_says(home):
    old = record.read().files[ARRAY].cached
    mini.write_array(np.linspace(0, 1.0001, 50))
    mini.record()
    assert verdicts()[ARRAY] == "within tolerance"
    old.chmod(0o644)
    mini.write_array(np.linspace(0, 1.0002, 50), old)
    details = {file.path: file.detail for file in reproduced.against("HEAD").files}
    assert verdicts()[ARRAY] == "different" and "no longer have the bytes" in details[ARRAY]


def test_a_claim_of_the_same_content_is_checked(home):
    document = json.loads(Path("manifest.json").read_text())
    claimed = document["stages"]["one"][0]["content_sha256"]
    for values_now, verdict in ((np.linspace(0, 1.1, 50), "different"), (np.linspace(0, 1, 50), "same content")):
        mini.write_array(values_now, chunks=(7,))
        mini.record()
        text = json.loads(Path("manifest.json").read_text())
        text["stages"]["one"][0]["content_sha256"] = claimed
        Path("manifest.json").write_text(json.dumps(text))
        assert verdicts()[ARRAY] == verdict


def test_causes_are_listed_once(home, capsys):
    mini.write_array(np.linspace(0, 1.0001, 50))
    parameters = {"dose": 10000, "train": {"steps": 8, "loss": "truth"}}
    mini.record({"torch": "2.13", "threads": 1}, parameters, code="2")
    assert reproduced.against("HEAD").because == [
        "environment: torch 2.2 -> 2.13 (one)",
        "parameter: dose 1000 -> 10000",
        "parameter: train.loss null -> truth",
        *(f"code or data: src/{stage}.py changed" for stage in ("compare", "one", "two")),
    ]
    assert run("--json", "--against", "HEAD") == 1  # the stage manifests record the parameters
    report = json.loads(capsys.readouterr().out)
    assert not report["ok"] and report["against"]["holds"] == "different" and report["seal"]
    assert report["against"]["because"][0].startswith("environment: torch")


def test_a_build_label_that_only_older_records_have_is_the_same_version(home):
    mini.write(NOTES, '{"software": {"torch": "2.2+cpu"}, "bytes": 5}')
    mini.record({"torch": "2.2+cpu", "threads": 1})
    mini.commit("labelled")
    mini.write(NOTES, '{"software": {"torch": "2.2"}, "bytes": 5}')
    mini.record({"torch": "2.2", "threads": 1})
    found = reproduced.against("HEAD")
    assert found.because == [f"environment: torch 2.2+cpu -> 2.2{revision.LABEL} (one)"]
    assert found.holds == "content within tolerance" and run("--against", "HEAD") == 0
    mini.record({"torch": "2.3", "threads": 1})
    assert reproduced.against("HEAD").because == ["environment: torch 2.2+cpu -> 2.3 (one)"]


def test_a_cause_that_nobody_recorded_is_said_to_be_one(home):
    mini.write_array(np.linspace(0, 1.0001, 50))
    mini.record()
    assert reproduced.against("HEAD").because == [revision.UNRECORDED]


def test_manifests_without_environments_are_read():
    flat = {"schema": 1, "stages": {}}
    told = {**flat, "environments": {"one": {"torch": "2"}, "two": {"torch": "2"}}}
    later = {**flat, "environments": {"one": {"torch": "3"}, "two": {"torch": "3"}}}
    assert revision.causes(flat, flat, {}, {}) == [revision.UNRECORDED]
    assert revision.causes(flat, told, {}, {}) == ["environment: recorded now only"]
    assert revision.causes(told, later, {}, {}) == ["environment: torch 2 -> 3 (one, two)"]
    assert revision.causes(flat, flat, {"stages": []}, {"stages": {"x": None}}) == [revision.UNRECORDED]


@pytest.mark.parametrize("dep", ["data/f", "data/f/t.csv", "data"])
def test_what_a_stage_wrote_is_no_cause(dep):
    locks = [
        {"stages": {"one": {"outs": [{"path": "data/f"}]}, "two": {"deps": [{"path": dep, "md5": md5}]}}}
        for md5 in ("1", "2")
    ]
    assert revision.causes({}, {}, *locks) == [revision.UNRECORDED]
    del locks[0]["stages"]["one"], locks[1]["stages"]["one"]
    assert revision.causes({}, {}, *locks) == [f"code or data: {dep} changed"]


def test_revisions_that_cannot_be_compared_are_one_line(home, capsys):
    for name in ("nowhere", "-x", "--all", "HEAD:dvc.lock", ""):
        with pytest.raises(StudyError, match="no such commit"):
            reproduced.against(name)
    mini.git("rm", "-q", "--cached", "manifest.json", "dvc.lock")
    mini.git("commit", "-qm", "without")
    with pytest.raises(StudyError, match=r"has no manifest\.json"):
        reproduced.against("HEAD")
    assert run() == 0 and "against" not in capsys.readouterr().out
    manifest = Path("manifest.json").read_text()
    for text in ("{", "[]", '{"schema": 2}'):
        Path("manifest.json").write_text(text)
        mini.git("add", "-f", "manifest.json")
        mini.git("commit", "-qm", "damaged")
        Path("manifest.json").write_text(manifest)
        with pytest.raises(StudyError, match="that this version can read"):
            reproduced.against("HEAD")
    lock.repository().objects.rename("gone")
    assert verdicts("HEAD~4") != {}, "manifests alone say what is identical"


@pytest.mark.parametrize(
    ("one", "two", "agree"),
    [
        ([1.0, 1000.0], [1.9, 1000.0], True),  # of the largest magnitude, not of each value
        ([1.0, 1000.0], [2.1, 1000.0], False),
        ([1 + 1j, np.nan], [1 + 1.0001j, np.nan], True),
        ([1.0, np.nan], [1.0, 1.0], False),
        ([1.0, 1.0], [1.0, np.nan], False),
        ([np.inf, 1.0], [-np.inf, 1.0], False),
        ([0.0, 0.0], [0.0, 0.0], True),
        ([], [], True),
        ([1.0], [1.0, 1.0], False),
        ([True], [False], False),
        (["a"], ["a"], True),
        (["a"], [1.0], False),
    ],
)
def test_closeness(one, two, agree):
    assert values.close(one, two) == agree == values.close(two, one)


def h5(**datasets):
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        for name, data in datasets.items():
            file[name] = data
            file[name].attrs["unit"] = np.bytes_("m")
    return buffer.getvalue()


def bundle(meta, weights):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("bundle.json", json.dumps(meta))
        archive.writestr("weights.h5", h5(w=weights))
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("name", "old", "new", "problem"),
    [
        ("a.h5", h5(x=[1.0, 2.0]), h5(x=[1.0, 2.001]), None),
        ("a.h5", h5(x=[1.0, 2.0]), h5(x=[1.0, 2.1]), "values of x"),
        ("a.cxi", h5(x=1), h5(y=1), "values of x"),
        ("a.h5", h5(x=1), b"no HDF5", "not comparable"),
        ("a.zip", bundle({"software": "1", "steps": 8}, 1.0), bundle({"software": "2", "steps": 8}, 1.0001), None),
        ("a.zip", bundle({"steps": 8}, 1.0), bundle({"steps": 9}, 1.0), "bundle.json: values of steps"),
        ("a.zip", bundle({}, 1.0), bundle({}, 2.0), "weights.h5: values of w"),
        ("a.zip", bundle({}, 1.0), bundle({}, 1.0)[:-9], "not comparable"),
        ("a.json", b'{"a": [1, null]}', b'{"a": [1, 2]}', "a[1]"),
        ("a.json", b'{"a": "x"}', b'{"a": "y"}', "a"),
        ("a.json", b'{"a": 1}', b'{"b": 1}', "a"),
        ("a.json", b'{"a": null}', b"{}", "a"),
        ("a.json", b'{"a": true}', b'{"a": 1}', "a"),
        ("a.json", b"{", b"{}", "not comparable"),
        ("a.csv", b"x,y\n1,a\n", b"x,y\n1.0001,a\n", None),
        ("a.csv", b"x,y\n1,a\n", b"x,y\n1,b\n", "column y"),
        ("a.csv", b"x,y\n1,\n", b"x,y\n1,2\n", "column y"),
        ("a.csv", b"x\n1\n", b"x\n1\n2\n", "column x"),
        ("a.csv", b"x,y\n1,2\n", b"x,y\n1,2\n1\n", "not comparable"),
        ("a.csv", b"x,y\n1,2\n", b"y,x\n1,2\n", "column x"),
        ("a.csv", b"", b"", None),
        ("a.csv", b"\xff", b"", "not comparable"),
    ],
)
def test_files_are_compared_by_value(name, old, new, problem):
    found = values.disagreement(name, old, new)
    assert found is None if problem is None else found is not None and found.startswith(problem), found
