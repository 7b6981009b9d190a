"""The same instruction set on every x86-64 CPU with AVX2 and FMA: settings that libraries read before they start.

Sums are rounded in an order that depends on vector width and thread count, and MKL takes other paths on Intel than on
AMD. Each variable is the library's own (see the documentation of PyTorch, oneDNN, MKL, OpenBLAS and NumPy). What
none of them covers is in `portable`.
"""

import os
from collections.abc import Mapping

from numpy._core._multiarray_umath import __cpu_features__  # type: ignore[import-not-found]

from ptychodose.errors import StudyError
from ptychodose.study.settings import Train

PINS = {
    "ATEN_CPU_CAPABILITY": "avx2",  # PyTorch's own kernels
    "ONEDNN_MAX_CPU_ISA": "AVX2",  # its convolutions
    "MKL_CBWR": "COMPATIBLE",  # its FFTs, exp and matrix products; the other settings differ between Intel and AMD
    "OPENBLAS_CORETYPE": "Haswell",  # linear algebra of NumPy and SciPy
    "OPENBLAS_NUM_THREADS": "1",
    "NPY_DISABLE_CPU_FEATURES": "X86_V4",  # NumPy's exp, log, power and arccos are others with AVX-512
    "NPY_ENABLE_CPU_FEATURES": "",  # NumPy does not start with both of them
    "FREETYPE_PROPERTIES": "",  # how letters in pictures are hinted
}
NEEDED = ("AVX2", "FMA3")


def pins(settings: Train) -> Mapping[str, str | None]:
    """Environment a stage with networks starts with, as `portable` asks: PINS, or None for each to unset it.

    Raises StudyError when more than one thread is asked for as well.
    """
    if not settings.portable:
        return dict.fromkeys(PINS)
    if settings.threads != 1:
        raise StudyError(
            f"train.threads: {settings.threads} with train.portable: true; set threads to 1 or portable to false"
        )
    return PINS


def pinned() -> bool:
    """Whether this process runs under PINS on a CPU that can honour them; elsewhere results are right, but need not
    be the committed bytes."""
    needed = all(__cpu_features__.get(name, False) for name in NEEDED)
    return needed and all(os.environ.get(name) == value for name, value in PINS.items())
