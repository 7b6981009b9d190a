"""A beamline's file: counts or not, every layout, the orientation it claims, and the two commands from end to end."""

import json
import subprocess
import sys
from dataclasses import replace

import h5py
import numpy as np
import pytest

from ptychodose.errors import StudyError
from ptychodose.iterative import poisson_map
from ptychodose.measured import counts, diagnosis, found, orientation, ptychopinn, quality
from ptychodose.physics import noise
from ptychodose.physics.probes import Geometry
from ptychodose.scans import cxi
from ptychodose.study import params
from scenes import ROOT, scene

SIEMENS = ROOT.parent / "shared" / "data" / "real_siemens_velociprobe.npz"
GEOMETRY = Geometry(8800, 1.0, 75e-6)


def arrays(**changes):
    """A file as PtychoPINN publishes it, of a scan and object that fit."""
    s = scene(1e4)
    made = {
        "diffraction": np.sqrt(s.scan.read().astype(np.float32)),
        "ycoords": s.scan.positions[:, 0],
        "xcoords": s.scan.positions[:, 1],
        "probeGuess": s.scan.probe[0],
        "objectGuess": s.obj,
    }
    return {key: value for key, value in {**made, **changes}.items() if value is not None}


def saved(tmp_path, **changes):
    path = tmp_path / "scan.npz"
    np.savez(path, **arrays(**changes))
    return path


def read(tmp_path, per_unit=None, zero=None, **changes):
    return ptychopinn.read(saved(tmp_path, **changes), per_unit, zero)


# Counts


def test_counts_pass_and_come_back_whole():
    given = scene(1e4).scan.read()
    assert np.array_equal(counts.of_intensities(given, None, "x"), given)
    assert np.array_equal(counts.of_amplitudes(np.sqrt(given.astype(np.float32)), None, "x"), given)


def flat(rate=1.0, seed=0):
    return np.random.default_rng(seed).poisson(rate, (40, 64, 64)).astype(np.float64)


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        (flat() * 1.3, "not whole numbers"),
        (flat() / flat().max(), "not whole numbers"),
        (flat() * 4, "multiples of 4"),
        (flat() - 1, "no count"),
        (flat() * np.nan, "no count"),
        (np.rint(flat(1).repeat(2, 2)[:, :, :64]), "of what counting noise does"),
        (np.rint(0.3 * flat(8)), "of what counting noise does"),
        (np.rint(0.65 * flat(6)), "of what counting noise does"),
        (flat() * 2.0**33 + 1, "beyond any detector"),
    ],
    ids=[
        "gain",
        "normalised",
        "multiples",
        "negative",
        "nan",
        "smeared",
        "rounded gain",
        "slightly less than a photon",
        "huge",
    ],
)
def test_what_is_no_count_is_refused_with_the_reason_and_the_flag(values, reason):
    with pytest.raises(StudyError, match=reason) as caught:
        counts.of_intensities(values, None, "file: key")
    assert "\n" not in str(caught.value) and str(caught.value).startswith("file: key")


def test_a_known_gain_makes_counts_of_detector_units():
    assert np.array_equal(counts.of_intensities(flat() * 12.5, 1 / 12.5, "x"), flat())


def test_the_noise_of_neighbours_is_poissons():
    assert counts.noise_ratio(flat(2.0)) == pytest.approx(1.0, abs=0.03)
    assert counts.noise_ratio(scene(1e4).scan.read().astype(float)) > 0.95
    assert counts.noise_ratio(flat(1e-3)) is None and counts.noise_ratio(flat(100.0)) is None


# The file


def test_every_layout_gives_the_same_scan(tmp_path):
    plain = read(tmp_path)
    amplitude = arrays()["diffraction"]
    for changes in (
        {"diffraction": np.moveaxis(amplitude, 0, -1)},
        {"diffraction": amplitude[..., None]},
        {"diffraction": None, "diff3d": amplitude},
        {"diffraction": scene(1e4).scan.read()},
        {"diffraction": np.fft.ifftshift(amplitude, axes=(1, 2))},
        {"objectGuess": None},
    ):
        other = read(tmp_path, **changes)
        assert np.array_equal(other.counts, plain.counts) and np.array_equal(other.positions, plain.positions)
    assert np.array_equal(plain.counts, scene(1e4).scan.read()) and len(plain.how) == 4


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"diffraction": None}, "'diffraction' is missing"),
        ({"xcoords": None}, "'xcoords' is missing"),
        ({"ycoords": np.arange(7.0), "xcoords": np.arange(7.0)}, "for 7 positions"),
        ({"ycoords": np.full(88, np.nan)}, "not finite"),
        ({"ycoords": np.full(88, 1e9)}, "save pixels"),
        ({"diffraction": np.ones((88, 64, 62))}, "even N"),
        ({"diffraction": np.ones((88, 63, 63))}, "even N"),
        ({"diffraction": np.ones((88, 64))}, "is not"),
        ({"diffraction": np.ones((88, 64, 88)), "probeGuess": None}, "cannot be told apart"),
        ({"diffraction": np.random.default_rng(0).poisson(3.0, (88, 64, 64))}, "zero frequency"),
        ({"diffraction": arrays()["diffraction"] / 7}, "counts-per-unit"),
        ({"probeGuess": np.ones((32, 32), np.complex64)}, "does not fit"),
        ({"objectGuess": np.ones(5)}, "no image"),
    ],
)
def test_a_file_that_is_missing_something_or_ambiguous_is_refused_in_one_line(tmp_path, changes, reason):
    with pytest.raises(StudyError, match=reason) as caught:
        read(tmp_path, **changes)
    assert "\n" not in str(caught.value)


def test_the_user_says_where_zero_frequency_lies(tmp_path):
    spread = {"diffraction": np.random.default_rng(0).poisson(3.0, (88, 64, 64))}
    made = [read(tmp_path, zero=zero, **spread).counts for zero in ("centre", "corner")]
    assert np.array_equal(made[1], np.fft.fftshift(made[0], axes=(1, 2)))


def test_the_scan_has_room_around_it_and_a_probe_in_photons(tmp_path):
    taken = read(tmp_path)
    scan = found.to_scan(taken, GEOMETRY)
    assert np.ptp(scan.positions, axis=0) == pytest.approx(np.ptp(taken.positions, axis=0))
    assert (scan.positions - 32 >= found.MARGIN).all()
    assert (scan.positions + 32 + found.MARGIN <= np.array(scan.shape)).all()
    moved = scan.positions - taken.positions
    assert moved == pytest.approx(np.rint(moved), abs=1e-9), "whole pixels: sub-pixel parts stay"
    assert scan.incident == pytest.approx(scene(1e4).scan.incident, rel=1e-5)
    tiny = found.to_scan(replace(taken, probe=taken.probe * 1e-3), GEOMETRY)
    assert tiny.incident == pytest.approx(tiny.signal, rel=1e-5), "a probe in other units"
    with pytest.raises(StudyError, match="probe"):
        found.to_scan(replace(taken, probe=None), GEOMETRY)


@pytest.mark.parametrize(("times", "stays"), [(0.8, False), (1.0, True), (4.9, True), (5.1, False)])
def test_a_probe_is_in_photons_if_the_sample_can_have_left_so_many(times, stays):
    counts_ = np.ones((3, 64, 64), np.uint16)
    probe = np.full((1, 64, 64), times**0.5, np.complex64)  # times the photons that are counted
    made = found.in_photons(probe, counts_)
    assert (np.abs(made) ** 2).sum() == pytest.approx(4096 * (times if stays else 1), rel=1e-5)


@pytest.mark.parametrize(
    "mistake", ["x and y swapped", "y mirrored", "x mirrored", "object conjugated", "half a pixel off"]
)
def test_a_wrong_reading_is_seen_at_once(tmp_path, mistake):
    taken = read(tmp_path)
    line, right = orientation.verdict(orientation.residuals(taken))
    assert right and "right" in line
    (y, x), (height, width) = taken.positions.T, taken.obj.shape
    wrong = {"x and y swapped": (x, y), "y mirrored": (height - y, x), "x mirrored": (y, width - x),
             "half a pixel off": (y - 0.5, x - 0.5)}  # fmt: skip
    changed = replace(taken, positions=np.stack(wrong.get(mistake, (y, x)), -1))
    if mistake == "object conjugated":
        changed = replace(changed, obj=taken.obj.conj())
    if mistake == "x and y swapped":  # on a square, so that both readings lie on the object
        square = np.ones((160, 160), np.complex64)
        square[:height, :width] = taken.obj
        changed = replace(changed, obj=square)
    line, right = orientation.verdict(orientation.residuals(changed))
    assert not right and line.startswith(f"WRONG: {mistake}")


def test_without_an_object_there_is_nothing_to_check_with(tmp_path):
    with pytest.raises(StudyError, match="reconstruct first"):
        orientation.residuals(read(tmp_path, objectGuess=None))


# Quality without truth


def test_deviance_and_half_data_need_no_truth_and_see_a_good_object():
    s, settings = scene(1e5), params.load(ROOT / "params.yaml").reconstruct_map

    def arm(part):
        return poisson_map.solve(part, settings, noise.stream(1, "solver"), 0.5).obj

    fit, featureless = quality.heldout_deviance(s.scan, arm, settings.heldout, noise.stream(1, "solver"))
    assert fit < 0.5 * featureless
    pixel = GEOMETRY.object_pixel(64)
    bright, dim = (
        quality.resolution(quality.half_data(scan, arm, noise.stream(1, "solver")), 1 / 7, pixel)
        for scan in (s.scan, scene(300).scan)
    )
    assert bright[0] > 2 * dim[0] and bright[1] == pytest.approx(pixel * 1e9 / bright[0])


@pytest.mark.slow
def test_the_diagnosis_names_the_fault_that_is_there_and_no_other():
    s, settings = scene(1e4), params.load(ROOT / "params.yaml").reconstruct_map
    lit = (s.scan.read() + np.random.default_rng(5).poisson(0.5, (88, 64, 64))).astype(np.uint16)
    gains = {
        gain.fault: gain
        for gain in diagnosis.diagnose(replace(s.scan, counts=lit), settings, noise.stream(1, "solver"))
    }
    assert {name for name, gain in gains.items() if gain.shown} == {"background", "all of these"}
    assert "background: shown" in gains["background"].line() and "not shown" in gains["positions"].line()
    assert 0 < gains["background"].nats < gains["all of these"].nats, "modes take up a part of what is not solved for"


# The commands


def study(*words):
    return subprocess.run([sys.executable, ROOT / "src/study.py", *map(str, words)], capture_output=True, text=True)


@pytest.mark.slow
def test_from_a_beamlines_file_to_a_picture_in_two_commands(tmp_path):
    path, out = saved(tmp_path), tmp_path / "scan.cxi"
    bad = study("import", path, "--out", out)
    assert bad.returncode == 1 and "--energy-ev, --distance-m, --pixel-um" in bad.stderr and not out.exists()
    done = study("import", path, "--check", "--energy-ev", 8800, "--distance-m", 1, "--pixel-um", 172, "--out", out)
    assert done.returncode == 0 and "orientation right" in done.stdout and "next: python src/study.py" in done.stdout
    with cxi.dataset(out) as scan:
        assert scan.nodes is None and np.array_equal(scan.read(), scene(1e4).scan.read())
    done = study("reconstruct", "--scan", out, "--out", tmp_path / "recon.h5", "--arm", "hybrid")
    assert done.returncode == 0, done.stderr
    assert "half-data FRC" in done.stdout and (tmp_path / "recon.png").stat().st_size > 10_000
    with h5py.File(tmp_path / "recon.h5") as file:
        assert file["obj"].shape == file["error"].shape and file["positions"].shape == (88, 2)
        assert json.loads(file.attrs["found"])["hot"] == 0 and 0 < file.attrs["heldout_deviance"] < 2
    again = study("reconstruct", "--scan", path, "--out", tmp_path / "other.h5")
    assert again.returncode == 1 and again.stderr.count("\n") == 1 and not (tmp_path / "other.h5").exists()


@pytest.mark.slow
@pytest.mark.skipif(not SIEMENS.is_file(), reason="the measured scan is absent")
def test_a_real_scan_is_counts_and_lies_as_it_says():
    taken = ptychopinn.read(SIEMENS, None, None)
    residuals = orientation.residuals(taken)
    assert taken.counts.shape == (516, 128, 128) and orientation.verdict(residuals)[1]
    assert residuals["as read"] == pytest.approx(0.109, abs=0.003)
    assert residuals["half a pixel off"] == pytest.approx(0.116, abs=0.003)
