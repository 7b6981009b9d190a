"""The whole study on a measured scan, by the real DVC: halves, a reference instead of truth, honest where it skips."""

import json
from dataclasses import replace

import h5py
import numpy as np
import pytest

from ptychodose.scans import cxi
from sandbox import fresh
from scenes import scene

pytestmark = pytest.mark.slow
MEASURED = {"generate": {"source": "measured", "scan": "data/raw/scan.cxi"}, "solve": "measured"}
ARMS = ("baseline", "wide", "own", "cnn")


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """A scan of 88 patterns and 1e5 photons each, in a study at 1e4; groups of 49 are too large for it."""
    folder = tmp_path_factory.mktemp("measured")
    made, scan = fresh(folder / "study", folder / "home"), replace(scene(1e5).scan, nodes=None)
    cxi.write(made.folder / "data/raw/scan.cxi", replace(scan, dose=scan.signal), iter([scan.read().astype(np.uint32)]))
    skipped = {f"train_{name}": {"view": None} for name in ARMS if name != "wide"}
    made.edit("params.yaml", {**MEASURED, **skipped, "train_wide": {"group_size": 49}})
    made.dvc("add", "data/raw/scan.cxi")
    made.commit("scan")
    made.dvc("repro")
    made.commit("results")
    return made


def details_of(made):
    return json.loads((made.folder / "metrics/details.json").read_text())


def test_every_number_says_that_a_reference_judges_and_what_needs_none_is_there(ran):
    details = details_of(ran)
    assert details["judged_by"] == "reference (MAP of the other half of the photons)"
    assert json.loads((ran.folder / "metrics/compare.json").read_text())["judged_by"] == details["judged_by"]
    for arm in ("map", "hybrid", "dense"):
        row = details["arms"][arm]
        assert 0 < row["half_data"]["1/7"]["first"] <= 1 and row["deviance"] > 0
    deviances = [details["arms"][arm]["deviance"] for arm in ("hybrid", "dense", "flat")]
    assert deviances == sorted(deviances), "of half B, which no arm has seen"
    assert "oracle" not in details["arms"] and details["limit"]["skipped"]
    assert details["arms"]["map"]["aligned"]["correlation"] > 0.99
    said = ran.study("answer").stdout
    assert "beside no truth but a reference" in said and "deviance of unseen photons" in said


def test_views_are_all_patterns_and_a_subset_and_small_views_skip_their_arms(ran):
    details = details_of(ran)["views"]
    assert details["dense"]["images"] == 88 and details["dense"]["overlap_ratio"] == pytest.approx(0.68, abs=0.01)
    assert 10 < details["sparse"]["images"] < 25 and details["sparse"]["overlap_ratio"] == pytest.approx(0.2, abs=0.1)
    manifest = json.loads((ran.folder / "data/training_manifest.json").read_text())
    reasons = {row["arm"]: row["reason"] for row in manifest["skipped"]}
    assert reasons["wide"] == "view dense of the measured scan has 88 patterns, fewer than the 98 that wide needs"
    assert [job["arm"] for job in manifest["jobs"]] == ["dense", "sparse"]


def test_no_file_that_an_arm_reads_holds_the_other_half(ran):
    with cxi.dataset(ran.folder / "data/raw/scan.cxi") as whole, cxi.dataset(ran.folder / "data/scan/test.cxi") as ours:
        with cxi.dataset(ran.folder / "data/scan/truth.h5") as other:
            left = whole.read() - other.read()
            assert left.min() >= 0 and other.signal == pytest.approx(whole.signal / 2, rel=0.01)
        assert (ours.read() <= left).all() and ours.signal == pytest.approx(1e4, rel=0.01)


def test_what_was_found_is_recorded(ran):
    found = json.loads((ran.folder / "data/solved/found.json").read_text())
    assert set(found) == {"dense", "sparse", "thinned"} and found["dense"]["moved_px"] < 0.2
    with h5py.File(ran.folder / "data/probe.h5") as file:
        assert file["probe"].shape[1:] == (64, 64) and file.attrs["dose"] == pytest.approx(5e4, rel=0.01)


def test_it_is_sealed_and_a_dose_beyond_half_is_refused_in_one_line(ran):
    assert "Data and pipelines are up to date" in ran.dvc("repro").stdout
    done = ran.dvc("exp", "run", "-S", "dose=60000", ok=False)
    lines = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert done.returncode and len(lines) == 1
    assert lines[0].startswith("error: dose: 60000 photons per pattern, but half of what was measured is 49")
