"""A study of three files and two stages made by hand in the current folder, with records as DVC writes them."""

import hashlib
import json
import shutil
import subprocess
from pathlib import Path

import h5py
import numpy as np
import yaml

from ptychodose.integrity import lock
from ptychodose.study import manifest

ARRAY, TABLE, NOTES, METRIC, PICTURE = "data/a.h5", "data/f/t.csv", "data/f/n.json", "metrics/m.json", "metrics/p.png"
GRAPH = {
    "one": {"outs": [ARRAY, "data/manifests/one.json"]},
    "two": {"outs": ["data/f", "data/manifests/two.json"]},
    "compare": {"outs": [{name: {"cache": False}} for name in ("manifest.json", METRIC, PICTURE)]},
}
ENVIRONMENT = {"torch": "2.2", "threads": 1}
PARAMETERS = {"dose": 1000, "train": {"steps": 8, "loss": None}}


def git(*arguments):
    identity = ["-c", "user.name=t", "-c", "user.email=t@t", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", *identity, *arguments], check=True, capture_output=True)


def write(path, data):
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_bytes(data.encode() if isinstance(data, str) else data)


def write_array(values, path=ARRAY, **options):
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        file.create_dataset("group/values", data=values, **options)
        file.attrs["unit"] = "m"


def write_metric(error=0.5, **more):
    write(METRIC, json.dumps({"dense": {"nrmse": error}, "oracle": {"nrmse": 1e-9}, **more}))


def keep(path):
    """Put a file into the cache; its MD5."""
    md5 = hashlib.md5(Path(path).read_bytes()).hexdigest()
    target = lock.cache_path(md5)
    target.parent.mkdir(parents=True, exist_ok=True)
    if not target.exists():
        shutil.copyfile(path, target)
        target.chmod(0o444)
    return md5


def keep_folder(folder):
    names = {path.name: keep(path) for path in sorted(Path(folder).iterdir())}
    data = lock.written(names)
    md5 = hashlib.md5(data).hexdigest() + ".dir"
    write(lock.cache_path(md5), data)
    return md5


def record(environment=ENVIRONMENT, parameters=PARAMETERS, code="1"):
    """Write stage manifests, manifest.json, the cache and dvc.lock for the files as they are."""
    manifest.write_stage_manifest("one", [], [Path(ARRAY)], parameters, environment)
    manifest.write_stage_manifest("two", [], [Path("data/f")], parameters)
    manifest.join(["one", "two"], "compare", [Path(METRIC), Path(PICTURE)])
    stages = {}
    for stage, declared in GRAPH.items():
        outs = []
        for out in declared["outs"]:
            path = next(iter(out)) if isinstance(out, dict) else out
            md5 = keep_folder(path) if Path(path).is_dir() else keep(path)
            outs.append({"path": path, "hash": "md5", "md5": md5})
        deps = [{"path": f"src/{stage}.py", "hash": "md5", "md5": code * 32}]
        deps += [{"path": ARRAY, "hash": "md5", "md5": keep(ARRAY)}] * (stage == "two")
        stages[stage] = {"deps": deps, "params": {"params.yaml": parameters}, "outs": outs}
    document = {"schema": "2.0", "stages": json.loads(json.dumps(stages))}  # copies: DVC writes no aliases either
    write("dvc.lock", yaml.safe_dump(document, sort_keys=False))


def make():
    """The study, recorded and committed to git."""
    write("dvc.yaml", yaml.safe_dump({"stages": GRAPH}, sort_keys=False))
    write(".gitignore", ".dvc/cache\n/data\n")
    write_array(np.linspace(0, 1, 50))
    write(TABLE, "frequency,name,flat\n0.0,a,1.0\n0.5,b,\n")
    write(NOTES, json.dumps({"bytes": 5, "sha256": "0" * 64, "view": "dense"}))
    write_metric()
    write(PICTURE, b"\x89PNG one")
    record()
    git("init", "-q", "-b", "main")
    commit("made")


def commit(message):
    git("add", "-A")
    git("commit", "-qm", message)
