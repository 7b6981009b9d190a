"""From any known file to a scan as a study needs it: which format it is, then the same checks for all of them."""

import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from ptychodose.errors import StudyError
from ptychodose.exchange import counts, matlab, nxcxi, orientation, pixels, plain_npz, ptychodus, ptychopinn, ptypy
from ptychodose.exchange.found import Found, Raw, Told
from ptychodose.formats import foreign, npz
from ptychodose.formats.untrusted import DAMAGE, one_line
from ptychodose.physics.probes import Geometry

FARTHEST = {False: 1e5, True: 1.0}  # px, metres
SOME = ("pattern_axis", "mask_good", "patterns", "product")  # of `Told`, which only some formats take
SMALLEST, LARGEST = 1e-9, 1e7  # of an energy in eV and of lengths in metres
SAME = 0.01  # relative difference of an object's pixel and the one that its geometry makes
MODES = 64


@dataclass(frozen=True)
class Format:
    """`knows(names)`: whether a file whose root or archive has these names is one; `read` reads it, and takes these of
    the user's words that not every format has a use for."""

    knows: Callable[[set[str]], bool]
    read: Callable[[Path, Told], Raw]
    takes: frozenset[str] = frozenset()


FORMATS = {
    "ptychopinn": Format(ptychopinn.knows, ptychopinn.read, frozenset({"pattern_axis"})),
    "ptychonn": Format(plain_npz.knows_ptychonn, plain_npz.read_ptychonn),
    "tike": Format(plain_npz.knows_tike, plain_npz.read_tike),
    "cxi": Format(nxcxi.knows, nxcxi.read, frozenset({"mask_good"})),
    "ptychodus": Format(ptychodus.knows, ptychodus.read, frozenset({"patterns"})),
    "matlab": Format(matlab.knows, matlab.read, frozenset({"mask_good"})),
    "ptypy": Format(ptypy.knows, ptypy.read, frozenset({"product"})),
}


def read(path: Path, told: Told, chosen: str | None = None) -> Found:
    """The scan of a file, of the format `chosen` or of the one that it looks like. StudyError naming file, entry and
    remedy for anything missing, damaged, ambiguous or not counts."""
    try:
        with np.errstate(all="ignore"):  # of absurd numbers, which are refused where they are no longer finite
            name = chosen or detected(path)
            idle = [word for word in SOME if getattr(told, word) is not None and word not in FORMATS[name].takes]
            if idle:
                raise StudyError(f"{path}: --{idle[0].replace('_', '-')} means nothing for a file of {name}; drop it")
            return of(FORMATS[name].read(path, told), told)
    except DAMAGE as error:
        kind = "entry missing: " if isinstance(error, KeyError) else ""
        raise StudyError(f"{path}: {kind}{one_line(error, 160)}; mend the file, or convert it anew") from None


def detected(path: Path) -> str:
    """The name of a file's format. StudyError when it is none of `FORMATS`, or several of them."""
    if not path.is_file():
        raise StudyError(f"{path}: not found; correct the path")
    if zipfile.is_zipfile(path):
        names = npz.names(path, "import")
    elif h5py.is_hdf5(path):
        with foreign.opened(path) as file:
            names = set(file.names())
    else:
        names = set()
    if "ptychodose" in names:
        raise StudyError(f"{path}: a scan of this study's own, which needs no import; reconstruct or diagnose it")
    found = [name for name, kind in FORMATS.items() if kind.knows(names)]
    if len(found) != 1:
        what = f"it could be {' or '.join(found)}" if found else f"it has {one_line(sorted(names)[:9], 100)}"
        raise StudyError(f"{path}: not clearly a known kind of file ({what}); say --format {' or '.join(FORMATS)}")
    return found[0]


def of(raw: Raw, told: Told) -> Found:
    """The scan that a file's entries make. StudyError as `read`."""
    if raw.patterns.ndim != 3 or raw.patterns.dtype.kind not in "biuf" or not raw.patterns.size:
        raise StudyError(f"{raw.where}: {raw.patterns.dtype} {raw.patterns.shape} are no patterns (n, H, W) of numbers")
    bad = raw.bad
    if bad is not None and bad.shape != raw.patterns.shape[1:]:
        raise StudyError(f"{raw.where}: a mask {bad.shape} for patterns {raw.patterns.shape}")
    values, bad, masked = pixels.without_markers(raw.patterns, bad, raw.where)
    photons, unit = counts.of_values(values, raw.kind, told.values, told.per_unit, raw.where)
    photons, mask, where = pixels.centred(photons, ~bad, told.zero, raw.zero)
    geometry, lacks, lengths = _geometry(raw, told)
    places, line = _positions(raw, told, geometry, lacks)
    probe, obj = _waves(raw)
    if told.orient is not None:
        places = orientation.turned(places, None if obj is None else obj.shape, told.orient)
        line += f", {orientation.TURNS[told.orient]} as you say"
    shape = "{} of {} x {} px".format(*raw.patterns.shape)
    how = (
        f"format: {raw.name}",
        f"patterns: {shape}, {raw.patterns.dtype}",
        *raw.how,
        unit,
        where,
        masked,
        line,
        lengths,
    )
    return Found(photons, places, probe, obj, mask, geometry, lacks, how)


def _geometry(raw: Raw, told: Told) -> tuple[Geometry | None, tuple[str, ...], str]:
    """Lengths and energy of the file, or of the user, who is right; the flags for what neither says."""
    given = {
        "--energy-ev": (told.energy_ev, raw.energy_ev, "eV"),
        "--distance-m": (told.distance_m, raw.distance_m, "m"),
        "--pixel-um": (None if told.pixel_um is None else told.pixel_um * 1e-6, raw.pixel_m, "m"),
    }
    values, words = {}, []
    for flag, (users, files, unit) in given.items():
        value = files if users is None else users
        if value is not None and not SMALLEST < value < LARGEST:
            raise StudyError(f"{raw.where}: {flag[2:]} is {value:g}; give {flag}")
        values[flag] = value
        source = "missing" if value is None else "as you say" if users is not None else "from the file"
        words.append(f"{flag[2:].split('-')[0]} {'' if value is None else f'{value:.6g} {unit} '}({source})")
    lacks = tuple(flag for flag, value in values.items() if value is None)
    geometry = None if lacks else Geometry(*(float(value or 0) for value in values.values()))
    return geometry, lacks, "geometry: " + ", ".join(words)


def _positions(
    raw: Raw, told: Told, geometry: Geometry | None, lacks: tuple[str, ...]
) -> tuple[NDArray[np.float64], str]:
    """Patch centres (n, 2) px, y then x, and what was known of them."""
    places, metres = raw.places, raw.metres
    if told.positions is not None:
        if places is not None:
            raise StudyError(f"{raw.where}: the file has positions of its own; drop --positions")
        places, metres = np.asarray(npz.read_npy(told.positions, 2**26, "import: --positions")), False
    if places is None:
        raise StudyError(f"{raw.where}: the file has no positions; give --positions FILE.npy, (n, 2) px, y then x")
    if places.ndim != 2 or places.shape != (len(raw.patterns), 2) or places.dtype.kind not in "iuf":
        raise StudyError(f"{raw.where}: positions {places.dtype} {places.shape} for {len(raw.patterns)} patterns")
    places = places.astype(np.float64)
    farthest = float(np.abs(places).max())
    if not farthest <= FARTHEST[metres]:  # NaN is not
        unit = "m" if metres else "px"
        raise StudyError(
            f"{raw.where}: positions up to {farthest:g} {unit}; they are not finite, or save metres or pixels"
        )
    if not metres:
        return places + np.array(raw.offset), "positions: pixels of the object"
    if geometry is None:
        raise StudyError(
            f"{raw.where}: positions are in metres and the object pixel is not known; give {', '.join(lacks)}"
        )
    step = np.array([geometry.object_pixel(side) for side in raw.patterns.shape[1:]])
    if raw.object_pixel_m is not None and not abs(step[0] - raw.object_pixel_m) <= SAME * step[0]:
        raise StudyError(
            f"{raw.where}: the object has pixels of {raw.object_pixel_m:.4g} m, its geometry makes {step[0]:.4g} m; "
            "correct --energy-ev, --distance-m or --pixel-um"
        )
    made = (places - np.array(raw.origin)) / step + np.array(raw.offset)
    if not np.abs(made).max() <= FARTHEST[False]:
        raise StudyError(f"{raw.where}: positions up to {np.abs(made).max():.3g} px of {step[0]:.3g} m; correct a unit")
    return made, f"positions: metres, in object pixels of {step[0] * 1e9:.4g} nm"


def _waves(raw: Raw) -> tuple[NDArray[np.complex64] | None, NDArray[np.complex64] | None]:
    """Probe (M, H, W) and object (rows, columns), where the file has them and they fit."""
    for name, wave in (("probe", raw.probe), ("object", raw.obj)):
        if wave is not None and (wave.dtype.kind not in "fiuc" or not wave.size):
            raise StudyError(f"{raw.where}: the {name} is {wave.dtype} {wave.shape}; save complex numbers")
    probe, obj = (None if wave is None else wave.astype(np.complex64) for wave in (raw.probe, raw.obj))
    if not all(np.isfinite(wave).all() for wave in (probe, obj) if wave is not None):
        raise StudyError(f"{raw.where}: probe or object is not finite; save it anew, or leave it out")
    if probe is not None:
        if probe.ndim < 2 or probe.shape[-2:] != raw.patterns.shape[1:] or probe[..., 0, 0].size > MODES:
            raise StudyError(f"{raw.where}: a probe {probe.shape} does not fit patterns {raw.patterns.shape}")
        probe = probe.reshape(-1, *probe.shape[-2:])
    if obj is not None and obj.ndim != 2:
        raise StudyError(f"{raw.where}: an object {obj.shape} is no image (H, W)")
    return probe, obj
