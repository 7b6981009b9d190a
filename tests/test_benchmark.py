"""Scans given as files: read strictly, every arm on them by one command, and the shared workload (where present)."""

import importlib.util
import json
import re
import shutil
from dataclasses import replace

import numpy as np
import pytest

from closure import ROOT
from ptychodose.compare import benchmark
from ptychodose.errors import StudyError
from ptychodose.physics import noise
from ptychodose.study import params
from sandbox import fresh
from scenes import scene

FOLDER = ROOT.parent / "shared" / "benchmark"
PEERS = {  # NRMSE at 1e3 and 1e5 as reported beside the workload
    "constant image": (0.493, 0.493),
    "one-shot U-Net, 4 patterns": (0.323, 0.338),
    "prototype, 1 pattern, procedural objects": (0.349, 0.327),
    "prototype, 4 patterns, procedural objects": (0.235, 0.147),
    "pty-chi LSQML (iterative)": (0.173, 0.039),
    "prototype, MAP": (0.114, 0.0165),
    "prototype, hybrid": (0.110, 0.0165),
}
AIMS = {  # largest NRMSE, smallest phase SSIM (0: none set) at 1e3 and 1e5; dense has less than half of its budget
    "map": ((0.114, 0.0165), (0.84, 0.994)),
    "hybrid": ((0.110, 0.0165), (0, 0)),
    "dense": ((0.235, 0.165), (0, 0)),
}
MARGINS = (0.10, 0.15)  # NRMSE of baseline less that of dense


@pytest.fixture(scope="module")
def small():
    return scene(1e4)


def content(s, number=6):
    """A file's arrays of the first `number` patterns of a scene."""
    y, x = s.scan.positions[:number].T
    made = {"counts": s.scan.counts[:number], "ycoords": y, "xcoords": x}
    return {**made, "probeGuess": s.scan.probe[0], "objectGuess": s.obj}


def changed(arrays, **changes):
    """`arrays` with members replaced; None takes one out."""
    made = {**arrays, **changes}
    return {key: value for key, value in made.items() if value is not None}


def save(path, arrays):
    np.savez(path, **arrays)
    return path


# Files


def test_counts_positions_probe_and_object_come_back(small, tmp_path):
    given = content(small) | {"note": np.array("x"), "pickled": np.array([{}], dtype=object), "nan": np.array(np.nan)}
    read, obj = benchmark.read(save(tmp_path / "a.npz", given))
    assert np.array_equal(read.counts, small.scan.counts[:6]) and read.counts.dtype == np.int64
    assert np.array_equal(read.positions, small.scan.positions[:6]) and (read.positions % 1).any(), "sub-pixel kept"
    assert np.array_equal(read.probe, small.scan.probe) and np.array_equal(obj, small.obj)
    assert not read.nuisances


def test_background_mask_and_modes_of_a_file_are_part_of_its_scan(small, tmp_path):
    mask = np.arange(64 * 64).reshape(64, 64) % 7 > 0
    modes = np.concatenate([small.scan.probe, 0.3 * small.scan.probe])
    given = content(small) | {"probeGuess": modes, "mask": mask, "background": np.float64(0.25)}
    read, _ = benchmark.read(save(tmp_path / "a.npz", given))
    assert (read.background == 0.25).all() and (read.mask == mask).all() and read.probe.shape == (2, 64, 64)
    assert read.nuisances == {"background", "mask", "modes"}
    for bad in ({"mask": mask.astype(int)}, {"mask": mask[:3]}, {"background": np.float64(-1)}, {"background": mask}):
        with pytest.raises(StudyError, match=f"{next(iter(bad))} is"):
            benchmark.read(save(tmp_path / "a.npz", content(small) | bad))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_diffraction_is_the_root_of_the_counts(small, tmp_path, dtype):
    arrays = content(small)
    root = np.sqrt(arrays.pop("counts")).astype(dtype)
    read, _ = benchmark.read(save(tmp_path / "a.npz", arrays | {"diffraction": root}))
    assert np.array_equal(read.counts, small.scan.counts[:6])
    both, _ = benchmark.read(save(tmp_path / "a.npz", content(small) | {"diffraction": 0 * root}))
    assert np.array_equal(both.counts, small.scan.counts[:6]), "counts come first"


BAD = {
    "averaged counts": (
        lambda a: {"counts": a["counts"] / 2},
        "counts: not whole numbers of photons.*save the detected",
    ),
    "detector units": (lambda a: {"counts": 11 * a["counts"]}, "counts: all counts are multiples of 11"),
    "normalised": (lambda a: {"counts": None, "diffraction": np.sqrt(a["counts"] / 1e4)}, "not whole numbers"),
    "1e300 photons": (lambda a: {"counts": a["counts"] * 1e300}, "beyond any detector"),
    "no photons": (lambda a: {"counts": 0 * a["counts"]}, "counts is dark"),
    "dark probe": (lambda a: {"probeGuess": 0 * a["probeGuess"]}, "probeGuess is dark or overflows"),
    "all background": (lambda a: {"background": np.float64(9)}, "counts is dark: .* no more than the background"),
    "all masked": (lambda a: {"mask": np.zeros((64, 64), bool)}, "counts is dark"),
    "1e300 roots": (lambda a: {"counts": None, "diffraction": a["counts"] * 1e300}, "diffraction: inf is no count"),
    "glaring probe": (lambda a: {"probeGuess": a["probeGuess"].astype(complex) * 1e200}, "probeGuess is dark or over"),
    "glaring object": (
        lambda a: {"objectGuess": a["objectGuess"].astype(complex) * 1e60},
        "objectGuess is dark or over",
    ),
    "dark object": (lambda a: {"objectGuess": 0 * a["objectGuess"]}, "objectGuess is dark"),
    "probe of unit energy": (
        lambda a: {"probeGuess": a["probeGuess"] / 115},
        "probeGuess has 1 photons.* by about 101,",
    ),
    "probe of 1e8 photons": (
        lambda a: {"probeGuess": a["probeGuess"] * 100},
        r"probeGuess has 1.3\de.08 photons, a patt",
    ),
    "overflowing probe": (lambda a: {"probeGuess": a["probeGuess"] * 1e30}, "probeGuess is dark or overflows"),
    "no counts": (lambda a: {"counts": None}, "'counts'.*'diffraction'"),
    **{f"no {key}": (lambda a, key=key: {key: None}, f"{key}.*missing") for key in benchmark.KEYS[2:]},
    "negative counts": (lambda a: {"counts": a["counts"].astype(int) - 1}, "negative counts"),
    "negative root": (lambda a: {"counts": None, "diffraction": -np.sqrt(a["counts"])}, "negative diffraction"),
    "NaN counts": (lambda a: {"counts": a["counts"] * np.nan}, "counts.*not finite"),
    "infinite probe": (lambda a: {"probeGuess": a["probeGuess"] * np.inf}, "probeGuess.*not finite"),
    "NaN position": (lambda a: {"xcoords": a["xcoords"] * np.nan}, "xcoords.*not finite"),
    "text": (lambda a: {"ycoords": a["ycoords"].astype(str)}, "ycoords is <U"),
    "complex counts": (lambda a: {"counts": a["counts"] * 1j}, "counts is complex"),
    "complex position": (lambda a: {"xcoords": a["xcoords"] + 0j}, "xcoords is complex"),
    "pickled": (lambda a: {"probeGuess": a["probeGuess"].astype(object)}, "pickled"),
    "out of frame": (lambda a: {"ycoords": a["ycoords"] - 20}, "xcoords, ycoords.*inside"),
    "beyond the frame": (lambda a: {"xcoords": a["xcoords"] + 60}, "xcoords, ycoords.*inside"),
    "fewer positions": (lambda a: {"xcoords": a["xcoords"][:3]}, "xcoords, ycoords.*6 patterns"),
    "more positions": (lambda a: {"counts": a["counts"][:3]}, "xcoords, ycoords.*3 patterns"),
    "columns": (lambda a: {k: a[k][:, None] for k in ("xcoords", "ycoords")}, "xcoords, ycoords.*6 patterns"),
    "no pattern": (lambda a: {k: a[k][:0] for k in ("counts", "xcoords", "ycoords")}, "0 patterns"),
    "one pattern": (lambda a: {"counts": a["counts"][0]}, "counts.*disagree"),
    "other probe": (lambda a: {"probeGuess": a["probeGuess"][:32, :32]}, "probeGuess.*disagree"),
    "oblong": (lambda a: {"counts": a["counts"][:, :32], "probeGuess": a["probeGuess"][:32]}, "disagree"),
    "object modes": (lambda a: {"objectGuess": a["objectGuess"][None]}, "objectGuess.*disagree"),
}


def test_a_mask_and_a_background_are_not_mistaken_for_another_dose(small, tmp_path):
    """A beamstop that hides a third of the photons, and half a count of background in each of 4096 pixels."""
    more = noise.draw_counts(np.full(small.scan.counts.shape, 0.5), noise.stream(0, "noise/test"))
    beamstop = np.hypot(*(np.indices((64, 64)) - 32)) > 9
    given = content(small, len(small.scan)) | {"counts": small.scan.counts + more, "background": np.float64(0.5)}
    path = save(tmp_path / "a_d1e4.npz", given | {"mask": beamstop})
    assert benchmark.read(path)[0].signal < 0.75e4
    benchmark._check_dose(path, 1e4)
    for named in (7e3, 1.5e4):
        with pytest.raises(StudyError, match=r"its name says .* and it has (9|10)\d+"):
            benchmark._check_dose(path, named)


def test_every_file_must_be_of_its_dose_before_anything_is_trained(small, tmp_path, monkeypatch):
    for split in ("train", "test"):
        save(tmp_path / f"a_d10000_{split}.npz", content(small, len(small.scan)))
    sparse = content(small, len(small.scan)) | {"counts": small.scan.counts // 9}
    save(tmp_path / "a_d10000_test.npz", sparse)
    monkeypatch.setattr(benchmark, "_train", lambda *_: pytest.fail("trained"))
    with pytest.raises(StudyError, match=r"a_d10000_test\.npz"):
        benchmark.run(tmp_path, "a", params.load(ROOT / "params.yaml"))


def test_counts_of_another_dose_than_the_name_says_are_refused(small, tmp_path):
    benchmark._check_dose(save(tmp_path / "a_d1e4.npz", content(small, len(small.scan))), 1e4)
    for named in (7e3, 1.5e4, 1e5):
        with pytest.raises(StudyError, match=f"its name says {named:g} photons per pattern, and it has"):
            benchmark._check_dose(tmp_path / "a_d1e4.npz", named)


@pytest.mark.parametrize("name", BAD)
def test_unusable_files_are_refused_in_one_line(small, tmp_path, name):
    change, words = BAD[name]
    path = save(tmp_path / "toy.npz", changed(content(small), **change(content(small))))
    with pytest.raises(StudyError, match=words) as caught:
        benchmark.read(path)
    assert "\n" not in str(caught.value) and str(path) in str(caught.value)


def test_doses_are_sorted_by_number_and_complete(tmp_path):
    pairs = ("nat_d1e5", "nat_d900", "nat_d10000", "nat_d2.5", "other_d7")
    for name in (*pairs, "nat_d1", "xnat_d3"):
        (tmp_path / f"{name}_train.npz").touch()
    for name in (*pairs, "nat_d2"):
        (tmp_path / f"{name}_test.npz").touch()
    for name in ("nat_d1e", "nat_d..", "nat_d", "nat_dmany"):
        for split in ("train", "test"):
            (tmp_path / f"{name}_{split}.npz").touch()
    assert benchmark.doses(tmp_path, "nat") == ["2.5", "900", "10000", "1e5"]
    assert benchmark.doses(tmp_path, "other") == ["7"]


def test_a_folder_without_a_pair_is_one_line(tmp_path):
    (tmp_path / "nat_d1000_train.npz").touch()
    for folder, family in ((tmp_path, "nat"), (tmp_path, "n.t"), (tmp_path / "absent", "nat")):
        with pytest.raises(StudyError, match=f"no pair {re.escape(family)}_d<dose>_train.npz") as caught:
            benchmark.doses(folder, family)
        assert "\n" not in str(caught.value) and str(folder) in str(caught.value)


# The command


@pytest.mark.slow
def test_one_command_runs_every_arm_on_two_files(tmp_path):
    made = fresh(tmp_path / "study", tmp_path / "home")
    data, out = tmp_path / "files", tmp_path / "out" / "scores.json"
    data.mkdir()
    for seed, split in enumerate(("train", "test")):
        np.savez_compressed(data / f"toy_d10000_{split}.npz", **content(scene(1e4, seed), 88))
    given = ("benchmark", "--data", str(data), "--json", str(out), "--family")
    ran = made.study(*given, "toy")
    log = ran.stdout
    assert all(f"train_{name}: 100%" in ran.stderr for name in ("baseline", "dense", "wide"))
    rows = json.loads(out.read_text())["10000"]
    assert set(rows) == {"flat", "baseline", "dense", "wide", "map", "hybrid"}
    assert all(f"  {name} " in log for name in rows)
    for row in rows.values():
        assert 0 < row["nrmse"] < 1 and -1 <= row["phase_ssim"] <= 1 and row["seconds"] >= 0
    assert rows["map"]["nrmse"] < 0.3 * rows["flat"]["nrmse"] and rows["map"]["phase_ssim"] > 0.9
    assert rows["hybrid"]["seconds"] > rows["map"]["seconds"] > 0 and rows["dense"]["train_seconds"] > 0
    wrong = made.study(*given, "toys", ok=False)
    assert wrong.returncode == 1 and wrong.stderr.startswith("error: ") and wrong.stderr.count("\n") == 1


# The shared workload


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """{arm: ((NRMSE, phase SSIM) at 1e3, at 1e5)} by the workload's own yardstick, without its shift search."""
    spec = importlib.util.spec_from_file_location("yardstick", FOLDER / "evaluate.py")
    yardstick = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(yardstick)
    score = benchmark._row

    read, files = benchmark.read, {}

    def remember(path):
        scan, truth = read(path)
        files[id(truth)] = scan.positions
        return scan, truth

    def row(obj, truth, *others):
        own = score(obj, truth, *others)
        theirs = yardstick.evaluate(obj, truth, *files[id(truth)].T, register=False)
        if (obj != obj[0, 0]).any():  # a constant is not aligned here, but is there
            assert theirs["nrmse"] == pytest.approx(own["nrmse"], rel=0.02), "two independent implementations agree"
        return {**own, "theirs": (theirs["nrmse"], theirs["phase_ssim"])}

    folder = tmp_path_factory.mktemp("nat")
    for dose in (1000, 100000):
        for split in ("train", "test"):
            shutil.copy(FOLDER / f"nat_d{dose}_{split}.npz", folder)
    study = params.load(ROOT / "params.yaml")
    study = replace(study, train=replace(study.train, pattern_visits=1600))  # keeps CI short
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(benchmark, "_row", row)
        patch.setattr(benchmark, "read", remember)
        patch.chdir(ROOT)  # the hybrid's bundle is named from there
        result = benchmark.run(folder, "nat", study)
    found = {arm: tuple(result[dose][arm]["theirs"] for dose in ("1000", "100000")) for arm in result["1000"]}
    lines = ["| NRMSE (phase SSIM) | 1e3 | 1e5 |", "|---|---|---|"]
    lines += [f"| {peer} | {low:.3f} | {high:.4g} |" for peer, (low, high) in PEERS.items()]
    lines += [
        f"| ours: {arm} | {' | '.join(f'{error:.4g} ({ssim:.3f})' for error, ssim in row)} |"
        for arm, row in found.items()
    ]
    print("\n" + "\n".join(lines))
    return found


shared = [
    pytest.mark.slow,
    pytest.mark.skipif(not (FOLDER / "evaluate.py").is_file(), reason="the shared workload is absent"),
]


@pytest.mark.parametrize("arm", [pytest.param(arm, marks=shared) for arm in AIMS])
def test_arms_reach_their_aims_on_the_shared_workload(table, arm):
    largest, smallest = AIMS[arm]
    for (error, ssim), most, least in zip(table[arm], largest, smallest, strict=True):
        assert error <= most and ssim >= least


@pytest.mark.slow
@pytest.mark.skipif(not (FOLDER / "evaluate.py").is_file(), reason="the shared workload is absent")
def test_groups_beat_single_patterns_by_a_margin_on_the_shared_workload(table):
    for (dense, _), (baseline, _), margin in zip(table["dense"], table["baseline"], MARGINS, strict=True):
        assert dense <= baseline - margin
