"""What is said of a beamline's scan without truth, and the two commands from end to end."""

import json
import subprocess
import sys
from dataclasses import replace

import h5py
import numpy as np
import pytest

import foreign
from ptychodose.iterative import poisson_map
from ptychodose.measured import diagnosis, quality
from ptychodose.physics import noise
from ptychodose.physics.probes import Geometry
from ptychodose.scans import cxi
from ptychodose.study import params
from scenes import ROOT, scene

GEOMETRY = Geometry(8800, 1.0, 75e-6)

# Quality without truth


@pytest.mark.slow
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
    path, out = foreign.ptychopinn(tmp_path / "scan.npz", foreign.truth()), tmp_path / "scan.cxi"
    bad = study("import", path, "--out", out)
    assert bad.returncode == 1 and "--energy-ev, --distance-m, --pixel-um" in bad.stderr and not out.exists()
    done = study("import", path, "--check", "--energy-ev", 8800, "--distance-m", 1, "--pixel-um", 172, "--out", out)
    assert done.returncode == 0 and "orientation right" in done.stdout and "then: python src/study.py" in done.stdout
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
