"""dvc.yaml against the code: complete dependencies, sections that exist, truth kept from training."""

import re

import pytest
import yaml

from closure import ROOT, SRC, closure
from ptychodose import params

STAGES = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]


def script_of(stage):
    return ROOT / re.search(r"src/\w+\.py", STAGES[stage]["cmd"]).group()


@pytest.mark.parametrize("stage", STAGES)
def test_code_deps_are_exactly_the_import_closure_and_the_lock(stage):
    declared = {d for d in STAGES[stage]["deps"] if d.startswith("src/") or d == "requirements.lock"}
    assert declared == closure(script_of(stage)) | {"requirements.lock"}


def test_the_five_stages_are_named_like_their_scripts_and_described():
    assert list(STAGES) == ["generate", "overlap", "train_dense", "train_baseline", "compare"]
    for name, stage in STAGES.items():
        assert stage["desc"] and script_of(name).stem == name.split("_")[0]


def test_parameters_named_in_the_graph_exist():
    document = yaml.safe_load((ROOT / "params.yaml").read_text())
    for stage in STAGES.values():
        for key in stage["params"]:
            value = document
            for part in key.split("."):
                assert part in value, key
                value = value[part]


def test_no_training_stage_sees_the_truth():
    for name in ("train_dense", "train_baseline", "overlap"):
        assert not any("truth" in dep for dep in STAGES[name]["deps"])


def test_the_arms_differ_only_in_their_group_size():
    study = params.load(ROOT / "params.yaml")
    dense, baseline = study.train_dense, study.train_baseline
    assert dense.view == baseline.view and (dense.group_size, baseline.group_size) == (4, 1)


def test_imports_form_an_acyclic_graph():
    modules = sorted((SRC / "ptychodose").glob("*.py"))
    reach = {m.relative_to(ROOT).as_posix(): closure(m) for m in modules}
    for name, reached in reach.items():
        for other in reached - {name}:
            if other in reach and not other.endswith("__init__.py"):
                assert name not in reach[other], f"{name} and {other} import each other"
