"""Overlap and photon measures against elementary geometry."""

import numpy as np
import pytest

from ptychodose.physics import overlap
from scenes import zone_plate


def test_disc_overlap_known_values():
    d = np.array([0.0, 0.2, 0.3, 0.5, 0.8, 1.0, 3.0])
    expected = [1, 0.7471, 0.6238, 0.3910, 0.1041, 0, 0]
    assert overlap.disc_overlap(d * 7, 7.0) == pytest.approx(expected, abs=1e-3)


def test_disc_overlap_equals_counted_pixels():
    y, x = np.indices((400, 400)) - 200.0
    first = np.hypot(y, x) < 80
    second = np.hypot(y, x - 60) < 80
    assert overlap.disc_overlap(np.array(60.0), 160.0) == pytest.approx((first & second).sum() / first.sum(), abs=2e-3)


def test_measures_of_a_known_raster():
    step, diameter = 5.0, 20.0
    positions = step * np.stack(np.meshgrid(range(9), range(9), indexing="ij"), -1).reshape(-1, 2)
    f = lambda d: float(overlap.disc_overlap(np.array(d), diameter))  # noqa: E731
    pair = np.array([[0, 1], [9, 10]])
    assert overlap.within_groups(positions, pair, diameter) == pytest.approx(f(step))
    assert overlap.within_groups(positions, pair[:, :1], diameter) is None
    twice = np.concatenate([positions, positions])
    assert overlap.between_images(twice, 6, diameter) == overlap.between_images(positions, 6, diameter)
    assert overlap.between_images(positions[:1], 6, diameter) is None
    assert overlap.between_groups(positions, pair, diameter) == pytest.approx(f(step))
    assert overlap.between_groups(positions, np.array([[0], [80]]), diameter) is None


def test_encircled_diameter_of_a_uniform_disc_and_the_default_probe():
    y, x = np.indices((64, 64)) - 32.0
    disc = (np.hypot(y, x) < 20).astype(complex)
    assert overlap.encircled_diameter(disc) == pytest.approx(40 * np.sqrt(0.9), rel=0.02)
    probe = zone_plate()
    assert overlap.encircled_diameter(probe) == pytest.approx(24.2, abs=0.1)


def test_photons_and_sampling_follow_the_step():
    assert overlap.photons_per_pixel(800 * 1e4, 800, 7.2) == pytest.approx(193, rel=0.01)
    assert overlap.sampling_ratio(64, 7.2) == pytest.approx(79, rel=0.01)


def test_images_are_measured_with_their_nearest_only():
    line = np.array([[0.0, 0.0], [0.0, 1.0], [0.0, 10.0]])
    f = overlap.disc_overlap(np.array([1.0, 1.0, 9.0]), 20.0)
    assert overlap.between_images(line, 1, 20.0) == pytest.approx(f.mean())
