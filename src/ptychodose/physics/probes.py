"""The zone-plate probe from a recipe in physical units, wavelength and object pixel. numpy and scipy only."""

import numpy as np
from numpy.typing import NDArray
from scipy import fft


def zone_plate_probe(
    size: int,
    energy_ev: float,
    distance_m: float,
    detector_pixel_m: float,
    outer_zone_width_m: float,
    central_stop: float,
    defocus_m: float,
    edge_px: float,
) -> NDArray[np.complex128]:
    """Focal-plane wave (N, N) of unit energy behind a defocused zone plate with a central stop.

    The pupil lives on the detector: radius NA z / p with NA = lambda / (2 outer zone width) (Attwood, Soft X-rays
    and EUV Radiation, ch. 9), stop = `central_stop` of that radius, logistic edges `edge_px` detector pixels wide
    (a hard edge rings beyond the window and loses 2-3 % of the energy there). Defocus D adds the Fresnel phase
    pi lambda D |q|^2. `distance_m` sample to detector, `detector_pixel_m` pitch; the probe's pixel is
    `object_pixel`.
    """
    wavelength = wavelength_m(energy_ev)
    axis = np.arange(size) - size // 2
    radius = np.hypot(axis[:, None], axis[None, :])  # (N, N) detector px
    outer = wavelength / (2 * outer_zone_width_m) * distance_m / detector_pixel_m
    pupil = _soft_disc(radius, outer, edge_px) - _soft_disc(radius, central_stop * outer, edge_px)
    frequency = radius * detector_pixel_m / (wavelength * distance_m)  # cycles per metre
    wave = pupil * np.exp(1j * np.pi * wavelength * defocus_m * frequency**2)
    probe = fft.fftshift(fft.ifft2(fft.ifftshift(wave), norm="ortho"))
    return probe / np.sqrt((probe.real**2 + probe.imag**2).sum())


def wavelength_m(energy_ev: float) -> float:
    """Photon wavelength hc / E in metres (CODATA 2018: hc = 1.239841984e-6 eV m)."""
    return 1.239841984e-6 / energy_ev


def object_pixel(size: int, energy_ev: float, distance_m: float, detector_pixel_m: float) -> float:
    """Object pixel lambda z / (N p) in metres of a far-field detector with N pixels of pitch p."""
    return wavelength_m(energy_ev) * distance_m / (size * detector_pixel_m)


def _soft_disc(radius: NDArray[np.float64], edge: float, width: float) -> NDArray[np.float64]:
    return 1 / (1 + np.exp((radius - edge) / width))
