"""ptychodus's product, HDF5 or NPZ, to read, with the patterns it does not hold from a file of their own.

Positions are metres, x to the right and y down, of the probe; the middle of the object's array is at its centre.
HDF5: root attributes, and the arrays' own attributes for pixels and centre, which NPZ has as entries with a prefix.
Patterns: HDF5 `patterns`, with `indexes`, `bad_pixels` (True = bad) and the detector's pixel beside; `dp`; the same in
NPZ; or NPY; always intensities (n, H, W). A position's index is that of its pattern.
"""

import zipfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from ptychodose.errors import StudyError
from ptychodose.exchange.found import Raw, Told
from ptychodose.formats import foreign, npz
from ptychodose.formats.untrusted import quoted
from ptychodose.physics.probes import Geometry

INDEX, PLACES = "probe_position_indexes", ("probe_position_y_m", "probe_position_x_m")
ENERGY, DISTANCE = ("photon_energy_eV", "probe_energy_eV"), "detector_object_distance_m"
INSIDE = ("center_y_m", "center_x_m", "pixel_height_m", "pixel_width_m")  # attributes of the object
PATTERNS = ("patterns", "dp", "diffraction")
PITCH = "detector_pixel_width_m"


def knows(names: set[str]) -> bool:
    """Whether a file of such `names` looks like a product."""
    return {*PLACES} <= names


def read(path: Path, told: Told) -> Raw:
    """The product's entries and the patterns of `told.patterns`. One of `untrusted.DAMAGE`, or a StudyError."""
    if told.patterns is None:
        raise StudyError(f"{path}: a product holds no patterns; give --patterns FILE (HDF5, NPZ or NPY, intensities)")
    entries = _of_npz(path) if zipfile.is_zipfile(path) else _of_hdf5(path)
    for name in (INDEX, *PLACES, "probe", "object", DISTANCE):
        if name not in entries:
            raise KeyError(name)
    raw = _with_patterns(entries, told.patterns)
    obj, numbers = entries["object"], {name: _number(entries, f"object_{name}") for name in INSIDE}
    energy, distance = _number(entries, *ENERGY), _number(entries, DISTANCE)
    if not _number(entries, "far_field", missing=1.0):
        raise StudyError(f"{path}: patterns of the near field, which this study has no model of")
    probe, varies = entries["probe"], ""
    if probe.ndim == 4:
        varies = f", the first of {len(probe)} that vary" if len(probe) > 1 else ""
        probe = probe[0]
    layers = len(obj) if obj.ndim == 3 else 1
    image = obj if obj.ndim == 2 else obj[0]
    pixel = raw.pixel_m
    if pixel is None and raw.patterns.ndim == 3 and energy > 0 and numbers["pixel_width_m"] > 0:
        pixel = Geometry(energy, distance, 1.0).object_pixel(raw.patterns.shape[-1]) / numbers["pixel_width_m"]
    return replace(
        raw,
        origin=(numbers["center_y_m"], numbers["center_x_m"]),
        offset=(image.shape[-2] / 2, image.shape[-1] / 2) if image.ndim == 2 else (0.0, 0.0),
        probe=probe,
        obj=image if layers == 1 else None,
        energy_ev=energy,
        distance_m=distance,
        pixel_m=pixel,
        object_pixel_m=numbers["pixel_width_m"],
        how=(*raw.how, f"probe: {probe.shape}{varies}; object: {layers} layer(s)" + ", not used" * (layers > 1)),
    )


def _number(entries: Mapping[str, NDArray], *names: str, missing: float | None = None) -> float:
    """The one number under the first of `names` that is there."""
    name = next((name for name in names if name in entries), None)
    if name is None and missing is not None:
        return missing
    values = entries[names[0] if name is None else name]
    if values.size != 1 or values.dtype.kind not in "biuf" or not np.isfinite(values).all():
        raise ValueError(f"{quoted(name)} is not one number")
    return float(values.ravel()[0])


def _of_npz(path: Path) -> dict[str, NDArray]:
    wanted = [INDEX, *PLACES, *ENERGY, DISTANCE, "far_field", "probe", "object", *(f"object_{name}" for name in INSIDE)]
    return dict(npz.read(path, wanted, foreign.SMALL, "import"))


def _of_hdf5(path: Path) -> dict[str, NDArray]:
    """The same entries, attributes under the names that NPZ has."""
    with foreign.opened(path) as file:
        made = {name: file.array(name) for name in (INDEX, *PLACES, "probe", "object")}
        for place, names, prefix in (("", (*ENERGY, DISTANCE, "far_field"), ""), ("object", INSIDE, "object_")):
            found = {prefix + name: file.attribute(place, name) for name in names}
            made |= {name: np.asarray(value) for name, value in found.items() if value is not None}
    return made


def _with_patterns(entries: Mapping[str, NDArray], path: Path) -> Raw:
    """Patterns in the order of the positions."""
    found, pitch = _patterns(path)
    key = next((name for name in PATTERNS if name in found), None)
    if key is None:
        raise StudyError(f"{path}: none of {', '.join(PATTERNS)} is in it; save the patterns under one of these")
    patterns, index = found[key], entries[INDEX]
    known = found.get("indexes", np.arange(len(patterns) if patterns.ndim else 0))
    if index.ndim != 1 or known.shape != patterns.shape[:1] or {index.dtype.kind, known.dtype.kind} - set("iu"):
        raise StudyError(f"{path}: indexes {known.shape} for patterns {patterns.shape} and positions {index.shape}")
    order = np.argsort(known, kind="stable")
    rows = order[np.minimum(np.searchsorted(known[order], index), len(known) - 1)] if len(known) else index[:0]
    if len(rows) != len(index) or (known[rows] != index).any():
        raise StudyError(f"{path}: not every position of the product has its pattern here; take the files of one scan")
    places = [entries[name] for name in PLACES]
    if any(values.shape != index.shape for values in places):
        raise ValueError(f"{PLACES[0]} {places[0].shape} and its x {places[1].shape} for {len(index)} indexes")
    bad = found.get("bad_pixels")
    return Raw(
        name="ptychodus product",
        where=f"{path}: {key}",
        patterns=patterns[rows],
        kind="intensity",
        places=np.stack(places, -1),
        metres=True,
        bad=None if bad is None else bad != 0,
        pixel_m=pitch,
        how=(f"order: {len(index)} of {len(patterns)} patterns, by index", "axes: x and y of the probe, in metres"),
    )


def _patterns(path: Path) -> tuple[dict[str, NDArray], float | None]:
    """Arrays of a file of patterns by name, and the detector's pixel where it says that."""
    if not path.is_file():
        raise StudyError(f"{path}: not found; correct --patterns")
    if zipfile.is_zipfile(path):
        return dict(npz.read(path, (*PATTERNS, "indexes", "bad_pixels"), foreign.LARGE, "import: --patterns")), None
    if not h5py.is_hdf5(path):
        return {PATTERNS[0]: npz.read_npy(path, foreign.LARGE, "import: --patterns")}, None
    with foreign.opened(path) as file:
        names = [name for name in (*PATTERNS, "indexes", "bad_pixels") if file.first(name)]
        made = {name: file.array(name, foreign.LARGE, finite=False) for name in names}
        pitch = file.attribute(PATTERNS[0], PITCH) if PATTERNS[0] in made else None
    return made, pitch if isinstance(pitch, float) else None
