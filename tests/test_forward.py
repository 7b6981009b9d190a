"""The torch forward model: equal to the simulator, its adjoint exact, its likelihood honest."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from ptychodose.physics import forward, textures
from ptychodose.scans import tensors
from ptychodose.scans.scan import of_arrays
from scenes import zone_plate


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def noise(*shape, seed=0):
    return torch.complex(
        torch.randn(*shape, generator=generator(seed)), torch.randn(*shape, generator=generator(seed + 1))
    )


@pytest.fixture(scope="module", params=["one mode", "two modes", "background and mask"])
def scan(request):
    """6 sub-pixel patterns under the default probe, scaled to 1e4 photons, over an object (150, 121)."""
    rng = np.random.Generator(np.random.Philox(0))
    modes = [zone_plate() * 90, np.roll(zone_plate(), 3, 0) * 40][: 2 if request.param == "two modes" else 1]
    made = of_arrays(None, np.array(modes), rng.uniform((45, 40), (75, 70), (6, 2)), (150, 121))
    if request.param == "background and mask":
        made = replace(made, background=rng.uniform(0, 2, (64, 64)), mask=rng.random((64, 64)) < 0.9)
    return replace(made, counts=rng.poisson(3.0, (6, 64, 64)))


@pytest.fixture(scope="module")
def obj():
    rng = np.random.Generator(np.random.Philox(0))
    return textures.synthetic_object((150, 121), 0.55, 0.12, rng).astype(np.complex64)


def on_the_object(scan):
    """Two groups of three patterns, the canvas being the whole object."""
    index = np.arange(6).reshape(2, 3)
    return tensors.patterns(scan, index, tensors.corners_of(scan, index)[0], scan.shape)


def test_torch_equals_numpy_simulator(scan, obj):
    rate = scan.expected(obj)
    canvas = torch.as_tensor(obj)[None].expand(2, -1, -1)
    found = forward.expected(canvas, on_the_object(scan))
    found = torch.fft.fftshift(found, dim=(-2, -1)).reshape(6, 64, 64).numpy()
    assert np.abs(found - rate).max() < 1e-5 * rate.max()


def test_extract_and_scatter_are_adjoint():
    corners = torch.tensor([[[0, 3], [5, 1]], [[2, 2], [2, 2]]])
    canvas, patches = noise(2, 20, 15), noise(2, 2, 8, 8, seed=5)
    left = torch.vdot(forward.extract(canvas, corners, 8).flatten(), patches.flatten())
    right = torch.vdot(canvas.flatten(), forward.scatter_add(patches, corners, (20, 15)).flatten())
    assert torch.isclose(left, right, rtol=1e-5)


def test_a_canvas_of_another_shape_is_refused(scan, obj):
    with pytest.raises(ValueError, match=r"canvases \(64, 64\)"):
        forward.expected(torch.as_tensor(obj)[None, :64, :64], on_the_object(scan))


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


def test_gradient_equals_autograd_and_masked_pixels_have_no_say(scan):
    patterns = on_the_object(scan)
    canvas = (0.8 * noise(2, 150, 121)).requires_grad_()
    good = scan.mask.sum()
    (forward.losses(canvas, patterns).sum() * good).backward()
    exact = forward.gradient(canvas.detach(), patterns)
    assert torch.allclose(canvas.grad / 2, exact, atol=2e-3 * float(exact.abs().max()))  # torch: dL/dO* doubled
    spoilt = replace(scan, counts=np.where(scan.mask, scan.counts, 60000))
    assert torch.equal(forward.gradient(canvas.detach(), on_the_object(spoilt)), exact)


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
