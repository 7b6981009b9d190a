"""dvc.yaml against the code: complete dependencies, sections that exist, truth kept from training."""

import re
from dataclasses import replace

import pytest
import yaml

from closure import ROOT, closure, code
from ptychodose.study import params

LAST = ("solve", "reconstruct_map", "reconstruct", "limit", "reference", "compare")
STAGES = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]


def script_of(stage):
    return ROOT / re.search(r"src/\w+\.py", STAGES[stage]["cmd"]).group()


@pytest.mark.parametrize("stage", STAGES)
def test_code_deps_are_the_script_and_the_packages_of_its_closure(stage):
    """Every file of the closure lies in a folder the stage names, and no folder is idle: the lock is the rest."""
    declared = [d for d in STAGES[stage]["deps"] if d.startswith("src/") or d == "requirements.lock"]
    assert sorted(declared) == sorted(code(script_of(stage)) | {"requirements.lock"})
    assert sum((ROOT / name).is_dir() for name in declared) <= 9
    for name in closure(script_of(stage)) - {"src/ptychodose/__init__.py"}:
        assert any(name == dep or name.startswith(f"{dep}/") for dep in declared), name


def test_stages_are_named_like_their_scripts_and_described():
    trained = [f"train_{name}" for name in params.load(ROOT / "params.yaml").arms()]
    assert list(STAGES) == ["probe", "generate", "overlap", *trained, *LAST]
    for name, stage in STAGES.items():
        assert stage["desc"] and script_of(name).stem == ("train" if name in trained else name)


def test_parameters_named_in_the_graph_exist():
    document = yaml.safe_load((ROOT / "params.yaml").read_text())
    for stage in STAGES.values():
        for key in stage["params"]:
            value = document
            for part in key.split("."):
                assert part in value, key
                value = value[part]


def test_no_stage_that_an_arm_hears_of_sees_what_judges():
    for name, stage in STAGES.items():
        if name not in ("generate", "reference", "compare"):
            assert not any("truth" in dep or "reference" in dep for dep in stage["deps"])
        if name.startswith(("train", "solve", "reconstruct")):
            assert "${generate.scan}" not in stage["deps"], "it holds both halves of the photons"
            assert "${generate.base}" not in stage["deps"], "a measured base holds its object"


def test_what_learns_from_procedural_objects_depends_on_no_dose_and_no_counts():
    for name, stage in STAGES.items():
        if name in ("probe", "limit") or (name.startswith("train") and name != "train_own"):
            assert "dose" not in stage["params"]
            assert not any(dep.startswith("data/scan") for dep in stage["deps"])
            if name != "limit":  # a view is the same file at every dose
                assert not any(dep.startswith("data/views") for dep in stage["deps"])


def test_the_arms_differ_in_one_line():
    arms = params.load(ROOT / "params.yaml").arms()
    assert arms["baseline"] == replace(arms["dense"], group_size=1)
    assert arms["wide"] == replace(arms["dense"], group_size=16)
    assert arms["sparse"] == replace(arms["dense"], view="sparse")
    assert arms["cnn"] == replace(arms["dense"], architecture="cnn")
    assert arms["own"] == arms["dense"], "what it learns from is in dvc.yaml"
