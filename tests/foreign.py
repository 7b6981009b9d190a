"""One simulated scan as other programs write it, each by its published layout: from these every reader must get it
back. `Truth` has what they hold; every writer takes it and changes to single entries (None: left out)."""

from dataclasses import dataclass
from functools import cache

import h5py
import numpy as np

from ptychodose.physics.probes import Geometry
from ptychodose.scans.cxi import ELECTRONVOLT
from scenes import scene

GEOMETRY = Geometry(8800.0, 1.0, 75e-6)


@dataclass(frozen=True)
class Truth:
    """counts (n, N, N) centred, positions (n, 2) px of `obj` (H, W), probe (M, N, N), geometry."""

    counts: np.ndarray
    positions: np.ndarray
    probe: np.ndarray
    obj: np.ndarray
    geometry: Geometry = GEOMETRY

    @property
    def pixel(self):
        return self.geometry.object_pixel(self.counts.shape[-1])

    @property
    def metres(self):
        return self.positions * self.pixel


@cache
def truth():
    """The shared scene: an object and a raster that no swap or mirror leaves as they are."""
    s = scene(1e4)
    return Truth(s.scan.read().astype(np.uint16), s.scan.positions, s.scan.probe, s.obj)


def small(number=4, size=8):
    """A few patterns, to be changed at random."""
    rng = np.random.default_rng(0)
    probe = np.zeros((1, size, size), np.complex64)
    probe[0, 3:5, 3:5] = 9 + 1j
    counts = rng.poisson(3.0, (number, size, size)).astype(np.uint16)
    counts[:, 3:5, 3:5] += 400
    return Truth(counts, rng.uniform(6, 9, (number, 2)), probe, np.full((18, 20), 0.5 + 0.5j, np.complex64))


def of(entries, changes):
    return {name: value for name, value in {**entries, **changes}.items() if value is not None}


def hdf5(path, entries, attributes=None, **options):
    """An HDF5 file of datasets by path; attributes by (path, name), "" for the root; texts of variable length."""
    with h5py.File(path, "w", **options) as file:
        for name, value in entries.items():
            if isinstance(value, h5py.SoftLink | h5py.ExternalLink):
                file[name] = value
            else:
                lzf = {"compression": "lzf"} if np.ndim(value) > 2 else {}
                file.create_dataset(name, data=value, **lzf)
        for (name, key), value in (attributes or {}).items():
            (file[name] if name else file).attrs[key] = value
    return path


# NPZ


def ptychopinn(path, t, **changes):
    y, x = t.positions.T
    made = {"diffraction": np.sqrt(t.counts.astype(np.float32)), "ycoords": y, "xcoords": x,
            "probeGuess": t.probe[0], "objectGuess": t.obj}  # fmt: skip
    np.savez(path, **of(made, changes))
    return path


def ptychonn(path, t, **changes):
    corners = np.rint(t.positions).astype(int) - t.counts.shape[-1] // 2
    patches = np.stack([t.obj[y : y + t.counts.shape[-1], x : x + t.counts.shape[-1]] for y, x in corners])
    np.savez(path, **of({"reciprocal": t.counts, "real": patches}, changes))
    return path


def tike(path, t, **changes):
    """As its tests keep them: one view, so that all but the object has a leading axis of 1."""
    made = {"data": np.fft.ifftshift(t.counts, axes=(-2, -1))[None].astype(np.float32),
            "scan": (t.positions - t.counts.shape[-1] // 2)[None], "probe": t.probe[None, None, None],
            "psi": t.obj[None]}  # fmt: skip
    np.savez(path, **of(made, changes))
    return path


# HDF5


def cxi(path, t, attributes=None, **changes):
    """As CXI 1.6 has it; `_` in names of changes is `/` of the last part: data, mask, energy, translation, probe."""
    y, x = t.metres.T
    names = {"data": "entry_1/instrument_1/detector_1/data", "mask": "entry_1/instrument_1/detector_1/mask",
             "distance": "entry_1/instrument_1/detector_1/distance",
             "x_pixel_size": "entry_1/instrument_1/detector_1/x_pixel_size",
             "y_pixel_size": "entry_1/instrument_1/detector_1/y_pixel_size",
             "energy": "entry_1/instrument_1/source_1/energy", "probe": "entry_1/instrument_1/source_1/illumination",
             "translation": "entry_1/sample_1/geometry_1/translation", "link": "entry_1/data_1/data",
             "beam": "entry_1/instrument_1/beam_1/incident_beam_energy",
             "object": "entry_1/image_2/data", "centre_x": "entry_1/ptychodus/object_center_x_m",
             "centre_y": "entry_1/ptychodus/object_center_y_m"}  # fmt: skip
    height, width = t.obj.shape
    made = {"data": t.counts, "mask": np.zeros(t.counts.shape[1:], np.uint32), "distance": t.geometry.distance_m,
            "x_pixel_size": t.geometry.detector_pixel_m, "y_pixel_size": t.geometry.detector_pixel_m,
            "energy": t.geometry.energy_ev * ELECTRONVOLT, "probe": t.probe[0],
            "translation": np.stack([x, y, 0 * x], 1), "link": h5py.SoftLink("/" + names["data"]), "object": t.obj,
            "centre_x": width / 2 * t.pixel, "centre_y": height / 2 * t.pixel}  # fmt: skip
    entries = {names[key]: value for key, value in of(made, changes).items()}
    beside = {(names[key], name): value for (key, name), value in (attributes or {}).items()}
    return hdf5(path, entries, {key: value for key, value in beside.items() if key[0] in entries})


def nexus(path, t, **changes):
    """NXcxi_ptycho: photon energy in keV in the beam, the machine's in the source; micrometres; a raster of one row."""
    units = {
        ("beam", "units"): "keV",
        ("energy", "units"): "eV",
        ("translation", "units"): "um",
        ("distance", "units"): "mm",
    }
    y, x = t.metres.T * 1e6
    made = {"beam": t.geometry.energy_ev / 1e3, "energy": 6e9, "distance": t.geometry.distance_m * 1e3,
            "translation": np.stack([x, y, 0 * x], 1), "data": t.counts[None].astype(np.int32)}  # fmt: skip
    return cxi(path, t, units, **{**made, **changes})


def product(path, t, **changes):
    """ptychodus's product: positions about the centre of the object, which lies somewhere."""
    centre = np.array([3e-6, -2e-6])
    height, width = t.obj.shape
    y, x = ((t.positions - np.array([height, width]) / 2) * t.pixel + centre).T
    made = {"probe_position_indexes": np.arange(len(y)), "probe_position_x_m": x, "probe_position_y_m": y,
            "probe": t.probe[None], "object": t.obj[None], "object_layer_spacing_m": np.zeros(0)}  # fmt: skip
    lengths = t.geometry
    numbers = {("", "detector_object_distance_m"): lengths.distance_m, ("", "photon_energy_eV"): lengths.energy_ev,
               ("", "name"): "scan", ("", "far_field"): True, ("object", "center_x_m"): centre[1],
               ("object", "center_y_m"): centre[0]}  # fmt: skip
    numbers |= {(name, f"pixel_{side}_m"): t.pixel for name in ("object", "probe") for side in ("width", "height")}
    entries = of(made, changes)
    if path.suffix != ".npz":
        return hdf5(path, entries, {key: value for key, value in numbers.items() if key[0] in ("", *entries)})
    prefixed = {"_".join(filter(None, key)): value for key, value in numbers.items()}
    np.savez(path, **entries, **prefixed)
    return path


def patterns(path, t, order=None):
    """ptychodus's patterns, in any order, or a plain array of them."""
    if path.suffix == ".npy":
        np.save(path, t.counts)
        return path
    order = np.arange(len(t.counts)) if order is None else order
    made = {"patterns": t.counts[order], "indexes": order, "bad_pixels": np.zeros(t.counts.shape[1:], bool)}
    if path.suffix == ".npz":
        np.savez(path, **made)
        return path
    sizes = {("patterns", f"detector_pixel_{side}_m"): t.geometry.detector_pixel_m for side in ("width", "height")}
    return hdf5(path, made, sizes)


def pairs(wave):
    """Complex numbers as MATLAB has them."""
    made = np.empty(wave.shape, [("real", "<f8"), ("imag", "<f8")])
    made["real"], made["imag"] = wave.real, wave.imag
    return made


def matlab(path, t, **changes):
    """MATLAB 7.3: axes the other way round, 512 bytes before the HDF5, everything double."""
    amplitude = np.fft.ifftshift(np.sqrt(t.counts.astype(np.float64)), axes=(-2, -1))  # (n, H, W) = MATLAB's (H, W, n)
    made = {"fmag": amplitude.swapaxes(1, 2), "fmask": np.ones(t.counts.shape[1:], np.uint8),
            "positions": (t.positions - t.counts.shape[-1] // 2).T, "probes": pairs(t.probe.swapaxes(1, 2)),
            "object": pairs(t.obj.T), "lambda": [[t.geometry.wavelength_m]], "z": [[t.geometry.distance_m]],
            "ds": [[t.geometry.detector_pixel_m]]}  # fmt: skip
    return hdf5(path, of(made, changes), userblock_size=512)


def ptyd(path, t, chunks=2, **changes):
    """ptypy's data, in chunks that come in any order."""
    made = {"meta/energy": t.geometry.energy_ev / 1e3, "meta/distance": t.geometry.distance_m,
            "meta/psize": np.full(2, t.geometry.detector_pixel_m),
            "meta/center": np.full(2, t.counts.shape[-1] / 2)}  # fmt: skip
    for number, part in enumerate(reversed(np.array_split(np.arange(len(t.counts)), chunks))):
        made |= {f"chunks/{number}/{name}": value for name, value in (
            ("data", t.counts[part].astype(np.int32)), ("positions", t.metres[part]), ("indices", part),
            ("weights", np.zeros(0)))}  # fmt: skip
    return hdf5(path, of(made, changes), {("meta/energy", "type"): "scalar"})


def ptyr(path, t):
    made = {"content/probe/S00/data": t.probe, "content/obj/S00/data": t.obj[None],
            "content/obj/S00/_origin": np.zeros(2), "content/obj/S00/_psize": np.full(2, t.pixel)}  # fmt: skip
    return hdf5(path, made)
