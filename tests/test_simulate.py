"""The numpy simulator against a third, plain formula, and the physics it must keep."""

from dataclasses import replace

import numpy as np
import pytest

from ptychodose.physics import overlap, simulate, textures
from ptychodose.physics.probes import Geometry
from ptychodose.scans import acquisition, base
from ptychodose.study.settings import Generate
from scenes import zone_plate

SETTINGS = Generate(
    source="simulate",
    scan="none",
    base="unused.yaml",
    energy_ev=8800,
    distance_m=1.0,
    detector_pixel_um=172.0,
    nodes_per_diameter=10,
)


def rng(seed=0):
    return np.random.Generator(np.random.Philox(seed))


@pytest.fixture(scope="module")
def scene():
    """A small non-square object and the default probe."""
    obj = textures.synthetic_object((180, 110), 0.55, 0.12, rng()).astype(np.complex64)
    return obj, zone_plate()


def plain_rate(obj, probe, position):
    """Counts by the defining double sum: |sum_r P(r - d) O(r + corner) exp(-2 pi i q r / N)|^2 / N^2."""
    size = len(probe)
    whole = np.rint(position).astype(int)
    q = np.arange(size) - size // 2
    kernel = np.exp(-2j * np.pi * np.outer(q, np.arange(size)) / size)
    spectrum = kernel @ probe.astype(complex) @ kernel.T
    dy, dx = position - whole
    spectrum = spectrum * np.exp(-2j * np.pi * (q[:, None] * dy + q[None, :] * dx) / size)
    moved = kernel.conj().T @ spectrum @ kernel.conj() / size**2
    corner = whole - size // 2
    patch = obj[corner[0] : corner[0] + size, corner[1] : corner[1] + size]
    return np.abs(kernel @ (moved * patch) @ kernel.T / size) ** 2


@pytest.mark.parametrize("position", [(40.0, 52.0), (63.37, 70.81), (100.5, 40.25), (148.0, 78.0)])
def test_expected_counts_equal_the_plain_formula(scene, position):
    obj, probe = scene
    found = simulate.expected_counts(obj, probe[None] * 100, np.array([position]))[0]
    assert found == pytest.approx(plain_rate(obj, probe * 100, np.array(position)), rel=1e-5, abs=1e-9)


def test_parseval_detected_photons_equal_transmitted(scene):
    obj, probe = scene
    positions = rng(1).uniform((32, 32), (148, 78), (9, 2))
    rate = simulate.expected_counts(obj, probe[None], positions)
    assert rate.sum((1, 2)) == pytest.approx(simulate.transmitted(obj, probe[None], positions), rel=1e-10)


def test_an_empty_object_transmits_every_photon(scene):
    _, probe = scene
    sent = (np.abs(probe.astype(complex)) ** 2).sum()
    ones = np.ones((100, 100), np.complex64)
    assert simulate.transmitted(ones, probe[None], np.array([[50.3, 49.6]])) == pytest.approx(sent, rel=1e-9)


def test_probe_is_soft_and_has_the_designed_size(scene):
    _, probe = scene
    energy = np.abs(probe) ** 2
    assert max(energy[0].max(), energy[:, 0].max()) < 1e-4 * energy.max()
    assert overlap.encircled_diameter(probe, 0.99) == pytest.approx(35.7, abs=0.3)
    assert energy.sum() == pytest.approx(1, rel=1e-6)


@pytest.mark.parametrize("seed", [0, 1])
def test_synthetic_object_contrast(seed):
    obj = textures.synthetic_object((256, 200), 0.55, 0.12, rng(seed))
    assert np.abs(obj).max() <= 1 + 1e-12
    assert np.abs(obj).std() == pytest.approx(0.12, rel=1e-6)
    assert np.angle(obj).std() == pytest.approx(0.55, rel=0.02)
    assert abs(np.corrcoef(np.abs(obj).ravel(), np.angle(obj).ravel())[0, 1]) < 0.1


@pytest.mark.parametrize("dose", [10.0, 1e4])
def test_the_dose_is_the_mean_detected_count_over_both_splits(dose):
    obj = textures.synthetic_object((260, 120), 0.55, 0.12, rng()).astype(np.complex64)
    mask = rng(1).random((64, 64)) < 0.9
    source = base.Base(obj, zone_plate()[None], ((32.0, 228.0), (32.0, 88.0)), np.full((64, 64), 0.3), mask)
    scans = acquisition.plan(source, SETTINGS, dose, 7)
    rates = np.concatenate([scan.expected(obj) for scan in scans.values()])
    assert (rates - 0.3).sum((1, 2)).mean() == pytest.approx(dose, rel=1e-5), "before the mask, without background"
    drawn = np.concatenate([np.concatenate(list(acquisition.counts(obj, s, rng(3)))) for s in scans.values()])
    total = rates[:, mask].sum()
    assert drawn.sum() == pytest.approx(total, abs=4 * np.sqrt(total)) and not drawn[:, ~mask].any()
    everything = [replace(scan, mask=np.ones((64, 64), bool)) for scan in scans.values()]
    same = np.concatenate([np.concatenate(list(acquisition.counts(obj, s, rng(3)))) for s in everything])
    assert (same[:, mask] == drawn[:, mask]).all(), "good pixels draw the same numbers whatever the mask"
    first, second = (scan.probe for scan in scans.values())
    assert (first == second).all(), "one probe scale serves both splits"


def test_modes_and_background_add_to_the_rate(scene):
    obj, probe = scene
    at, other = np.array([[63.37, 70.81]]), np.roll(probe, 5, 1)
    both = simulate.expected_counts(obj, np.array([probe, other]), at, 0.7)
    alone = [simulate.expected_counts(obj, wave[None], at) for wave in (probe, other)]
    assert both == pytest.approx(alone[0] + alone[1] + 0.7, rel=1e-6)


def test_geometry_gives_the_documented_object_pixel():
    assert Geometry(8800, 1.0, 172e-6).object_pixel(64) == pytest.approx(12.8e-9, rel=1e-3)


def test_the_splits_have_jitters_of_their_own_and_ten_nodes_a_diameter():
    obj = np.ones((260, 120), np.complex64)
    source = base.Base(
        obj, zone_plate()[None], ((32.0, 228.0), (32.0, 88.0)), np.zeros((64, 64)), np.ones((64, 64)) > 0
    )
    scans = acquisition.plan(source, SETTINGS, 1.0, 7)
    train, test = (scan.positions - scan.positions.mean(0) for scan in scans.values())
    assert train.shape == test.shape and np.abs(train - test).max() > 0.5
    assert scans["test"].nodes.pitch == pytest.approx(24.2 / 10, abs=0.01)
