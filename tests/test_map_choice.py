"""How MAP chooses its weight: the climb, the standard error, the photons held out, with losses laid down by hand."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from ptychodose.iterative import poisson_map
from ptychodose.physics import noise
from ptychodose.study import params
from scenes import scene

SETTINGS = replace(params.load("params.yaml").reconstruct_map, weight=0.4, weight_step=2.0, weight_moves=3, heldout=0.1)
EVEN, UNEVEN = np.zeros(4), np.array([-0.15, 0.15, -0.15, 0.15])  # standard deviation 0.15, standard error 0.075


def losses(means, scatter):
    """Held-out losses of four patterns by grid index."""
    return {k: mean + (EVEN if k not in scatter else UNEVEN) for k, mean in means.items()}


def choose(monkeypatch, table):
    """The choice among weights 0.4 * 2^k whose held-out losses are table[k]; every run takes 10 iterations. Also the
    order of the runs and the shares of the photons that taught and judged."""
    scan, order, parts = scene(1e4).scan, [], []

    def problem(part):
        parts.append(part)
        return SimpleNamespace(probe=torch.as_tensor(part.probe), offsets=torch.zeros(1, 4, 1, 2), flat=lambda: None)

    def minimise(problem, settings, weight, iterations, start, watch):
        k = round(np.log2(weight / 0.4))
        order.append(k)
        watch.losses, watch.best, watch.iterations, watch.obj = table[k], float(table[k].mean()), 10, k

    monkeypatch.setattr(poisson_map, "Problem", problem)
    monkeypatch.setattr(poisson_map, "minimise", minimise)
    choice = poisson_map.choose(scan, SETTINGS, noise.stream(0, "solver"))
    return choice, order, [part.dose / scan.dose for part in parts], scan


@pytest.mark.parametrize(
    ("means", "runs", "best"),
    [
        ({0: 3, 1: 2, 2: 1, 3: 2}, [0, 1, 2, 3], 2),
        ({0: 3, 1: 4, -1: 2, -2: 1, -3: 2}, [0, 1, -1, -2, -3], -2),
        ({0: 1, 1: 2, -1: 3}, [0, 1, -1], 0),
        ({0: 9, 1: 8, 2: 7, 3: 6, 4: 5}, [0, 1, 2, 3], 3),
        ({0: 9, 1: 10, -1: 8, -2: 7, -3: 6, -4: 5}, [0, 1, -1, -2, -3], -3),
        ({0: 1, 1: 1, -1: 3}, [0, 1, -1], 1),
    ],
)
def test_the_climb_ends_where_both_neighbours_are_no_better_or_the_grid_does(monkeypatch, means, runs, best):
    choice, order, _, _ = choose(monkeypatch, losses(means, ()))
    assert order == runs and choice.weight == pytest.approx(0.4 * 2.0**best) and choice.canvas == best
    assert [weight for weight, _, _ in choice.tried] == pytest.approx([0.4 * 2.0**k for k in sorted(runs)])


@pytest.mark.parametrize(("excess", "best"), [(0.05, 1), (0.10, 0), (0.2, 0)])
def test_of_those_within_one_standard_error_the_largest_weight_is_taken(monkeypatch, excess, best):
    table = losses({0: 1, 1: 1 + excess, -1: 1 + excess}, (1, -1))
    choice, _, _, _ = choose(monkeypatch, table)
    assert choice.weight == pytest.approx(0.4 * 2.0**best)
    assert poisson_map.no_worse(table[1], table[0]) is bool(best)


def test_a_tenth_of_the_photons_judges_and_the_probe_comes_back_whole(monkeypatch):
    choice, _, shares, scan = choose(monkeypatch, losses({0: 3, 1: 2, 2: 1, 3: 2}, ()))
    assert shares == pytest.approx([0.9, 0.1])
    assert choice.probe == pytest.approx(scan.probe, rel=1e-5)
    assert choice.iterations == 30, "ten of each run on the way"


def test_a_refined_probe_judges_with_the_held_out_share_of_its_photons():
    given = []
    kept = SimpleNamespace(probe=torch.ones(1))
    heldout = SimpleNamespace(flat=lambda: None, offsets=torch.zeros(1, 4, 1, 2), set_probe=given.append,
                              losses=lambda obj: EVEN + 1)  # fmt: skip
    watch = poisson_map._Watch(heldout, kept, 0.9, 1)
    kept.probe = torch.full((1,), 3.0)
    watch(1, None)
    assert given[0].tolist() == pytest.approx([1.0]), "3 * sqrt(0.1 / 0.9)"


def test_the_prior_counts_in_units_of_the_noise(monkeypatch):
    """400 photons of which a quarter tell, amplitude 0.5: a weight of 0.3 weighs 0.3 * sqrt(100) * 0.5 = 1.5, of which
    half a preconditioned step is taken."""
    zero = torch.zeros(2, 2, dtype=torch.complex64)
    problem = SimpleNamespace(flat=lambda: zero + 7, photons=400.0, efficiency=0.25, level=0.5,
                              gradient=lambda obj: zero, precondition=1.0)  # fmt: skip
    monkeypatch.setattr(poisson_map.priors, "gradient", lambda obj, name, smoothing: zero + 1)
    moved = poisson_map.minimise(problem, replace(SETTINGS, refine_probe=False), 0.3, 1)
    assert moved.flatten().tolist() == pytest.approx([7 - 0.75] * 4)
