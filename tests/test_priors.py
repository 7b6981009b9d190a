"""Priors: exact gradients, indifferent to what ptychography cannot see, edges kept, slopes let through."""

import pytest
import torch

from ptychodose.iterative import priors

NAMES = ("tv", "hessian", "mixed")


def field(*shape, seed=0, scale=1.0):
    generator = torch.Generator().manual_seed(seed)
    real, imaginary = torch.randn(2, *shape, generator=generator, dtype=torch.float64)
    return scale * torch.complex(real, imaginary)


def ramp(rows, columns, slope=0.1):
    """Rises along y only."""
    return (slope * torch.arange(rows, dtype=torch.float64)[:, None]).expand(rows, columns).to(torch.complex128)


def energy(obj, name, smoothing=0.02):
    return float(priors.value(obj, name, smoothing))


@pytest.mark.parametrize("axis", [0, 1])
def test_adjoint_of_the_difference(axis):
    image, other = field(9, 12), field(9, 12, seed=5)
    left = torch.vdot(priors.difference(image, axis).flatten(), other.flatten())
    right = torch.vdot(image.flatten(), priors.difference_adjoint(other, axis).flatten())
    assert torch.isclose(left, right, rtol=1e-12)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("scale", [1e-3, 1.0])
def test_gradient_equals_autograd_and_finite_differences(name, scale):
    """On both sides of the smoothing: where the prior is quadratic and where it is linear."""
    obj = field(8, 11, scale=scale).requires_grad_()
    priors.value(obj, name, 0.02).backward()
    found = priors.gradient(obj.detach(), name, 0.02)
    assert torch.allclose(obj.grad / 2, found, rtol=1e-9, atol=1e-12)  # torch: dL/dO* doubled
    way, small = field(8, 11, seed=3, scale=scale), 1e-6
    ahead, back = (priors.value(obj.detach() + sign * small * way, name, 0.02) for sign in (1, -1))
    slope = 2 * torch.vdot(found.flatten(), way.flatten()).real
    assert float((ahead - back) / (2 * small)) == pytest.approx(float(slope), rel=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_a_constant_costs_nothing_and_is_left_alone(name):
    flat = torch.full((7, 9), 0.6 - 0.3j, dtype=torch.complex128)
    assert energy(flat, name) == pytest.approx(0, abs=1e-12)
    assert float(priors.gradient(flat, name, 0.02).abs().max()) < 1e-12


@pytest.mark.parametrize("name", NAMES)
def test_a_global_phase_and_a_transposition_change_nothing(name):
    obj = field(10, 10)
    turn = torch.polar(torch.tensor(1.0, dtype=torch.float64), torch.tensor(0.7, dtype=torch.float64))
    assert energy(obj * turn, name) == pytest.approx(energy(obj, name), rel=1e-12)
    assert energy(obj.T.contiguous(), name) == pytest.approx(energy(obj, name), rel=1e-12)


def test_second_differences_let_a_ramp_pass_and_first_ones_do_not():
    """A ramp costs the second differences at its ends only: twice the rows, the same cost; first differences twice."""
    short, long = ramp(21, 16), ramp(41, 16)
    assert energy(short, "hessian") > 0 and energy(long, "hessian") == pytest.approx(energy(short, "hessian"))
    assert energy(long, "tv") == pytest.approx(2 * energy(short, "tv"))
    assert float(priors.gradient(long, "hessian", 0.02)[3:-3].abs().max()) < 1e-12


def test_an_edge_costs_its_height_however_wide_it_is():
    """Total variation has no preference for blur: a step and a slope of the same height cost about the same."""
    step, slope = torch.zeros(2, 60, 5, dtype=torch.complex128)
    step[30:] = 1.0
    slope[20:40] = torch.linspace(0, 1, 20)[:, None]
    slope[40:] = 1.0
    assert energy(slope, "tv", 1e-4) == pytest.approx(energy(step, "tv", 1e-4), rel=0.01)


@pytest.mark.parametrize("name", NAMES)
def test_energy_scales_with_the_object_and_its_smoothing(name):
    obj = field(9, 9)
    assert energy(3 * obj, name, 0.06) == pytest.approx(3 * energy(obj, name, 0.02), rel=1e-12)
    assert energy(2e-5 * obj, name) == pytest.approx(4 * energy(1e-5 * obj, name), rel=1e-3), "quadratic when small"
    assert energy(2e3 * obj, name) == pytest.approx(2 * energy(1e3 * obj, name), rel=1e-3), "linear when large"


def test_mixed_is_the_weighted_sum():
    obj = field(9, 9)
    first, second = priors.WEIGHTS["mixed"]
    assert energy(obj, "mixed") == pytest.approx(first * energy(obj, "tv") + second * energy(obj, "hessian"))


# The quadratic upper bound


def quadratic(bound, obj):
    """<O, A O>"""
    return float(torch.vdot(obj.flatten(), bound(obj).flatten()).real)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("scale", [1e-3, 0.03, 1.0])
def test_the_bound_touches_the_prior_at_its_object_and_lies_above_it_elsewhere(name, scale):
    here = field(9, 11, scale=scale)
    bound = priors.bound(here, name, 0.02)
    assert bound.energy == pytest.approx(energy(here, name), rel=1e-9)
    assert torch.allclose(bound(here), priors.gradient(here, name, 0.02))
    constant = bound.energy - quadratic(bound, here)
    for seed in range(1, 6):
        for other in (here + field(9, 11, seed=seed, scale=0.3 * scale), field(9, 11, seed=seed), 0 * here, -here):
            assert quadratic(bound, other) + constant >= energy(other, name) - 1e-9
    near = here + 1e-5 * field(9, 11, seed=7, scale=scale)
    above = quadratic(bound, near) + constant - energy(near, name)
    assert 0 <= above < 1e-6 * bound.energy, "it touches: the gap is of second order"


@pytest.mark.parametrize("name", NAMES)
def test_the_bound_is_self_adjoint_and_positive_semi_definite(name):
    bound = priors.bound(field(6, 7), name, 0.02)
    columns = []
    for i in range(42):
        unit = torch.zeros(42, dtype=torch.complex128)
        unit[i] = 1
        columns.append(bound(unit.reshape(6, 7)).flatten())
    matrix = torch.stack(columns, 1)
    assert torch.allclose(matrix, matrix.mH, atol=1e-12)
    values = torch.linalg.eigvalsh(matrix)
    assert float(values[0]) > -1e-12 * float(values[-1]), "semi-definite ..."
    assert float(values[0]) < 1e-9 * float(values[-1]) < 1e-3 * float(values[3]), "... and 0 for a constant"


@pytest.mark.parametrize("name", NAMES)
def test_the_diagonal_is_exact_inside_where_differences_weigh_evenly(name):
    flat = torch.full((12, 12), 0.7 + 0.1j, dtype=torch.complex128)
    bound = priors.bound(flat, name, 0.02)
    for y, x in ((5, 5), (4, 7)):
        unit = torch.zeros_like(flat)
        unit[y, x] = 1
        assert float(bound.diagonal[y, x]) == pytest.approx(quadratic(bound, unit), rel=1e-9)
    assert bound.diagonal.shape == (12, 12) and bool((bound.diagonal > 0).all())
