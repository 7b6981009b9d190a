"""Views: selection, description and storage."""

import re
from dataclasses import replace
from functools import cache

import numpy as np
import pytest

import overlap as overlap_stage
from ptychodose.errors import StudyError
from ptychodose.physics import lattice, noise, overlap
from ptychodose.physics.probes import Geometry
from ptychodose.scans import views
from ptychodose.scans.scan import Nodes, of_arrays
from ptychodose.study import params
from sandbox import ROOT

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


def lattice_of(rows, columns):
    """A finest scan without counts over so many px."""
    raster = lattice.finest_scan((32.0, 32.0 + rows), (32.0, 32.0 + columns), 2.42, noise.stream(0, "jitter/train"))
    made = of_arrays(None, DISC.astype(np.complex64), raster.positions, (64 + rows, 64 + columns))
    return replace(made, nodes=Nodes(raster.nodes, 2.42))


@cache
def whether(rows, columns, step, wanted, nearest):
    """Whether `select` finds that many patterns in groups of 4."""
    rule = views.Rule(frozenset({4}), nearest)
    try:
        made = views.select(lattice_of(rows, columns), step, wanted, rule, noise.stream(1, "views"), "x")
    except StudyError:
        return False
    return wanted is None or len(made.index) == wanted


@pytest.mark.parametrize("shape", [(24, 44), (40, 60), (9, 200)])
@pytest.mark.parametrize("asked", [(1, 2), (3, 7), (30, 7), (30, 100), (95, 5), (10**5, 7), (150, 40)])
def test_numbers_that_are_named_work_in_all_views_and_none_are_nearer(shape, asked):
    """Brute force: `select` for both views and every pair of numbers about the asked ones."""
    rule = views.Rule(frozenset({4}), asked[1])
    train, test = (
        [views.room(lattice_of(*shape), step, wanted, rule, noise.stream(1, "views")) for step in (2, 5)]
        for wanted in (asked[0], None)
    )
    found = views.fitting(train, test, *asked)
    good = {
        (number, nearest)
        for nearest in range(1, min(asked[1], 12) + 1)
        for number in range(1, 60)
        if all(whether(*shape, step, None, nearest) and whether(*shape, step, number, nearest) for step in (2, 5))
    }
    if found is None:
        assert not good
        return
    assert all(whether(*shape, step, found[0], found[1]) for step in (2, 5)) and found[1] <= asked[1]

    def far(pair):
        return sum(abs(np.log(one / other)) for one, other in zip(pair, asked, strict=True))

    assert all(far(found) <= far(pair) + 1e-9 for pair in good)
    if asked in good:
        assert found == asked


@pytest.mark.parametrize(
    ("wanted", "neighbours", "usable"),
    [(800, 7, (800, 7)), (807, 7, (806, 7)), (10**5, 7, (7176, 7)), (800, 200, (785, 99))],
)
def test_numbers_of_the_default_scan(scan, wanted, neighbours, usable):
    rule = views.Rule(frozenset({4}), neighbours)
    rooms = [views.room(scan, step, wanted, rule, noise.stream(1, "views")) for step in (3, 8)]
    assert views.fitting(rooms, rooms, wanted, neighbours) == usable

    def made(number):
        near = views.Rule(frozenset({4}), usable[1])
        return [len(views.select(scan, m, number, near, noise.stream(1, "views"), "x").index) for m in (3, 8)]

    assert made(usable[0]) == [usable[0]] * 2
    if usable[0] < min(wanted, len(scan)):
        with pytest.raises(StudyError, match="nearest asked for"):
            made(usable[0] + 1)


def test_groups_that_no_number_of_patterns_fills_have_none():
    rule = views.Rule(frozenset({4, 16}), 7)
    rooms = [views.room(lattice_of(24, 44), 8, 100, rule, noise.stream(1, "views"))]
    assert rooms[0].sizes.max() < 16 and views.fitting(rooms, [], 100, 7) is None


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


# The stage


@pytest.mark.parametrize(("patterns", "neighbours"), [(30, 100), (1, 7), (10**5, 7), (800, 1000)])
def test_the_command_that_the_stage_names_works_for_every_view_and_split(patterns, neighbours):
    scan, before = lattice_of(100, 120), params.load(ROOT / "params.yaml")
    study = replace(before, overlap=replace(before.overlap, train_patterns=patterns, neighbours=neighbours))
    with pytest.raises(StudyError, match=r"overlap: .* together: `dvc exp run -S overlap\.") as caught:
        overlap_stage._check_numbers(study, scan, scan)
    named = {key: int(value) for key, value in re.findall(r"overlap\.(\w+)=(\d+)", str(caught.value))}
    study = replace(study, overlap=replace(study.overlap, **named))
    overlap_stage._check_numbers(study, scan, scan)
    counted = replace(scan, counts=np.ones((len(scan), 64, 64), np.uint8))
    for number, (name, ratio) in enumerate(study.views().items()):
        step, rng = lattice.stride(ratio, 10), noise.stream(study.seed, "views", number)
        built, _ = overlap_stage._build(study, name, step, {"train": counted, "test": counted}, rng)
        assert len(built["train"].index) == study.overlap.train_patterns


def test_a_base_too_small_for_the_groups_is_told_as_that():
    scan = lattice_of(24, 30)
    with pytest.raises(StudyError, match=r"no numbers of patterns and neighbours fit: .* 4 for groups of 4; lower"):
        overlap_stage._check_numbers(params.load(ROOT / "params.yaml"), scan, scan)
