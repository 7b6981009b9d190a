"""PtychoPINN's NPZ, to read: `diffraction` (older: `diff3d`) amplitudes, `xcoords`, `ycoords` px, `probeGuess`,
`objectGuess`, of which the last two may be missing. Patterns come as (n, N, N), (N, N, n), or with a last axis of 1."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ptychodose.errors import StudyError
from ptychodose.exchange.found import Raw, Told
from ptychodose.formats import npz

PATTERNS, PLACES, WAVES = ("diffraction", "diff3d"), ("ycoords", "xcoords"), ("probeGuess", "objectGuess")
MAX_BYTES = 2**33  # of one array


def knows(names: set[str]) -> bool:
    """Whether an archive of such `names` looks like one of these."""
    return bool({*PLACES, *WAVES} & names) or ("diffraction" in names and "scan" not in names)


def read(path: Path, told: Told) -> Raw:
    """The entries of a file. StudyError naming file, key and remedy for what is missing or cannot be told apart."""
    arrays = npz.read(path, (*PATTERNS, *PLACES, *WAVES), MAX_BYTES, "import")
    key = next((name for name in PATTERNS if name in arrays), None)
    missing = [name for name in PLACES if name not in arrays] + ([] if key else ["diffraction"])
    if key is None or missing:
        raise StudyError(f"{path}: key {missing[0]!r} is missing; add it")
    rows, columns = (arrays[name].ravel() for name in PLACES)
    if rows.shape != columns.shape or {rows.dtype.kind, columns.dtype.kind} - set("iuf"):
        raise StudyError(
            f"{path}: ycoords {rows.dtype} {rows.shape} and xcoords {columns.dtype} {columns.shape} differ"
        )
    patterns, axes = stacked(arrays[key], len(rows), told.pattern_axis, f"{path}: {key}")
    return Raw(
        name="PtychoPINN NPZ",
        where=f"{path}: {key}",
        patterns=patterns,
        kind="amplitude",
        places=np.stack([rows, columns], -1).astype(np.float64),
        probe=arrays.get("probeGuess"),
        obj=arrays.get("objectGuess"),
        how=(axes, "axes: xcoords = column, ycoords = row, patch centres, as this format has them"),
    )


def stacked(values: NDArray, number: int, axis: str | None, where: str) -> tuple[NDArray, str]:
    """Patterns (n, H, W), whichever axis has the `number` n of positions; `axis`, first or last, where both have."""
    found = values[..., 0] if values.ndim == 4 and values.shape[-1] == 1 else values
    if found.ndim != 3:
        raise StudyError(f"{where}: shape {values.shape} is not (n, N, N), (N, N, n) or (n, N, N, 1)")
    fits = {"first": found.shape[0] == number, "last": found.shape[-1] == number}
    if all(fits.values()) and axis is None:
        raise StudyError(
            f"{where}: n = N = {number}, so that the axes cannot be told apart; say --pattern-axis first or last"
        )
    axis = axis or next((name for name, fit in fits.items() if fit), None)
    if axis is None or not fits[axis]:
        raise StudyError(f"{where}: shape {values.shape} for {number} positions")
    return (found, "order: (n, N, N)") if axis == "first" else (np.moveaxis(found, -1, 0), "order: (N, N, n)")
