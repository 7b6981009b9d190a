"""Small HDF5 files of named arrays (truth, views, reconstructions): deterministic bytes, strict reading.

HDF5's newest file format (libver="latest") stamps groups with the time; the default one does not.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from ptychodose.errors import StudyError
from ptychodose.formats import hdf5_guard, nexus
from ptychodose.formats.atomic import atomic_path
from ptychodose.formats.untrusted import DAMAGE, one_line, regular


@contextmanager
def writing(path: Path) -> Iterator[h5py.File]:
    """An HDF5 file that is made in memory, with the bytes it would have on disk, and written as a whole at the end:
    when the disk under an open file is full, HDF5 (2.0) crashes the interpreter."""
    with h5py.File(path.name, "w", driver="core", backing_store=False, block_size=2**20) as file:
        yield file
        file.flush()
        image = file.id.get_file_image()
    with atomic_path(path) as temporary:
        temporary.write_bytes(image)


def write_arrays(path: Path, arrays: Mapping[str, NDArray], attributes: Mapping[str, object] | None = None) -> None:
    """Write arrays of any shape by name ("group/name" makes groups) and root attributes, sorted, without times.

    An object `obj` (H, W) or, without one, a `probe` (M, N, N) is what NeXus viewers show, in nm where there is an
    attribute `pixel_m`; other groups are of no NeXus class but collections. StudyError for numbers that are not finite,
    which no reader here takes.
    """
    known = attributes or {}
    for name, values in arrays.items():
        if values.dtype.kind in "fc" and not np.isfinite(values).all():
            raise StudyError(
                f"{path}: {name} came out as NaN or infinity; an input or parameter is far from what works"
            )
    with writing(path) as file:
        nexus.mark(file, "NXroot")
        for name in sorted(arrays):
            file.create_dataset(name, data=arrays[name], track_times=False)
        for group in filter(lambda item: isinstance(item, h5py.Group), file.values()):
            nexus.mark(group, "NXcollection")
        for name, value in sorted(known.items()):
            file.attrs[name] = hdf5_guard.text(value) if isinstance(value, str) else value
        waves = {"obj": nexus.OBJECT, "probe": nexus.PROBE}
        shown = next((name for name in waves if name in arrays and arrays[name].ndim > 1), None)
        if shown is not None:
            pixel_m = known.get("pixel_m")
            nexus.show_wave(file, waves[shown], arrays[shown], pixel_m if isinstance(pixel_m, float) else None)


def read_arrays(path: Path, remedy: str) -> tuple[dict[str, NDArray], dict[str, object]]:
    """Read every dataset stored in the file itself, in its shape and native byte order, and the root attributes, but
    for what NeXus viewers are shown.

    Links and virtual datasets are refused, so a file cannot pull in another one. Raises StudyError ending in
    `remedy` when the file is absent, damaged, holds anything but plain finite arrays, or more than 1 GiB of them.
    """
    try:
        with h5py.File(regular(path), "r") as file:
            found = {name: item for name, item in hdf5_guard.datasets(file) if name.split("/")[0] != nexus.ENTRY}
            arrays, attributes = hdf5_guard.arrays(found), hdf5_guard.attributes(file)
    except DAMAGE as error:
        raise StudyError(f"{path}: not readable ({one_line(error)}); {remedy}") from None
    return arrays, {name: value for name, value in attributes.items() if name not in nexus.OWN}


def read_array(path: Path, name: str, remedy: str) -> NDArray:
    """The dataset `name` of a file, in its shape. Raises StudyError as `read_arrays`, and when there is none."""
    arrays, _ = read_arrays(path, remedy)
    if name not in arrays:
        raise StudyError(f"{path}: entry {name} is missing; {remedy}")
    return arrays[name]
