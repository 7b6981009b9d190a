"""Break one line of the code at a time and see whether a test notices: `python tests/mutations.py [--only WORDS]`.

Constants, selection rules and reported numbers are what a test of behaviour overlooks most easily. A SURVIVED line
names a change that no named test sees: give it a test whose value does not come from the code (a published constant, a
brute force, a count by hand).
"""

import argparse
import contextlib
import importlib
import multiprocessing
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LARGE = ("torch._dynamo", "scipy.signal", "scipy.optimize", "skimage.metrics", "skimage.registration", "h5py", "yaml")


@dataclass(frozen=True)
class Mutation:
    """`old` becomes `new` in a file under src/; `tests` are the files expected to notice."""

    file: str
    old: str
    new: str
    tests: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.file}: {self.old!r} => {self.new!r}"


def mutations() -> list[Mutation]:
    """The table beside this file, read."""
    made, file, tests = [], "", ()
    for line in Path(__file__).with_suffix(".txt").read_text(encoding="utf-8").splitlines()[1:]:
        if line.startswith("    "):
            old, new = (part.replace("\\n", "\n") for part in line[4:].split(" =>", 1))
            made.append(Mutation(file, old, new.removeprefix(" "), tests))
        else:
            file, names = line.split(" | ")
            tests = tuple(f"tests/test_{name}.py" for name in names.split())
    return made


def copy_tree(folder: Path) -> None:
    """What git tracks or would, and the environment."""
    listed = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, check=True, capture_output=True)
    for name in listed.stdout.decode().splitlines():
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, folder / name)
    (folder / ".venv").symlink_to(ROOT / ".venv")


def passes(folder: Path, tests: tuple[str, ...]) -> bool:
    """Whether the fast tests pass in a copy: in a process of their own, which finds the large libraries loaded."""
    child = multiprocessing.get_context("fork").Process(target=_test, args=(folder, tests))
    child.start()
    child.join()
    if child.exitcode not in (0, 1, 2):  # 1: a test failed, 2: the mutated file cannot even be imported
        raise SystemExit(f"pytest ended with {child.exitcode}; run it by hand on {' '.join(tests)}")
    return child.exitcode == 0


def _test(folder: Path, tests: tuple[str, ...]) -> None:
    os.chdir(folder)
    options = ["-x", "-q", "-m", "not slow and not soak", "-p", "no:cacheprovider"]
    with open(os.devnull, "w", encoding="utf-8") as nothing, contextlib.redirect_stdout(nothing):
        code = pytest.main([*options, *(name for name in tests if (folder / name).is_file())])
    os._exit(code)


def survives(folder: Path, mutation: Mutation) -> bool:
    """Whether no test notices; the file is restored."""
    path = folder / "src" / mutation.file
    text = path.read_text(encoding="utf-8")
    if text.count(mutation.old) != 1:
        raise SystemExit(f"{mutation}: occurs {text.count(mutation.old)} times, not once; repair the table")
    path.write_text(text.replace(mutation.old, mutation.new), encoding="utf-8")
    try:
        return passes(folder, mutation.tests)
    finally:
        path.write_text(text, encoding="utf-8")


def main() -> int:
    """Run all, or those whose line holds the words after --only; the exit status is 1 when one survived."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", metavar="WORDS", help="only mutations whose line holds these words")
    wanted = parser.parse_args().only
    chosen = [mutation for mutation in mutations() if wanted in str(mutation)]
    survivors = []
    sys.dont_write_bytecode = True  # a mutated file may be as old and as long as the one it replaces
    for library in LARGE:
        importlib.import_module(library)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        copy_tree(folder)
        tests = tuple(sorted({test for mutation in chosen for test in mutation.tests}))
        if not passes(folder, tests):
            raise SystemExit("the tests fail without any mutation; repair them first")
        for mutation in chosen:
            alive = survives(folder, mutation)
            survivors += [mutation] * alive
            print("SURVIVED" if alive else "KILLED  ", mutation, flush=True)
    print(f"{len(chosen)} mutations, {len(survivors)} survived", *survivors, sep="\n  ")
    return 1 if survivors else 0


if __name__ == "__main__":
    raise SystemExit(main())
