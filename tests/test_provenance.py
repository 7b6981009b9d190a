"""Verify holds what every stage recorded of its run against dvc.yaml, params.yaml, dvc.lock and the files."""

import json
from pathlib import Path

import pytest
import yaml

import mini
from ptychodose.integrity import lock, record, verify
from ptychodose.study import definition
from test_verify_units import home  # noqa: F401 - a study made by hand, for each test


def stale():
    return {(f.path, f.detail) for f in verify.verify() if f.kind == record.STALE}


@pytest.mark.parametrize(
    ("change", "path", "words"),
    [
        (
            lambda: replaced("params.yaml", "1000", "10"),
            "params.yaml",
            "dose is 10 here and 1000 in dvc.lock, of one, two, compare",
        ),
        (
            lambda: replaced("params.yaml", "steps: 8", "steps: 9"),
            "params.yaml",
            "{'steps': 9} here and {'steps': 8} in",
        ),
        (lambda: replaced("src/two.py", "1", "2"), "src/two.py", "in the manifest of two"),
        (lambda: Path("src/two.py").unlink(), "src/two.py", "is gone and"),
        (
            lambda: replaced("dvc.yaml", "src/two.py\n    deps", "src/two.py && ls\n    deps"),
            "dvc.yaml",
            "the command is '&& ls' here and '' in the manifest of two",
        ),
        (
            lambda: replaced("dvc.yaml", "exec python", "python"),
            "dvc.yaml",
            "the command is '' here and 'exec' in the manifest of one, two, compare",
        ),
        (lambda: replaced("dvc.yaml", "    - dose\n    - train\n", "    - dose\n"), "params.yaml", "train is {"),
    ],
    ids=["parameter", "nested parameter", "code", "code gone", "command", "template", "parameter no longer declared"],
)
def test_what_a_stage_did_not_run_with_is_stale_and_both_values_are_said(change, path, words):
    assert stale() == set()
    change()
    lock._asked.cache_clear()
    found = {detail for name, detail in stale() if name == path}
    assert any(words in detail for detail in found), stale()
    sources = " ".join(found)
    assert "in dvc.lock, of" in sources and "in the manifest of" in sources
    assert {name for name, _ in stale()} == {path}


def replaced(path, old, new):
    text = Path(path).read_text()
    assert old in text
    Path(path).write_text(text.replace(old, new))


def test_parameters_changed_in_dvc_lock_too_still_contradict_what_the_stages_recorded():
    """DVC and git are content with that: `dvc status` is clean, and all is committed."""
    replaced("params.yaml", "dose: 1000", "dose: 10")
    replaced("dvc.lock", "dose: 1000", "dose: 10")
    mini.commit("forged")
    assert {name for name, _ in stale()} == {"params.yaml"}
    assert {detail for _, detail in stale()} == {"dose is 10 here and 1000 in the manifest of one, two, compare"}


def test_the_seal_binds_parameters_code_and_command_of_every_stage():
    seals = {record.seal()}
    for change in ({"parameters": {"dose": 1}}, {"code": "2"}, {"environment": None}):
        mini.record(**change)
        seals.add(record.seal())
    replaced("manifest.json", "exec python", "python")  # of the stage that joins them
    assert len(seals | {record.seal()}) == 5


def test_an_input_that_another_stage_did_not_make_is_held_against_its_own_digest():
    document = json.loads(Path("data/manifests/two.json").read_text())
    outside = {"path": "data/raw/base.npz", "bytes": 1, "sha256": "0" * 64, "content_sha256": "0" * 64}
    document["inputs"].append(outside)
    mini.write("data/manifests/two.json", json.dumps(document))
    assert ("data/raw/base.npz", "is gone and 000000000000 in the manifest of two") in stale()
    mini.write("data/raw/base.npz", "replaced")
    assert any(name == "data/raw/base.npz" and "here and 000000000000 in" in detail for name, detail in stale())


DEP = "    - src/two.py\n    params"


CMD, OUT = "    cmd: ${py} src/two.py", "    - data/manifests/two"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda: replaced("dvc.yaml", DEP, "    params"), "'src/two.py' is not declared here and is in"),
        (lambda: replaced("dvc.yaml", DEP, f"    - README.md\n{DEP}"), "'README.md' is declared here and not"),
        (lambda: replaced("dvc.yaml", f"    - data/f\n{OUT}", OUT), "output 'data/f' is not declared here and is in"),
        (
            lambda: replaced("dvc.yaml", CMD, f"    wdir: src\n{CMD}"),
            "the command is 'cd src &&' here and '' in dvc.lock",
        ),
        (lambda: edited_lock(lambda stages: stages.update(more={"cmd": "true"})), "no longer there: more"),
        (
            lambda: edited_lock(lambda stages: stages["two"]["deps"].pop()),
            "is declared here and not in dvc.lock, of two",
        ),
    ],
    ids=["dependency dropped", "dependency added", "output dropped", "folder", "stage gone", "dropped in dvc.lock"],
)
def test_a_graph_that_stages_did_not_run_by_is_stale(change, said):
    change()
    lock._asked.cache_clear()
    assert any(name == "dvc.yaml" and said in detail for name, detail in stale()), stale()


READ = ("dvc.yaml", "code of 'src' is not declared here and was read in the manifest of two")


def test_a_dependency_dropped_from_both_records_is_still_what_the_stage_has_read():
    replaced("dvc.yaml", DEP, "    params")
    edited_lock(lambda stages: stages["two"].update(deps=stages["two"]["deps"][:-1]))
    lock._asked.cache_clear()
    assert stale() == {READ}


def test_a_dependency_whose_name_another_file_begins_with_does_not_stand_for_it():
    replaced("dvc.yaml", DEP, DEP.replace("two.py", "tw"))
    edited_lock(lambda stages: stages["two"]["deps"][-1].update(path="src/tw"))
    lock._asked.cache_clear()
    assert READ in stale()


def edited_lock(change):
    document = yaml.safe_load(Path("dvc.lock").read_text())
    change(document["stages"])
    mini.write("dvc.lock", yaml.safe_dump(document))


def test_compiled_files_are_no_code_of_a_stage():
    """DVC ignores them, too (.dvcignore)."""
    for name in ("src/p/a.py", "src/p/__pycache__/a.cpython-311.pyc", "src/p/q/b.py"):
        mini.write(name, "x")
    assert [path.as_posix() for path in definition.files_of(Path("src/p"))] == ["src/p/a.py", "src/p/q/b.py"]
