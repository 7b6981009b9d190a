"""Stitching: known patches in, the object out, whatever phases the groups come with."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from ptychodose.networks import predict, stitch
from ptychodose.physics import lattice, noise, textures
from ptychodose.scans.groups import covering, neighbour_groups
from ptychodose.scans.scan import of_arrays
from scenes import zone_plate


@pytest.fixture(scope="module")
def scene():
    """A non-square, asymmetric object, scan positions over it and their groups of 1 and 4."""
    obj = textures.synthetic_object((170, 131), 0.55, 0.12, noise.stream(0, "object"))
    y, x = np.indices(obj.shape)
    obj = (obj * (0.6 + 0.4 * x / 131) * np.exp(0.01j * y)).astype(np.complex64)
    raster = lattice.finest_scan((32.0, 138.0), (32.0, 99.0), 7.2, noise.stream(0, "jitter/test"))
    counts = np.ones((len(raster.positions), 64, 64), np.uint32)
    return obj, of_arrays(counts, 100 * zone_plate(), raster.positions, obj.shape), raster.positions


def groups_of(positions, size):
    return neighbour_groups(positions, np.zeros(len(positions), int), size, 7, noise.stream(1, "views"))


@pytest.mark.parametrize("size", [1, 4])
@pytest.mark.parametrize("block", [1, 17, 1000])
def test_true_patches_return_the_object(scene, size, block):
    obj, patterns, positions = scene
    found, weight = predict.reconstruct(predict.by_object(obj), patterns, groups_of(positions, size), block)
    lit = weight > 1e-3 * weight.max()
    assert lit.mean() > 0.5
    phase = np.vdot(found[lit], obj[lit])
    aligned = found * phase / abs(phase)
    assert np.abs(aligned - obj)[lit].max() < 1e-6


@pytest.mark.parametrize("size", [1, 4])
def test_random_phases_of_the_groups_are_synchronised_away(scene, size):
    obj, patterns, positions = scene
    rng = noise.stream(2, "network")

    def solve(batch, origins):
        exact = predict.by_object(obj)(batch, origins)
        angle = torch.as_tensor(2 * np.pi * rng.random((len(origins), 1, 1)))
        return exact * torch.polar(torch.ones_like(angle), angle).to(exact.dtype)

    found, weight = predict.reconstruct(solve, patterns, groups_of(positions, size), 16)
    lit = weight > 1e-3 * weight.max()
    phase = np.vdot(found[lit], obj[lit])
    error = np.abs(found * phase / abs(phase) - obj)[lit]
    print(error.max(), error.mean())
    assert error.max() < 1e-4


def test_wrong_offsets_or_axes_do_not_return_the_object(scene):
    obj, patterns, positions = scene

    def mirrored(batch, origins):
        return predict.by_object(obj)(batch, origins).flip(-1)

    found, weight = predict.reconstruct(mirrored, patterns, groups_of(positions, 4), 16)
    lit = weight > 1e-3 * weight.max()
    assert np.abs(found - obj)[lit].mean() > 0.1


def test_unlit_pixels_are_filled_and_weigh_nothing():
    piece, weight = np.full((4, 4), 2 + 0j, np.complex64), np.ones((4, 4), np.float32)
    obj, total = stitch.stitch([piece], [weight], [np.array([1, 2])], (8, 9), fill=0.5)
    assert (obj[1:5, 2:6] == 2).all() and obj[0, 0] == 0.5 and total[0, 0] == 0 and total.sum() == 16


@pytest.mark.parametrize("size", [1, 4])
def test_covering_groups_hold_every_pattern(scene, size):
    groups = groups_of(scene[2], size)
    fewer = covering(groups)
    assert set(fewer.ravel()) == set(groups.ravel()) and (size == 1 or len(fewer) < 0.7 * len(groups))


def test_pieces_are_averaged_by_their_light():
    pieces = [np.full((2, 2), value, np.complex64) for value in (1.0, 3.0)]
    weights = [np.full((2, 2), value, np.float32) for value in (1.0, 3.0)]
    obj, total = stitch.stitch(pieces, weights, [np.array([0, 0]), np.array([0, 1])], (2, 3))
    assert obj[0].tolist() == pytest.approx([1, 2.5, 3]) and total[0].tolist() == [1, 4, 3]


def test_weights_are_the_photons_of_the_covering_groups_and_the_rest_is_flat(scene):
    obj, patterns, _ = scene
    whole = replace(patterns, positions=np.rint(patterns.positions))
    found, weight = predict.reconstruct(predict.by_object(obj), whole, np.arange(len(whole))[:, None], 16)
    light = np.zeros(obj.shape)
    for y, x in whole.positions.astype(int) - 32:
        light[y : y + 64, x : x + 64] += np.abs(100 * zone_plate()) ** 2
    lit = light > 1e-5 * light.max()
    assert weight[lit] == pytest.approx(light[lit], rel=1e-3)
    assert (weight == 0).any() and found[weight == 0] == pytest.approx(whole.level) and whole.level < 0.9
