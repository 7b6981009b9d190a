"""The torch forward model: equal to the simulator, its adjoint exact, its likelihood honest."""

import numpy as np
import pytest
import torch

from ptychodose.networks.groups import Patterns
from ptychodose.physics import forward, probes, simulate, textures


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def noise(*shape, seed=0):
    return torch.complex(
        torch.randn(*shape, generator=generator(seed)), torch.randn(*shape, generator=generator(seed + 1))
    )


@pytest.fixture(scope="module")
def scene():
    """Object (150, 121), default probe scaled to 1e4 photons, sub-pixel positions of 6 patterns in 2 groups."""
    rng = np.random.Generator(np.random.Philox(0))
    obj = textures.synthetic_object((150, 121), 0.55, 0.12, rng).astype(np.complex64)
    probe = probes.zone_plate_probe(64, 8800, 1.0, 172e-6, 29.26e-9, 0.4, 60.5e-6, 0.7) * 100
    positions = rng.uniform((45, 40), (75, 70), (6, 2))
    return obj, probe.astype(np.complex64), positions


def test_torch_equals_numpy_simulator(scene):
    obj, probe, positions = scene
    counts = simulate.expected_counts(obj, probe, positions)
    patterns = Patterns((counts * 1000).astype(np.int64), positions, probe, 1e4)
    index = np.arange(6).reshape(2, 3)
    probes, _ = patterns.tensors(index, patterns.read(index))
    corners = patterns.corners[torch.as_tensor(index)]
    canvas = torch.as_tensor(obj)[None].expand(2, -1, -1)
    found = torch.fft.fftshift(forward.rate(canvas, corners, probes), dim=(-2, -1)).reshape(6, 64, 64).numpy()
    assert np.abs(found - counts).max() < 1e-5 * counts.max()


def test_extract_and_scatter_are_adjoint():
    corners = torch.tensor([[[0, 3], [5, 1]], [[2, 2], [2, 2]]])
    canvas, patches = noise(2, 20, 15), noise(2, 2, 8, 8, seed=5)
    left = torch.vdot(forward.extract(canvas, corners, 8).flatten(), patches.flatten())
    right = torch.vdot(canvas.flatten(), forward.scatter_add(patches, corners, (20, 15)).flatten())
    assert torch.isclose(left, right, rtol=1e-5)


def test_extract_is_the_slice():
    canvas = torch.arange(20 * 15).reshape(1, 20, 15)
    patch = forward.extract(canvas, torch.tensor([[[4, 6]]]), 8)[0, 0]
    assert (patch == canvas[0, 4:12, 6:14]).all()


def test_propagation_keeps_energy_and_is_its_own_adjoint():
    waves, other = noise(3, 64, 64), noise(3, 64, 64, seed=7)
    far = forward.propagate(waves)
    assert torch.isclose(forward.measure(far).sum(), forward.measure(waves).sum(), rtol=1e-5)
    left = torch.vdot(far.flatten(), other.flatten())
    assert torch.isclose(left, torch.vdot(waves.flatten(), forward.back_propagate(other).flatten()), rtol=1e-4)


def test_a_whole_pixel_shift_is_a_roll():
    probe = noise(64, 64)
    moved = forward.shift_probe(probe, torch.tensor([3.0, -5.0], dtype=torch.float64))
    assert torch.allclose(moved, torch.roll(probe, (3, -5), (0, 1)), atol=1e-4)


def test_gradient_equals_autograd(scene):
    _, probe, positions = scene
    patterns = Patterns(np.zeros((6, 64, 64), np.int64), positions, probe, 1e4)
    index = np.arange(6).reshape(2, 3)
    probes, _ = patterns.tensors(index, patterns.read(index))
    counts = torch.poisson(torch.full(probes.shape, 3.0), generator=generator())
    corners = patterns.corners[torch.as_tensor(index)]
    canvas = (0.8 * noise(2, 150, 121)).requires_grad_()
    forward.poisson_nll(forward.rate(canvas, corners, probes), counts, 0.05).sum().backward()
    exact = forward.likelihood_gradient(canvas.detach(), corners, probes, counts, 0.05)
    assert torch.allclose(canvas.grad / 2, exact, atol=2e-3 * float(exact.abs().max()))  # torch: dL/dO* doubled


@pytest.mark.parametrize("rate", [0.01, 0.7, 5.0, 400.0])
@pytest.mark.parametrize("floor", [0.05, 1.0])
def test_expected_loss_is_smallest_at_the_true_rate(rate, floor):
    counts = torch.poisson(torch.full((400_000,), rate), generator=generator(3)).double()
    trial = rate * torch.linspace(0.5, 1.5, 21, dtype=torch.float64)
    losses = torch.stack([forward.poisson_nll(lam, counts, floor).mean() for lam in trial])
    assert abs(int(losses.argmin()) - 10) <= (2 if rate < 0.1 else 1)
    assert float(forward.poisson_nll(counts, counts, floor).abs().max()) == 0


def test_split_positions_reassembles():
    positions = torch.tensor([[32.0, 40.49], [33.51, 50.5]], dtype=torch.float64)
    corners, rest = forward.split_positions(positions, 64)
    assert torch.equal(corners + 32 + rest, positions) and float(rest.abs().max()) <= 0.5
