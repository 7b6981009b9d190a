"""A copy of this repository on a tiny profile, run by the real DVC, for end-to-end tests."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[1]
TINY = {
    "generate": {"nodes_per_diameter": 10},
    "overlap": {"train_patterns": 60},
    "train": {
        "pattern_visits": 64, "steps": 2, "gradients": 2, "width": 4, "hidden": 1, "heldout": 0.4,
        "judged_patterns": 8, "validations": 2, "objects": 4,
    },
    "reconstruct_map": {"iterations": 10, "weight_moves": 1},
    "limit": {"crop": 16, "margin": 2, "groups": 1},
    "compare": {"deviance_patterns": 8},
}  # fmt: skip
RECIPE = {"rows": 290, "columns": 130}


def environment(home: Path) -> dict[str, str]:
    """No user settings, DVC's site cache in `home`, this interpreter first on PATH."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return {
        "PATH": path, "HOME": str(home), "DVC_SITE_CACHE_DIR": str(home / "site"), "OMP_NUM_THREADS": "1",
        "GIT_AUTHOR_NAME": "t", "GIT_AUTHOR_EMAIL": "t@t", "GIT_COMMITTER_NAME": "t", "GIT_COMMITTER_EMAIL": "t@t",
        "DVC_NO_ANALYTICS": "1", "LANG": "C.UTF-8",
    }  # fmt: skip


class Study:
    """A working copy in `folder`; `run` executes a command line there, with the variables `more`, and returns the
    finished process."""

    def __init__(self, folder: Path, home: Path, **more: str) -> None:
        self.folder, self.home, self.more = folder, home, more

    def run(self, *command: str, ok: bool = True, **changes: str) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            command,
            cwd=self.folder,
            env={**environment(self.home), **self.more, **changes},
            capture_output=True,
            text=True,
            check=False,
        )
        assert not ok or done.returncode == 0, f"{command}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
        return done

    def dvc(self, *arguments: str, ok: bool = True) -> subprocess.CompletedProcess[str]:
        return self.run("dvc", *arguments, ok=ok)

    def study(self, *arguments: str, ok: bool = True) -> subprocess.CompletedProcess[str]:
        return self.run(sys.executable, "src/study.py", *arguments, ok=ok)

    def edit(self, name: str, changes: dict) -> None:
        """Merge `changes` (nested mappings) into a YAML file."""
        path = self.folder / name
        document = yaml.safe_load(path.read_text())
        for key, value in changes.items():
            document[key] = {**document[key], **value} if isinstance(value, dict) else value
        path.write_text(yaml.safe_dump(document, sort_keys=False))

    def commit(self, message: str) -> None:
        self.run("git", "add", "-A")
        self.run("git", "commit", "-qm", message)


def fresh(folder: Path, home: Path) -> Study:
    """The tracked files of this repository as a new git repository with the tiny profile, nothing run."""
    home.mkdir(parents=True, exist_ok=True)
    names = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in filter(None, names.split("\0")):
        results = name in ("dvc.lock", "manifest.json") or name.startswith("metrics/")
        if not results and (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    made = Study(folder, home)
    made.edit("params.yaml", TINY)
    made.edit("data/base/synthetic.yaml", RECIPE)
    made.run("git", "init", "-q", "-b", "main")
    made.commit("tiny")
    return made


def clone(source: Study, folder: Path) -> Study:
    """A git clone of a study, elsewhere, without its cache."""
    subprocess.run(["git", "clone", "-q", str(source.folder), str(folder)], check=True, env=environment(source.home))
    return Study(folder, source.home)
