"""A trained network as one file, `wts.h5.zip`: weights.h5 (a dataset per tensor) and bundle.json. No pickle.

Members are stored uncompressed, sorted, with a fixed date, so equal weights give equal bytes.
"""

import io
import json
import os
import stat
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from ptychodose.errors import StudyError
from ptychodose.files import atomic_path, sha256_file

SCHEMA = 1
MEMBERS = ("bundle.json", "weights.h5")
EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest date a zip can hold
MAX_BYTES = 2**28  # 256 MiB; a default bundle has about 50 kB


def save(path: Path, meta: Mapping[str, Any], weights: Mapping[str, NDArray]) -> tuple[str, int]:
    """Write a bundle; returns its SHA256 (64 lower-case hex), computed from disk after the write, and its size.

    `meta` is JSON-able: architecture and arguments, group_size, N, dose, digests of what it was trained on.
    """
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        for name in sorted(weights):
            file.create_dataset(name, data=weights[name], track_times=False)
    document = json.dumps({"schema": SCHEMA, **meta}, sort_keys=True, indent=1, allow_nan=False) + "\n"
    with atomic_path(path) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive:
        for name, data in zip(MEMBERS, (document.encode(), buffer.getvalue()), strict=True):
            member = zipfile.ZipInfo(name, EPOCH)
            member.external_attr = (stat.S_IFREG | 0o644) << 16
            archive.writestr(member, data)
    return sha256_file(path), os.path.getsize(path)


def load(path: Path, sha256: str | None = None) -> tuple[dict[str, Any], dict[str, NDArray]]:
    """Read a bundle's meta and weights. Raises StudyError for a wrong digest, foreign or missing members,
    damaged content, an unknown schema; nothing but numbers and JSON is ever interpreted."""
    remedy = "restore it with `dvc checkout` or retrain with `dvc repro`"
    if not path.is_file():
        raise StudyError(f"{path}: bundle not found; {remedy}")
    if sha256 is not None and sha256_file(path) != sha256:
        raise StudyError(f"{path}: SHA256 differs from the training manifest's {sha256[:12]}…; {remedy}")
    try:
        document, data = _members(path)
        meta = json.loads(document)
        if not isinstance(meta, dict) or meta.get("schema") != SCHEMA:
            raise ValueError("bundle.json has an unknown schema")
        with h5py.File(io.BytesIO(data), "r") as file:
            weights = {name: _tensor(file, name) for name in file}
    except (OSError, ValueError, RuntimeError, KeyError, TypeError, EOFError, RecursionError, zipfile.BadZipFile,
            NotImplementedError) as error:  # fmt: skip
        raise StudyError(f"{path}: damaged bundle ({str(error)[:100]}); {remedy}") from None
    return meta, weights


def _members(path: Path) -> list[bytes]:
    with zipfile.ZipFile(path) as archive:
        infos = archive.infolist()
        if sorted(i.filename for i in infos) != list(MEMBERS):
            raise ValueError(f"members {[i.filename[:40] for i in infos][:4]} instead of {list(MEMBERS)}")
        if any(i.compress_type != zipfile.ZIP_STORED or i.file_size > MAX_BYTES for i in infos):
            raise ValueError("a member is compressed or too large")
        return [archive.read(name) for name in MEMBERS]


def _tensor(file: h5py.File, name: str) -> NDArray:
    item = file.get(name, getlink=True)
    tensor = file[name] if isinstance(item, h5py.HardLink) else None
    if not isinstance(tensor, h5py.Dataset) or tensor.is_virtual or tensor.external or tensor.dtype.kind not in "fi":
        raise ValueError(f"{name} is not a plain numeric tensor")
    values = tensor[()]
    if not np.isfinite(values).all():
        raise ValueError(f"{name} holds values that are not finite")
    return np.asarray(values)
