"""A trained network as one file, `wts.h5.zip`: weights.h5 (a dataset per tensor) and bundle.json. No pickle.

Members are stored uncompressed, sorted, with a fixed date, so equal weights give equal bytes.
"""

import io
import json
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
from numpy.typing import NDArray

from ptychodose.errors import StudyError
from ptychodose.formats import archive, hdf5_guard
from ptychodose.formats.atomic import sha256_file
from ptychodose.formats.untrusted import DAMAGE, MAX_JSON, is_whole, one_line, parse_json

SCHEMA = 1
MAX_WEIGHTS = 2**28  # bytes; a default bundle has about 50 kB
MEMBERS = {"bundle.json": MAX_JSON, "weights.h5": MAX_WEIGHTS}
LARGEST = 1024  # of the whole numbers that describe a network


def save(path: Path, meta: Mapping[str, Any], weights: Mapping[str, NDArray]) -> tuple[str, int]:
    """Write a bundle; returns its SHA256 (64 lower-case hex), computed from disk after the write, and its size.

    `meta` is JSON-able: architecture and arguments, group_size, N, dose, digests of what it was trained on; `weights`
    are tensors of any shape by name.
    """
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        for name in sorted(weights):
            file.create_dataset(name, data=weights[name], track_times=False)
    document = json.dumps({"schema": SCHEMA, **meta}, sort_keys=True, indent=1, allow_nan=False) + "\n"
    archive.write(path, dict(zip(MEMBERS, (document.encode(), buffer.getvalue()), strict=True)))
    return sha256_file(path), os.path.getsize(path)


def load(path: Path, sha256: str | None = None) -> tuple[dict[str, Any], dict[str, NDArray]]:
    """Read a bundle's meta and weights, in the shapes they were saved in. Raises StudyError for a wrong digest, foreign
    or missing members, damaged content, an unknown schema; nothing but numbers and JSON is ever interpreted."""
    remedy = "restore it with `dvc checkout` or retrain with `dvc repro`"
    if not path.is_file():
        raise StudyError(f"{path}: bundle not found; {remedy}")
    if sha256 is not None and sha256_file(path) != sha256:
        raise StudyError(f"{path}: SHA256 differs from the training manifest's {sha256[:12]}…; {remedy}")
    try:
        with zipfile.ZipFile(path) as zipped:
            infos = archive.members(zipped)
            if infos.keys() != MEMBERS.keys():
                raise ValueError(f"members {one_line(list(infos)[:4], 60)} instead of {list(MEMBERS)}")
            document, data = (archive.unpacked(zipped, infos[name], MEMBERS[name], False) for name in MEMBERS)
        meta = _meta(document)
        with h5py.File(io.BytesIO(data), "r") as file:
            found = dict(hdf5_guard.datasets(file))
            for name, item in found.items():
                if "/" in name or item.dtype.kind not in "fi":
                    raise ValueError(f"{name} is not a plain numeric tensor")
            weights = hdf5_guard.arrays(found, MAX_WEIGHTS)
    except DAMAGE as error:
        raise StudyError(f"{path}: damaged bundle ({one_line(error)}); {remedy}") from None
    return meta, weights


def _meta(document: bytes) -> dict[str, Any]:
    """bundle.json, whose numbers decide how large a network is built: those must be sane."""
    meta = parse_json(document)
    if not isinstance(meta, dict) or not is_whole(meta.get("schema"), SCHEMA, SCHEMA):
        raise ValueError("bundle.json has an unknown schema")
    spec = meta.get("architecture", {})
    if not isinstance(spec, dict) or not all(_sane(value) for value in spec.values()):
        raise ValueError("bundle.json has an absurd architecture")
    if not all(meta.get(key) is None or is_whole(meta[key], 0, LARGEST) for key in ("group_size", "size")):
        raise ValueError("bundle.json has an absurd group_size or size")
    return meta


def _sane(value: object) -> bool:
    return (isinstance(value, str) and len(value) <= 100) or is_whole(value, 0, LARGEST)
