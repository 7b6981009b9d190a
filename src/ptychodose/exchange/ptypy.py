"""ptypy's data file .ptyd (HDF5), to read, and probe and object of a reconstruction .ptyr.

.ptyd: meta/energy keV, distance m, psize m (one or two), center px (row, column) of zero frequency, weight2d; chunks/i/
data (m, H, W) intensities, positions (m, 2) m, row and column, indices (m,), weights as data or empty: 0 is bad.
.ptyr: content/probe/ID/data (M, H, W), content/obj/ID/data (1, rows, columns), whose _origin and _psize (m) place it.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ptychodose.errors import StudyError
from ptychodose.exchange.found import Raw, Told
from ptychodose.formats import foreign
from ptychodose.formats.foreign import Foreign

WEIGHTS = ("meta/weight2d", "common/weight2d", "info/weight2d")


def knows(names: set[str]) -> bool:
    """Whether a file of such root `names` looks like ptypy's."""
    return {"chunks", "meta"} <= names or "content" in names


def read(path: Path, told: Told) -> Raw:
    """The entries of a .ptyd, and waves of the .ptyr `told.product`. One of `untrusted.DAMAGE`, or a StudyError, for
    what is missing or ambiguous."""
    with foreign.opened(path) as file:
        if "content" in file.names():
            raise StudyError(f"{path}: a reconstruction without patterns; import its .ptyd, with --product {path.name}")
        patterns, places, bad = _chunks(file, path)
        kev = file.number("meta/energy")
        pixel = None if file.first("meta/psize") is None else _same(file.array("meta/psize"), f"{path}: meta/psize")
        zero = _zero(file, patterns.shape, path)
        distance = file.number("meta/distance")
    probe, obj, origin, step = (None, None, (0.0, 0.0), None) if told.product is None else _waves(told.product)
    return Raw(
        name="ptypy .ptyd",
        where=f"{path}: chunks",
        patterns=patterns,
        kind="intensity",
        places=places,
        metres=True,
        origin=origin,
        probe=probe,
        obj=obj,
        bad=bad,
        zero=zero,
        energy_ev=None if kev is None else kev * 1e3,
        distance_m=distance,
        pixel_m=pixel,
        object_pixel_m=step,
        how=("axes: positions = (row, column) of the probe, in metres",),
    )


def _chunks(file: Foreign, path: Path) -> tuple[NDArray, NDArray, NDArray[np.bool_] | None]:
    """Patterns (n, H, W), positions (n, 2) and bad pixels (H, W) of all chunks, in the order of their indices."""
    names = sorted((name for name in file.names("chunks") if name.isdigit()), key=int)
    if not names:
        raise KeyError("chunks/0")
    found: dict[str, list[NDArray]] = {"data": [], "positions": [], "indices": [], "weights": []}
    budget = foreign.LARGE
    for name in names:
        for entry, parts in found.items():
            place = f"chunks/{name}/{entry}"
            if entry != "weights" or file.first(place) is not None:
                parts.append(file.array(place, budget, finite=entry != "data"))
                budget -= parts[-1].nbytes
    shapes = {part.shape[1:] for part in found["data"]}
    if len(shapes) != 1 or any(part.ndim != 3 for part in found["data"]):
        raise ValueError(f"chunks hold data of different shapes {sorted(shapes)[:3]}")
    patterns, places = np.concatenate(found["data"]), np.concatenate(found["positions"])
    index = np.concatenate([np.ravel(part) for part in found["indices"]])
    if len(index) != len(patterns) or len(places) != len(patterns):
        raise ValueError(f"{len(patterns)} patterns, {len(places)} positions and {len(index)} indices")
    order = np.argsort(index, kind="stable")
    return patterns[order], places[order], _bad(file, [part for part in found["weights"] if part.size], path)


def _bad(file: Foreign, weights: list[NDArray], path: Path) -> NDArray[np.bool_] | None:
    """Bad pixels (H, W), where a weight is 0; the same in all patterns, else a StudyError."""
    common = file.first(*WEIGHTS)
    if not weights and common is not None:
        weights = [file.array(common)]
    stacks = [part[None] if part.ndim == 2 else part for part in weights]
    if not stacks or stacks[0].ndim != 3 or stacks[0].shape[1:] == (1,):
        return None
    first = stacks[0][0] <= 0
    if any(part.shape[1:] != first.shape or ((part <= 0) != first).any() for part in stacks):
        raise StudyError(f"{path}: weights differ from pattern to pattern; mask what is bad in any of them")
    return np.asarray(first)


def _zero(file: Foreign, shape: tuple[int, ...], path: Path) -> str | None:
    """`centre` or `corner` by meta/center, to the half pixel; None where it does not say. StudyError for elsewhere."""
    if file.first("meta/center") is None:
        return None
    centre = file.array("meta/center").ravel()
    if centre.shape != (2,) or centre.dtype.kind not in "iuf":
        return None
    if (np.abs(centre - np.array([side // 2 for side in shape[-2:]])) <= 0.5).all():
        return "centre"
    if (np.abs(centre) <= 0.5).all():
        return "corner"
    raise StudyError(f"{path}: zero frequency is at {centre.tolist()}, not in the middle; crop the patterns about it")


def _same(values: NDArray, where: str) -> float:
    """The one number of one or two that are equal."""
    sides = values.ravel()
    if not 1 <= len(sides) <= 2 or sides.dtype.kind not in "iuf" or abs(sides[0] - sides[-1]) > 1e-3 * abs(sides[0]):
        raise StudyError(f"{where}: {sides[:3].tolist()}, no square pixel; rebin the patterns")
    return float(sides[0])


def _waves(path: Path) -> tuple[NDArray, NDArray, tuple[float, float], float]:
    """Probe (M, H, W), object (rows, columns), the place of its first pixel (row, column) and its pixel, metres."""
    try:
        with foreign.opened(path) as file:
            waves = []
            for kind in ("probe", "obj"):
                names = file.names(f"content/{kind}")
                if len(names) != 1:
                    raise ValueError(f"content/{kind} has {len(names)} storages, expected one")
                waves.append(f"content/{kind}/{names[0]}")
            origin = file.array(f"{waves[1]}/_origin").ravel()
            step = _same(file.array(f"{waves[1]}/_psize"), f"{path}: _psize")
            probe, obj = (file.array(f"{name}/data") for name in waves)
    except foreign.DAMAGE as error:
        raise StudyError(f"{path}: not a readable .ptyr ({foreign.one_line(error)}); correct --product") from None
    if origin.shape != (2,) or origin.dtype.kind not in "iuf" or obj.ndim != 3 or len(obj) != 1:
        raise StudyError(
            f"{path}: an object {obj.shape} with origin {origin.shape}; expected one layer and two numbers"
        )
    return probe, obj[0], (float(origin[0]), float(origin[1])), step
