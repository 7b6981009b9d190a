"""Masks of bad detector pixels from a picture or an HDF5 file; 0 = good, as in CXI and NeXus pixel masks."""

import warnings
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ptychodose.errors import StudyError
from ptychodose.formats import hdf5_guard
from ptychodose.formats.untrusted import DAMAGE, one_line, regular

PICTURES, ARRAYS = (".png", ".tif", ".tiff"), (".h5", ".hdf5", ".cxi")
ENTRIES = ("mask", "entry_1/instrument_1/detector_1/mask")  # looked for in this order
MOST_BAD = 0.9  # share of bad pixels beyond which a mask is more likely to be inverted than true
FORMATS = ("PNG", "TIFF")  # whatever the name says: for some others Pillow starts another program
# What Pillow raises for a damaged picture or for one that would unpack to more than it may
PILLOW_DAMAGE = (*DAMAGE, Image.DecompressionBombError)


def read_mask(path: Path, size: int) -> NDArray[np.bool_]:
    """Good pixels (`size`, `size`), True = good, of a PNG or TIFF picture or of `mask` in an HDF5 file.

    In the file 0 (black) is good and anything else is bad; a picture with colours must have the same in all of them,
    and its transparency does not count. Raises StudyError (one line) when the file is missing, unreadable, of another
    shape, or leaves hardly a good pixel.
    """
    suffix = path.suffix.lower()
    if suffix not in PICTURES + ARRAYS:
        _refuse(path, f"is none of {', '.join(PICTURES + ARRAYS)}; convert it")
    if not path.is_file():
        _refuse(path, "not found; correct the path, or set generate.mask to null")
    bad = _picture(path, size) if suffix in PICTURES else _array(path)
    if bad.shape != (size, size):
        _refuse(path, f"has {' x '.join(map(str, bad.shape))} pixels, the detector {size} x {size}; crop or bin it")
    if bad.mean() > MOST_BAD:
        _refuse(path, f"calls {bad.mean():.0%} of the pixels bad; 0 means good, so it may be inverted")
    return ~bad


def _picture(path: Path, size: int) -> NDArray[np.bool_]:
    """Bad pixels (h, w) of a picture; its size is checked before it is unpacked."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of odd metadata and large images, which are refused here
            with Image.open(regular(path), formats=FORMATS) as image:
                if image.size != (size, size):
                    return np.zeros(image.size[::-1], bool)
                if image.info.get("compression", "raw") != "raw":  # a packed TIFF may hold tiles of any size
                    raise ValueError("a TIFF that is compressed")
                packing = str(image.tile[0].args).split(",")[0]  # such as RGB;16B, of which Pillow drops the low byte
                if image.mode not in ("1", "L", "F", "I", "I;16", "I;16B") and "16" in packing:
                    raise ValueError("colours of 16 bit")
                image.verify()  # to the end: Pillow takes rows that are cut off for black ones
            with Image.open(regular(path), formats=FORMATS) as image:
                values = np.asarray(image.convert("RGBA") if image.mode in ("P", "PA", "LA") else image)
    except PILLOW_DAMAGE as error:
        _refuse(path, f"not a readable picture ({one_line(error, 60)}); save it again")
    colours = values[..., :3] if values.ndim == 3 else values[..., None]
    if (colours != colours[..., :1]).any():
        _refuse(path, "is in colour; save it in shades of grey, 0 = good")
    return colours[..., 0] != 0


def _array(path: Path) -> NDArray[np.bool_]:
    """Bad pixels (h, w) of the first of ENTRIES that an HDF5 file holds."""
    try:
        with h5py.File(regular(path), "r") as file:
            for name in ENTRIES:
                try:
                    item = hdf5_guard.dataset(file, name)
                except KeyError:
                    continue
                if item.ndim != 2 or item.dtype.kind not in "biu":
                    raise ValueError(f"{name} is {item.dtype} {item.shape}, not whole numbers of two dimensions")
                return hdf5_guard.arrays({name: item}, 2**26)[name] != 0
    except DAMAGE as error:
        _refuse(path, f"not a readable mask ({one_line(error, 100)}); save it again")
    return _refuse(path, f"holds neither {' nor '.join(ENTRIES)}; save the mask under one of these")


def _refuse(path: Path, what: str) -> NDArray[np.bool_]:
    raise StudyError(f"generate.mask: {one_line(path)} {what}")
