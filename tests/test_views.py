"""Views: selection, description and storage."""

import contextlib
from dataclasses import replace

import numpy as np
import pytest

from ptychodose.errors import StudyError
from ptychodose.physics import lattice, noise, overlap
from ptychodose.physics.probes import Geometry
from ptychodose.scans import views
from ptychodose.scans.scan import Nodes, of_arrays

DISC = (np.hypot(*(np.indices((64, 64)) - 32)) < 12.75)[None]  # D90 of 24.2 px


@pytest.fixture(scope="module")
def scan():
    raster = lattice.finest_scan((32.0, 223.0), (32.0, 256.0), 2.42, noise.stream(0, "jitter/train"))
    counts = np.full((len(raster.positions), 1, 1), 100) * np.ones((1, 10, 10), np.int64)
    counts = np.pad(counts, ((0, 0), (27, 27), (27, 27)))  # 10,000 photons a pattern, in the middle
    made = of_arrays(counts, DISC.astype(np.complex64), raster.positions, (512, 288))
    return replace(made, nodes=Nodes(raster.nodes, 2.42), geometry=Geometry(8800.0, 1.0, 172e-6))


def build(scan, step, wanted, sizes=frozenset({1, 4})):
    rule = views.Rule(frozenset(sizes), 7)
    return views.select(scan, step, wanted, rule, noise.stream(1, "views"), "overlap.dense, train split")


def test_description_matches_the_design(scan):
    dense, sparse = build(scan, 3, None), build(scan, 8, None)
    rows = [views.describe(scan, v, m, 4, 7) for v, m in ((dense, 3), (sparse, 8))]
    assert [r["scans"] for r in rows] == [1, 1] and rows[1]["images"] < rows[0]["images"] / 6
    assert rows[0]["overlap_ratio"] == pytest.approx(0.7, abs=0.01)
    assert rows[1]["overlap_ratio"] == pytest.approx(0.2, abs=0.02)
    assert rows[0]["photons_per_pixel"] == pytest.approx(1e4 / 7.26**2)
    assert rows[0]["alpha"] == pytest.approx(78, abs=1) and rows[1]["alpha"] == pytest.approx(11, abs=0.2)
    assert rows[0]["m2_between_images"] > rows[1]["m2_between_images"] > 0
    assert rows[0]["m1_within_groups"] > rows[1]["m1_within_groups"]


def test_photons_per_pixel_are_those_of_the_signal_in_good_pixels(scan):
    """Background is no signal and a masked pixel tells nothing: neither may raise n-bar."""
    view = build(scan, 3, None)
    clean = views.describe(scan, view, 3, 4, 7)["photons_per_pixel"]
    mask = np.ones((64, 64), bool)
    mask[27:37, 27:32] = False  # half of the lit pixels
    noisy = replace(scan, counts=scan.counts + 2, background=np.full((64, 64), 2.0))
    assert views.describe(noisy, view, 3, 4, 7)["photons_per_pixel"] == pytest.approx(clean)
    assert views.describe(replace(scan, mask=mask), view, 3, 4, 7)["photons_per_pixel"] == pytest.approx(clean / 2)
    pixel_um = scan.pixel_m * 1e6
    assert views.describe(scan, view, 3, 4, 7)["photons_per_um2"] == pytest.approx(clean / pixel_um**2)


def test_large_groups_are_drawn_from_as_many_neighbours_as_they_need(scan):
    groups = build(scan, 8, None, {4, 16}).groups
    assert groups[4].shape[1] == 4 and groups[16].shape == (len(groups[4]), 16)


def test_training_views_of_any_overlap_have_equal_patterns(scan):
    assert len(build(scan, 3, 800).index) == len(build(scan, 8, 800).index) == 800


@pytest.mark.parametrize("step", [3, 8])
@pytest.mark.parametrize("wanted", [100_000, 807, 800, 400, 30])
@pytest.mark.parametrize("neighbours", [7, 100])
def test_numbers_that_fit_are_the_largest_and_a_view_can_have_them(scan, step, wanted, neighbours):
    rule = views.Rule(frozenset({4}), neighbours)
    number, nearest = views.fitting(scan, step, wanted, rule, noise.stream(1, "views"))
    assert number <= max(wanted, nearest) and nearest <= neighbours

    def made(number, nearest):
        return views.select(scan, step, number, views.Rule(rule.sizes, nearest), noise.stream(1, "views"), "x")

    assert len(made(number, nearest).index) == number
    for larger in range(number + 1, min(number + 4, wanted)):
        with contextlib.suppress(StudyError):
            assert len(made(larger, nearest).index) < larger
    if nearest < neighbours:
        with pytest.raises(StudyError, match="nearest asked for"):
            made(number, nearest + 1)


def test_round_trip_and_skips(scan, tmp_path):
    path = tmp_path / "dense.h5"
    view = build(scan, 3, 50)
    views.write(path, "dense", {"train": view})
    read = views.read(path, "train", {4})
    assert (read.index == view.index).all() and (read.groups[4] == view.groups[4]).all()
    assert views.skipped(path) is None
    with pytest.raises(StudyError, match="groups_9"):
        views.read(path, "train", {9})
    views.write_skipped(path, "dense", "because")
    assert views.skipped(path) == "because"
    with pytest.raises(StudyError, match="train/index"):
        views.read(path, "train", {4})


def test_groups_that_point_nowhere_are_refused(scan, tmp_path):
    path = tmp_path / "dense.h5"
    view = build(scan, 3, 50)
    views.write(path, "dense", {"train": views.View(view.index[:20], view.scan[:20], view.groups)})
    with pytest.raises(StudyError, match="do not point"):
        views.read(path, "train", {4})


def test_overlaps_and_photons_of_a_view_by_brute_force(scan):
    """Interleaved scans; M2 with the six nearest of the same scan; the probe carries a photon a lit pixel."""
    view = build(scan, 8, 860)
    row = views.describe(scan, view, 8, 4, 7)
    means, counts = [], []
    for number in np.unique(view.scan):
        at = scan.positions[view.index[view.scan == number]]
        distance = np.sort(np.linalg.norm(at[:, None] - at[None], axis=-1), axis=1)[:, 1:7]
        means.append(overlap.disc_overlap(distance, scan.diameter).mean())
        counts.append(len(at))
    assert len(counts) >= 2 and counts[0] > 1.2 * counts[-1], "the last one is cut"
    assert row["m2_between_images"] == pytest.approx(np.average(means, weights=counts), rel=1e-9)
    assert row["incident_photons_per_pixel"] == pytest.approx(DISC.sum() / (8 * 2.42) ** 2)
    assert row["photons_per_pixel"] == pytest.approx(1e4 / (8 * 2.42) ** 2)
    object_um = 1e6 * (1.23984198e-6 / 8800) / (64 * 172e-6)  # lambda z / (N p)
    assert row["photons_per_um2"] == pytest.approx(row["photons_per_pixel"] / object_um**2, rel=1e-6)
    assert row["alpha"] == pytest.approx(64**2 / (8 * 2.42) ** 2)


def test_measures_are_averaged_over_patterns_not_over_scans():
    assert views._mean([(1, 2.0), (3, 6.0), (9, None)]) == 5.0 and views._mean([(2, None)]) is None
