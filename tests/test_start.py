"""A probe that no file gives is found from the counts: its amplitude, its defocus, and the sign of that."""

from dataclasses import replace

import numpy as np
import pytest

from ptychodose.experiment import solve, start
from ptychodose.physics import simulate
from ptychodose.scans.scan import of_arrays
from ptychodose.study import params
from ptychodose.study.settings import NOTHING
from scenes import ROOT, scene, zone_plate
from test_experiment import error

SETTINGS = params.load(ROOT / "params.yaml").reconstruct_map


@pytest.mark.parametrize("radius", start.RADII[1:4])
def test_the_starts_are_focuses_spread_to_a_share_of_the_window(radius):
    """All of a disc's light in the far field goes to `radius` of the window at its edge: geometry, not diffraction."""
    y, x = np.indices((128, 128)) - 64
    mean = 1e4 * (np.hypot(y, x) < 20) + 0.0
    scan = of_arrays(mean[None].astype(np.int64), np.ones((128, 128), np.complex64), np.full((1, 2), 64.0), (128, 128))
    for sign in (1, -1):
        probe = start.defocused(scan)[sign * radius]
        far = np.abs(np.fft.fftshift(np.fft.fft2(np.fft.ifftshift(probe))))
        assert far == pytest.approx(np.sqrt(mean), abs=1e-6)
        light, away = (np.abs(probe) ** 2).ravel(), np.hypot(y, x).ravel()
        order = np.argsort(away)
        half = away[order][np.searchsorted(np.cumsum(light[order]), 0.5 * light.sum())]
        assert half == pytest.approx(radius * 128 * np.sqrt(0.5 / start.EDGE), rel=0.15), "of a disc's light"


def test_a_background_is_no_light_of_the_probe():
    s = scene(1e4)
    lit = replace(s.scan, counts=s.scan.counts + np.random.default_rng(0).poisson(2.0, s.scan.counts.shape))
    corner = [np.abs(np.fft.fftshift(np.fft.fft2(start.defocused(scan)[0.0])))[:8, :8].mean() for scan in (s.scan, lit)]
    assert corner[1] < corner[0] + 0.3 * np.sqrt(2.0)


@pytest.mark.slow
def test_a_probe_is_found_without_one():
    s = scene(1e4)
    found = start.probe_from(s.scan, SETTINGS)
    assert found.probe.shape == (1, 64, 64) and found.name in found.tried and found.lead >= 0
    photons = (np.abs(found.probe) ** 2).sum()
    assert photons == pytest.approx(s.scan.mean_pattern.sum(), rel=1e-4)
    solved = solve.solve(replace(s.scan, probe=found.probe), replace(NOTHING, probe=1), SETTINGS).scan
    assert error(solved, s) < 1.15 * error(s.scan, s)


@pytest.mark.slow
def test_the_sign_of_a_defocus_is_told_by_the_positions():
    """The twin: object and probe conjugate and turned have the same patterns at positions that are turned."""
    s = scene(1e4)
    signs = {}
    for name, probe in {"as it is": s.scan.probe, "conjugate": s.scan.probe.conj()}.items():
        rate = simulate.expected_counts(s.obj, probe, s.scan.positions, np.zeros((64, 64)))
        counts = np.random.default_rng(0).poisson(rate)
        found = start.probe_from(replace(s.scan, counts=counts), SETTINGS)
        signs[name] = "+" in found.name
    assert signs["as it is"] != signs["conjugate"]


@pytest.mark.slow
def test_a_plate_that_is_known_is_one_of_the_starts_and_wins():
    s = scene(1e4)
    found = start.probe_from(s.scan, SETTINGS, {"plate": zone_plate()})
    assert found.tried["plate"] == min(found.tried.values())
