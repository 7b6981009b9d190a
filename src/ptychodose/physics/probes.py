"""The zone-plate probe from a recipe in physical units, wavelength and object pixel. numpy and scipy only."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from ptychodose.errors import StudyError

DIMMEST = 1e-6  # transmission of the brightest pixel of a pupil; less is rounding


@dataclass(frozen=True)
class Geometry:
    """Photon energy in eV; sample to detector and pitch of the detector pixels in metres."""

    energy_ev: float
    distance_m: float
    detector_pixel_m: float

    @property
    def wavelength_m(self) -> float:
        """Photon wavelength hc / E in metres (CODATA 2018: hc = 1.239841984e-6 eV m)."""
        return 1.239841984e-6 / self.energy_ev

    def object_pixel(self, size: int) -> float:
        """Object pixel lambda z / (N p) in metres of a far-field detector with N = `size` pixels of pitch p."""
        return self.wavelength_m * self.distance_m / (size * self.detector_pixel_m)


@dataclass(frozen=True)
class ZonePlate:
    """Outer zone width in metres; central stop as a share of the pupil's radius; defocus in metres; width of the
    pupil's logistic edges in detector pixels (a hard edge rings beyond the window and loses 2-3 % of its energy)."""

    outer_zone_width_m: float
    central_stop: float
    defocus_m: float
    edge_px: float


def zone_plate_probe(size: int, geometry: Geometry, plate: ZonePlate) -> NDArray[np.complex128]:
    """Focal-plane wave (N, N) of unit energy behind a defocused zone plate with a central stop.

    The pupil lives on the detector: radius NA z / p with NA = lambda / (2 outer zone width) (Attwood, Soft X-rays
    and EUV Radiation, ch. 9). Defocus D adds the Fresnel phase pi lambda D |q|^2. The probe's pixel is
    `geometry.object_pixel(size)`. StudyError where none of the pupil's light falls on the detector.
    """
    wavelength, distance, pitch = geometry.wavelength_m, geometry.distance_m, geometry.detector_pixel_m
    axis = np.arange(size) - size // 2
    radius = np.hypot(axis[:, None], axis[None, :])  # (N, N) detector px
    outer = pupil_radius(geometry, plate)
    pupil = _soft_disc(radius, outer, plate.edge_px) - _soft_disc(radius, plate.central_stop * outer, plate.edge_px)
    if not pupil.max() > DIMMEST:
        raise StudyError(
            f"zone plate: its pupil of {outer:.3g} detector pixels in radius, less the stop, sends no light to the "
            f"{size} that there are; correct central_stop, outer_zone_width_nm or the geometry"
        )
    frequency = radius * pitch / (wavelength * distance)  # cycles per metre
    wave = pupil * np.exp(1j * np.pi * wavelength * plate.defocus_m * frequency**2)
    probe = fft.fftshift(fft.ifft2(fft.ifftshift(wave), norm="ortho"))
    return probe / np.sqrt((probe.real**2 + probe.imag**2).sum())


def pupil_radius(geometry: Geometry, plate: ZonePlate) -> float:
    """Radius of a zone plate's light on the detector, px: NA z / p (see `zone_plate_probe`)."""
    return geometry.wavelength_m / (2 * plate.outer_zone_width_m) * geometry.distance_m / geometry.detector_pixel_m


def cone(size: int, geometry: Geometry, plate: ZonePlate) -> float:
    """Diameter of a defocused zone plate's light on the object, px: 2 NA |D| (see `zone_plate_probe`)."""
    return geometry.wavelength_m * abs(plate.defocus_m) / plate.outer_zone_width_m / geometry.object_pixel(size)


def _soft_disc(radius: NDArray[np.float64], edge: float, width: float) -> NDArray[np.float64]:
    with np.errstate(over="ignore"):  # 1 / infinity is the 0 that is meant
        return 1 / (1 + np.exp((radius - edge) / width))
