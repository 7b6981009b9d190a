"""The probes that teach the hybrid: of every kind, of unit energy, inside their window, repeatable."""

import numpy as np
import pytest

from ptychodose.physics import noise, overlap
from ptychodose.refine import procedural_probes

KINDS = ("_zone_plate", "_aberrated", "_hard_edged")


@pytest.mark.parametrize("size", [32, 64])
def test_every_probe_has_unit_energy_and_fits_its_window(size):
    rng = noise.stream(5, "procedural")
    for _ in range(40):
        probe = procedural_probes.draw(size, rng)
        energy = np.abs(probe) ** 2
        assert probe.shape == (size, size) and probe.dtype == np.complex64
        assert energy.sum() == pytest.approx(1, abs=1e-5)
        assert 0.12 < overlap.encircled_diameter(probe[None]) / size < 0.62
        assert max(energy[0].max(), energy[:, 0].max()) < 4e-3 * energy.max()


@pytest.mark.parametrize(("width", "taken"), [(0.10, False), (0.13, True), (0.6, True), (0.64, False)])
def test_too_narrow_and_too_wide_ones_are_drawn_again(monkeypatch, width, taken):
    """A Gaussian beam holds 90 % of its light within `width`: its energy falls by 10 to the power (2 r / width)^2."""
    square = ((np.indices((64, 64)) - 32) ** 2).sum(0) / 64**2
    beams = [np.sqrt(10.0 ** -(4 * square / size**2)) for size in (width, 0.4)]
    queue = [*beams]
    for name in KINDS:
        monkeypatch.setattr(procedural_probes, name, lambda size, rng: queue.pop(0))
    found = procedural_probes.draw(64, noise.stream(1, "procedural"))
    expected = beams[0 if taken else 1]
    assert found == pytest.approx(expected / np.linalg.norm(expected), abs=1e-6)


def test_all_kinds_occur_narrow_and_wide_and_none_twice(monkeypatch):
    drawn, made, rng = [], [], noise.stream(1, "procedural")
    for name in KINDS:
        plain = getattr(procedural_probes, name)

        def watched(size, rng, name=name, plain=plain):
            drawn.append(name)
            return plain(size, rng)

        monkeypatch.setattr(procedural_probes, name, watched)
    kept = []
    for _ in range(60):
        made.append(procedural_probes.draw(64, rng))
        kept.append(drawn[-1])
    assert {name: kept.count(name) >= 6 for name in KINDS} == dict.fromkeys(KINDS, True)
    widths = [overlap.encircled_diameter(probe[None]) / 64 for probe in made]
    assert min(widths) < 0.25 and max(widths) > 0.5
    assert len({probe.tobytes() for probe in made}) == 60


def test_a_hard_edged_probe_has_an_edge_and_a_zone_plate_has_rings():
    """Most of a spot is nearly as bright as its brightest part; a focus is not."""

    def full(probe):
        energy = np.abs(probe) ** 2
        return energy[energy > 0.3 * np.percentile(energy, 99.9)].sum() / energy.sum()

    shares = {}
    for name in ("_hard_edged", "_zone_plate"):
        rng = noise.stream(2, "procedural")
        shares[name] = np.median([full(getattr(procedural_probes, name)(64, rng)) for _ in range(30)])
    assert shares["_hard_edged"] > 1.3 * shares["_zone_plate"]


def test_the_same_stream_draws_the_same_probes():
    first, again, other = (procedural_probes.draw(64, noise.stream(seed, "procedural")) for seed in (1, 1, 2))
    assert first.tobytes() == again.tobytes() != other.tobytes()
