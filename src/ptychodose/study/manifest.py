"""SHA256 of bytes and of content, written per stage and joined into the study's manifest.json.

Nothing here depends on clock, host, user or folder: equal work gives equal manifests.
"""

import hashlib
import io
import json
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from ptychodose.errors import StudyError
from ptychodose.formats.atomic import sha256_file, write_json
from ptychodose.formats.untrusted import one_line, regular
from ptychodose.study import definition, isa, manifest_form
from ptychodose.study.manifest_form import SCHEMA

FOLDER = Path("data/manifests")
JOINED = Path("manifest.json")


def content_digest(path: Path) -> str:
    """SHA256 of what a file of a stage means: names, dtypes, shapes and raw bytes of HDF5 arrays (attributes too),
    members of a zip, canonical JSON; the plain bytes of anything else. Equal content in another container
    version gives an equal digest."""
    digest = hashlib.sha256()
    with open(regular(path), "rb") as file:
        _add_content(digest, path.suffix, file)
    return digest.hexdigest()


def _add_content(digest: Any, suffix: str, file: Any) -> None:
    if suffix in (".h5", ".cxi"):
        with h5py.File(file, "r") as archive:
            _add_hdf5(digest, archive)
    elif suffix == ".zip":
        with zipfile.ZipFile(file) as archive:
            for name in sorted(archive.namelist()):
                digest.update(name.encode() + b"\0")
                _add_content(digest, Path(name).suffix, io.BytesIO(archive.read(name)))
    elif suffix == ".json":
        digest.update(json.dumps(json.load(file), sort_keys=True, separators=(",", ":")).encode())
    else:
        while block := file.read(1 << 20):
            digest.update(block)


def _add_hdf5(digest: Any, item: Any, label: str = "") -> None:
    """A group depth first and sorted; a dataset under its `label`, in slabs along its first axis."""
    for name in sorted(item.attrs):
        _add_array(digest, f"{item.name}@{name}", np.asarray(item.attrs[name]))
    if isinstance(item, h5py.Group):
        for name in sorted(item):
            _add_hdf5(digest, item.get(name), f"{item.name}/{name}")
        return
    digest.update(f"{label}:{item.dtype.str}:{item.shape}\0".encode())
    shape = item.shape or ()
    slab = max(1, 2**24 // max(1, int(np.prod(shape[1:])) * item.dtype.itemsize))
    for part in [slice(start, start + slab) for start in range(0, shape[0], slab)] if shape else [()]:
        digest.update(np.ascontiguousarray(item[part]).tobytes())


def _add_array(digest: Any, name: str, values: np.ndarray) -> None:
    if values.dtype.kind == "O":  # text attributes
        values = np.array([str(v) for v in values.ravel()])
    digest.update(f"{name}:{values.dtype.str}:{values.shape}\0".encode())
    digest.update(np.ascontiguousarray(values).tobytes())


def entry(path: Path, content: bool = True) -> dict[str, object]:
    """What a manifest says of one file: POSIX relative path, size, SHA256 of its bytes and, of what a stage made, of
    its `content`: what is in a user's file nobody has checked."""
    row: dict[str, object] = {"path": path.as_posix(), "bytes": path.stat().st_size, "sha256": sha256_file(path)}
    return {**row, "content_sha256": content_digest(path)} if content else row


def entries(paths: Iterable[Path], content: bool = True) -> list[dict[str, object]]:
    """Entries of files, folders expanded, sorted by path."""
    return [entry(path, content) for path in _files(*paths)]


def _files(*paths: Path) -> list[Path]:
    return sorted(f for p in paths for f in (p.rglob("*") if p.is_dir() else [p]) if f.is_file())


def environment() -> dict[str, object]:
    """What trained weights depend on besides inputs: library versions, threads, the CPU's instruction set, and
    whether that is pinned (see `isa`). Of a version without its build label (2.13.0+cpu): builds give equal weights."""
    import torch  # only training needs it; generate and overlap stay free of torch

    return {
        "torch": public(torch.__version__),
        "numpy": public(np.__version__),
        "threads": torch.get_num_threads(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "portable": isa.pinned(),
    }


def public(version: str) -> str:
    """A version without the label of its build, which is what follows the plus sign (PEP 440)."""
    return str(version).split("+")[0]


def write_stage_manifest(
    stage: str,
    inputs: Iterable[Path],
    outputs: Iterable[Path],
    environment: Mapping[str, object] | None = None,
) -> Path:
    """Write data/manifests/<stage>.json: inputs, outputs (folders expanded), the stage's definition (command,
    parameters, code), where it matters also the environment. Written last, so it is the stage's record of
    completion."""
    document: dict[str, object] = {
        "schema": SCHEMA,
        "stage": stage,
        "inputs": entries(inputs, content=False),
        "outputs": entries(outputs),
        **definition.of(stage),
    }
    if environment is not None:
        document["environment"] = dict(environment)
    path = FOLDER / f"{stage}.json"
    write_json(path, document)
    return path


def read(path: Path) -> dict[str, Any]:
    """A stage manifest or the joined one (told by its name). Raises StudyError when absent, damaged or of another
    schema."""
    try:
        return manifest_form.load(path, joined=path.name == JOINED.name)
    except FileNotFoundError:
        raise StudyError(f"{path}: not found; run `dvc repro`, or `dvc pull` to fetch it") from None
    except (OSError, ValueError) as error:
        back = "`git restore manifest.json`" if path == JOINED else "`dvc checkout`"
        raise StudyError(f"{path}: damaged manifest ({one_line(error)}); restore it with {back}") from None


def check_inputs(stage: str, paths: Iterable[Path]) -> None:
    """Fail unless every path (folders expanded) is, byte for byte, what `stage` recorded as its output."""
    recorded = {row["path"]: row["sha256"] for row in read(FOLDER / f"{stage}.json")["outputs"]}
    for path in paths:
        names = {f.as_posix() for f in _files(path)} | {name for name in recorded if Path(name).is_relative_to(path)}
        for name in sorted(names or {path.as_posix()}):
            if name not in recorded:
                raise StudyError(f"{name}: not recorded by stage {stage}; remove it or run `dvc repro -f {stage}`")
            if not Path(name).is_file():
                raise StudyError(f"{name}: missing; run `dvc repro {stage}`")
            if sha256_file(Path(name)) != recorded[name]:
                remedy = f"run `dvc checkout -f {name}` or `dvc repro -f {stage}`"
                raise StudyError(f"{name}: differs from what stage {stage} wrote; {remedy}")


def join(stages: Iterable[str], own_stage: str, own_outputs: Iterable[Path]) -> None:
    """Write manifest.json: every out of every stage, by stage, except manifest.json itself; the definition of the stage
    that writes it; and the environments of the stages that depend on one."""
    document: dict[str, Any] = {"schema": SCHEMA, "stages": {}, "environments": {}}
    document["own"] = {"stage": own_stage, **definition.of(own_stage)}
    for stage in stages:
        path = FOLDER / f"{stage}.json"
        record = read(path)
        document["stages"][stage] = [*record["outputs"], entry(path)]
        if "environment" in record:
            document["environments"][stage] = record["environment"]
    document["stages"][own_stage] = entries(own_outputs)
    write_json(JOINED, document)
