"""The house as drawn in CONTRIBUTING.md: who may import whom, nothing in circles, no shelf too long."""

import ast
import re
from collections import defaultdict

import pytest

from closure import ROOT, SRC, closure, imports_of, package

LIBRARY = SRC / "ptychodose"
PACKAGES = sorted(path.name for path in LIBRARY.iterdir() if (path / "__init__.py").is_file())


def drawn():
    """Line of every package in the drawing, counted from its top."""
    drawing = (ROOT / "CONTRIBUTING.md").read_text().split("```")[1]
    lines = [line.split("the scripts")[0] for line in drawing.splitlines()]
    found = {}
    for number, line in enumerate(lines):
        for name in re.findall(r"\w+", re.sub(r"\(.*?\)|both sides stand on it", "", line)):
            found[name] = number
    return found


def arrows():
    """{package: {package it imports}}; errors.py counts as one."""
    found = defaultdict(set)
    for path in LIBRARY.rglob("*.py"):
        mine = package(path.relative_to(ROOT).as_posix()).split("/")[-1].removesuffix(".py")
        for other in imports_of(path):
            theirs = package(other.relative_to(ROOT).as_posix()).split("/")[-1].removesuffix(".py")
            if theirs not in (mine, "__init__"):
                found[mine].add(theirs)
    return found


def test_the_drawing_names_every_package_and_no_other():
    assert sorted(drawn()) == sorted([*PACKAGES, "errors"])


def test_packages_import_only_from_lines_below_their_own():
    line, found = drawn(), arrows()
    assert sum(map(len, found.values())) > 30, "imports are seen"
    for mine, others in found.items():
        for other in others:
            assert line[other] > line[mine], f"{mine} imports {other}, which is not below it in the drawing"


def test_imports_form_an_acyclic_graph():
    modules = sorted(LIBRARY.rglob("*.py"))
    reach = {m.relative_to(ROOT).as_posix(): closure(m) for m in modules}
    for name, reached in reach.items():
        for other in reached - {name}:
            if other in reach and not other.endswith("__init__.py"):
                assert name not in reach[other], f"{name} and {other} import each other"


def test_no_package_has_more_than_a_dozen_modules_and_no_file_is_long():
    for name in PACKAGES:
        modules = [path for path in (LIBRARY / name).glob("*.py") if path.name != "__init__.py"]
        assert 1 < len(modules) <= 12, name
    for path in [*LIBRARY.rglob("*.py"), *SRC.glob("*.py")]:
        assert len(path.read_text().splitlines()) <= 300, path


def test_dvc_yaml_is_readable_in_one_sitting():
    assert len((ROOT / "dvc.yaml").read_text().splitlines()) <= 260


@pytest.mark.parametrize("name", [*PACKAGES, "."])
def test_packages_hold_nothing_but_modules(name):
    """An `__init__.py` with code would be in every closure of the package."""
    nodes = list(ast.walk(ast.parse((LIBRARY / name / "__init__.py").read_text())))
    assert not any(isinstance(node, ast.FunctionDef | ast.ClassDef | ast.ImportFrom) for node in nodes)


def test_the_tour_is_short():
    assert len((ROOT / "docs/tour.py").read_text().splitlines()) <= 30
