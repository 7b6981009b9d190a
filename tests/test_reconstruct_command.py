"""Command `reconstruct`: any arm on any scan, bundles that must fit, quality of that very arm, what it leaves."""

from dataclasses import replace

import h5py
import numpy as np
import pytest
import torch

from ptychodose.errors import StudyError
from ptychodose.formats import bundle
from ptychodose.formats.atomic import sha256_file
from ptychodose.formats.h5 import write_arrays
from ptychodose.formats.untrusted import in_shell
from ptychodose.measured import figures, methods, quality, reconstruction, result
from ptychodose.networks import unrolled
from ptychodose.physics import noise
from ptychodose.reconstruct import bundles
from ptychodose.reconstruct.reconstructors import Reconstruction
from ptychodose.score import frc
from ptychodose.study import params, progress, settings
from scenes import ROOT, measured, scene, written, zone_plate

STUDY = params.load(ROOT / "params.yaml")


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A folder of its own with the study's probe in it, as stage `probe` leaves it."""
    monkeypatch.chdir(tmp_path)
    write_arrays(bundles.PROBE, {"probe": zone_plate()[None]})
    return tmp_path


def saved(path, **changes):
    """An untrained network as a bundle: it starts close to the gradient iteration."""
    torch.manual_seed(0)
    net = unrolled.build({"name": "unrolled", "steps": 2, "gradients": 2, "width": 4, "hidden": 1})
    meta = {"architecture": net.spec, "group_size": 4, "size": 64, "dose": [300, 200000],
            "trained_on": {"data/probe.h5": sha256_file(bundles.PROBE)}, **changes}  # fmt: skip
    bundle.save(path, meta, {name: value.numpy() for name, value in net.state_dict().items()})
    return path


# Arms and bundles


@pytest.mark.parametrize("size", [0, 1, 4])
def test_a_network_reconstructs_a_scan_from_its_bundle_alone(own, size):
    method = methods.of(None, saved(own / "x.zip", group_size=size), STUDY)
    obj = method.run(measured(1e5), noise.stream(1, "solver"), None).obj
    inner = quality.in_region(obj, measured()), quality.in_region(scene(1e5).obj, measured())
    assert method.name == "network" and abs(np.vdot(*inner)) / np.prod([np.linalg.norm(i) for i in inner]) > 0.75
    assert "correlates by 1.00" in bundles.check(method.bundle, measured(1e5), 7)


def test_an_arms_bundle_is_the_studys_unless_one_is_given(own):
    with pytest.raises(StudyError, match=r"data/bundles/dense/wts.h5.zip: no such bundle; `dvc repro train_dense`"):
        methods.of("dense", None, STUDY)
    (own / "data/bundles/dense").mkdir(parents=True)
    saved(own / "data/bundles/dense/wts.h5.zip")
    assert methods.of("dense", None, STUDY).bundle.group_size == 4
    with pytest.raises(StudyError, match="groups of C = 1, but arm dense has 4"):
        methods.of("dense", saved(own / "one.zip", group_size=1), STUDY)
    with pytest.raises(StudyError, match="arm hybrid takes none"):
        methods.of("hybrid", own / "one.zip", STUDY)
    with pytest.raises(StudyError, match="does not say"):
        methods.of(None, saved(own / "silent.zip", dose=None), STUDY)


@pytest.mark.parametrize(
    ("changes", "scan", "reason"),
    [
        ({"size": 128}, measured(), "N = 128, and the scan's have 64; retrain"),
        ({}, measured().select(np.arange(6)), "draws groups from 7 patterns, and the scan has 6"),
        ({"dose": [300, 9000]}, measured(), "300 to 9000 photons per pattern, and the scan has 10000; retrain"),
        ({"dose": 20000}, measured(), "20000 to 20000 photons"),
        ({}, replace(measured(), probe=np.roll(measured().probe.conj(), 5, 1)), "correlates by 0.* retrain"),
    ],
    ids=["N", "patterns", "dose", "one dose", "probe"],
)
def test_a_bundle_that_does_not_fit_is_refused_in_one_line(own, changes, scan, reason):
    method = methods.of(None, saved(own / "x.zip", **changes), STUDY)
    with pytest.raises(StudyError, match=reason) as caught:
        bundles.check(method.bundle, scan, 7)
    assert "\n" not in str(caught.value)


def test_a_probe_that_is_not_there_is_said_not_to_have_been_checked(own):
    other = methods.of(None, saved(own / "x.zip", trained_on={"elsewhere": "0" * 64}), STUDY).bundle
    assert "could not be checked" in bundles.check(other, measured(), 7)


def test_halves_with_fewer_photons_than_taught_the_network_are_said(own):
    for low, lines in ((5000, 1), (5100, 2)):
        fitting = methods.of(None, saved(own / f"{low}.zip", dose=[low, 20000]), STUDY).bundle
        said = list(reconstruction._fits(fitting, measured(), STUDY))
        assert len(said) == lines and all("5000 photons" in line and "5100" in line for line in said[1:])


@pytest.mark.parametrize(
    ("dose", "known"), [(98.9, False), (99.1, True), (300, True), (1009, True), (1011, False), (float("nan"), False)]
)
def test_doses_that_taught_are_those_of_the_range_to_one_per_cent(dose, known):
    assert bundles.taught((100.0, 1000.0), dose) is known


def test_resemblance_is_blind_to_place_phase_and_photons_and_sees_another_wave():
    probe = zone_plate()[None]
    moved = 30j * np.roll(probe, (3, -7), (1, 2))
    assert bundles.resemblance(probe, moved) == pytest.approx(1, abs=1e-5)
    assert bundles.resemblance(probe, np.concatenate([0.1 * probe[:, ::-1], moved])) == pytest.approx(1, abs=1e-5)
    assert bundles.resemblance(probe, probe.conj()) < 0.2


# Quality


def test_quality_is_that_of_the_arm_which_is_given_its_own_photons_only():
    scan, seen = measured(), []

    def arm(part):
        seen.append(part.read().sum())
        return scene().obj

    curve = quality.half_data(scan, arm, noise.stream(1, "solver"))
    assert sum(seen) == scan.read().sum() and abs(seen[0] / seen[1] - 1) < 0.02
    assert np.nanmin(curve.correlation) > 0.999, "an arm that knows the answer agrees with itself"
    seen.clear()
    fit, featureless = quality.heldout_deviance(scan, arm, 0.1, noise.stream(1, "solver"))
    assert seen[0] == pytest.approx(0.9 * scan.read().sum(), rel=0.01) and fit < 0.7 * featureless


def test_both_thresholds_are_in_the_file_as_half_periods():
    frequency = np.linspace(0, 1, 33)
    curve = frc.Curve(frequency, 1 - frequency, np.ones(33))
    said = result.of_quality((0.5, 0.9), curve, 10e-9)
    assert said["half_data_frc_0_5"] == pytest.approx(0.5) and said["half_data_frc_0_5_nm"] == pytest.approx(20)
    assert said["half_data_frc_1_7"] == pytest.approx(6 / 7) and said["heldout_deviance_flat"] == 0.9
    none = result.of_quality((0.5, 0.9), replace(curve, correlation=np.zeros(33)), 10e-9)
    assert none["half_data_frc_1_7"] == 0 and "half_data_frc_1_7_nm" not in none


# What is written


def test_the_file_holds_what_others_need_and_no_old_picture_stays(tmp_path):
    scan, out = measured(), tmp_path / "r.h5"
    found = replace(scan, positions=scan.positions + 0.25)
    out.with_suffix(".png").write_bytes(b"of another result")
    result.write(out, Reconstruction(scene().obj, weight=0.5), (scan, found), {"arm": "map"})
    assert not out.with_suffix(".png").exists()
    with h5py.File(out) as file:
        assert np.array_equal(file["positions"], found.positions)
        assert np.array_equal(file["recorded_positions"], scan.positions) and not file["mask"][()].any()
        assert file.attrs["energy_ev"] == 8800 and file.attrs["distance_m"] == 1
        assert file.attrs["detector_pixel_m"] == pytest.approx(172e-6) and file.attrs["dose"] == scan.dose


@pytest.mark.parametrize(
    ("name", "reason"), [("r.png", "HDF5"), ("blocked/x/r.h5", "name another place"), ("folder.h5", "a folder")]
)
def test_a_place_where_no_result_can_go_is_refused_before_the_work(tmp_path, name, reason):
    (tmp_path / "blocked").write_text("a file")
    (tmp_path / "folder.h5").mkdir()
    with pytest.raises(StudyError, match=reason):
        result.place(tmp_path / name)


def test_the_picture_shows_what_was_found_and_says_how_long_arrows_are():
    scan = measured()
    away = 0.5 * np.random.default_rng(0).standard_normal(scan.positions.shape)
    two = np.concatenate([scan.probe, 0.3 * np.roll(scan.probe, 3, 1)])
    found = replace(scan, positions=scan.positions + away, probe=two, background=scan.background + 1)
    curve = frc.Curve(np.linspace(0, 1, 33), np.ones(33), np.ones(33))
    texts = [
        text.get_text()
        for text in figures.result(scene().obj, found, scan, curve, "x").findobj()
        if hasattr(text, "get_text")
    ]
    assert any("(rms 0.67 px),\narrows 10 x too long" in text for text in texts), [
        text for text in texts if "arrows" in text
    ]
    assert any("mode 2: 8.3 %" in text for text in texts) and any("background" in text for text in texts)
    plain = figures.result(scene().obj, scan, scan, curve, "x").findobj()
    assert not any("arrows" in text.get_text() for text in plain if hasattr(text, "get_text"))


def test_a_bar_counts_steps_and_shows_their_iterations(capsys):
    progress.beat(3)  # no bar: nothing
    assert capsys.readouterr().err == ""
    with progress.steps(2, "arm") as begin:
        begin("first")
        progress.beat(17)
        progress._running[-1].refresh()
        begin("second")
    shown = capsys.readouterr().err
    assert "arm: first" in shown and "iteration 17" in shown and "arm: second: 100%" in shown and "2/2" in shown


def test_what_is_solved_for_is_all_or_nothing_or_the_section_of_the_study(own, monkeypatch):
    path, asked = written(own / "s.cxi", measured()), []
    unknown = settings.Solve(probe=2, positions=7.0, background=None, mask=True)
    monkeypatch.setattr(reconstruction.params, "load", lambda: replace(STUDY, solve=unknown))
    monkeypatch.setattr(reconstruction, "_answer", lambda given, method, unknown, study: asked.append(unknown))
    for word in ("params", "measured", "nothing"):
        options = {"scan": path, "out": own / "r.h5", "arm": "map", "bundle": None, "solve": word, "live": False}
        with pytest.raises(AttributeError):  # there is no answer
            reconstruction.reconstruct(type("Options", (), options))
    assert asked == [unknown, settings.MEASURED, settings.NOTHING]


def test_a_path_in_a_line_to_copy_is_of_the_study_and_safe_in_a_shell(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert in_shell(tmp_path / "data/a b.cxi") == "'data/a b.cxi'"
    assert in_shell(tmp_path.parent / "scan.cxi") == str(tmp_path.parent / "scan.cxi")


@pytest.mark.slow
def test_a_killed_run_leaves_nothing_that_could_pass_for_a_result(own, monkeypatch):
    path, out = written(own / "s.cxi", measured()), own / "sub/r.h5"
    options = type(
        "Options", (), {"scan": path, "out": out, "arm": "map", "bundle": None, "solve": "nothing", "live": False}
    )
    monkeypatch.setattr(reconstruction.params, "load", lambda: STUDY)
    for module, name in ((result, "write_arrays"), (quality, "half_data")):
        with monkeypatch.context() as broken:
            broken.setattr(module, name, lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
            with pytest.raises(KeyboardInterrupt):
                reconstruction.reconstruct(options)
        assert list(out.parent.iterdir()) == []
    assert reconstruction.reconstruct(options) == 0
    assert sorted(file.name for file in out.parent.iterdir()) == ["r.h5", "r.png"]
    first = out.read_bytes()
    reconstruction.reconstruct(options)
    assert out.read_bytes() == first
