"""Overlap and photon measures against elementary geometry."""

from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest

from ptychodose.errors import StudyError
from ptychodose.physics import noise, overlap
from ptychodose.physics.probes import Geometry
from ptychodose.scans import views
from ptychodose.scans.scan import Nodes, of_arrays
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


def test_the_dark_rim_of_a_window():
    """A bright square of 20 x 20 px in the middle, and one pixel of a given share of the energy 5 px from the edge."""
    probe = np.zeros((2, 64, 64), np.complex64)
    probe[:, 22:42, 22:42] = 1
    assert overlap.dark_rim(probe) == 22 and overlap.dark_rim(probe * np.nan) == 0
    for share, rim in ((0.0004, 22), (0.0006, 5)):
        probe[0, 5, 30] = np.sqrt(800 * share / (1 - share))
        assert overlap.dark_rim(probe) == rim
    assert overlap.dark_rim(probe, 0.001) == 22 and overlap.dark_rim(zone_plate()) == 9


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


@pytest.mark.parametrize("value", [0, np.nan, np.inf])
def test_a_probe_without_light_has_no_diameter(value):
    with pytest.raises(StudyError, match="no light in its 64 px"):
        overlap.encircled_diameter(np.full((1, 64, 64), value, np.complex64))


def test_encircled_diameter_of_a_uniform_disc_and_the_default_probe():
    y, x = np.indices((64, 64)) - 32.0
    disc = (np.hypot(y, x) < 20).astype(complex)
    assert overlap.encircled_diameter(disc) == pytest.approx(40 * np.sqrt(0.9), rel=0.02)
    probe = zone_plate()
    assert overlap.encircled_diameter(probe) == pytest.approx(24.2, abs=0.1)


def test_photons_and_sampling_follow_the_step():
    assert overlap.photons_per_pixel(800 * 1e4, 800, 7.2) == pytest.approx(193, rel=0.01)
    assert overlap.sampling_ratio(64, 7.2) == pytest.approx(79, rel=0.01)


# By brute force over all pairs

DIAMETER = 20.0


def shared(a, b):
    """Area fraction that discs of DIAMETER around two points share, by counting points of a fine grid."""
    side = np.linspace(-DIAMETER, DIAMETER, 401)
    y, x = np.meshgrid(side, side, indexing="ij")
    away = np.subtract(b, a)
    one, two = np.hypot(y, x) < DIAMETER / 2, np.hypot(y - away[0], x - away[1]) < DIAMETER / 2
    return (one & two).sum() / one.sum()


def mean_shared(positions, pairs):
    return np.mean([shared(positions[i], positions[j]) for i, j in pairs])


@pytest.fixture(scope="module")
def scattered():
    return noise.stream(0, "views").uniform(0, 60, (30, 2))


@pytest.fixture(scope="module")
def drawn(scattered):
    """Groups of four that are not the same size: some tight, some wide."""
    rng = noise.stream(1, "views")
    return np.stack([rng.permutation(30)[:4] for _ in range(12)] + [np.arange(4)])


def test_m1_averages_all_pairs_of_every_group(scattered, drawn):
    expected = np.mean([mean_shared(scattered[g], combinations(range(4), 2)) for g in drawn])
    assert overlap.within_groups(scattered, drawn, DIAMETER) == pytest.approx(expected, abs=2e-3)


def test_m2_averages_exactly_the_nearest(scattered):
    distance = np.linalg.norm(scattered[:, None] - scattered, axis=2)
    order = np.argsort(distance, axis=1)
    by_number = {
        k: np.mean([shared(scattered[i], scattered[j]) for i in range(30) for j in order[i, 1 : k + 1]])
        for k in (5, 6, 7)
    }
    found = overlap.between_images(scattered, 6, DIAMETER)
    assert found == pytest.approx(by_number[6], abs=2e-3)
    assert min(abs(found - by_number[k]) for k in (5, 7)) > 0.01, "one neighbour more or less is another number"
    few = scattered[:3] / 5  # all within a diameter
    assert overlap.between_images(few, 6, DIAMETER) == pytest.approx(
        mean_shared(few, combinations(range(3), 2)), abs=2e-3
    ), "fewer images than neighbours: all of them"


def test_m3_averages_centroids_closer_than_a_diameter(scattered, drawn):
    centres = np.array([scattered[g].mean(0) for g in drawn])
    near = [(i, j) for i, j in combinations(range(len(drawn)), 2) if np.hypot(*(centres[i] - centres[j])) < DIAMETER]
    assert 0 < len(near) < len(drawn) * (len(drawn) - 1) / 2
    found = overlap.between_groups(scattered, drawn, DIAMETER)
    assert found == pytest.approx(mean_shared(centres, near), abs=2e-3)


def test_d90_of_a_gaussian_spot_wherever_it_lies():
    """Energy exp(-r^2 / 2 s^2): a share f lies within s sqrt(-2 log(1 - f))."""
    y, x = np.indices((128, 128))
    for centre in ((64, 64), (58, 71)):
        spot = np.exp(-((y - centre[0]) ** 2 + (x - centre[1]) ** 2) / (4 * 8.0**2)) * np.exp(0.3j * x)
        assert overlap.encircled_diameter(spot) == pytest.approx(2 * 8 * np.sqrt(2 * np.log(10)), rel=5e-3)
        assert overlap.encircled_diameter(spot, 0.5) == pytest.approx(2 * 8 * np.sqrt(2 * np.log(2)), rel=2e-2)


def test_photons_and_alpha_by_hand():
    assert overlap.photons_per_pixel(6e5, 30, 5.0) == 800.0
    assert overlap.sampling_ratio(64, 8.0) == 64.0


def test_the_description_of_a_view_by_hand(scattered, drawn):
    spot = (np.hypot(*(np.indices((64, 64)) - 32)) < 10) * np.complex64(3 + 4j)  # 25 photons in each lit pixel
    lit = int((spot != 0).sum())
    counts = np.full((30, 64, 64), 7)
    counts[:, :, 0] = 9  # 28,800 photons a pattern
    scan = of_arrays(counts, spot, scattered, (200, 200))
    scan = replace(scan, nodes=Nodes(np.zeros((30, 2), np.int32), 2.5), geometry=Geometry(8800.0, 1.0, 172e-6))
    row = views.describe(scan, views.View(np.arange(30), np.zeros(30, np.int32), {4: drawn}), 4, 4, 7)
    diameter = row["probe_d90_px"]
    assert diameter == pytest.approx(20 * np.sqrt(0.9), rel=0.03)
    assert row["m2_between_images"] == overlap.between_images(scattered, 6, diameter), "the 7 nearest hold itself"
    assert row["m1_within_groups"] == overlap.within_groups(scattered, drawn, diameter)
    assert row["m3_between_groups"] == overlap.between_groups(scattered, drawn, diameter)
    assert (row["step_px"], row["alpha"]) == (10.0, 40.96) and row["overlap_ratio"] == 1 - 10 / diameter
    assert (row["photons_per_pixel"], row["incident_photons_per_pixel"]) == (288.0, pytest.approx(25 * lit / 100))
    assert row["photons_per_um2"] == pytest.approx(288.0 / (scan.pixel_m * 1e6) ** 2)
    assert (row["images"], row["unique_images"], row["scans"], row["groups"], row["group_size"]) == (30, 30, 1, 13, 4)


def test_images_are_measured_with_their_nearest_only():
    line = np.array([[0.0, 0.0], [0.0, 1.0], [0.0, 10.0]])
    f = overlap.disc_overlap(np.array([1.0, 1.0, 9.0]), 20.0)
    assert overlap.between_images(line, 1, 20.0) == pytest.approx(f.mean())
