"""NeXus attributes, by which silx, h5web and nexusformat show a picture as soon as they open a file.

NeXus 2024.02 (manual.nexusformat.org): `default` names, from the root down, the group that is shown; that is an NXdata
with `signal` and `axes`. Our readers pass over all of it.
"""

from collections.abc import Sequence

import h5py
import numpy as np
from numpy.typing import NDArray

from ptychodose.formats.hdf5_guard import text

ENTRY, OBJECT, PROBE = "entry", "object", "probe"  # groups of our own files
OWN = ("NX_class", "default")  # attributes of the root
PHASE_DIGITS = 4  # of what is shown
NOTHING = "."  # an axis without values


def show(file: h5py.File, path: str, signal: str, axes: Sequence[str], auxiliary: Sequence[str] = ()) -> None:
    """Make the group at `path` ("entry/data"), which has a dataset `signal`, the one that viewers show first.

    `axes` names a dataset for each dimension, or `NOTHING`; `auxiliary` further datasets of the same shape.
    """
    mark(file, "NXroot")
    entry, data = path.split("/")
    file.attrs["default"] = text(entry)
    mark(file[entry], "NXentry").attrs["default"] = text(data)
    group = mark(file[path], "NXdata")
    group.attrs["signal"] = text(signal)
    group.attrs["axes"] = _texts(axes)
    if auxiliary:
        group.attrs["auxiliary_signals"] = _texts(auxiliary)


def mark(group: h5py.Group, name: str) -> h5py.Group:
    """The group, of NeXus class `name`."""
    group.attrs["NX_class"] = text(name)
    return group


def show_wave(file: h5py.File, name: str, wave: NDArray[np.complexfloating], pixel_m: float | None) -> None:
    """Add amplitude and phase (rad) of a wave (H, W) or, mode by mode, (M, H, W), over axes in nm; in pixels where the
    pixel is not known."""
    group = file.require_group(ENTRY).create_group(name)
    real, imaginary = wave.real.astype(np.float64), wave.imag.astype(np.float64)
    # sqrt, not abs, and rounded angles: same bits on every CPU
    phase = np.round(np.arctan2(imaginary, real), PHASE_DIGITS)
    parts = {"amplitude": (np.sqrt(real**2 + imaginary**2), ""), "phase": (phase, "rad")}
    for label, (values, unit) in parts.items():
        item = group.create_dataset(label, data=values.astype(np.float32), track_times=False)
        if unit:
            item.attrs["units"] = text(unit)
    step, unit = (1.0, "px") if pixel_m is None else (pixel_m * 1e9, "nm")
    for axis, length in zip("yx", wave.shape[-2:], strict=True):
        item = group.create_dataset(axis, data=step * np.arange(length, dtype=np.float64), track_times=False)
        item.attrs["units"] = text(unit)
    show(file, f"{ENTRY}/{name}", "amplitude", [NOTHING] * (wave.ndim - 2) + ["y", "x"], ["phase"])


def _texts(values: Sequence[str]) -> NDArray[np.bytes_]:
    """Texts of fixed length, see hdf5_guard.text."""
    data = [value.encode("utf-8") for value in values]
    return np.array(data, h5py.string_dtype("utf-8", max(map(len, data))))
