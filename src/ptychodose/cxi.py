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
from ptychodose.files import atomic_path
from ptychodose.phantom import object_pixel, wavelength_m

SCHEMA = 1
ELECTRONVOLT = 1.602176634e-19  # joule, exact in the SI of 2019
DETECTOR = "entry_1/instrument_1/detector_1"
SOURCE = "entry_1/instrument_1/source_1"
TRANSLATION = "entry_1/sample_1/geometry_1/translation"
STUDY = "ptychodose"


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
    replaced by what was written. Memory holds one block.
    """
    size, number = len(header.probe), len(header.positions)
    with atomic_path(path) as temporary, h5py.File(temporary, "w") as file:
        file["cxi_version"] = 160
        chunks = (min(16, number), size, size)  # packed to the widest count of 16 patterns
        data = file.create_dataset(
            f"{DETECTOR}/data", (number, size, size), np.uint32, chunks=chunks, scaleoffset=0, track_times=False
        )
        data.attrs["axes"] = "translation:y:x"
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
    group.create_dataset(name, data=value, track_times=False).attrs["units"] = units


@contextmanager
def dataset(path: Path) -> Iterator[tuple[Header, h5py.Dataset]]:
    """Open a split: its validated header and its counts (n, N, N), an HDF5 dataset to be read in blocks.

    Raises StudyError (file, entry, remedy) for anything missing, of wrong shape or type, not finite, or of an
    unknown schema. Counts themselves are checked by `measured_dose`, which reads them all.
    """
    remedy = "run `dvc repro generate`"
    try:
        file = h5py.File(path, "r")
    except (OSError, RuntimeError) as error:
        raise StudyError(f"{path}: not a readable HDF5 file ({str(error)[:80]}); {remedy}") from None
    with file:
        try:
            header, counts = _read(file)
        except KeyError as error:
            raise StudyError(f"{path}: entry missing ({str(error)[:100]}); {remedy}") from None
        except (OSError, ValueError, TypeError, RuntimeError, AttributeError) as error:
            raise StudyError(f"{path}: {str(error)[:140]}; {remedy}") from None
        yield header, counts


def _read(file: h5py.File) -> tuple[Header, h5py.Dataset]:
    study = file[STUDY]
    if study.attrs["schema"] != SCHEMA:
        raise ValueError(f"schema {study.attrs['schema']} is not {SCHEMA}")
    counts = _local(file, f"{DETECTOR}/data")
    number, size = _counts_shape(counts)
    detector, source = file[DETECTOR], file[SOURCE]
    for group, name, units in [(detector, "distance", "m"), (detector, "x_pixel_size", "m"), (source, "energy", "J")]:
        if group[name].attrs["units"] != units:
            raise ValueError(f"{name} is in {group[name].attrs['units']!r}, expected {units!r}")
    energy_ev = float(source["energy"][()]) / ELECTRONVOLT
    distance, pixel = float(detector["distance"][()]), float(detector["x_pixel_size"][()])
    metres = _array(file, TRANSLATION, (number, 3), "f")
    scale = object_pixel(size, energy_ev, distance, pixel)
    header = Header(
        positions=-metres[:, 1::-1] / scale,
        nodes=_array(file, f"{STUDY}/nodes", (number, 2), "i"),
        probe=_array(file, f"{SOURCE}/illumination", (size, size), "c"),
        mask=_array(file, f"{DETECTOR}/mask", (size, size), "u"),
        energy_ev=energy_ev,
        distance_m=distance,
        detector_pixel_m=pixel,
        pitch=float(study.attrs["pitch"]),
        diameter=float(study.attrs["diameter"]),
        shape=(int(study.attrs["shape"][0]), int(study.attrs["shape"][1])),
        dose_requested=float(study.attrs["dose_requested"]),
        dose_measured=float(study.attrs["dose_measured"]),
    )
    _check_patches_inside(header, size)
    return header, counts


def _counts_shape(counts: h5py.Dataset) -> tuple[int, int]:
    if counts.ndim != 3 or counts.shape[1] != counts.shape[2] or counts.dtype.kind != "u":
        raise ValueError(f"counts are {counts.dtype} {counts.shape}, expected unsigned integers (n, N, N)")
    return int(counts.shape[0]), int(counts.shape[1])


def _local(file: h5py.File, name: str) -> h5py.Dataset:
    """A plain dataset of this very file: no external link, virtual or external storage."""
    item = file[name]
    if not isinstance(item, h5py.Dataset) or item.is_virtual or item.external or item.file.filename != file.filename:
        raise ValueError(f"{name} is not a dataset stored in this file")
    return item


def _array(file: h5py.File, name: str, shape: tuple[int, ...], kind: str) -> NDArray:
    item = _local(file, name)
    if item.shape != shape or item.dtype.kind != kind:
        raise ValueError(f"{name} is {item.dtype} {item.shape}, expected kind {kind!r} of shape {shape}")
    values = item[()]
    if not np.isfinite(values).all():
        raise ValueError(f"{name} holds values that are not finite")
    return values


def _check_patches_inside(header: Header, size: int) -> None:
    corners = np.rint(header.positions) - size // 2
    if (corners < 0).any() or (corners + size > header.shape).any():
        raise ValueError(f"a scan position leaves the object of {header.shape} px")


def measured_dose(path: Path, header: Header, counts: h5py.Dataset, block: int = 256) -> float:
    """Mean counts per pattern, read block by block and compared with the stored value.

    Raises StudyError when they differ: every later photon count would be wrong (the usual cause of a run labelled
    with another dose than its data's).
    """
    total = sum(int(counts[i : i + block].sum(dtype=np.int64)) for i in range(0, len(counts), block))
    found = total / len(counts)
    if abs(found - header.dose_measured) > 1e-9 * found:
        raise StudyError(
            f"{path}: counts average {found:g} per pattern but the file says {header.dose_measured:g}; "
            "the data were changed after they were written: run `dvc repro -f generate`"
        )
    return found
