"""Masks of bad detector pixels from a picture or an HDF5 file; 0 = good, as in CXI and NeXus."""

from pathlib import Path

import numpy as np
from matplotlib import image
from numpy.typing import NDArray


def read_mask(path: Path, size: int) -> NDArray[np.bool_]:
    """Good pixels (size, size)."""
    return np.asarray(image.imread(path)) == 0
