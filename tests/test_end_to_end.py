"""The whole study on a tiny profile, by the real DVC: repeatable, verified, shared, and honest when damaged."""

import hashlib
import json
import re
import shutil
from pathlib import Path

import pytest

from damage import flip
from sandbox import Study, clone, fresh

ROWS = {"flat", "oracle", "baseline", "dense", "wide", "sparse", "own", "cnn", "dense_thinned"}
ROWS |= {f"{arm}{case}" for arm in ("map", "hybrid") for case in ("", "_sparse", "_thinned")}
SPARE = ("baseline", "wide", "sparse", "own", "cnn")

pytestmark = pytest.mark.slow


def digests(made, *names):
    return [hashlib.sha256((made.folder / name).read_bytes()).hexdigest() for name in names]


def test_results_have_the_documented_shape(finished):
    document = json.loads((finished.folder / "metrics/compare.json").read_text())
    totals = {"dose_requested", "dose_measured", "photons_per_pixel"}
    assert set(document) == totals | ROWS
    assert all(set(document[arm]) == {"nrmse", "phase_ssim", "frc50"} for arm in set(document) - totals)
    assert document["oracle"]["nrmse"] < 1e-6 and document["oracle"]["phase_ssim"] > 0.999
    details = json.loads((finished.folder / "metrics/details.json").read_text())["arms"]
    deviances = [details[arm]["deviance"] for arm in ("oracle", "hybrid", "dense", "flat")]
    assert deviances == sorted(deviances) and len(set(deviances)) == 4
    assert details["map_sparse"]["view"] == "sparse" and 0 < details["map_thinned"]["share"] < 0.5
    assert details["map"]["aligned"]["nrmse"] < details["map_thinned"]["aligned"]["nrmse"], "fewer photons, more error"


def test_the_limit_stands_beside_every_comparison(finished):
    details = json.loads((finished.folder / "metrics/details.json").read_text())
    dose, dense = details["dose_measured"], details["limit"]["views"]["dense"]
    assert dense["photons_per_pixel_per_dose"] * dose == pytest.approx(details["photons_per_pixel"], rel=0.1)
    assert dense["crb"]["nrmse"] < details["limit"]["views"]["sparse"]["crb"]["nrmse"]
    said = finished.study("answer").stdout
    assert "limit, dense" in said and "dense : baseline" in said
    half = details["map"]["half_data"]
    assert 0 < half["area"] <= 1 and {"1/7", "half_bit", "one_bit"} <= set(half)


def test_print_and_manifests_of_training_agree_with_the_disk(finished):
    log = (finished.folder.parent / "repro.log").read_text()
    joined = json.loads((finished.folder / "data/training_manifest.json").read_text())
    assert [job["arm"] for job in joined["jobs"]] == ["baseline", "dense", "wide", "sparse", "own", "cnn"]
    assert joined["skipped"] == []
    for job in joined["jobs"]:
        own = json.loads((finished.folder / f"data/bundles/{job['arm']}/training_manifest.json").read_text())
        path = finished.folder / job["result"]["bundle_path"]
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        assert own["jobs"] == [job] and job["result"]["bundle_sha256"] == digest
        assert job["result"]["bundle_size_bytes"] == path.stat().st_size
        assert re.search(rf"SHA256 \[{job['arm']}\]: {digest}\n", log)
        assert f": {path.stat().st_size} bytes\n" in log
    assert len({job["result"]["pattern_visits"] for job in joined["jobs"]}) == 1


def test_verify_passes_and_a_second_repro_does_nothing(finished):
    assert "verified" in finished.study("verify").stdout
    assert "Data and pipelines are up to date" in finished.dvc("repro").stdout
    sums = finished.study("verify", "--sha256sums").stdout
    done = finished.run("bash", "-c", "sha256sum -c --quiet", ok=False)  # reads nothing from an empty stdin
    (finished.home / "sums").write_text(sums)
    done = finished.run("sha256sum", "-c", "--quiet", str(finished.home / "sums"))
    assert done.returncode == 0 and finished.run("git", "status", "--porcelain").stdout == ""


def test_twice_from_nothing_gives_the_same_bytes(finished, tmp_path):
    again = fresh(tmp_path / "elsewhere" / "deeper", tmp_path / "home")
    again.run("bash", "-c", "umask 077; dvc repro", TZ="Pacific/Auckland", OMP_NUM_THREADS="2")
    assert digests(again, "dvc.lock", "manifest.json") == digests(finished, "dvc.lock", "manifest.json")


def test_training_never_reads_the_truth(copied):
    arms = ("dense", "baseline", "own")
    names = [*(f"data/bundles/{arm}/wts.h5.zip" for arm in arms), "data/map/map.h5"]
    before = digests(copied, *names)
    (copied.folder / "data/scan/truth.h5").unlink()
    for arm in arms:
        shutil.rmtree(copied.folder / f"data/bundles/{arm}")
        copied.run("python", "src/train.py", arm)
    copied.run("python", "src/reconstruct_map.py")
    assert digests(copied, *names) == before


def test_a_change_of_dose_keeps_the_networks_of_procedural_objects(copied):
    copied.edit("params.yaml", {"dose": 4321})
    done = copied.dvc("repro").stdout
    for stage in ("generate", "overlap", "train_own", "reconstruct_map", "reconstruct", "compare"):
        assert f"Running stage '{stage}'" in done
    for stage in ("probe", "train_baseline", "train_dense", "train_wide", "train_sparse", "train_cnn", "limit"):
        assert f"Running stage '{stage}'" not in done


@pytest.mark.soak
@pytest.mark.parametrize("size", [0, 16])
def test_group_size_is_one_parameter(copied, size):
    copied.edit(
        "params.yaml",
        {
            "overlap": {"train_patterns": 20},
            "train_dense": {"group_size": size},
            **{f"train_{arm}": {"view": None} for arm in SPARE},
        },
    )
    copied.dvc("repro")
    details = json.loads((copied.folder / "metrics/details.json").read_text())["arms"]
    assert details["dense"]["group_size"] == size
    assert details["dense"]["aligned"]["nrmse"] < details["flat"]["aligned"]["nrmse"]
    assert not set(SPARE) & set(details)


def test_a_stage_refuses_an_edited_dataset(copied):
    flip(copied.folder / "data/scan/train.cxi")
    done = copied.run("python", "src/overlap.py", ok=False)
    assert done.returncode == 1 and "data/scan/train.cxi: differs" in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        ({"dose": 0}, "dose: 0"),
        ({"overlap": {"dense": 0.75}}, "nearest usable value: 0.7|nearest usable value: 0.8"),
        ({"train_dense": {"group_size": 5}}, "nearest usable value: 4"),
        ({"overlap": {"train_patterns": 100000}}, "nearest usable value"),
        ({"generate": {"base": "data/base/none.npz"}}, "none.npz"),
        ({"train": {"stepps": 3}}, "'steps'"),
    ],
)
def test_bad_requests_end_in_one_line(copied, edit, words):
    copied.edit("params.yaml", edit)
    done = copied.dvc("repro", ok=False)
    assert done.returncode != 0 and re.search(words, done.stdout + done.stderr), done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    copied.run("git", "checkout", "-q", "dvc.lock", "params.yaml")
    copied.dvc("checkout", "-q")
    assert copied.study("verify").returncode == 0, "the previous result came back"


@pytest.mark.soak
def test_a_skipped_view_is_reported_with_its_reason(copied):
    copied.edit("params.yaml", {"overlap": {"sparse": None}})
    copied.dvc("repro")
    details = json.loads((copied.folder / "data/views/details.json").read_text())
    assert details["sparse"] == {"skipped": "overlap.sparse is null in params.yaml"}
    copied.edit("params.yaml", {"train_baseline": {"view": "sparse"}})
    copied.dvc("repro")
    joined = json.loads((copied.folder / "data/training_manifest.json").read_text())
    assert joined["skipped"][0]["arm"] == "baseline" and "null" in joined["skipped"][0]["reason"]


def test_dry_run_says_what_would_run(finished):
    done = finished.run("python", "src/train.py", "dense", "--dry-run")
    assert "groups of 4" in done.stdout and "data/bundles/dense" in done.stdout


def test_experiments_and_sharing(copied, tmp_path):
    copied.dvc("exp", "run", "-n", "low", "-S", "dose=1e3")
    table = copied.dvc("exp", "show", "--csv").stdout
    assert "low" in table and "1000" in table
    assert copied.study("verify").returncode == 0
    copied.run("git", "checkout", "-q", ".")
    copied.dvc("checkout", "-q")
    copied.dvc("push", "-q")
    copied.run("git", "init", "-q", "--bare", str(tmp_path / "origin.git"))
    copied.run("git", "remote", "add", "shared", str(tmp_path / "origin.git"))
    copied.run("git", "push", "-q", "shared", "main")
    copied.dvc("exp", "push", "shared", "low")
    Path(tmp_path / "origin.git" / "HEAD").write_text("ref: refs/heads/main\n")
    other = clone(Study(tmp_path / "origin.git", copied.home), tmp_path / "other")
    other.dvc("pull", "-q")
    assert "up to date" in other.dvc("repro").stdout
    assert other.study("verify").returncode == 0
    other.dvc("exp", "pull", "origin", "low")
    other.dvc("exp", "apply", "low")
    assert json.loads((other.folder / "metrics/compare.json").read_text())["dose_requested"] == 1000
    assert other.study("verify").returncode == 0


def test_the_committed_configuration_has_no_secrets_and_safe_defaults(finished):
    text = (finished.folder / ".dvc/config").read_text().lower()
    assert not re.search(r"password|secret|token|access_key|credential", text)
    assert "analytics = false" in text and "verify = true" in text and "url = ~/" in text


def test_a_background_and_a_mask_run_through_all_stages_by_parameters_alone(copied):
    clean = json.loads((copied.folder / "metrics/details.json").read_text())
    copied.dvc("exp", "run", "-S", "generate.background=0.25", "-S", "generate.mask=data/masks/beamstop.png")
    assert copied.study("verify").returncode == 0
    noisy = json.loads((copied.folder / "metrics/details.json").read_text())
    assert set(noisy["arms"]) == ROWS, "every arm honours both"
    assert 0.8 < noisy["photons_per_pixel"] / clean["photons_per_pixel"] < 1, "background is no signal"
    for view in ("dense", "sparse"):
        for kind in ("crb", "bayes"):
            pairs = zip(
                noisy["limit"]["views"][view][kind]["nrmse"], clean["limit"]["views"][view][kind]["nrmse"], strict=True
            )
            assert all(worse > better for worse, better in pairs)
    for arm in ("map", "dense", "hybrid"):
        assert noisy["arms"][arm]["aligned"]["nrmse"] < noisy["arms"]["flat"]["aligned"]["nrmse"]
    assert 0.2 < noisy["arms"]["oracle"]["deviance"] < 1.3, "deviance knows both"
