"""Hostile files of other programs by design, as in `hostile_hdf5` and `hostile_archive`."""

from pathlib import Path

import h5py
import numpy as np

import hostile_archive as zipped
from hostile_hdf5 import (
    HUGE,
    LINK,
    Change,
    attribute,
    chunk,
    claiming,
    damaged_heap,
    external,
    h5,
    put,
    values,
    virtual,
)

DETECTOR, BEAM = "entry_1/instrument_1/detector_1", "entry_1/instrument_1/beam_1/incident_beam_energy"
DATA, MASK, PLACES = f"{DETECTOR}/data", f"{DETECTOR}/mask", "entry_1/sample_1/geometry_1/translation"
OTHER = np.dtype([("real", "f8"), ("imag", "f8"), ("more", "f8", (1000,))])
PAIR = np.dtype([("real", "f8"), ("imag", "f8")])


def without(name: str) -> Change:
    return h5(lambda file: file.__delitem__(name))


def _hopping(file: h5py.File) -> None:
    """Soft links one after the other, more than are followed."""
    file.move(DATA, f"{DETECTOR}/kept")
    for number in range(9):
        file[f"hop{number}"] = h5py.SoftLink(f"/hop{number + 1}" if number < 8 else f"/{DETECTOR}/kept")
    file[DATA] = h5py.SoftLink("/hop0")


def _odd_heap(path: Path) -> None:
    """HDF5 does not look at the bytes behind the version."""
    damaged_heap(path)
    path.write_bytes(path.read_bytes().replace(b"GCOL\x01\x00", b"GCOL\x01\x25"))


NEXUS: dict[str, tuple[Change, str]] = {
    "an external link": (put(DATA, LINK), "is a link"),
    "a soft link to itself": (put(DATA, h5py.SoftLink(f"/{DATA}")), "is a link"),
    "a chain of links": (h5(_hopping), "is a link"),
    "virtual patterns": (virtual(DATA), "another file"),
    "patterns outside": (external(DATA), "another file"),
    "10^15 counts": (claiming(DATA, (*HUGE, 1)), "claims"),
    "10^15 counts in chunks": (claiming(DATA, (*HUGE, 1), chunks=(10, 10, 1), compression="lzf"), "claims .* chunks"),
    "an lzf bomb": (chunk(DATA, b"\x00a" + b"\xe0\xff\x00" * 9999, compression="lzf"), "unpack|larger"),
    "a compound": (claiming(DATA, (4, 8, 8), OTHER), "not plain numbers"),
    "references": (claiming(DATA, (4, 8, 8), h5py.ref_dtype), "not plain numbers"),
    "complex patterns": (values(DATA, lambda d: d + 0j), "no patterns"),
    "patterns without pixels": (values(DATA, lambda d: d[:, :, :0]), "no patterns"),
    "one flat pattern": (values(DATA, lambda d: d[0, 0, 0]), "no patterns"),
    "dark patterns": (values(DATA, lambda d: d * 0), "no light"),
    "counts beyond a detector": (values(DATA, lambda d: d.astype("f8") * 2.0**40), "beyond any detector"),
    "counts beyond all numbers": (values(DATA, lambda d: d.astype("f8") * 1e300), "no count|beyond any"),
    "a marker in one pattern": (values(DATA, lambda d: d - 10**6 * (np.arange(256).reshape(1, 4, 8, 8) == 9)), "only"),
    "nothing but markers": (values(DATA, lambda d: d * 0 - 1), "no pixel is good"),
    "fewer positions": (values(PLACES, lambda d: d[:2]), "for 4 patterns"),
    "positions that are NaN": (values(PLACES, lambda d: d * np.nan), "not finite"),
    "positions at infinity": (values(PLACES, lambda d: d * 1e300), "positions up to"),
    "positions on a line": (values(PLACES, lambda d: d[:, 0]), "expected"),
    "positions in furlongs": (attribute(PLACES, "units", "furlong"), "none of m, mm"),
    "a mask of another size": (values(MASK, lambda d: d[:4]), "a mask"),
    "a mask of everything": (values(MASK, lambda d: d + 1), "no pixel is good"),
    "a mask that is inverted": (values(MASK, lambda d: d + (np.arange(64).reshape(8, 8) > 0)), "--mask-good 1"),
    "a mask of fractions": (values(MASK, lambda d: d + 0.5), "whole numbers"),
    "the machine's energy alone": (without(BEAM), "perhaps the machine's: give|give --energy-ev"),
    "an energy in ergs": (attribute(BEAM, "units", "erg"), "none of J"),
    "an energy of many numbers": (values(BEAM, lambda d: np.full(5, d)), "not one number"),
    "an energy of no X-rays": (values(BEAM, lambda d: d * 1e6), "no X-ray energy"),
    "oblong pixels": (values(f"{DETECTOR}/x_pixel_size", lambda d: d * 2), "square"),
    "a distance of nothing": (values(f"{DETECTOR}/distance", lambda d: d * 0), "give --distance-m"),
    "a damaged heap of texts": (damaged_heap, "damaged heap"),
    "a damaged heap with an odd head": (_odd_heap, "damaged heap"),
    "a group in place of patterns": (put(DATA, np.dtype("i4")), "not a dataset"),
    "a probe of another size": (values("entry_1/instrument_1/source_1/illumination", lambda d: d[:4]), "does not fit"),
    "a probe that overflows": (
        values("entry_1/instrument_1/source_1/illumination", lambda d: d.astype("c16") * 1e300),
        "finite",
    ),
}
MATLAB: dict[str, tuple[Change, str]] = {
    "complex numbers with more": (claiming("object", (18, 20), OTHER), "not plain numbers"),
    "10^15 complex numbers": (claiming("object", HUGE, PAIR), "claims"),
    "complex patterns": (values("fmag", lambda d: d + 0j), "no patterns"),
    "a mask of half": (values("fmask", lambda d: d * 0 + (np.arange(8) < 4)), "--mask-good 0 or 1"),
    "a mask for each pattern": (values("fmask", lambda d: np.arange(256).reshape(4, 8, 8) % 3), "pattern to pattern"),
    "another energy than its wavelength": (h5(lambda f: f.__setitem__("energy", 7.0)), "give --energy-ev"),
    "positions of three": (values("positions", lambda d: np.concatenate([d, d[:1]])), "positions"),
}
PTYD: dict[str, tuple[Change, str]] = {
    "a chunk elsewhere": (put("chunks/1/data", LINK), "is a link"),
    "no chunks": (h5(lambda f: [f["chunks"].__delitem__(n) for n in list(f["chunks"])]), "chunks/0"),
    "chunks of different sizes": (values("chunks/0/data", lambda d: d[:, :4]), "different shapes"),
    "indices that are missing": (values("chunks/0/indices", lambda d: d[:1]), "indices"),
    "weights by pattern": (
        values("chunks/0/weights", lambda d: np.arange(128).reshape(2, 8, 8) % 3),
        "pattern to pattern",
    ),
    "zero frequency elsewhere": (values("meta/center", lambda d: d - 2), "crop the patterns"),
    "an oblong pixel": (values("meta/psize", lambda d: d * [1, 2]), "square"),
}
PRODUCT: dict[str, tuple[Change, str]] = {
    "an index without pattern": (values("probe_position_indexes", lambda d: d + 3), "not every position"),
    "an index below zero": (values("probe_position_indexes", lambda d: d - 1), "not every position"),
    "fewer positions in one axis": (values("probe_position_x_m", lambda d: d[:2]), "for 4 indexes"),
    "a near field": (attribute("/", "far_field", False), "near field"),
    "no distance": (h5(lambda f: f.attrs.__delitem__("detector_object_distance_m")), "detector_object_distance_m"),
    "a distance of many": (attribute("/", "detector_object_distance_m", [1.0, 2.0]), "one number"),
    "a centre at infinity": (attribute("object", "center_x_m", np.inf), "finite"),
}
TIKE: dict[str, tuple[Change, str]] = {
    "a pickled array": (zipped.array("scan", lambda a: np.array([zipped.Payload()], object)), "pickled"),
    "a path that climbs": (zipped.put("../evil.npy", b""), "outside"),
    "more numbers than bytes": (zipped.npy(b"(1, 4, 2)", b"(1, 9, 2)"), "claims"),
    "texts for positions": (zipped.array("scan", lambda a: a.astype("U9")), "positions <U9"),
    "positions that are NaN": (zipped.array("scan", lambda a: a * np.nan), "not finite"),
    "positions for fewer": (zipped.array("scan", lambda a: a[:, :2]), "for 4 patterns"),
    "a probe for each pattern": (zipped.array("probe", lambda a: np.repeat(a, 4, 0)), "varies"),
}
