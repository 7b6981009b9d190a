"""Descent on functions made by hand: it never rises, takes steps as long as it may, and ends where none goes down."""

import itertools

import pytest
import torch

from ptychodose.iterative import descent


class Bowl:
    """sum d |x - c|^2 with a preconditioner of `factor` times the identity (d None: 1); counts its evaluations."""

    def __init__(self, centre, d=None, factor=1.0, exact=False):
        self.centre, self.d, self.factor, self.exact = centre, torch.ones(()) if d is None else d, factor, exact
        self.looks = 0

    def __call__(self, image):
        self.looks += 1
        away = image - self.centre
        return float((self.d * (away.real**2 + away.imag**2)).sum()), self.d * away

    def preconditioner(self, image):
        return lambda slope: self.factor * (slope / self.d if self.exact else slope)


class Valley(Bowl):
    """Rosenbrock's: (1 - a)^2 + 100 (b - a^2)^2 of x = a + ib, which is bent and not convex."""

    def __call__(self, image):
        self.looks += 1
        a, b = image.real, image.imag
        bent = b - a**2
        along = torch.complex(-2 * (1 - a) - 400 * a * bent, 200 * bent)
        return float(((1 - a) ** 2 + 100 * bent**2).sum()), along / 2  # with respect to the conjugate


def field(*shape, seed=0):
    real, imaginary = torch.randn(2, *shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return torch.complex(real, imaginary)


def run(objective, start, iterations=500):
    """Images and values of a descent that has ended."""
    images, values = zip(*descent.descend(objective, start, iterations), strict=True)
    return images, values


def falls(values):
    return all(after <= before for before, after in itertools.pairwise(values))


def eigenvalues(*shape, decades=4):
    size = shape[0] * shape[1]
    order = torch.randperm(size, generator=torch.Generator().manual_seed(1))
    return torch.logspace(0, decades, size, dtype=torch.float64)[order].reshape(shape)


@pytest.mark.parametrize("factor", [0.1, 1.0, 30.0])
def test_an_uneven_bowl_is_descended_to_its_bottom_and_no_value_is_above_the_one_before(factor):
    """Curvatures over two decades, read from the slopes on the way."""
    centre, start = field(6, 5), field(6, 5, seed=2)
    images, values = run(Bowl(centre, eigenvalues(6, 5, decades=2), 1e-2 * factor), start)
    assert falls(values) and values[-1] < 1e-6 * values[0]
    assert torch.equal(images[0], start) and torch.allclose(images[-1], centre, atol=0.02)
    assert values[-1] == Bowl(centre, eigenvalues(6, 5, decades=2))(images[-1])[0], "each value is that of its image"


@pytest.mark.parametrize("start", [-1.2 + 1j, 3 - 2j, 0j, -2 + 4j])
def test_a_bent_valley_is_followed_to_its_end_without_rising(start):
    objective = Valley(None, factor=0.01)
    images, values = run(objective, torch.full((1, 1), start, dtype=torch.complex128))
    assert falls(values) and abs(images[-1].item() - (1 + 1j)) < 1e-3
    assert len(values) < 100 and objective.looks < 2 * len(values), "hardly a step is tried twice"


def test_the_exact_inverse_curvature_needs_one_step():
    objective = Bowl(field(6, 5), eigenvalues(6, 5), exact=True)
    _, values = run(objective, field(6, 5, seed=2), 1)
    assert len(values) == 2 and values[1] < 1e-25 * values[0]


def test_no_more_iterations_than_asked_for_and_the_start_comes_first():
    assert [len(run(Bowl(field(6, 5), eigenvalues(6, 5), 1e-4), field(6, 5, seed=2), n)[1]) for n in (0, 1, 7)] == [
        1, 2, 8]  # fmt: skip


@pytest.mark.parametrize(("short", "accepted"), [(1e-3, True), (2e-5, False)])
def test_a_full_step_that_brings_hardly_anything_is_not_taken(short, accepted):
    """A step to -(1 - 2 e) x of the bowl |x|^2 brings 4 e, of the 4 that the slope promises: e must be above 1e-4."""
    start = torch.ones(1, 1, dtype=torch.complex128)
    images, values = run(Bowl(0, factor=2 * (1 - short)), start, 1)
    assert falls(values)
    assert images[1].item() == pytest.approx(-(1 - 2 * short) if accepted else 0, abs=1e-4)


@pytest.mark.parametrize("factor", [2.5, 4.0, 9.0])
def test_a_step_too_long_is_shortened_to_where_the_parabola_is_lowest(factor):
    """From value and slope here and the value there: a bowl is a parabola, so its bottom is met at the second look."""
    objective = Bowl(field(3, 3), factor=factor)
    _, values = run(objective, field(3, 3, seed=1), 1)
    assert objective.looks == 3 and values[1] < 1e-20 * values[0]


@pytest.mark.parametrize(("factor", "steps"), [(500.0, 1), (2e4, 0)])
def test_a_step_is_shortened_a_thousandfold_but_not_more(factor, steps):
    _, values = run(Bowl(0, factor=factor), torch.ones(1, 1, dtype=torch.complex128), 1)
    assert len(values) == 1 + steps


def test_it_ends_at_once_at_the_bottom_and_where_the_way_leads_up():
    bottom = field(3, 3)
    assert len(run(Bowl(bottom), bottom)[1]) == 1
    assert len(run(Bowl(bottom, factor=-1.0), field(3, 3, seed=1))[1]) == 1


def test_pairs_that_mislead_are_forgotten_and_the_descent_goes_on(monkeypatch):
    """A stored pair that points uphill is dropped, and a step along the preconditioned slope alone is taken."""
    seen, plain = [], descent._step

    def refused(objective, image, value, way, slope):
        seen.append(way)
        return None if len(seen) == 3 else plain(objective, image, value, way, slope)

    monkeypatch.setattr(descent, "_step", refused)
    objective = Bowl(field(4, 4), eigenvalues(4, 4, decades=1), 0.05)
    images, values = run(objective, field(4, 4, seed=2), 5)
    assert falls(values) and len(values) == 6 and len(seen) == 6, "three of five, one more for the third"
    slope = objective(images[2])[1]
    assert torch.allclose(seen[3], -0.05 * slope) and not torch.allclose(seen[2], -0.05 * slope)


def test_eight_pairs_are_kept(monkeypatch):
    kept, plain = [], descent._two_loops
    monkeypatch.setattr(descent, "_two_loops", lambda *given: kept.append(len(given[1])) or plain(*given))
    run(Bowl(field(6, 5), eigenvalues(6, 5), 1e-4), field(6, 5, seed=2), 12)
    assert kept == [0, 1, 2, 3, 4, 5, 6, 7, 8, 8, 8, 8]


# Conjugate gradients


def system(size=6, seed=0):
    """A Hermitian positive operator on (2, size / 2) images, its matrix, and a right side."""
    root = field(size, size, seed=seed)
    matrix = root @ root.mH + 0.5 * torch.eye(size)
    right = field(2, size // 2, seed=seed + 1)
    return (lambda x: (matrix @ x.flatten()).reshape(x.shape)), matrix, right


@pytest.mark.parametrize("seed", range(4))
def test_conjugate_gradients_solve_a_small_system_in_as_many_rounds_as_unknowns(monkeypatch, seed):
    monkeypatch.setattr(descent, "SOLVED", 1e-9)
    operator, matrix, right = system(seed=seed)
    inverse = (1 / matrix.diagonal().real).reshape(right.shape)
    exact = torch.linalg.solve(matrix, right.flatten()).reshape(right.shape)
    found = descent.conjugate_gradients(operator, right, inverse, 12)
    assert torch.allclose(found, exact, atol=1e-6 * float(exact.abs().max()))
    few = [descent.conjugate_gradients(operator, right, inverse, n) for n in range(7)]
    energy = [0.5 * descent.dot(x, operator(x)) - descent.dot(x, right) for x in few]
    assert energy[0] == 0 and falls(energy) and energy[6] == pytest.approx(-0.5 * descent.dot(exact, right))


def test_conjugate_gradients_stop_at_a_twentieth_of_the_first_residual():
    """Rounds 12 are allowed; it stops at the first whose residual, in the preconditioner's norm, is small enough."""
    operator, matrix, right = system(size=20, seed=3)
    inverse = (1 / matrix.diagonal().real).reshape(right.shape)
    rounds = [descent.conjugate_gradients(operator, right, inverse, n) for n in range(30)]
    left = [right - operator(x) for x in rounds]
    size = [descent.dot(r, inverse * r) ** 0.5 for r in left]
    enough = next(n for n in range(30) if size[n] <= 0.05 * size[0])
    assert 3 < enough < 25 and torch.equal(rounds[enough], rounds[29])
    assert not torch.equal(rounds[enough - 1], rounds[enough])


def test_a_diagonal_system_with_its_own_inverse_takes_one_round():
    d = eigenvalues(4, 5)
    found = descent.conjugate_gradients(lambda x: d * x, field(4, 5), 1 / d, 1)
    assert torch.allclose(found, field(4, 5) / d, rtol=1e-12)
