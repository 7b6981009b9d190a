"""The native dataset: one CXI (HDF5) file per split. The only module that spells its paths.

CXI 1.6 (Maia, Nature Methods 9, 854 (2012); cxidb.org/cxi.html). Counts are integers with zero frequency at
(N // 2, N // 2). Our positions move the PROBE over the object, y then x in pixels, and translation = +(x, y, 0) *
object pixel in metres: with this sign ptychodus and cdtools 0.3.2 show the object upright. The mask is 0 where a pixel
is good. Beside the standard entries, group `ptychodose` holds what a study needs: the background, dose and, of a
simulated scan, lattice nodes (schema 3; schemas 1 and 2 had the other sign, schema 1 no background and one mode). The
counts are packed by HDF5's own scale-offset filter (lossless for integers, in every HDF5 build): LZF leaves
uninitialised memory in its output, so its bytes differ from run to run, and gzip's depend on the machine's zlib.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from ptychodose.errors import StudyError
from ptychodose.formats import hdf5_guard, nexus
from ptychodose.formats.h5 import writing
from ptychodose.formats.untrusted import MAX_PIXELS, is_whole, one_line, regular
from ptychodose.physics.probes import Geometry
from ptychodose.scans.scan import Nodes, Scan

SCHEMA = 3
ELECTRONVOLT = 1.602176634e-19  # joule, exact in the SI of 2019
DETECTOR = "entry_1/instrument_1/detector_1"
SOURCE = "entry_1/instrument_1/source_1"
TRANSLATION = "entry_1/sample_1/geometry_1/translation"
STUDY = "ptychodose"
REMEDY = "run `dvc repro generate`"
MAX_SIDE = 512  # N: a block of 256 patterns stays below 256 MiB
MAX_MODES = 64
MAX_PATTERNS = 2**22
MAX_COUNTS = 2**36  # bytes of all counts together, which are never held together
TINY = 1e-12  # of a positive quantity: none of their quotients overflows
MAX_DOSE = 1e13


def write(path: Path, scan: Scan, counts: Iterable[NDArray[np.uint32]]) -> float:
    """Write one split of a planned scan block by block; returns the measured mean signal per pattern.

    `counts` yields consecutive blocks (m, N, N) uint32, centred layout. Memory holds one block and the packed file.
    Raises StudyError when no signal is left beside the background: no file is then written.
    """
    size, number = scan.size, len(scan)
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
            done, total = done + len(block), total + int(block[:, scan.mask].sum(dtype=np.int64))
        if done != number:
            raise ValueError(f"{done} patterns for {number} positions")
        measured = total / number - float(scan.background[scan.mask].sum())
        if measured <= 0:
            raise StudyError(
                f"generate.background: {total / number:g} counts per pattern in good pixels are no more than the "
                "background alone brings; lower it, raise dose or open generate.mask"
            )
        _write_geometry(file, scan)
        _write_study(file, scan, measured)
    return measured


def _write_geometry(file: h5py.File, scan: Scan) -> None:
    detector, source, geometry = file[DETECTOR], file.create_group(SOURCE), scan.geometry
    if geometry is None:
        raise ValueError("a scan without geometry has no place in a CXI file")
    _quantity(detector, "distance", geometry.distance_m, "m")
    _quantity(detector, "x_pixel_size", geometry.detector_pixel_m, "m")
    _quantity(detector, "y_pixel_size", geometry.detector_pixel_m, "m")
    detector["mask"] = (~scan.mask).astype(np.uint32)
    _quantity(source, "energy", geometry.energy_ev * ELECTRONVOLT, "J")
    _quantity(source, "wavelength", geometry.wavelength_m, "m")
    source["illumination"] = scan.probe[0] if len(scan.probe) == 1 else scan.probe
    y, x = scan.positions.T
    metres = np.stack([x, y, np.zeros_like(x)], 1) * scan.pixel_m  # (n, 3)
    _quantity(file, TRANSLATION, metres, "m")
    file["entry_1/data_1/data"] = h5py.SoftLink(f"/{DETECTOR}/data")
    file["entry_1/data_1/translation"] = h5py.SoftLink(f"/{TRANSLATION}")
    classes = {"instrument_1": "NXinstrument", "instrument_1/detector_1": "NXdetector", "sample_1": "NXsample",
               "instrument_1/source_1": "NXsource", "sample_1/geometry_1": "NXgeometry"}  # fmt: skip
    for name, kind in classes.items():
        nexus.mark(file[f"entry_1/{name}"], kind)
    nexus.show(file, "entry_1/data_1", "data", [nexus.NOTHING] * 3)


def _write_study(file: h5py.File, scan: Scan, measured: float) -> None:
    study = nexus.mark(file.create_group(STUDY), "NXcollection")
    if scan.nodes is not None:
        study["nodes"] = scan.nodes.index
    study["background"] = scan.background
    study.attrs["schema"] = SCHEMA
    if scan.nodes is not None:
        study.attrs["pitch"] = scan.nodes.pitch
    study.attrs["dose_requested"] = scan.dose
    study.attrs["dose_measured"] = measured
    study.attrs["shape"] = np.array(scan.shape, np.int64)


def _quantity(group: h5py.Group, name: str, value: object, units: str) -> None:
    group.create_dataset(name, data=value, track_times=False).attrs["units"] = hdf5_guard.text(units)


@contextmanager
def dataset(path: Path, remedy: str = REMEDY) -> Iterator[Scan]:
    """Open a split: a validated scan whose counts (n, N, N) stay in the file, to be read in blocks.

    `remedy` says what to do about a bad file. Raises StudyError (file, entry, remedy) for anything missing, of wrong
    shape or type, not finite, of an unknown schema, and for counts that do not average what the file says (see
    `_check_dose`).
    """
    try:
        file = h5py.File(regular(path), "r")
    except hdf5_guard.DAMAGE as error:
        raise StudyError(f"{path}: not a readable HDF5 file ({one_line(error, 80)}); {remedy}") from None
    with file:
        try:
            scan, measured = _read(file)
        except KeyError as error:
            raise StudyError(f"{path}: entry missing ({one_line(error)}); {remedy}") from None
        except hdf5_guard.DAMAGE as error:
            raise StudyError(f"{path}: {one_line(error, 140)}; {remedy}") from None
        _check_dose(path, scan, measured, remedy)
        yield scan


def _read(file: h5py.File) -> tuple[Scan, float]:
    """The scan, and the mean signal that the file says it has."""
    study = hdf5_guard.member(file, STUDY)
    schema = hdf5_guard.attribute(study, "schema")
    if not is_whole(schema, 1, SCHEMA):
        raise ValueError(f"schema {one_line(schema, 20)} is not 1 to {SCHEMA}")
    counts = _counts(file)
    number, size = counts.shape[:2]
    geometry = Geometry(
        _physical(file, f"{SOURCE}/energy", "J", 1e7 * ELECTRONVOLT) / ELECTRONVOLT,
        _physical(file, f"{DETECTOR}/distance", "m", 1e3),
        _physical(file, f"{DETECTOR}/x_pixel_size", "m", 1.0),
    )
    pixel = geometry.object_pixel(size)
    places = _array(file, TRANSLATION, (number, 3), "f", 1e6)[:, 1::-1].astype(np.float64) / pixel
    background = np.zeros((size, size))
    if schema > 1:
        background = _array(file, f"{STUDY}/background", (size, size), "f", MAX_DOSE).astype(np.float64, copy=False)
    scan = Scan(
        counts=counts,
        positions=places if schema > 2 else -places,
        probe=_probe(file, size),
        shape=_shape(hdf5_guard.attribute(study, "shape")),
        background=background,
        mask=_array(file, f"{DETECTOR}/mask", (size, size), "u", 2**32 - 1) == 0,
        dose=hdf5_guard.number(study, "dose_requested", TINY, MAX_DOSE),
        geometry=geometry,
        nodes=_nodes(file, number, measured=schema > 2 and "nodes" not in study),
    )
    _check(scan)
    return scan, hdf5_guard.number(study, "dose_measured", TINY, MAX_DOSE)


def _nodes(file: h5py.File, number: int, measured: bool) -> Nodes | None:
    """The lattice; None in the file of a measured scan, which has none."""
    if measured:
        return None
    index = _array(file, f"{STUDY}/nodes", (number, 2), "i", 2**31 - 1).astype(np.int32, copy=False)
    return Nodes(index, hdf5_guard.number(hdf5_guard.member(file, STUDY), "pitch", TINY, MAX_PIXELS))


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


def _probe(file: h5py.File, size: int) -> NDArray[np.complex64]:
    """The probe's modes (M, N, N); a file of one mode may hold it as (N, N)."""
    found = hdf5_guard.dataset(file, f"{SOURCE}/illumination").shape
    modes = found[0] if len(found) == 3 else 1
    if not 1 <= modes <= MAX_MODES:
        raise ValueError(f"illumination has {modes} modes, not 1 to {MAX_MODES}")
    wanted = (modes, size, size) if len(found) == 3 else (size, size)
    wave = _array(file, f"{SOURCE}/illumination", wanted, "c", 1e30)
    return wave.reshape(modes, size, size).astype(np.complex64, copy=False)


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


def _check(scan: Scan) -> None:
    """What single entries cannot tell. ValueError for a scan outside its object, no light, no good pixel."""
    corners = np.rint(scan.positions) - scan.size // 2
    if scan.shape[0] * scan.shape[1] > MAX_PIXELS:
        raise ValueError(f"an object of {scan.shape} px is too large")
    if not ((corners >= 0) & (corners + scan.size <= scan.shape)).all():
        raise ValueError(f"a scan position leaves the object of {scan.shape} px")
    if (scan.nodes is not None and scan.nodes.index.min() < 0) or not scan.probe.any():
        raise ValueError("nodes are negative, or the probe is dark")
    if not scan.diameter > 0:
        raise ValueError("all light of the probe is in one pixel, which has no diameter and no overlap")
    if scan.background.min() < 0 or not scan.mask.any():
        raise ValueError("the background is negative, or the mask leaves no good pixel")


def _check_dose(path: Path, scan: Scan, stored: float, remedy: str) -> None:
    """Compare the mean signal, read block by block, with the stored value.

    Raises StudyError when counts cannot be read, and when they differ: every later photon count would be wrong (the
    usual cause of a run labelled with another dose than its data's).
    """
    try:
        found = scan.signal
    except hdf5_guard.DAMAGE as error:
        raise StudyError(f"{path}: counts not readable ({one_line(error, 80)}); {remedy}") from None
    if not abs(found - stored) <= 1e-9 * max(abs(found), float(scan.mean_pattern.sum())):  # NaN equals nothing
        raise StudyError(
            f"{path}: the signal averages {found:g} counts per pattern but the file says {stored:g}; "
            f"the data were changed after they were written: {remedy.replace('repro ', 'repro -f ')}"
        )
