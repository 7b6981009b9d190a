"""Views: selection, description and storage."""

import numpy as np
import pytest

from ptychodose.errors import StudyError
from ptychodose.physics import lattice, noise
from ptychodose.scans import cxi, views


@pytest.fixture(scope="module")
def header():
    raster = lattice.finest_scan((32.0, 223.0), (32.0, 256.0), 2.42, noise.stream(0, "jitter/train"))
    probe = np.zeros((64, 64), np.complex64)
    probe[32, 32] = 100
    mask = np.zeros((64, 64), np.uint32)
    return cxi.Header(
        raster.positions, raster.nodes, probe, mask, 8800.0, 1.0, 172e-6, 2.42, 24.2, (512, 288), 1e4, 1e4
    )


def build(header, step, wanted, sizes=frozenset({1, 4})):
    return views.select(header, step, wanted, set(sizes), 7, noise.stream(1, "views"), "overlap.dense, train split")


def test_description_matches_the_design(header):
    dense, sparse = build(header, 3, None), build(header, 8, None)
    rows = [views.describe(header, v, m, 4, 7, 1e4 * len(v.index)) for v, m in ((dense, 3), (sparse, 8))]
    assert [r["scans"] for r in rows] == [1, 1] and rows[1]["images"] < rows[0]["images"] / 6
    assert rows[0]["overlap_ratio"] == pytest.approx(0.7) and rows[1]["overlap_ratio"] == pytest.approx(0.2)
    assert rows[0]["photons_per_pixel"] == pytest.approx(1e4 / 7.26**2)
    assert rows[0]["alpha"] == pytest.approx(78, abs=1) and rows[1]["alpha"] == pytest.approx(11, abs=0.2)
    assert rows[0]["m2_between_images"] > rows[1]["m2_between_images"] > 0
    assert rows[0]["m1_within_groups"] > rows[1]["m1_within_groups"]


def test_training_views_of_any_overlap_have_equal_patterns(header):
    assert len(build(header, 3, 800).index) == len(build(header, 8, 800).index) == 800


@pytest.mark.parametrize("wanted, nearest", [(100_000, 7176), (807, 806)])
def test_impossible_numbers_of_patterns_name_the_nearest(header, wanted, nearest):
    with pytest.raises(StudyError, match=f"nearest usable value: {nearest}"):
        build(header, 3, wanted)


def test_round_trip_and_skips(header, tmp_path):
    path = tmp_path / "dense.h5"
    view = build(header, 3, 50)
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


def test_groups_that_point_nowhere_are_refused(header, tmp_path):
    path = tmp_path / "dense.h5"
    view = build(header, 3, 50)
    views.write(path, "dense", {"train": views.View(view.index[:20], view.scan[:20], view.groups)})
    with pytest.raises(StudyError, match="do not point"):
        views.read(path, "train", {4})
