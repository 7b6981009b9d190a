"""Lattice, split, views and groups: geometry that must hold for every seed."""

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from ptychodose.errors import StudyError
from ptychodose.physics import lattice
from ptychodose.scans.groups import covering, neighbour_groups, unseen_neighbours


def rng(seed=0):
    return np.random.Generator(np.random.Philox(seed))


@pytest.fixture(scope="module")
def raster():
    return lattice.finest_scan((32.0, 223.0), (32.0, 256.0), 2.42, rng())


def test_positions_stay_inside_and_near_their_nodes(raster):
    assert (raster.positions <= (223, 256)).all() and (raster.positions >= 32).all()
    pitch = np.diff([raster.positions[raster.nodes[:, 0] == i, 0].mean() for i in (0, 40)]) / 40
    assert pitch == pytest.approx(2.42, rel=0.01)
    assert len(np.unique(raster.nodes, axis=0)) == len(raster.nodes)


def test_jitter_is_uniform_over_a_pitch(raster):
    rows, columns = raster.nodes.max(0) + 1
    middle = [(32 + 223) / 2, (32 + 256) / 2]
    centres = middle + (raster.nodes - [(rows - 1) / 2, (columns - 1) / 2]) * 2.42
    jitter = (raster.positions - centres) / 2.42  # of a pitch
    assert (rows, columns) == (int(191 / 2.42), int(224 / 2.42))
    assert 0.49 < np.abs(jitter).max() <= 0.5 and abs(jitter.mean(0)).max() < 0.01
    assert jitter.std(0) == pytest.approx(1 / np.sqrt(12), rel=0.02)
    assert abs(np.corrcoef(jitter.T)[0, 1]) < 0.05, "its own for each axis"


@pytest.mark.parametrize(("high", "train", "test"), [(481.0, 224, 289), (480.0, 223, 289)])
def test_the_guard_is_a_patch_and_a_row(high, train, test):
    """N + 1 = 65 rows between the last training and the first test centre, one more where a row is left over."""
    assert lattice.split_bounds(32.0, high, 64) == ((32.0, train), (test, high))


@pytest.mark.parametrize(("size", "rows"), [(64, (32.0, 480.0)), (128, (76.0, 407.9)), (64, (32.5, 481.3))])
def test_train_and_test_patches_share_no_pixel(size, rows):
    train, test = lattice.split_bounds(*rows, size)
    last_row = np.rint(train[1]) - size // 2 + size - 1
    first_row = np.rint(test[0]) - size // 2
    assert last_row < first_row
    assert train[1] - train[0] == test[1] - test[0]


def test_a_base_too_short_for_the_guard_is_refused():
    with pytest.raises(StudyError, match="guard of 65 rows"):
        lattice.split_bounds(32.0, 97.0, 64)


@pytest.mark.parametrize("step", range(1, 11))
def test_the_stride_is_ten_times_one_minus_the_overlap(step):
    assert lattice.stride(1 - step / 10, 10) == step
    assert lattice.stride(1 - step / 16, 16) == step


@pytest.mark.parametrize("off", [1e-3, -1e-3, 1e-4, -1e-4])
def test_a_thousandth_of_a_step_off_the_grid_is_refused(off):
    with pytest.raises(StudyError, match=r"not on the grid of 0\.1 in \[0, 1\); nearest usable value: 0\.7$"):
        lattice.stride(0.7 + off, 10)


@pytest.mark.parametrize(
    ("ratio", "nearest"), [(0.25, "0.2|0.3"), (1.0, "0.9"), (-0.1, "0"), (0.97, "0.9"), (7.0, "0.9")]
)
def test_an_overlap_off_the_grid_names_the_nearest(ratio, nearest):
    with pytest.raises(StudyError, match=f"nearest usable value: ({nearest})$"):
        lattice.stride(ratio, 10)


def test_scans_of_a_stride_partition_the_lattice(raster):
    order = lattice.scan_order(raster.nodes, 3, rng(1))
    members = [np.flatnonzero(((raster.nodes - o) % 3 == 0).all(1)) for o in order]
    assert sorted(np.concatenate(members)) == list(range(len(raster.nodes)))


@pytest.mark.parametrize("step", [1, 2, 3, 7])
def test_the_first_scan_is_the_centred_one_and_the_rest_are_shuffled(raster, step):
    order = lattice.scan_order(raster.nodes, step, rng(1))
    assert sorted(map(tuple, order.tolist())) == [(i, j) for i in range(step) for j in range(step)]
    last = raster.nodes.max(0)
    for first, end in zip(order[0], last, strict=True):
        behind = end - (first + (end - first) // step * step)  # nodes beyond the scan's last row
        assert 0 <= behind - first <= 1, "as many nodes before the scan as behind it, the odd one behind"
    other = lattice.scan_order(raster.nodes, step, rng(2))
    assert (other[0] == order[0]).all()
    if step > 2:
        assert (other != order).any() and (np.lexsort(order.T[::-1]) != np.arange(step**2)).any()


def test_one_complete_scan_or_exactly_the_wanted_patterns(raster):
    index, scans = lattice.select_scans(raster.nodes, 7, None, rng(3))
    centred = lattice.scan_order(raster.nodes, 7, rng(3))[0]
    assert ((raster.nodes[index] - centred) % 7 == 0).all() and not scans.any()
    assert len(index) == np.prod((raster.nodes.max(0) - centred) // 7 + 1)
    more, of = lattice.select_scans(raster.nodes, 7, 2 * len(index) + 5, rng(3))
    assert len(more) == 2 * len(index) + 5 and (more[: len(index)] == index).all()
    last = more[of == of.max()]
    whole = np.flatnonzero(((raster.nodes - raster.nodes[last[0]]) % 7 == 0).all(1))
    assert len(last) < len(whole) and (last == whole[: len(last)]).all(), "the last scan is cut in raster order"


@pytest.mark.parametrize("step", [3, 8])
def test_train_views_have_exactly_the_wanted_patterns_and_keep_their_step(raster, step):
    index, scans = lattice.select_scans(raster.nodes, step, 800, rng(2))
    assert len(index) == len(set(index)) == 800
    for number in np.unique(scans):
        nodes = raster.nodes[index[scans == number]]
        distance = cdist(nodes, nodes)
        assert distance[distance > 0].min() == step


def test_groups_hold_their_anchor_stay_in_their_scan_and_are_near(raster):
    index, scans = lattice.select_scans(raster.nodes, 8, 500, rng(3))
    positions = raster.positions[index]
    groups = neighbour_groups(positions, scans, 4, 7, rng(4))
    assert sorted(groups[:, 0]) == list(range(500))
    assert (np.sort(groups)[:, 1:] != np.sort(groups)[:, :-1]).all(), "no pattern twice in a group"
    assert (scans[groups] == scans[groups[:, :1]]).all()
    distance = np.linalg.norm(positions[groups] - positions[groups[:, :1]], axis=2).max(1)
    for group, reach in zip(groups, distance, strict=True):
        mine = positions[scans == scans[group[0]]]
        closer = np.linalg.norm(mine - positions[group[0]], axis=1) < reach - 1e-9
        assert closer.sum() <= 6, "drawn from the 7 nearest"
    again = neighbour_groups(positions, scans, 4, 7, rng(4))
    assert (groups == again).all()


def test_single_pattern_groups_are_the_patterns(raster):
    groups = neighbour_groups(raster.positions[:50], np.zeros(50, int), 1, 7, rng())
    assert (groups[:, 0] == np.arange(50)).all()


def test_too_few_neighbours_or_patterns_are_refused(raster):
    with pytest.raises(StudyError, match="set it to at least 4"):
        neighbour_groups(raster.positions[:50], np.zeros(50, int), 4, 3, rng())
    with pytest.raises(StudyError, match="nearest usable value: 5"):
        neighbour_groups(raster.positions[:5], np.zeros(5, int), 4, 7, rng())


def test_jitter_is_uniform_over_a_pitch_on_both_axes(raster):
    """Standard deviation of a uniform number over a width w: w / sqrt(12)."""
    rest = raster.positions - 2.42 * raster.nodes
    rest = rest - rest.mean(0)
    assert rest.std(0) == pytest.approx([2.42 / 12**0.5] * 2, rel=0.02) and np.abs(rest).max() < 1.22
    assert abs(np.corrcoef(rest.T)[0, 1]) < 0.05


@pytest.mark.parametrize("ratio", [0.29, 0.295, 0.2999, 0.7001])
def test_an_overlap_near_the_grid_is_not_on_it(ratio):
    with pytest.raises(StudyError, match=r"is not on the grid of 0\.1"):
        lattice.stride(ratio, 10)


@pytest.mark.parametrize(("count", "step"), [(12, 3), (13, 4), (30, 8), (31, 10)])
def test_the_first_scan_leaves_margins_that_differ_by_a_node_at_most(count, step):
    nodes = np.stack(np.meshgrid(range(count), range(count), indexing="ij"), -1).reshape(-1, 2)
    first = lattice.scan_order(nodes, step, rng())[0]
    for offset in first:
        kept = np.arange(offset, count, step)
        assert 0 <= (count - 1 - kept[-1]) - kept[0] <= 1


def test_the_guard_is_a_row_more_than_a_patch():
    (low, end), (start, high) = lattice.split_bounds(0.0, 199.0, 64)
    assert (low, high) == (0, 199) and start - end == 65


def test_a_group_goes_when_an_earlier_one_holds_its_anchor():
    groups = np.array([[0, 1], [1, 3], [2, 1], [0, 2], [3, 0]])
    assert covering(groups).tolist() == [[0, 1], [2, 1], [3, 0]]


def test_unseen_neighbours_are_the_nearest_to_the_centroid_by_brute_force(raster):
    positions = raster.positions[:400]
    groups = neighbour_groups(positions, np.zeros(400, int), 4, 7, rng(1))
    allowed = np.arange(0, 400, 2)
    found = unseen_neighbours(positions, groups, allowed, 3)
    for group, unseen in zip(groups, found, strict=True):
        distance = np.linalg.norm(positions - positions[group].mean(0), axis=1)
        free = [i for i in np.argsort(distance) if i % 2 == 0 and i not in group]
        assert sorted(unseen) == sorted(free[:3])


def test_members_are_drawn_at_random_from_the_six_beside_the_anchor(raster):
    positions = raster.positions[:400]
    groups = neighbour_groups(positions, np.zeros(400, int), 2, 7, rng(1))
    assert groups[:, 0].tolist() == list(range(400))
    order = np.argsort(cdist(positions, positions), axis=1)
    ranks = [int(np.flatnonzero(order[a] == b)[0]) for a, b in groups]
    assert np.bincount(ranks, minlength=8)[1:7].min() > 40 and max(ranks) == 6
