"""CXI 1.6 (cxidb.org/cxi.html) and its NeXus variant NXcxi_ptycho (fairmat-nfdi.github.io/nexus_definitions), to read.

Photon energy: beam_1/incident_beam_energy; else source_1/energy, where NeXus has the energy of the machine. By their
`units`; joules where there are none. translation (n, 3) = (x, y, 0): the patch's column and row, or, where the detector
has basis_vectors (its slow and fast axis in space), minus its components along these: CXI moves the sample. mask: 0 or
0x1000 (CXI: "has signal") is good. Data may be (n, H, W) or, of a raster, (rows, columns, H, W). `image_2` is
ptychodus's place of the object.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ptychodose.errors import StudyError
from ptychodose.exchange.found import Raw, Told
from ptychodose.formats import foreign
from ptychodose.formats.foreign import Foreign
from ptychodose.scans.cxi import ELECTRONVOLT

ENTRY = "entry_1"
DETECTOR, SOURCE = f"{ENTRY}/instrument_1/detector_1", f"{ENTRY}/instrument_1/source_1"
DATA = (f"{ENTRY}/data_1/data", f"{DETECTOR}/data")
PLACES = (
    f"{ENTRY}/data_1/translation", f"{ENTRY}/sample_1/geometry_1/translation", f"{DETECTOR}/translation",
)  # fmt: skip
BEAM = tuple(
    f"{ENTRY}/{group}/{name}"
    for group in ("instrument_1/beam_1", "sample_1/beam_1")
    for name in ("incident_beam_energy", "incident_energy")
)
PROBE, IMAGE, OWN = (f"{SOURCE}/illumination", f"{ENTRY}/image_1/data"), f"{ENTRY}/image_2/data", f"{ENTRY}/ptychodus"
UNITS = {"J": 1 / ELECTRONVOLT, "eV": 1.0, "keV": 1e3}
PHOTON = (50.0, 2e5)  # eV: what is neither visible light nor a machine's electrons
HAS_SIGNAL = 0x1000


def knows(names: set[str]) -> bool:
    """Whether a file of such root `names` looks like one of these."""
    return ENTRY in names


def read(path: Path, told: Told) -> Raw:
    """The entries of a file. One of `untrusted.DAMAGE`, or a StudyError, for what is missing or ambiguous."""
    with foreign.opened(path) as file:
        data, places = file.first(*DATA), file.first(*PLACES)
        if data is None or places is None:
            raise KeyError(DATA[1] if data is None else PLACES[0])
        patterns = file.array(data, foreign.LARGE, finite=False)
        if patterns.ndim == 4 and patterns.size:
            patterns = patterns.reshape(-1, *patterns.shape[2:])
        energy, source = None, "missing"
        if told.energy_ev is None:
            energy, source = _energy(file, path)
        probe = file.first(*PROBE)
        mask = f"{DETECTOR}/mask"
        bad = None
        if file.first(mask) is not None:
            values = _whole(file, mask)
            bad = values == 0 if told.mask_good == 1 else ~np.isin(values, (0, HAS_SIGNAL))
        obj, origin, offset = _object(file)
        where, axes = _places(file, places)
        return Raw(
            name="CXI",
            where=f"{path}: {data}",
            patterns=patterns,
            kind="intensity",
            places=where,
            metres=True,
            origin=origin,
            offset=offset,
            probe=None if probe is None else file.array(probe),
            obj=obj,
            bad=bad,
            energy_ev=energy,
            distance_m=_distance(file),
            pixel_m=_pixel(file, path),
            how=(f"energy: of {source}", axes),
        )


def _energy(file: Foreign, path: Path) -> tuple[float | None, str]:
    """Photon energy in eV and the entry that has it."""
    name = file.first(*BEAM, f"{SOURCE}/energy")
    value = None if name is None else file.number(name)
    if name is None or value is None:
        return None, "no entry"
    units = file.attribute(name, "units")
    if units is not None and units not in UNITS:
        raise StudyError(f"{path}: {name} is in {str(units)[:20]!r}, none of {', '.join(UNITS)}; give --energy-ev")
    ev = value * UNITS["J" if units is None else str(units)]
    if not PHOTON[0] <= ev <= PHOTON[1]:
        what = "no photon energy, perhaps the machine's" if name.startswith(SOURCE) else "no X-ray energy"
        raise StudyError(
            f"{path}: {name} is {value:g} {units or '(no units, so J)'}, {ev:.3g} eV: {what}; give --energy-ev"
        )
    return ev, name


def _distance(file: Foreign) -> float | None:
    value = file.metres(f"{DETECTOR}/distance")
    return None if value is None else abs(value)  # some beamlines count along the beam, others against it


def _pixel(file: Foreign, path: Path) -> float | None:
    """Pitch of square detector pixels."""
    x, y = (file.metres(f"{DETECTOR}/{axis}_pixel_size") for axis in "xy")
    if x is not None and y is not None and abs(x - y) > 1e-3 * abs(x):
        raise StudyError(
            f"{path}: detector pixels of {x:g} x {y:g} m; only square ones can be read, rebin the patterns"
        )
    return y if x is None else x


def _places(file: Foreign, name: str) -> tuple[NDArray[np.float64], str]:
    """(n, 2) metres, y then x, and how that is known."""
    values = file.array(name)
    if values.shape[-1:] not in ((2,), (3,)) or values.dtype.kind not in "iuf":
        raise ValueError(f"{name} is {values.dtype} {values.shape}, expected (n, 3)")
    moved = values.reshape(-1, values.shape[-1]).astype(np.float64) * file.scale(name)
    basis = f"{DETECTOR}/basis_vectors"
    if file.first(basis) is None:
        return moved[:, 1::-1], "axes: translation = +(x, y), column and row, in metres"
    vectors = file.array(basis, 2**10)
    if vectors.shape not in ((2, 3), (3, 2)) or vectors.dtype.kind != "f":
        raise ValueError(f"{basis} is {vectors.dtype} {vectors.shape}, expected two vectors")
    axes = (vectors.T if vectors.shape == (3, 2) else vectors)[:, : moved.shape[1]].astype(np.float64)
    lengths = np.linalg.norm(axes, axis=1)
    if not lengths.min() > 0 or abs(axes[0] @ axes[1]) > 1e-3 * lengths.prod():
        raise ValueError(f"{basis} are not at right angles")
    return -moved @ (axes / lengths[:, None]).T, "axes: translation against the detector's basis_vectors, in metres"


def _whole(file: Foreign, name: str) -> NDArray:
    values = file.array(name)
    if values.dtype.kind not in "biu":
        raise ValueError(f"{name} is {values.dtype}, expected whole numbers")
    return values[0] if values.ndim == 3 and len(values) == 1 else values


def _object(file: Foreign) -> tuple[NDArray | None, tuple[float, float], tuple[float, float]]:
    """The object where ptychodus has it, with its centre in metres (y, x) and in pixels: the middle of the array."""
    centre = [file.number(f"{OWN}/object_center_{axis}_m") for axis in "yx"]
    if file.first(IMAGE) is None or None in centre:
        return None, (0.0, 0.0), (0.0, 0.0)
    obj = file.array(IMAGE)
    obj = obj[0] if obj.ndim == 3 and len(obj) == 1 else obj
    if obj.ndim != 2:
        return None, (0.0, 0.0), (0.0, 0.0)
    return obj, (float(centre[0] or 0), float(centre[1] or 0)), (obj.shape[0] / 2, obj.shape[1] / 2)
