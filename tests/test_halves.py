"""A measured scan in the study: halves of its photons, doses of them, subsets of its patterns, what was found of it."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import train
from ptychodose.errors import StudyError
from ptychodose.formats.h5 import write_arrays
from ptychodose.physics import noise, overlap
from ptychodose.scans import base, calibration, measured, views
from ptychodose.scans.trial import read_found
from ptychodose.study import params
from ptychodose.study.settings import MEASURED, NOTHING
from sandbox import ROOT
from scenes import scene

STUDY = params.load(ROOT / "params.yaml")


@pytest.fixture(scope="module")
def recorded():
    made = scene(1e4, background=0.5)
    return replace(made, scan=replace(made.scan, nodes=None))


# Photons


def test_every_photon_is_in_one_half_and_halves_are_poisson_of_half_the_rate(recorded):
    ours, other = measured.halves(recorded.scan, 3)
    assert (ours.read() + other.read() == recorded.scan.read()).all()
    rate = recorded.scan.expected(recorded.obj) / 2
    for half in (ours, other):
        assert half.expected(recorded.obj) == pytest.approx(rate, rel=1e-5), "its probe and background halve, too"
        assert ((half.read() - rate) ** 2).sum() / rate.sum() == pytest.approx(1, abs=0.02)
    covariance = ((ours.read() - rate) * (other.read() - rate)).sum() / rate.sum()
    assert abs(covariance) < 0.01, "the other half tells nothing of this one's noise"
    assert (measured.halves(recorded.scan, 4)[0].read() != ours.read()).any()


def test_halves_and_doses_draw_from_streams_of_their_own(recorded, monkeypatch):
    """With one stream for both, a photon's half would tell whether it is kept."""
    asked, stream = [], noise.stream
    monkeypatch.setattr(measured.noise, "stream", lambda *names: asked.append(names) or stream(*names))
    measured.at_dose(measured.halves(recorded.scan, 3)[0], 1000.0, 3)
    assert asked == [(3, "thinning", "halves"), (3, "thinning", "dose")]


def test_a_dose_is_what_was_asked_for_and_never_more_than_half(recorded):
    ours, _ = measured.halves(recorded.scan, 3)
    few = measured.at_dose(ours, 1000.0, 3)
    assert few.signal == pytest.approx(1000, rel=0.01) and few.dose == 1000
    assert few.expected(recorded.obj) == pytest.approx(ours.expected(recorded.obj) * 1000 / ours.signal, rel=1e-5)
    whole = measured.at_dose(ours, int(ours.signal), 3)
    assert whole.signal == pytest.approx(ours.signal, rel=1e-3)
    with pytest.raises(StudyError, match=rf"half of what was measured.*nearest usable value: {int(ours.signal)}"):
        measured.at_dose(ours, ours.signal * 1.01, 3)


def test_a_background_from_the_parameters_is_refused_and_their_mask_joins(recorded, monkeypatch):
    settings = replace(STUDY.generate, source="measured", scan="x.cxi")
    bad = np.ones((64, 64), bool)
    bad[5, 6] = False
    monkeypatch.setattr(base, "read_mask", lambda *_: bad)
    known = base.believed(recorded.scan, replace(settings, mask="m.png"))
    assert not known.mask[5, 6] and known.mask.sum() == 64**2 - 1 and known.read()[:, 5, 6].sum() == 0
    with pytest.raises(StudyError, match=r"generate\.background.*solve\.background"):
        base.believed(recorded.scan, replace(settings, background=0.1))
    assert [path.name for path in base.files(settings)] == ["x.cxi"]


# Patterns


@pytest.mark.parametrize(("rows", "columns", "pitch"), [(5, 9, 3.0), (12, 12, 0.7), (2, 30, 8.0)])
def test_the_mean_step_of_a_lattice_is_its_pitch(rows, columns, pitch):
    lattice = np.stack(np.meshgrid(np.arange(rows), np.arange(columns), indexing="ij"), -1).reshape(-1, 2) * pitch
    assert overlap.mean_step(lattice) == pytest.approx(pitch)
    turned = lattice @ np.array([[0.6, 0.8], [-0.8, 0.6]])
    assert overlap.mean_step(turned) == pytest.approx(pitch)


def test_positions_on_a_line_have_no_step():
    with pytest.raises(StudyError, match="no area"):
        overlap.mean_step(np.stack([np.arange(9.0), np.arange(9.0)], -1))


def test_a_subset_keeps_its_distance_and_leaves_no_gap():
    positions = np.random.default_rng(0).random((400, 2)) * 100
    index = measured.apart(positions, 9.0)
    distance = np.linalg.norm(positions[:, None] - positions[index][None], axis=-1)
    among = distance[index] + 99 * np.eye(len(index))
    assert among.min() >= 9 and distance.min(1).max() < 9 and index[0] == 0


@pytest.mark.parametrize("ratio", [0.0, 0.2, 0.4])
def test_the_sparse_view_has_the_overlap_asked_for_and_dense_is_all(recorded, ratio):
    index = measured.patterns_of(recorded.scan, "sparse", ratio)
    found = measured.ratio_of(recorded.scan.positions[index], recorded.scan.diameter)
    assert found == pytest.approx(ratio, abs=0.1), "15 to 30 patterns of 88"
    assert (measured.patterns_of(recorded.scan, "dense", ratio) == np.arange(88)).all()


def test_more_overlap_than_was_measured_is_refused(recorded):
    with pytest.raises(StudyError, match=r"overlap\.sparse: 0\.9, but the measured scan overlaps by 0\.68"):
        measured.patterns_of(recorded.scan, "sparse", 0.9)


def test_the_measures_of_a_view_without_lattice_go_by_its_own_step(recorded):
    """About the lattice's: the scene's pitch is 7.2 px, and jitter widens the hull of few patterns."""
    index = np.arange(88)
    view = views.grouped(recorded.scan, index, np.zeros(88, np.int32), views.Rule(frozenset({4}), 7),
                         np.random.default_rng(0), "x")  # fmt: skip
    row = views.describe(recorded.scan, view, None, 4, 7)
    assert row["step_px"] == pytest.approx(7.2, rel=0.07)
    assert row["photons_per_pixel"] == pytest.approx(recorded.scan.signal / row["step_px"] ** 2)


def test_a_view_of_less_than_twice_what_a_group_is_drawn_from_skips_its_arm(tmp_path, monkeypatch):
    """K = 7 for groups of up to 7, else C."""
    assert views.Rule(frozenset({0, 1, 4, 16}), 7).fillable(31) == {0, 1, 4}
    assert views.Rule(frozenset({0, 1, 4, 16}), 7).fillable(13) == frozenset()
    monkeypatch.setattr(train, "PROBE", tmp_path / "probe.h5")
    write_arrays(train.PROBE, {"probe": np.ones((1, 2, 2))}, {"dense_patterns": 31, "sparse_patterns": 13})
    reasons = {name: train._too_few(STUDY, name, arm) for name, arm in STUDY.arms().items()}
    assert {name for name, reason in reasons.items() if reason} == {"wide", "sparse"}
    assert reasons["wide"] == "view dense of the measured scan has 31 patterns, fewer than the 32 that wide needs"


# What was found


def found_of(scan):
    """Another probe of as many photons, other positions, a background, a bad pixel."""
    probe = np.concatenate([scan.probe, np.roll(scan.probe, 3, -1)]) * np.float32(0.5**0.5)
    mask = scan.mask.copy()
    mask[1, 2] = False
    return replace(scan, probe=probe, positions=scan.positions + 0.3, background=scan.background + 0.2, mask=mask)


def test_what_was_found_goes_through_a_file_and_onto_the_scan(recorded, tmp_path):
    found = found_of(recorded.scan)
    write_arrays(tmp_path / "dense.h5", calibration.arrays(found))
    made = replace(recorded.trial("dense"), found=read_found(tmp_path)).of("dense")
    for name in ("positions", "background", "mask"):
        assert getattr(made, name) == pytest.approx(getattr(found, name), rel=1e-6), name
    assert made.probe == pytest.approx(found.probe, rel=1e-5)
    assert made.dose == recorded.scan.dose and not made.read()[:, 1, 2].any()


def test_what_was_found_of_a_view_serves_fewer_photons_in_their_share(recorded):
    trial = replace(recorded.trial("dense"), found={"dense": calibration.arrays(found_of(recorded.scan))})
    few = recorded.scan.thin(0.25, np.random.default_rng(0))
    under = trial.under("dense", few)
    assert under.incident == pytest.approx(recorded.scan.incident / 4, rel=1e-5)
    assert under.background == pytest.approx((recorded.scan.background + 0.2) / 4)
    assert np.array_equal(under.positions, recorded.scan.positions + 0.3)


def test_what_is_of_another_scan_is_refused(recorded):
    arrays = calibration.arrays(recorded.scan)
    for name in arrays:
        with pytest.raises(StudyError, match=rf"f\.h5: {name} is not .*dvc repro solve"):
            calibration.onto(recorded.scan, {**arrays, name: arrays[name][..., :-1]}, Path("f.h5"), "solve")


def test_a_word_stands_for_all_that_is_unknown():
    read = params.read_section(params.Params, {**params.load_yaml(ROOT / "params.yaml"), "solve": "measured"}, "p.yaml")
    assert read.solve == MEASURED and STUDY.solve == NOTHING
    with pytest.raises(StudyError, match=r"solve: expected a section.*or measured or nothing, found 'maesured'"):
        params.read_section(type(STUDY.solve), "maesured", "solve")
