"""Small HDF5 files of named arrays (truth, views, reconstructions): deterministic bytes, strict reading.

HDF5's newest file format (libver="latest") stamps groups with the time; the default one does not.
"""

from collections.abc import Mapping
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from ptychodose.errors import StudyError
from ptychodose.files import atomic_path


def write_arrays(path: Path, arrays: Mapping[str, NDArray], attributes: Mapping[str, object] | None = None) -> None:
    """Write arrays by name ("group/name" makes groups) and root attributes, sorted, without times."""
    with atomic_path(path) as temporary, h5py.File(temporary, "w") as file:
        for name in sorted(arrays):
            file.create_dataset(name, data=arrays[name], track_times=False)
        for name, value in sorted((attributes or {}).items()):
            file.attrs[name] = value


def read_arrays(path: Path, remedy: str) -> tuple[dict[str, NDArray], dict[str, object]]:
    """Read every dataset stored in the file itself, and the root attributes.

    Links and virtual datasets are refused, so a file cannot pull in another one. Raises StudyError ending in
    `remedy` when the file is absent, damaged or holds anything but plain finite arrays.
    """
    arrays: dict[str, NDArray] = {}

    def collect(group: h5py.Group, prefix: str) -> None:
        for name in group:
            if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                raise ValueError(f"{prefix}{name} is a link")
            item = group[name]
            if isinstance(item, h5py.Group):
                collect(item, f"{prefix}{name}/")
            elif item.is_virtual or item.external or item.dtype.kind not in "biufc":
                raise ValueError(f"{prefix}{name} is not a plain numeric dataset")
            else:
                arrays[f"{prefix}{name}"] = item[()]

    try:
        with h5py.File(path, "r") as file:
            collect(file, "")
            attributes = {name: file.attrs[name] for name in file.attrs}
    except (OSError, RuntimeError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise StudyError(f"{path}: not readable ({str(error)[:100]}); {remedy}") from None
    for name, values in arrays.items():
        if not np.isfinite(values).all():
            raise StudyError(f"{path}: {name} holds values that are not finite; {remedy}")
    return arrays, attributes
