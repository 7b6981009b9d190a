"""The native dataset: one CXI (HDF5) file per split. The only module that spells its paths.

CXI 1.6 (Maia, Nature Methods 9, 854 (2012); cxidb.org/cxi.html). Counts are integers with zero frequency at
(N // 2, N // 2). CXI's translation moves the SAMPLE (x, y, z in metres); our positions move the PROBE over the
object, y then x in pixels, so translation = -(x, y, 0) * object pixel. Beside the standard entries, group
`ptychodose` holds what a study needs (schema 1). The counts are packed by
HDF5's own scale-offset filter (lossless for integers, in every HDF5 build): LZF leaves uninitialised memory in its
output, so its bytes differ from run to run, and gzip's depend on the machine's zlib.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from ptychodose.errors import StudyError
from ptychodose.formats import hdf5_guard
from ptychodose.formats.h5 import writing
from ptychodose.formats.untrusted import MAX_PIXELS, is_whole, one_line
from ptychodose.physics.probes import object_pixel, wavelength_m

SCHEMA = 1
ELECTRONVOLT = 1.602176634e-19  # joule, exact in the SI of 2019
DETECTOR = "entry_1/instrument_1/detector_1"
SOURCE = "entry_1/instrument_1/source_1"
TRANSLATION = "entry_1/sample_1/geometry_1/translation"
STUDY = "ptychodose"
REMEDY = "run `dvc repro generate`"
MAX_SIDE = 512  # N: a block of 256 patterns stays below 256 MiB
MAX_PATTERNS = 2**22
MAX_COUNTS = 2**36  # bytes of all counts together, which are never held together
TINY = 1e-12  # of a positive quantity: none of their quotients overflows
MAX_DOSE = 1e13


@dataclass(frozen=True)
class Header:
    """What a dataset knows beside its counts. `dose_requested` and `dose_measured`: mean detected counts per
    pattern asked for over the whole finest scan, and found in this file; `incident`: sum |probe|^2;
    `pitch`, `diameter` (D90): px; `shape`: object (H, W)."""

    positions: NDArray[np.float64]  # (n, 2) px, y then x
    nodes: NDArray[np.int32]  # (n, 2) row and column on the finest lattice
    probe: NDArray[np.complex64]  # (N, N), photons
    mask: NDArray[np.uint32]  # (N, N), 0 = good
    energy_ev: float
    distance_m: float
    detector_pixel_m: float
    pitch: float
    diameter: float
    shape: tuple[int, int]
    dose_requested: float
    dose_measured: float

    @property
    def pixel_m(self) -> float:
        """Object pixel, metres."""
        return object_pixel(len(self.probe), self.energy_ev, self.distance_m, self.detector_pixel_m)


def write(path: Path, header: Header, counts: Iterable[NDArray[np.uint32]]) -> float:
    """Write one split block by block; returns the measured mean counts per pattern.

    `counts` yields consecutive blocks (m, N, N) uint32, centred layout; `header.dose_measured` is ignored and
    replaced by what was written. Memory holds one block and the packed file.
    """
    size, number = len(header.probe), len(header.positions)
    with writing(path) as file:
        file["cxi_version"] = 160
        chunks = (min(16, number), size, size)  # packed to the widest count of 16 patterns
        data = file.create_dataset(
            f"{DETECTOR}/data", (number, size, size), np.uint32, chunks=chunks, scaleoffset=0, track_times=False
        )
        data.attrs["axes"] = hdf5_guard.text("translation:y:x")
        done, total = 0, 0
        for block in counts:
            data[done : done + len(block)] = block
            done, total = done + len(block), total + int(block.sum(dtype=np.int64))
        if done != number:
            raise ValueError(f"{done} patterns for {number} positions")
        _write_geometry(file, header)
        _write_study(file, header, total / number)
    return total / number


def _write_geometry(file: h5py.File, header: Header) -> None:
    detector, source = file[DETECTOR], file.create_group(SOURCE)
    _quantity(detector, "distance", header.distance_m, "m")
    _quantity(detector, "x_pixel_size", header.detector_pixel_m, "m")
    _quantity(detector, "y_pixel_size", header.detector_pixel_m, "m")
    detector["mask"] = header.mask
    _quantity(source, "energy", header.energy_ev * ELECTRONVOLT, "J")
    _quantity(source, "wavelength", wavelength_m(header.energy_ev), "m")
    source["illumination"] = header.probe
    y, x = header.positions.T
    metres = -np.stack([x, y, np.zeros_like(x)], 1) * header.pixel_m  # (n, 3)
    _quantity(file, TRANSLATION, metres, "m")
    file["entry_1/data_1/data"] = h5py.SoftLink(f"/{DETECTOR}/data")
    file["entry_1/data_1/translation"] = h5py.SoftLink(f"/{TRANSLATION}")


def _write_study(file: h5py.File, header: Header, measured: float) -> None:
    study = file.create_group(STUDY)
    study["nodes"] = header.nodes
    study.attrs["schema"] = SCHEMA
    for name in ("pitch", "diameter", "dose_requested"):
        study.attrs[name] = float(getattr(header, name))
    study.attrs["dose_measured"] = measured
    study.attrs["shape"] = np.array(header.shape, np.int64)


def _quantity(group: h5py.Group, name: str, value: object, units: str) -> None:
    group.create_dataset(name, data=value, track_times=False).attrs["units"] = hdf5_guard.text(units)


@contextmanager
def dataset(path: Path) -> Iterator[tuple[Header, h5py.Dataset]]:
    """Open a split: its validated header and its counts (n, N, N), an HDF5 dataset to be read in blocks.

    Raises StudyError (file, entry, remedy) for anything missing, of wrong shape or type, not finite, or of an
    unknown schema. Counts themselves are checked by `measured_dose`, which reads them all.
    """
    try:
        file = h5py.File(path, "r")
    except hdf5_guard.DAMAGE as error:
        raise StudyError(f"{path}: not a readable HDF5 file ({one_line(error, 80)}); {REMEDY}") from None
    with file:
        try:
            header, counts = _read(file)
        except KeyError as error:
            raise StudyError(f"{path}: entry missing ({one_line(error)}); {REMEDY}") from None
        except hdf5_guard.DAMAGE as error:
            raise StudyError(f"{path}: {one_line(error, 140)}; {REMEDY}") from None
        yield header, counts


def _read(file: h5py.File) -> tuple[Header, h5py.Dataset]:
    study = hdf5_guard.member(file, STUDY)
    schema = hdf5_guard.attribute(study, "schema")
    if not is_whole(schema, SCHEMA, SCHEMA):
        raise ValueError(f"schema {one_line(schema, 20)} is not {SCHEMA}")
    counts = _counts(file)
    number, size = counts.shape[:2]
    energy_ev = _physical(file, f"{SOURCE}/energy", "J", 1e7 * ELECTRONVOLT) / ELECTRONVOLT
    distance = _physical(file, f"{DETECTOR}/distance", "m", 1e3)
    pixel = _physical(file, f"{DETECTOR}/x_pixel_size", "m", 1.0)
    metres = _array(file, TRANSLATION, (number, 3), "f", 1e6)
    header = Header(
        positions=-metres[:, 1::-1].astype(np.float64) / object_pixel(size, energy_ev, distance, pixel),
        nodes=_array(file, f"{STUDY}/nodes", (number, 2), "i", 2**31 - 1).astype(np.int32, copy=False),
        probe=_array(file, f"{SOURCE}/illumination", (size, size), "c", 1e30).astype(np.complex64, copy=False),
        mask=_array(file, f"{DETECTOR}/mask", (size, size), "u", 2**32 - 1).astype(np.uint32, copy=False),
        energy_ev=energy_ev,
        distance_m=distance,
        detector_pixel_m=pixel,
        pitch=hdf5_guard.number(study, "pitch", TINY, MAX_PIXELS),
        diameter=hdf5_guard.number(study, "diameter", TINY, MAX_PIXELS),
        shape=_shape(hdf5_guard.attribute(study, "shape")),
        dose_requested=hdf5_guard.number(study, "dose_requested", TINY, MAX_DOSE),
        dose_measured=hdf5_guard.number(study, "dose_measured", TINY, MAX_DOSE),
    )
    _check(header, size)
    return header, counts


def _counts(file: h5py.File) -> h5py.Dataset:
    """The counts, whose shape is checked here and whose values are read later, in blocks."""
    counts = hdf5_guard.dataset(file, f"{DETECTOR}/data")
    if counts.ndim != 3 or counts.shape[1] != counts.shape[2] or counts.dtype.kind != "u" or counts.dtype.itemsize > 4:
        raise ValueError(f"counts are {counts.dtype} {counts.shape}, expected unsigned integers (n, N, N) of 32 bit")
    number, size = counts.shape[:2]
    if not 1 <= number <= MAX_PATTERNS or not 2 <= size <= MAX_SIDE or counts.nbytes > MAX_COUNTS:
        raise ValueError(f"counts are {counts.shape}: none, or more than {MAX_PATTERNS} of {MAX_SIDE} x {MAX_SIDE}")
    if not counts.dtype.isnative:  # what is read from it in blocks would reach torch, which knows no other order
        raise ValueError("counts are in the other byte order; write them little-endian")
    return counts


def _physical(file: h5py.File, name: str, units: str, high: float) -> float:
    """A positive number stored with its units."""
    item = hdf5_guard.dataset(file, name)
    found = hdf5_guard.attribute(item, "units")
    if found != units:
        raise ValueError(f"{name} is in {one_line(repr(found), 20)}, expected {units!r}")
    if item.shape != ():
        raise ValueError(f"{name} has shape {item.shape}, expected one number")
    return hdf5_guard.within(item[()], name, TINY * (ELECTRONVOLT if units == "J" else 1), high)


def _array(file: h5py.File, name: str, shape: tuple[int, ...], kind: str, largest: float) -> NDArray:
    item = hdf5_guard.dataset(file, name)
    if item.shape != shape or item.dtype.kind != kind:
        raise ValueError(f"{name} is {item.dtype} {item.shape}, expected kind {kind!r} of shape {shape}")
    values = hdf5_guard.array(item, name)
    parts = (values.real, values.imag) if kind == "c" else (values,)
    if any(float(part.min()) < -largest or float(part.max()) > largest for part in parts):
        raise ValueError(f"{name} holds values beyond {largest:g}")
    return values


def _shape(value: object) -> tuple[int, int]:
    sides = np.atleast_1d(value)  # type: ignore[call-overload]
    if sides.shape != (2,) or sides.dtype.kind not in "iu" or sides.min() < 1 or sides.max() > MAX_PIXELS:
        raise ValueError(f"shape {one_line(value, 40)} is not that of an object")
    return int(sides[0]), int(sides[1])


def _check(header: Header, size: int) -> None:
    """What single entries cannot tell. ValueError for a scan outside its object, or no light."""
    corners = np.rint(header.positions) - size // 2
    if header.shape[0] * header.shape[1] > MAX_PIXELS:
        raise ValueError(f"an object of {header.shape} px is too large")
    if not ((corners >= 0) & (corners + size <= header.shape)).all():
        raise ValueError(f"a scan position leaves the object of {header.shape} px")
    if header.nodes.min() < 0 or not header.probe.any():
        raise ValueError("nodes are negative, or the probe is dark")


def measured_dose(path: Path, header: Header, counts: h5py.Dataset, block: int = 256) -> float:
    """Mean counts per pattern, read block by block and compared with the stored value.

    Raises StudyError when they cannot be read, and when they differ: every later photon count would be wrong (the
    usual cause of a run labelled with another dose than its data's).
    """
    try:
        total = sum(int(counts[i : i + block].sum(dtype=np.int64)) for i in range(0, len(counts), block))
    except hdf5_guard.DAMAGE as error:
        raise StudyError(f"{path}: counts not readable ({one_line(error, 80)}); {REMEDY}") from None
    found = total / len(counts)
    if not abs(found - header.dose_measured) <= 1e-9 * found:  # NaN equals nothing
        raise StudyError(
            f"{path}: counts average {found:g} per pattern but the file says {header.dose_measured:g}; "
            "the data were changed after they were written: run `dvc repro -f generate`"
        )
    return found
