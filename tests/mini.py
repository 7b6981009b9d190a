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
OUTS = {
    "one": [ARRAY, "data/manifests/one.json"],
    "two": ["data/f", "data/manifests/two.json"],
    "compare": [{name: {"cache": False}} for name in ("manifest.json", METRIC, PICTURE)],
}
DEPS = {"two": [ARRAY], "compare": ["data/f"]}
ENVIRONMENT = {"torch": "2.2", "threads": 1}
PARAMETERS = {"dose": 1000, "train": {"steps": 8, "loss": None}}


def cache():
    """The folder of DVC's cache by the configuration as it is now."""
    lock._asked.cache_clear()
    return lock.repository().objects.parent.parent.absolute()


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
        file.attrs["unit"] = np.bytes_("m")


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


def graph(parameters):
    """dvc.yaml: every stage has its script and reads all parameters."""
    stages = {
        stage: {
            "cmd": f"${{py}} src/{stage}.py",
            "deps": [*DEPS.get(stage, []), f"src/{stage}.py"],
            "params": list(parameters),
            "outs": outs,
        }
        for stage, outs in OUTS.items()
    }
    return {"vars": [{"py": "exec python"}], "stages": stages}


def record(environment=ENVIRONMENT, parameters=PARAMETERS, code="1"):
    """Write dvc.yaml, params.yaml, code, stage manifests, manifest.json, the cache and dvc.lock for the files as they
    are."""
    write("dvc.yaml", yaml.safe_dump(json.loads(json.dumps(graph(parameters))), sort_keys=False))
    write("params.yaml", yaml.safe_dump(parameters))
    for stage in OUTS:
        write(f"src/{stage}.py", f"print({code})\n")
    lock._asked.cache_clear()
    manifest.write_stage_manifest("one", [], [Path(ARRAY)], environment)
    manifest.write_stage_manifest("two", [Path(ARRAY)], [Path("data/f")])
    manifest.join(["one", "two"], "compare", [Path(METRIC), Path(PICTURE)])
    stages = {}
    for stage, declared in OUTS.items():
        outs = []
        for out in declared:
            path = next(iter(out)) if isinstance(out, dict) else out
            md5 = keep_folder(path) if Path(path).is_dir() else keep(path)
            outs.append({"path": path, "hash": "md5", "md5": md5})
        kept = {path: (keep_folder if Path(path).is_dir() else keep)(path) for path in DEPS.get(stage, [])}
        kept[f"src/{stage}.py"] = hashlib.md5(Path(f"src/{stage}.py").read_bytes()).hexdigest()
        deps = [{"path": path, "hash": "md5", "md5": md5} for path, md5 in kept.items()]
        ran = {"cmd": f"exec python src/{stage}.py", "deps": deps, "params": {"params.yaml": parameters}}
        stages[stage] = {**ran, "outs": outs}
    document = {"schema": "2.0", "stages": json.loads(json.dumps(stages))}  # copies: DVC writes no aliases either
    write("dvc.lock", yaml.safe_dump(document, sort_keys=False))


def make():
    """The study, recorded and committed to git."""
    write(".dvc/config", "")
    write(".gitignore", ".dvc/cache\n.dvc/tmp\n/data\n")
    write_array(np.linspace(0, 1, 50))
    write(TABLE, "frequency,name,flat\n0.0,a,1.0\n0.5,b,\n")
    write(NOTES, json.dumps({"bytes": 5, "sha256": "0" * 64, "view": "dense"}))
    write_metric()
    write(PICTURE, b"\x89PNG one")
    git("init", "-q", "-b", "main")
    record()
    commit("made")


def commit(message):
    git("add", "-A")
    git("commit", "-qm", message)
