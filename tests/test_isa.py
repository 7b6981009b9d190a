"""One instruction set for every stage: what is pinned, when a stage starts itself again, what code must not use."""

import os
import re
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
import yaml

from closure import closure
from ptychodose.errors import StudyError
from ptychodose.physics import portable
from ptychodose.study import isa, params
from sandbox import ROOT

TRAIN = params.load(ROOT / "params.yaml").train
GRAPH = yaml.safe_load((ROOT / "dvc.yaml").read_text())


def test_the_graph_starts_every_stage_with_the_pins():
    said = dict(re.findall(r"(\w+)=(\w*) ", GRAPH["vars"][0]["py"]))
    assert said == isa.PINS
    assert all(stage["cmd"].startswith("${py} src/") for stage in GRAPH["stages"].values())


def test_portable_is_the_default_and_one_thread():
    assert TRAIN.portable and isa.pins(TRAIN) == isa.PINS
    assert isa.pins(replace(TRAIN, portable=False, threads=2)) == dict.fromkeys(isa.PINS)
    with pytest.raises(StudyError, match=r"train\.threads: 2"):
        isa.pins(replace(TRAIN, threads=2))


SCRIPT = """
import os, sys
from pathlib import Path
from ptychodose.study import isa, stage
stage.ROOT = Path({root!r})
{wanted}
def main():
    names = ("MKL_CBWR", "NPY_DISABLE_CPU_FEATURES")
    print(*sys.argv[1:], *(os.environ.get(name, "-") for name in names), isa.pinned(), os.getcwd())
stage.run("demo", main, parsed=True, **wanted)
"""


@pytest.mark.parametrize("pinned", [True, False])
@pytest.mark.parametrize("before", [{}, isa.PINS, {"MKL_CBWR": "AVX512", "NPY_ENABLE_CPU_FEATURES": "X86_V3"}])
def test_a_stage_has_the_environment_it_asks_for_whatever_it_was_given(tmp_path, pinned, before):
    here = tmp_path / "typed here"
    here.mkdir()
    wanted = "wanted = {}" if pinned else "wanted = {'environment': lambda: dict.fromkeys(isa.PINS)}"
    (here / "demo.py").write_text(SCRIPT.format(root=str(tmp_path), wanted=wanted))
    clean = {name: value for name, value in os.environ.items() if name not in isa.PINS}
    done = subprocess.run(
        [sys.executable, "demo.py", "one argument"],
        cwd=here, env={**clean, **before, "PYTHONPATH": str(ROOT / "src")}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    said = "COMPATIBLE X86_V4 True" if pinned else "- - False"
    assert done.stdout == f"one argument {said} {tmp_path}\n", done.stderr


def test_the_replacements_are_what_they_replace():
    x = torch.logspace(-6, 6, 10001, dtype=torch.float32)
    assert torch.allclose(portable.sqrt(x), x.double().sqrt().float(), rtol=3e-7, atol=0)
    assert torch.allclose(portable.asinh(-x), -x.double().asinh().float(), rtol=3e-7, atol=2e-7)
    assert torch.allclose(portable.log10(x), x.double().log10().float(), rtol=3e-7, atol=3e-7)


@pytest.mark.parametrize("stage", GRAPH["stages"])
def test_no_stage_calls_what_differs_between_cpus(stage):
    script = ROOT / re.search(r"src/\w+\.py", GRAPH["stages"][stage]["cmd"]).group()
    for name in closure(script):
        found = re.search(r"torch\.(sqrt|log10|log2)\(|foreach=True", (ROOT / name).read_text())
        assert not found, f"{name}: {found.group()} rounds differently from CPU to CPU; see ptychodose.portable"
