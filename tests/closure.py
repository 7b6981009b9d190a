"""The import closure of a stage script, and the folders of it that dvc.yaml names.

`python tests/closure.py --write` brings the code deps of dvc.yaml up to date after an import was added or dropped.
"""

import ast
import re
import sys
import textwrap
from pathlib import Path

ROOT = Path(__file__).parents[1]
SRC = ROOT / "src"


def closure(script: Path) -> set[str]:
    """POSIX paths, relative to the repository, of `script` and all `ptychodose` modules it imports."""
    found, queue = set(), [script]
    while queue:
        path = queue.pop()
        name = path.relative_to(ROOT).as_posix()
        if name not in found:
            found.add(name)
            queue.extend(imports_of(path))
    return found


def imports_of(path: Path) -> list[Path]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    ours = [name.split(".") for name in names if name and name.split(".")[0] == "ptychodose"]
    ours += [[*parts[:n], "__init__"] for parts in list(ours) for n in range(1, len(parts))]
    paths = [SRC.joinpath(*parts).with_suffix(".py") for parts in ours]
    return [path for path in paths if path.is_file()]


def package(name: str) -> str:
    """The package of ours that a module of the library belongs to; the module itself where it has none."""
    parts = Path(name).parts  # src, ptychodose, package, module
    return "/".join(parts[:3])


def code(script: Path) -> set[str]:
    """The code deps of a stage: its script, and every package that holds a module of its closure. The library's own
    `__init__.py` has nothing to run (tests/test_structure.py)."""
    names = closure(script) - {"src/ptychodose/__init__.py"}
    return {package(name) if name.startswith("src/ptychodose/") else name for name in names}


def updated(text: str) -> str:
    """dvc.yaml with the code deps of every stage replaced by those of its script; all else as it was."""
    blocks = re.split(r"(?m)^(?=  \w+:$)", text)
    for i, block in enumerate(blocks):
        script, listed = re.search(r"cmd: .*?(src/\w+\.py)", block), re.search(r"(?s)    deps: \[(.*?)\]\n", block)
        if script and listed:
            data = [name for name in re.split(r",\s+", listed.group(1)) if not name.startswith("src/")]
            names = [*data[:-1], *sorted(code(ROOT / script.group(1))), data[-1]]  # the lock of libraries is last
            line = f"    deps: [{', '.join(names)}]"
            lines = textwrap.wrap(line, 120, subsequent_indent=" " * 6, break_on_hyphens=False)
            blocks[i] = block.replace(listed.group(), "\n".join([*lines, ""]))
    return "".join(blocks)


if __name__ == "__main__":
    graph = ROOT / "dvc.yaml"
    before = graph.read_text(encoding="utf-8")
    if "--write" in sys.argv:
        graph.write_text(updated(before), encoding="utf-8")
    elif updated(before) != before:
        sys.exit("dvc.yaml: code deps are out of date; run with --write")
