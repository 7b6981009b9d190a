"""How MAP chooses its weight: the climb, the parabola, the photons held out, with losses laid down by hand."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from ptychodose.iterative import poisson_map
from ptychodose.physics import noise
from ptychodose.study import params
from scenes import scene

SETTINGS = replace(params.load("params.yaml").reconstruct_map, weight=0.4, weight_step=2.0, weight_moves=3, heldout=0.1)
CLIMBS = [
    ({0: 3, 1: 2, 2: 1, 3: 2}, [0, 1, 2, 3], 2),
    ({0: 3, 1: 4, -1: 2, -2: 1, -3: 2}, [0, 1, -1, -2, -3], -2),
    ({0: 1, 1: 2, -1: 3}, [0, 1, -1], 0),
    ({0: 9, 1: 8, 2: 7, 3: 6, 4: 5}, [0, 1, 2, 3], 3),
    ({0: 9, 1: 10, -1: 8, -2: 7, -3: 6, -4: 5}, [0, 1, -1, -2, -3], -3),
    ({0: 1, 1: 1, -1: 3}, [0, 1, -1], 0),
]


def choose(monkeypatch, table, settings=SETTINGS):
    """The choice among weights 0.4 * 2^k whose held-out losses are table[k]; every run takes 10 iterations and its
    canvas is k. Also what the runs were given, and the two parts of the scan."""
    scan, runs, parts = scene(1e4).scan, [], []

    def problem(part):
        parts.append(part)
        made = SimpleNamespace(flat=lambda: "flat")
        made.losses = lambda canvas: np.array([0.5, 1.5]) * table[canvas]
        return made

    def minimise(posterior, start, iterations):
        assert iterations == settings.iterations
        k = round(np.log2(posterior.weight / 0.4))
        runs.append((k, start))
        return k, [0.0] * 11

    monkeypatch.setattr(poisson_map, "Problem", problem)
    monkeypatch.setattr(poisson_map, "minimise", minimise)
    return poisson_map.choose(scan, settings, noise.stream(0, "solver")), runs, parts


@pytest.mark.parametrize(("means", "order", "best"), CLIMBS)
def test_the_climb_ends_where_both_neighbours_are_no_better_or_the_grid_does(means, order, best):
    asked = []

    def loss(k, near):
        if k not in asked:
            asked.append(k)
        return means[k]

    assert poisson_map.climb(loss, 3) == best and asked == order


def test_without_moves_the_first_weight_stays():
    assert poisson_map.climb(lambda k, near: {0: 1.0}[k], 0) == 0


VERTICES = {(2, 1, 2): 0, (9, 1, 1): 0.5, (1, 1, 9): -0.5, (5, 2, 3): 0.25, (3, 2, 5): -0.25, (1, 1, 1): 0}


@pytest.mark.parametrize(("losses", "where"), VERTICES.items())
def test_the_vertex_is_that_of_the_parabola_through_three_losses(losses, where):
    found = {k: SimpleNamespace(loss=value) for k, value in zip((1, 2, 3), losses, strict=True)}
    assert poisson_map.vertex(found, 2) == pytest.approx(where)
    if where:
        a, b, _ = np.polyfit((-1, 0, 1), losses, 2)
        assert -b / (2 * a) == pytest.approx(where)


def test_at_the_end_of_the_grid_there_is_no_parabola():
    found = {k: SimpleNamespace(loss=3 - k) for k in (1, 2)}
    assert poisson_map.vertex(found, 2) == poisson_map.vertex(found, 1) == 0


@pytest.mark.parametrize(("means", "order", "best"), CLIMBS)
def test_the_weight_goes_half_the_way_to_one_and_the_canvas_is_the_best_ones(monkeypatch, means, order, best):
    choice, runs, _ = choose(monkeypatch, means)
    assert [k for k, _ in runs] == order and choice.canvas == best
    around = [means.get(best + side) for side in (-1, 0, 1)]
    inside = {best - 1, best + 1} <= set(order)
    vertex = (around[0] - around[2]) / (2 * (around[0] - 2 * around[1] + around[2])) if inside else 0
    assert choice.weight == pytest.approx(np.sqrt(0.4 * 2.0 ** (best + vertex)))
    assert choice.tried == [(pytest.approx(0.4 * 2.0**k), means[k], 10) for k in sorted(order)]


def test_every_run_starts_from_the_best_canvas_so_far(monkeypatch):
    _, runs, _ = choose(monkeypatch, {0: 3, 1: 4, -1: 2, -2: 1, -3: 2})
    assert runs == [(0, "flat"), (1, 0), (-1, 0), (-2, -1), (-3, -2)]


def test_a_tenth_of_the_photons_judges(monkeypatch):
    _, _, parts = choose(monkeypatch, {0: 3, 1: 2, 2: 1, 3: 2})
    scan = scene(1e4).scan
    assert [part.dose / scan.dose for part in parts] == pytest.approx([0.9, 0.1])
    assert (parts[0].read() + parts[1].read() == scan.read()).all(), "no photon does both"
    for part, share in zip(parts, (0.9, 0.1), strict=True):
        assert part.probe == pytest.approx(scan.probe * share**0.5, rel=1e-5)


def test_a_given_weight_is_taken_as_it_is_and_holds_no_photon_out(monkeypatch):
    monkeypatch.setattr(poisson_map, "choose", None)
    s = scene(1e4)
    found = poisson_map.solve(s.scan, replace(SETTINGS, iterations=3), noise.stream(0, "solver"), 0.7)
    assert found.weight == 0.7 and found.tried == [] and found.iterations == 3
