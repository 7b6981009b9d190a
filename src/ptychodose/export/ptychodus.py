"""Ptychodus's product HDF5, to write.

Its layout is that of the published ptychodus 1.7 (src/ptychodus/plugins/h5_product_file.py): attributes of the root for
the experiment, `probe` (1, M, N, N) as (varying in time, mode, y, x), `object` (1, H, W) as (layer, y, x), positions of
patch centres in metres. An object pixel i lies at centre + (i - width / 2) pixels, y downwards as x to the right, which
is our own frame about its middle. What we do not know (exposure, attenuation, angle) is 0 there.
"""

from pathlib import Path

import h5py
import numpy as np

from ptychodose.export.source import Solution
from ptychodose.formats import nexus
from ptychodose.formats.h5 import writing

UNKNOWN = ("exposure_time_s", "mass_attenuation_m2_kg", "tomography_angle_deg")


def write(out: Path, solution: Solution) -> list[str]:
    """Write the product and return what is to be said of it. StudyError where probe, positions or geometry are not
    known."""
    solution.need("probe", "positions", "geometry", "pixel_m")
    obj, probe, places, geometry = solution.obj, solution.probe, solution.positions, solution.geometry
    assert probe is not None and places is not None and geometry is not None and solution.pixel_m is not None
    pixel_m = solution.pixel_m
    photons = float((np.abs(probe.astype(np.complex128)) ** 2).sum())
    with writing(out) as file:
        file.attrs["name"] = solution.path.stem
        file.attrs["comments"] = "made by ptychodose"
        file.attrs["detector_object_distance_m"] = geometry.distance_m
        file.attrs["probe_energy_eV"] = geometry.energy_ev
        file.attrs["probe_photon_count"] = photons
        for name in UNKNOWN:
            file.attrs[name] = 0.0
        metres = (places - np.array(obj.shape) / 2) * pixel_m  # (n, 2), y then x, from the object's middle
        _dataset(file, "probe_position_indexes", np.arange(len(places)))
        _dataset(file, "probe_position_x_m", metres[:, 1])
        _dataset(file, "probe_position_y_m", metres[:, 0])
        pixels = {"pixel_width_m": pixel_m, "pixel_height_m": pixel_m}
        _dataset(file, "probe", probe[None], **pixels)
        _dataset(file, "object", obj[None], center_x_m=0.0, center_y_m=0.0, **pixels)
        _dataset(file, "object_layer_spacing_m", np.zeros(0))
        _dataset(file, "loss_epochs", np.zeros(0, np.int64))
        _dataset(file, "loss_values", np.zeros(0))
        nexus.show_wave(file, nexus.OBJECT, obj, pixel_m)
    return [
        f"{len(places)} positions, {len(probe)} modes of {photons:.4g} photons; not known, so 0: {', '.join(UNKNOWN)}"
    ]


def _dataset(file: h5py.File, name: str, values: np.ndarray, **attributes: float) -> None:
    file.create_dataset(name, data=values, track_times=False).attrs.update(attributes)
