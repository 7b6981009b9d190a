"""`make setup` and `make repro` before anything is installed, with a Python that only keeps a record; the package."""

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

import ptychodose

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
OLDEST = tuple(map(int, re.findall(r"\d+", PROJECT["project"]["requires-python"])))
LOCK = "# top\ntorch==2\nnumpy==1 \\\n    --hash=sha256:aa\n"
PYTHON = """#!/bin/sh
# like Python {version}; `-m venv --clear` empties what a link points to, as the real one does
echo "$*" >> "$CALLS"
case "$*" in *"${{FAIL:-nothing fails}}"*) exit 1;; esac
case "$2" in
venv) mkdir -p .venv && find .venv/ -mindepth 1 -delete && mkdir .venv/bin && cp "$0" .venv/bin/python;;
pip) case "$*" in *--require-hashes*) cat >> "$CALLS";; esac; eval "$MEANWHILE";;
*) exec {real} -c "import sys; sys.version_info = {version}; exec(sys.argv[1])" "$2";;
esac
"""


class Clone:
    """A folder with the Makefile, a small lock and a .git; `make` gives exit status, what it said, what Python did."""

    def __init__(self, folder):
        self.folder, self.calls, self.tools = folder / "clone", folder / "calls", folder / "bin"
        self.lock, self.venv = self.folder / "requirements.lock", self.folder / ".venv"
        (self.folder / ".git").mkdir(parents=True)
        self.tools.mkdir()
        shutil.copy(ROOT / "Makefile", self.folder)
        self.lock.write_text(LOCK)
        self.python("python3", (*OLDEST, 0))

    def python(self, name, version):
        self.tool(name, PYTHON.format(version=tuple(version), real=sys.executable))

    def tool(self, name, text):
        (self.tools / name).write_text(text)
        (self.tools / name).chmod(0o755)

    def make(self, *arguments, **variables):
        self.calls.write_text("")
        path = f"{self.tools}{os.pathsep}{os.defpath}"
        settings = {"PATH": path, "CALLS": str(self.calls), "GIT_CEILING_DIRECTORIES": str(self.folder.parent)}
        done = subprocess.run(["make", *arguments], cwd=self.folder, env={**settings, **variables},
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)  # fmt: skip
        calls = [line for line in self.calls.read_text().splitlines() if not line.startswith("-c")]
        return done.returncode, done.stdout, calls


@pytest.fixture
def clone(tmp_path):
    return Clone(tmp_path)


def said(output):
    """Its lines without make's own last word."""
    return [line for line in output.splitlines() if not line.startswith("make: ***")]


def everything(folder):
    return {path: (path.lstat().st_mtime_ns, path.is_file() and path.read_bytes()) for path in folder.rglob("*")}


def test_the_rest_is_installed_by_its_hashes_then_torch(clone):
    code, _, calls = clone.make("setup")
    assert code == 0 and calls == [
        "-m venv --clear .venv",
        "-m pip install -q --require-hashes -r /dev/stdin",
        *LOCK.replace("torch==2\n", "").splitlines(),
        "-m pip install -q torch==2",
    ]


def test_content_decides_and_no_time_stamp(clone):
    clone.make("setup")
    os.utime(clone.lock, (2e9, 2e9))
    assert clone.make("setup") == (0, "", [])
    clone.lock.write_text(LOCK.replace("numpy==1", "numpy==2"))
    os.utime(clone.lock, (0, 0))
    assert "numpy==2 \\" in clone.make("setup")[2] and clone.make("setup")[2] == []


@pytest.mark.parametrize("fails", ["-m venv", "--require-hashes", "torch=="])
def test_a_half_made_environment_is_not_taken_for_a_finished_one(clone, fails):
    clone.make("setup")
    clone.lock.write_text(LOCK + "# new\n")
    for _ in range(2):
        code, _, calls = clone.make("setup", FAIL=fails)
        assert code != 0 and calls[0] == "-m venv --clear .venv"
    clone.lock.write_text(LOCK)
    code, _, calls = clone.make("setup")
    assert code == 0 and calls[0] == "-m venv --clear .venv", "what it was made from before does not count either"


def test_a_lock_edited_during_the_installation_is_installed_next_time(clone):
    assert clone.make("setup", MEANWHILE="echo '# new' >> requirements.lock")[0] == 0
    assert "# new" in clone.make("setup")[2]


def test_an_environment_whose_python_went_away_is_made_again(clone):
    clone.make("setup")
    (clone.venv / "bin/python").unlink()
    assert clone.make("setup")[2][0] == "-m venv --clear .venv"


def test_a_linked_environment_made_from_this_lock_is_used_as_it_is(clone):
    clone.make("setup")
    clone.venv.rename(clone.folder.parent / "shared")
    clone.venv.symlink_to("../shared")
    before = everything(clone.folder.parent / "shared")
    assert clone.make("setup") == (0, "", [])
    assert everything(clone.folder.parent / "shared") == before


@pytest.mark.parametrize("target", ["precious", "nowhere"])
def test_a_link_to_anything_else_is_refused_and_nothing_touched(clone, target):
    elsewhere = clone.folder.parent / "precious"
    (elsewhere / "bin").mkdir(parents=True)
    (elsewhere / "bin/data").write_text("years of work")
    (elsewhere / ".made-from-lock").touch()  # as 0.1.0 left it
    clone.venv.symlink_to(f"../{target}")
    before = everything(clone.folder.parent)
    code, output, calls = clone.make("setup")
    assert code != 0 and len(said(output)) == 1 and calls == []
    assert f"link to ../{target}" in output and "rm .venv" in output
    after = everything(clone.folder.parent)
    before.pop(clone.calls, None), after.pop(clone.calls)
    assert after == before


def test_an_old_python_is_refused_before_anything_is_made(clone):
    clone.python("python3", (OLDEST[0], OLDEST[1] - 1, 9))
    code, output, calls = clone.make("setup")
    assert code != 0 and calls == [] and not clone.venv.exists()
    assert len(said(output)) == 1 and f"Python {OLDEST[0]}.{OLDEST[1] - 1}" in output and "PYTHON=" in output
    assert f"{OLDEST[0]}.{OLDEST[1]} or newer" in output


def test_an_old_python_does_not_cost_the_environment_of_the_last_lock(clone):
    clone.make("setup")
    clone.lock.write_text(LOCK + "# new\n")
    clone.python("python3", (2, 7, 18))
    before = everything(clone.venv)
    assert clone.make("setup")[0] != 0 and everything(clone.venv) == before


def test_python_and_index_can_be_chosen(clone):
    clone.python("python3", (2, 7, 18))
    clone.python("other", (*OLDEST, 0))
    code, _, calls = clone.make("setup", "PYTHON=other", "INDEX=https://wheels")
    assert code == 0 and calls[-1] == "-m pip install -q --index-url https://wheels torch==2"
    assert [call for call in calls if "https" in call] == calls[-1:], "the locked rest comes from where pip looks"


def test_the_old_environment_does_not_make_the_new_one(clone):
    clone.make("setup")
    shutil.copy(clone.venv / "bin/python", clone.venv / "bin/python3")
    clone.lock.write_text(LOCK + "# new\n")
    clone.python("python3", (2, 7, 18))
    assert "2.7" in clone.make("setup")[1]


def test_a_downloaded_archive_is_set_up_with_a_word_about_git(clone):
    (clone.folder / ".git").rmdir()
    assert clone.make("setup")[0] == 0
    code, output, calls = clone.make("setup")
    assert code == 0 and calls == [] and len(output.splitlines()) == 1 and "git init && git add -A && git" in output


@pytest.mark.parametrize("goal", ["repro", "sweep"])
def test_dvc_asks_for_a_git_repository_before_anything_is_installed(clone, goal):
    (clone.folder / ".git").rmdir()
    code, output, calls = clone.make(goal)
    assert code != 0 and calls == [] and not clone.venv.exists()
    assert len(said(output)) == 1 and "DVC needs a git repository" in output and "git init && " in output


def test_new_hashes_keep_the_versions_and_the_torch_line(clone):
    clone.tool("uv", '#!/bin/sh\necho "$*" > uv.said; sed "s/.*numpy.*/numpy==1 hashed/;/torch/d"\n')
    clone.lock.write_text(LOCK + "torch-like==3\n")
    assert clone.make("lock")[0] == 0
    assert clone.lock.read_text() == "# top\ntorch==2\nnumpy==1 hashed\n"
    options = (clone.folder / "uv.said").read_text().split()
    assert {"--generate-hashes", "--no-deps", "--universal"} <= set(options)
    assert options[options.index("--python-version") + 1] == ".".join(map(str, OLDEST))
    clone.tool("uv", "#!/bin/sh\necho half; exit 1\n")
    assert clone.make("lock")[0] != 0 and clone.lock.read_text() == "# top\ntorch==2\nnumpy==1 hashed\n"


def test_the_lock_has_a_hash_for_everything_but_torch():
    text = re.sub(r"(?m)^#.*\n", "", (ROOT / "requirements.lock").read_text())
    rows = text.replace(" \\\n", "").splitlines()
    assert len(rows) > 100
    bare = [row for row in rows if not re.fullmatch(r"[\w.-]+==[\w.]+(    --hash=sha256:[0-9a-f]{64})+", row)]
    assert [row.split("==")[0] for row in bare] == ["torch"] and re.fullmatch(r"torch==[\d.]+", bare[0])


def test_the_wheel_holds_the_library_and_no_script():
    ask = (
        "import json, setuptools; made = setuptools.Distribution(); made.parse_config_files(['pyproject.toml']); "
        "print(json.dumps([made.get_version(), made.packages, made.py_modules, made.package_data]))"
    )
    done = subprocess.run([sys.executable, "-c", ask], cwd=ROOT, capture_output=True, text=True, check=True)
    version, packages, modules, data = json.loads(done.stdout)
    ours = [path.parent.relative_to(ROOT / "src") for path in (ROOT / "src").rglob("__init__.py")]
    assert sorted(packages) == sorted(".".join(path.parts) for path in ours) and not modules
    assert version == ptychodose.__version__ and data == {"ptychodose": ["py.typed"]}
    assert (ROOT / "src/ptychodose/py.typed").is_file()


def test_the_citation_and_the_changelog_name_the_version():
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    first = re.search(r"(?m)^## (\S+)", (ROOT / "CHANGELOG.md").read_text())
    assert cited["version"] == ptychodose.__version__ == first.group(1).strip("[]")
