"""Experiments on the bytes of a study: one change of the surroundings each, and which files differ then.

The stage scripts run as a user would type them, without DVC, on a clone of a finished study.
"""

import hashlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path

import numpy as np
import yaml

from ptychodose.formats import bundle
from ptychodose.study.isa import PINS
from sandbox import ROOT, Study, clone, environment

GRAPH = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]  # in the order they can run
EVERY = tuple(GRAPH)
DATA = ("probe", "generate", "overlap")
TRAININGS = tuple(stage for stage in EVERY if stage.startswith("train_"))
NAMED = [f"data/manifests/{stage}.json" for stage in ("probe", "generate", "overlap", "limit")]  # say its name
ATTEMPTS = 3  # an emulator can crash
RECIPE = "data/base/synthetic.yaml"


@dataclass(frozen=True)
class Change:
    """How the same scripts are run otherwise; {home} stands for the folder that holds what `needs` had to make."""

    settings: Mapping[str, str] = field(default_factory=dict)  # environment variables a user has set
    prefix: tuple[str, ...] = ()  # in front of the interpreter
    python: str = sys.executable
    params: Mapping[str, dict] = field(default_factory=dict)
    copies: Mapping[str, str] = field(default_factory=dict)  # committed file -> its other name
    typed_in: str = "."  # folder of the study
    folder: str = "clone"
    stages: tuple[str, ...] = EVERY
    needs: str = ""  # a program
    against: str = ""  # the experiment whose files are compared with; none is the finished study
    may_differ: tuple[str, ...] = ()  # patterns of files


def threads(number: int) -> dict[str, str]:
    return dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), str(number))


def without(features: str) -> dict[str, str]:
    """The C library's own choice of kernels, narrowed."""
    return {"GLIBC_TUNABLES": "glibc.cpu.hwcaps=" + ",".join(f"-{feature}" for feature in features.split())}


def emulated(cpu: str, stages: tuple[str, ...]) -> Change:
    """Another CPU; PINS are set beforehand, because a stage that starts itself again would leave the emulator."""
    return Change(prefix=("qemu-x86_64", "-cpu", cpu), settings=PINS, stages=stages, needs="qemu-x86_64")


def interpreter(version: str) -> Change:
    """Another Python; the data stages need no torch, only its name."""
    made = f"{{home}}/python{version}/bin/python"
    return Change(python=made, settings={"PYTHONPATH": "{home}/named"}, stages=DATA, needs=f"python{version}")


def free(count: int, settings: Mapping[str, str] | None = None, against: str = "", same: bool = False) -> Change:
    """Trainings on `count` threads and all the CPU has."""
    params = {"train": {"portable": False, "threads": count}}
    return Change(settings or {}, params=params, stages=TRAININGS, against=against, may_differ=() if same else ("*",))


ONE, TWO = "portable: false, 1 thread", "portable: false, 2 threads"
NARROW = "portable: false, oneDNN limited to AVX2"
WITHOUT_LIMIT = tuple(stage for stage in EVERY if stage != "limit")  # emulated, it takes five minutes
EXPERIMENTS = {
    "run again": Change(),
    "2 threads in the environment": Change(threads(2)),
    "7 threads in the environment": Change(threads(7)),
    "instruction set in the environment": Change(
        {
            "NPY_DISABLE_CPU_FEATURES": "X86_V3 X86_V4", "OPENBLAS_CORETYPE": "Nehalem", "MKL_CBWR": "AVX512",
            "ATEN_CPU_CAPABILITY": "default", "ONEDNN_MAX_CPU_ISA": "SSE41", "OMP_NUM_THREADS": "2",
        }
    ),
    "the same under older names": Change(
        {"DNNL_MAX_CPU_ISA": "SSE41", "MKL_ENABLE_INSTRUCTIONS": "SSE4_2", "ONEDNN_DEFAULT_FPMATH_MODE": "ANY"}
    ),
    "C library without AVX-512": Change(without("AVX512F AVX512VL AVX512DQ AVX512BW AVX512CD AVX512ER")),
    "C library without AVX2 and FMA": Change(without("AVX512F AVX512VL AVX2 FMA"), may_differ=("*",)),
    "other working directory": Change(typed_in="src/ptychodose"),
    "other clone": Change(folder="another clone, ünïcode"),
    "other file name of the base": Change(
        params={"generate": {"base": "data/base/other name.yaml"}},
        copies={RECIPE: "data/base/other name.yaml"},
        may_differ=(*NAMED, "manifest.json"),
    ),
    "locale C": Change({"LANG": "C", "LC_ALL": "C"}),
    "locale de_DE.UTF-8": Change({"LC_ALL": "de_DE.UTF-8", "LOCPATH": "{home}/locales"}, needs="localedef"),
    "locale de_DE.ISO-8859-1": Change({"LC_ALL": "de_DE.ISO-8859-1", "LOCPATH": "{home}/locales"}, needs="localedef"),
    "time zone": Change({"TZ": "America/St_Johns"}),
    "umask 077": Change(prefix=("sh", "-c", 'umask 077; exec "$@"', "sh")),
    "other day": Change(prefix=("faketime", "2031-05-06 07:08:09"), needs="faketime"),
    "hash seed": Change({"PYTHONHASHSEED": "4242"}),
    "Python 3.12": interpreter("3.12"),
    "Python 3.13": interpreter("3.13"),
    ONE: free(1),
    f"{ONE}, again": free(1, against=ONE, same=True),
    TWO: free(2, against=ONE),
    f"{TWO}, again": free(2, against=TWO, same=True),
    NARROW: free(1, {"DNNL_MAX_CPU_ISA": "AVX2"}, against=ONE),  # the name that portable: false leaves alone
    "CPU: Intel Haswell (emulated)": emulated("Haswell", EVERY),
    "CPU: AMD EPYC-Rome (emulated)": emulated("EPYC-Rome", WITHOUT_LIMIT),
    "CPU: Intel Skylake-Client (emulated)": emulated("Skylake-Client", WITHOUT_LIMIT),
}  # fmt: skip


def measure(base: Study, folder: Path, change: Change) -> tuple[Study, dict]:
    """Make the experiment in `folder`; its study, and what the record says of it."""
    made, ran = carry_out(base, folder / change.folder, change)
    before, after = digests(base.folder, ran), digests(made.folder, ran)
    differs = sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
    row: dict = {"identical": not differs, "differs": differs, "stages": ran}
    bundles = [name for name in differs if name.endswith(".h5.zip")]
    if bundles:
        pairs = ((base.folder / name, made.folder / name) for name in bundles)
        row["weights_differ_by"] = max(distance(*pair) for pair in pairs)
    if change.against:
        row["compared_with"] = change.against
    return made, row


def unexpected(row: Mapping, change: Change) -> list[str]:
    """Files that differ and must not."""
    return [name for name in row["differs"] if not any(fnmatch(name, pattern) for pattern in change.may_differ)]


def carry_out(base: Study, folder: Path, change: Change) -> tuple[Study, list[str]]:
    """Run the change's stages on a clone of `base`, whose outputs stand in for the other ones; and which ran."""
    made, ran = clone(base, folder), []
    made.edit("params.yaml", dict(change.params))
    for name, other in change.copies.items():
        shutil.copy(folder / name, folder / other)
    for path in (folder / out for stage in EVERY for out in outs(stage)):
        path.unlink(missing_ok=True)  # committed ones; the others are not there yet
    for stage in EVERY:
        if stage in change.stages and _finishes(made, change, stage):
            ran.append(stage)
        else:
            _take(base, made, stage)
    return made, ran


def outs(stage: str) -> list[str]:
    """What dvc.yaml lists as the stage's results."""
    listed = [out for kind in ("outs", "metrics", "plots") for out in GRAPH[stage].get(kind, [])]
    return [next(iter(out)) if isinstance(out, dict) else out for out in listed]


def digests(folder: Path, stages: Iterable[str]) -> dict[str, str]:
    """SHA256 of every file that the stages made."""
    tops = [folder / out for stage in stages for out in outs(stage)]
    files = [path for top in tops for path in (top.rglob("*") if top.is_dir() else [top]) if path.is_file()]
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def distance(one: Path, other: Path) -> float:
    """Largest difference between the weights of two bundles, relative to the largest weight of the tensor."""
    (_, a), (_, b) = bundle.load(one), bundle.load(other)
    assert a.keys() == b.keys()
    return max(float(np.abs(b[name] - a[name]).max() / np.abs(a[name]).max()) for name in a)


def _finishes(made: Study, change: Change, stage: str) -> bool:
    """Run one stage; False if the process was killed every time, which an emulator does to it."""
    script, *arguments = re.sub(r"^\$\{py\} ", "", GRAPH[stage]["cmd"]).split()
    here = made.folder / change.typed_in
    command = [*change.prefix, change.python, os.path.relpath(made.folder / script, here), *arguments]
    settings = {name: value.format(home=made.home) for name, value in change.settings.items()}
    for _ in range(ATTEMPTS):
        done = subprocess.run(
            [part.format(home=made.home) for part in command],
            cwd=here, env={**environment(made.home), **settings}, capture_output=True, check=False,
        )  # fmt: skip
        if done.returncode >= 0:
            break
    assert done.returncode <= 0, f"{command}\n{done.stderr[-3000:].decode(errors='replace')}"
    return done.returncode == 0


def _take(base: Study, made: Study, stage: str) -> None:
    for out in outs(stage):
        source, target = base.folder / out, made.folder / out
        target.parent.mkdir(parents=True, exist_ok=True)
        copy = shutil.copytree if source.is_dir() else shutil.copy
        copy(source, target)


def missing(change: Change, home: Path) -> str:
    """Why the experiment cannot be made here, or nothing; makes in `home` what it needs."""
    tool = change.needs
    if tool and shutil.which(tool) is None:
        return f"no {tool}"
    if tool == "localedef":
        return _locales(home / "locales")
    if tool.startswith("python"):
        return _interpreter(tool, home)
    return _emulator(change) if tool.startswith("qemu") else ""


def _locales(folder: Path) -> str:
    """A decimal comma, in two encodings."""
    folder.mkdir(exist_ok=True)
    for encoding in ("UTF-8", "ISO-8859-1"):
        if not (folder / f"de_DE.{encoding}").exists():
            reason = _fails("localedef", "-i", "de_DE", "-f", encoding, f"{folder}/de_DE.{encoding}")
            if reason:
                return reason
    return ""


def _interpreter(tool: str, home: Path) -> str:
    """A virtual environment with the locked libraries of the data stages, and a package that is torch by name."""
    (home / "named/torch").mkdir(parents=True, exist_ok=True)
    (home / "named/torch/__init__.py").touch()
    locked = (ROOT / "requirements.lock").read_text(encoding="utf-8").splitlines()
    names = {"numpy", "scipy", "h5py", "pyyaml", "tqdm", "matplotlib", "scikit-image"}
    wanted = [line.removesuffix(" \\") for line in locked if line.split("==")[0] in names]
    made = home / tool
    return _fails(tool, "-m", "venv", made) or _fails(made / "bin/python", "-m", "pip", "install", "-q", *wanted)


def _emulator(change: Change) -> str:
    """QEMU 7.2 gets NumPy's AVX2 argsort wrong and crashes in it; 10.0 does not."""
    check = "import numpy; a = numpy.arange(1000) * 7919 % 997; assert (numpy.diff(a[numpy.argsort(a)]) >= 0).all()"
    return _fails(*change.prefix, sys.executable, "-c", check, settings=change.settings)


def _fails(*command: str | Path, settings: Mapping[str, str] | None = None) -> str:
    """The last line a failing command says, or nothing."""
    done = subprocess.run(
        command, env={**os.environ, **(settings or {})}, capture_output=True, text=True, errors="replace", check=False
    )
    lines = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
    return f"{Path(command[0]).name}: {lines[-1]}" if done.returncode else ""
