"""PtychoPINN's NPZ, to read: `diffraction` (older: `diff3d`) amplitudes, `xcoords`, `ycoords` px, `probeGuess`,
`objectGuess`, of which the last two may be missing. Patterns come as (n, N, N), (N, N, n), or with a last axis of 1."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ptychodose.errors import StudyError
from ptychodose.formats import npz
from ptychodose.measured import counts
from ptychodose.measured.found import Found, centred, check_size

PATTERNS, PLACES, WAVES = ("diffraction", "diff3d"), ("ycoords", "xcoords"), ("probeGuess", "objectGuess")
MAX_BYTES = 2**33  # of one array
FARTHEST = 1e5  # px


def knows(path: Path) -> bool:
    """Whether the file looks like one of these."""
    return path.suffix == ".npz"


def read(path: Path, per_unit: float | None, zero: str | None) -> Found:
    """The scan of a file. StudyError naming file, key and remedy for anything missing, ambiguous or not counts."""
    arrays = npz.read(path, (*PATTERNS, *PLACES, *WAVES), MAX_BYTES, "import")
    key = next((name for name in PATTERNS if name in arrays), None)
    missing = [name for name in PLACES if name not in arrays] + ([] if key else ["diffraction"])
    if key is None or missing:
        raise StudyError(f"{path}: key {missing[0]!r} is missing; add it")
    for name, values in arrays.items():
        if values.dtype.kind not in ("fiuc" if name in WAVES else "fiu") or not np.isfinite(values).all():
            raise StudyError(f"{path}: {name} is {values.dtype} or not finite; save plain finite numbers")
    places = np.stack([np.asarray(arrays[name], np.float64).ravel() for name in PLACES], -1)
    if not len(places) or np.abs(places).max() > FARTHEST:
        raise StudyError(f"{path}: {len(places)} positions up to {np.abs(places).max(initial=0):g} px; save pixels")
    patterns, axes = _patterns(np.asarray(arrays[key], np.float64), len(places), f"{path}: {key}")
    photons, unit = _counts(patterns, per_unit, f"{path}: {key}")
    made, where = centred(photons, zero)
    probe, obj = (None if name not in arrays else arrays[name].astype(np.complex64) for name in WAVES)
    if probe is not None:
        probe = probe.reshape(-1, *probe.shape[-2:])
        if probe.shape[1:] != made.shape[1:]:
            raise StudyError(f"{path}: probeGuess {probe.shape} does not fit patterns {made.shape}")
    if obj is not None and obj.ndim != 2:
        raise StudyError(f"{path}: objectGuess {obj.shape} is no image (H, W)")
    how = (
        axes,
        unit,
        where,
        "positions: pixels of the object, xcoords = column, ycoords = row, as this format has them",
    )
    return Found(made, places, probe, obj, how)


def _patterns(values: NDArray[np.float64], number: int, where: str) -> tuple[NDArray[np.float64], str]:
    """(n, N, N), whatever the order of the axes."""
    found = values[..., 0] if values.ndim == 4 and values.shape[-1] == 1 else values
    if found.ndim != 3:
        raise StudyError(f"{where}: shape {values.shape} is not (n, N, N), (N, N, n) or (n, N, N, 1)")
    first, last = found.shape[0] == number, found.shape[-1] == number
    if first and last:
        raise StudyError(
            f"{where}: n = N = {number}, so that the axes cannot be told apart; save (n, N, N) with another n"
        )
    if not first and not last:
        raise StudyError(f"{where}: shape {values.shape} for {number} positions")
    made = found if first else np.moveaxis(found, -1, 0)
    check_size(made.shape, where)
    axes = "(n, N, N)" if first else "(N, N, n)"
    return made, f"patterns: {made.shape[0]} of {made.shape[1]} x {made.shape[2]} px, axes {axes}"


def _counts(values: NDArray[np.float64], per_unit: float | None, where: str) -> tuple[NDArray[np.unsignedinteger], str]:
    """Counts, whether the file holds amplitudes, as it should, or counts."""
    if per_unit is not None:
        return counts.of_amplitudes(
            values, per_unit, where
        ), f"values: amplitudes; counts = {per_unit:g} x their squares"
    if (values == np.rint(values)).all():
        return counts.of_intensities(
            values, None, where
        ), "values: counts (whole numbers already; the format has amplitudes)"
    return counts.of_amplitudes(values, None, where), "values: amplitudes (their squares are whole numbers)"
