"""Procedural scenes to train on: objects, zone-plate probes and scans without end, whose truth the simulator knows.

The families here (clouds, cells, gratings, spheres) are kept apart from those of a study's own object (dead leaves,
labyrinth, fibres), so that a network trained on these has never seen what it is judged by.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage
from scipy.spatial import cKDTree

from ptychodose.physics import lattice, noise, overlap, simulate
from ptychodose.physics.probes import Geometry, ZonePlate, zone_plate_probe
from ptychodose.scans.scan import Scan, of_arrays

Texture = Callable[[tuple[int, int], np.random.Generator], NDArray[np.float64]]


def clouds(shape: tuple[int, int], rng: np.random.Generator) -> NDArray[np.float64]:
    """Gaussian random field with power spectrum |q|^-2a, a uniform in [1, 2.2]."""
    white = fft.rfft2(rng.standard_normal(shape))
    q = np.hypot(fft.fftfreq(shape[0])[:, None], fft.rfftfreq(shape[1])[None, :])
    return fft.irfft2(white / np.maximum(q, 1 / max(shape)) ** rng.uniform(1, 2.2), s=shape)


def cells(shape: tuple[int, int], rng: np.random.Generator) -> NDArray[np.float64]:
    """Voronoi cells 4 to 40 px across with random grey levels, a third of the time with dark walls."""
    width = np.exp(rng.uniform(np.log(4), np.log(40)))
    seeds = rng.random((max(4, int(shape[0] * shape[1] / width**2)), 2)) * shape
    points = np.indices(shape).reshape(2, -1).T  # (2, H, W) -> (H * W, 2)
    distance, near = cKDTree(seeds).query(points, k=2)
    image = rng.random(len(seeds))[near[:, 0]]
    if rng.random() < 1 / 3:
        image = np.where(distance[:, 1] - distance[:, 0] < rng.uniform(1, 3), 0, image)
    return image.reshape(shape)


def gratings(shape: tuple[int, int], rng: np.random.Generator) -> NDArray[np.float64]:
    """Curved, chirped line patterns with periods of 3 to 40 px, half of them binary."""
    y, x = (axis - length * rng.random() for axis, length in zip(np.indices(shape), shape, strict=True))
    turn, period = rng.random() * np.pi, np.exp(rng.uniform(np.log(3), np.log(40)))
    u, v = x * np.cos(turn) + y * np.sin(turn), y * np.cos(turn) - x * np.sin(turn)
    bend, chirp = rng.normal(0, 0.004, 2)
    wave = np.sin(2 * np.pi * (u + bend * v**2 + chirp * u**2) / period)
    return np.where(wave > rng.uniform(-0.5, 0.5), 1.0, 0.0) if rng.random() < 0.5 else wave


def spheres(shape: tuple[int, int], rng: np.random.Generator) -> NDArray[np.float64]:
    """Projected thickness of balls with radii of 2 to 25 px, some hollow."""
    image = np.zeros(shape)
    biggest = np.exp(rng.uniform(np.log(4), np.log(25)))
    for _ in range(int(rng.uniform(0.3, 1.5) * shape[0] * shape[1] / biggest**2)):
        radius = biggest * rng.uniform(0.3, 1)
        cy, cx = rng.random(2) * shape
        y0, x0 = (max(0, int(c - radius)) for c in (cy, cx))
        window = image[y0 : int(cy + radius) + 2, x0 : int(cx + radius) + 2]
        dy, dx = np.indices(window.shape)
        inside = (dy + y0 - cy) ** 2 + (dx + x0 - cx) ** 2
        thick = np.sqrt(np.maximum(radius**2 - inside, 0))
        if rng.random() < 0.3:
            thick = thick - np.sqrt(np.maximum((0.7 * radius) ** 2 - inside, 0))
        window += thick * rng.uniform(0.5, 1)
    return image


FAMILIES: dict[str, Texture] = {"clouds": clouds, "cells": cells, "gratings": gratings, "spheres": spheres}


def _texture(shape: tuple[int, int], rng: np.random.Generator) -> NDArray[np.float64]:
    """One family, or two blended by a cloud's mask; blurred by 0.4 to 1.2 px; scaled to [0, 1]."""
    names = list(FAMILIES)
    image = _unit(FAMILIES[names[rng.integers(len(names))]](shape, rng))
    if rng.random() < 0.5:
        other = _unit(FAMILIES[names[rng.integers(len(names))]](shape, rng))
        mask = ndimage.gaussian_filter((_unit(clouds(shape, rng)) > 0.5).astype(float), rng.uniform(0.5, 4))
        image = image * mask + other * (1 - mask)
    return _unit(ndimage.gaussian_filter(image, rng.uniform(0.4, 1.2), mode="reflect"))


def _unit(image: NDArray[np.float64]) -> NDArray[np.float64]:
    return (image - image.min()) / max(float(np.ptp(image)), 1e-9)


def draw_object(shape: tuple[int, int], rng: np.random.Generator) -> NDArray[np.complex64]:
    """A complex transmission (H, W), amplitude <= 1: phase range 0.3 to 2.8 rad, absorption up to 0.6, their
    textures independent, alike or blended."""
    first, second = _texture(shape, rng), _texture(shape, rng)
    blend = rng.choice([0.0, 0.0, 1.0, rng.random()])
    absorbed = rng.uniform(0.05, 0.6) * (blend * first + (1 - blend) * second)
    phase = rng.choice([-1, 1]) * rng.uniform(0.3, 2.8) * (first - first.mean())
    return ((1 - absorbed) * np.exp(1j * phase)).astype(np.complex64)


def turned(obj: NDArray[np.complex64], g: int) -> NDArray[np.complex64]:
    """A square object (H, H) in one of the square's eight orientations: g % 4 quarter turns, from 4 on transposed."""
    made = np.rot90(obj, g % 4)
    return np.ascontiguousarray(made.T if g >= 4 else made)


def draw_probe(size: int, rng: np.random.Generator) -> NDArray[np.complex64]:
    """A zone-plate probe (N, N) of unit energy with random pupil, stop, defocus and edge that fits its window.

    In units of the window, so that any N works: pupil radius 0.11 to 0.25 N, D90 between 0.25 and 0.5 N.
    """
    geometry = Geometry(8800, 1.0, 172e-6)  # a 1 m camera; only pupil and D90 matter
    pupil = geometry.wavelength_m * geometry.distance_m / geometry.detector_pixel_m  # zone width of a 1/2 px pupil
    while True:
        radius = rng.uniform(0.11, 0.25) * size
        stop, defocus, edge = rng.uniform(0, 0.5), rng.uniform(-1, 1) * 1.6e-4, rng.uniform(0.5, 1.0) * size / 64
        probe = zone_plate_probe(size, geometry, ZonePlate(pupil / (2 * radius), stop, defocus, edge))
        energy = np.abs(probe) ** 2
        edge = np.concatenate([energy[0], energy[:, 0]]).max() / energy.max()
        if edge < 2e-3 and 0.2 * size < overlap.encircled_diameter(probe) < 0.5 * size:
            return probe.astype(np.complex64)


def draw_scene(
    probe: NDArray[np.complex64], pitch: float, extent: float, photons: float, rng: np.random.Generator
) -> tuple[Scan, NDArray[np.complex64]]:
    """A scan with counts, and its object (H, W): a jittered raster of `extent` px at `pitch` px over a random object
    with `photons` detected per object pixel.

    probe (N, N) of any energy; it is scaled to the photons (n-bar = detected counts per pitch^2).
    """
    size = len(probe)
    side = int(np.ceil(extent)) + size + 2
    obj = draw_object((side, side), rng)
    bounds = (size / 2, side - size / 2)
    positions = lattice.finest_scan(bounds, bounds, pitch, rng).positions
    scaled = simulate.scale_to_dose(obj, probe[None], positions, photons * pitch**2)
    scan = of_arrays(None, scaled, positions, obj.shape)
    return replace(scan, counts=noise.draw_counts(scan.expected(obj), rng), dose=photons * pitch**2), obj
