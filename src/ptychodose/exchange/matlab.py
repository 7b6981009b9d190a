"""PtychoShelves's arrays in a MATLAB 7.3 file (HDF5), to read: at the root or in the struct `p`.

MATLAB counts axes the other way round than HDF5. fmag (H, W, n): amplitudes, mostly with zero frequency in the corner.
fmask (H, W) or (H, W, n): 1 is good in memory, and bad in prepared files. positions (n, 2) px, row and column of a
patch's first pixel, counted from 0. probes (H, W, M), object (rows, columns). lambda, z, ds: wavelength, distance and
detector pixel in metres; energy: keV.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ptychodose.errors import StudyError
from ptychodose.exchange.found import Raw, Told
from ptychodose.exchange.pixels import mask_of
from ptychodose.formats import foreign
from ptychodose.formats.foreign import Foreign
from ptychodose.physics.probes import Geometry

NAMES = ("fmag", "fmask", "positions", "probes", "probe", "object", "lambda", "energy", "z", "ds")


def knows(names: set[str]) -> bool:
    """Whether a file of such root `names` looks like one of these."""
    return "fmag" in names or "p" in names


def read(path: Path, told: Told) -> Raw:
    """The entries of a file. One of `untrusted.DAMAGE`, or a StudyError, for what is missing or ambiguous."""
    with foreign.opened(path) as file:
        where = {name: place for name in NAMES if (place := file.first(name, f"p/{name}"))}
        if not {"fmag", "positions"} <= where.keys():
            raise KeyError("fmag" if "fmag" not in where else "positions")
        amplitudes = _stack(file.array(where["fmag"], foreign.LARGE, finite=False))
        bad, how = None, []
        if "fmask" in where:
            bad, line = mask_of(_flat(_stack(file.array(where["fmask"])), f"{path}: fmask"), told.mask_good, str(path))
            how.append(line)
        probe = where.get("probes", where.get("probe"))
        wavelength = file.number(where["lambda"]) if "lambda" in where else None
        kev = file.number(where["energy"]) if "energy" in where else None
        half = [side // 2 for side in amplitudes.shape[-2:]]
        return Raw(
            name="PtychoShelves MATLAB 7.3",
            where=f"{path}: {where['fmag']}",
            patterns=amplitudes,
            kind="amplitude",
            places=_pairs(file.array(where["positions"])),
            offset=(float(half[0]), float(half[-1])),
            probe=None if probe is None else _stack(file.array(probe)),
            obj=file.array(where["object"]).T if "object" in where else None,
            bad=bad,
            energy_ev=_energy(kev, wavelength, path),
            distance_m=_one(file, where, "z"),
            pixel_m=_one(file, where, "ds"),
            how=(*how, "axes: positions = (row, column) of a patch's first pixel, counted from 0"),
        )


def _one(file: Foreign, where: dict[str, str], name: str) -> float | None:
    return file.number(where[name]) if name in where else None


def _energy(kev: float | None, wavelength: float | None, path: Path) -> float | None:
    """eV, of an energy in keV or of a wavelength in metres, which must not differ."""
    found = [] if kev is None else [kev * 1e3]
    if wavelength is not None and wavelength > 0:
        found.append(Geometry(1.0, 1.0, 1.0).wavelength_m / wavelength)
    if len(found) == 2 and abs(found[0] - found[1]) > 1e-3 * abs(found[0]):
        raise StudyError(f"{path}: energy says {found[0]:g} eV, lambda {found[1]:g} eV; give --energy-ev")
    return found[0] if found else None


def _stack(values: NDArray) -> NDArray:
    """MATLAB's (H, W, n), which HDF5 has as (n, W, H), as (n, H, W)."""
    return values.swapaxes(-1, -2) if values.ndim > 1 else values


def _pairs(values: NDArray) -> NDArray:
    """MATLAB's (n, 2), which HDF5 has as (2, n)."""
    return values.T if values.ndim == 2 and values.shape[0] == 2 else values


def _flat(values: NDArray, where: str) -> NDArray:
    """One mask (H, W) of a mask, or of equal ones for every pattern."""
    if values.ndim == 2:
        return values
    if values.ndim != 3 or (values != values[:1]).any():
        raise StudyError(f"{where}: {values.shape}, different from pattern to pattern; mask what is bad in any")
    return np.asarray(values[0])
