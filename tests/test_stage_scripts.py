"""The stage scripts: names, seeds and shares that no library test sees."""

import ast
import runpy
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import yaml

import compare
import generate
import overlap
import reconstruct_map
import study
from closure import ROOT
from ptychodose.errors import StudyError
from ptychodose.physics import noise
from ptychodose.scans import acquisition
from ptychodose.scans.trial import Trial
from ptychodose.study import params
from scenes import scene

STUDY = params.load(ROOT / "params.yaml")
STAGES = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
SCRIPTS = [name for name in STAGES if (ROOT / f"src/{name}.py").is_file()]


def calls(script, name):
    """First arguments, as text, of the calls of a function in a stage script."""
    nodes = ast.walk(ast.parse((ROOT / f"src/{script}.py").read_text(encoding="utf-8")))
    found = [n for n in nodes if isinstance(n, ast.Call) and getattr(n.func, "id", getattr(n.func, "attr", "")) == name]
    return [n.args[0].value for n in found if n.args and isinstance(n.args[0], ast.Constant)]


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_stage_runs_and_records_under_its_own_name(script):
    assert calls(script, "run") == [script]
    assert calls(script, "write_stage_manifest") == ([] if script == "compare" else [script])


@pytest.mark.parametrize("script", sorted(path.stem for path in (ROOT / "src").glob("*.py")))
def test_help_and_stray_words_start_nothing(script, monkeypatch, capsys):
    monkeypatch.setattr("os.chdir", lambda path: pytest.fail("started"))
    path = str(ROOT / f"src/{script}.py")
    documented = ast.get_docstring(ast.parse(Path(path).read_text(encoding="utf-8"))) or pytest.fail("no docstring")
    for words, status in ((["--help"], 0), (["-h"], 0), (["stray"], 2), (["--dose", "3"], 2)):
        monkeypatch.setattr("sys.argv", [path, *words])
        with pytest.raises(SystemExit) as ended:
            runpy.run_path(path, run_name="__main__")
        said, error = capsys.readouterr()
        assert ended.value.code == status and "error: " not in said and (error == "") == (status == 0)
        if status == 0:
            assert " ".join(documented.split()[:4]) in " ".join(said.split())
        elif script not in ("study", "sweep", "train"):
            assert error.count("\n") == 1 and words[0] in error and script in error


def test_compare_joins_every_stage_and_no_pattern_of_a_view_judges(monkeypatch):
    joined, given, trial = [], [], scene(1e4).trial("dense", "sparse")
    sealed = {"check_inputs": lambda *_: None, "join": lambda stages, own, outs: joined.extend([*stages, own])}
    monkeypatch.setattr(compare, "manifest", SimpleNamespace(**sealed))
    read = {"obj": trial.scan.flat()}, {"kind": "truth"}
    replaced = {"read_arrays": read, "read_found": {}, "_json": {}, "_rows": {}, "_write_metrics": None, "_draw": None}
    for name, found in replaced.items():
        monkeypatch.setattr(compare, name, lambda *_, found=found: found)
    monkeypatch.setattr(compare.views, "read_built", lambda *_: trial.views)
    monkeypatch.setattr(compare.cxi, "dataset", lambda path: nullcontext(trial.scan))
    monkeypatch.setattr(compare.torch, "use_deterministic_algorithms", lambda on: None)
    monkeypatch.setattr(compare, "unseen_patterns", lambda scan, used, region, wanted: given.extend(used))
    compare.main()
    assert sorted(joined) == sorted(STAGES)
    assert {tuple(index) for index in given} == {tuple(view.index) for view in trial.views.values()}


def test_the_oracle_is_the_truth_through_the_stitching(monkeypatch, tmp_path):
    s = scene(1e4)
    monkeypatch.setattr(compare, "FOUND", tmp_path)
    arrays, given = compare._rows(STUDY, s.trial("dense"), s.obj)["oracle"]
    obj = arrays["obj"]
    lit = slice(32, 118), slice(32, 90)
    assert (
        np.abs(obj[lit] * np.vdot(obj[lit], s.obj[lit]) / abs(np.vdot(obj[lit], s.obj[lit])) - s.obj[lit]).max() < 1e-5
    )
    assert given == {"view": "dense", "group_size": 4, "share": 1.0}


def test_where_probe_and_positions_were_solved_for_known_ones_judge_nothing(monkeypatch):
    """A simulated scan's spare patterns have the true probe, which an object found with another does not fit."""
    trial = scene(1e4).trial("dense")
    monkeypatch.setattr(compare, "unseen_patterns", lambda *_: np.arange(3))
    rows, region = {"flat": ({"obj": trial.scan.flat()}, {"view": None, "share": 1.0})}, (slice(0, 9), slice(0, 9))
    assert compare._deviances(STUDY, trial, rows, region)["flat"] > 1
    solved = replace(trial, found={"dense": {}})
    assert compare._deviances(STUDY, solved, rows, region) == {"flat": None}


def test_a_row_of_a_measured_scan_is_judged_under_what_was_found_of_its_own_case(monkeypatch):
    trial, asked = scene(1e4).trial("dense", "sparse"), []
    measured = replace(STUDY, generate=replace(STUDY.generate, source="measured"))
    monkeypatch.setattr(compare.cxi, "dataset", lambda path: nullcontext(trial.scan))
    monkeypatch.setattr(Trial, "under", lambda self, case, other: asked.append(case) or other.select(np.arange(2)))
    given = {"flat": (None, 1.0), "map": ("dense", 1.0), "map_sparse": ("sparse", 1.0), "map_thinned": ("dense", 0.2)}
    rows = {name: ({"obj": trial.scan.flat()}, {"view": v, "share": s}) for name, (v, s) in given.items()}
    assert set(compare._deviances(measured, trial, rows, None)) == set(given)
    assert asked == ["dense", "dense", "sparse", "thinned"]


@pytest.mark.parametrize("text", ["a\n" + "9" * 200_000, "a\nx\n", "a\n1,2\n"])
def test_a_damaged_history_is_one_line(monkeypatch, tmp_path, text):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data/bundles/dense").mkdir(parents=True)
    (tmp_path / "data/bundles/dense/history.csv").write_text(text)
    with pytest.raises(StudyError, match=r"dense/history\.csv: damaged") as caught:
        compare._history("dense")
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"rows": [{}]}', '{"rows": [{"fault": 1}, 2]}', '{"rows": 3}'])
def test_rows_to_go_on_with_are_of_this_verb(tmp_path, text):
    path = tmp_path / "rows.json"
    path.write_text('{"rows": [{"fault": "probe"}]}')
    assert study._kept(SimpleNamespace(resume=True, json=path), "fault") == [{"fault": "probe"}]
    assert study._kept(SimpleNamespace(resume=False, json=path), "fault") == []
    path.write_text(text)
    with pytest.raises(StudyError, match="leave out --resume"):
        study._kept(SimpleNamespace(resume=True, json=path), "fault")


# reconstruct_map


def solved_by(monkeypatch, seen):
    """MAP replaced by noise of the counts' own; `seen` collects the scans and a number of each stream."""

    def solve(scan, settings, rng, weight=None):
        seen.append((scan, float(rng.random())))
        obj = np.random.default_rng(int(scan.counts.astype(np.int64).sum())).standard_normal((2, *scan.shape))
        return SimpleNamespace(obj=obj[0] + 1j * obj[1], weight=weight)

    monkeypatch.setattr(reconstruct_map.poisson_map, "solve", solve)


def test_the_half_data_curve_is_of_two_halves_that_share_no_photon(monkeypatch):
    seen, trial = [], scene(1e4).trial("dense")
    solved_by(monkeypatch, seen)
    found = reconstruct_map._half_data(trial, STUDY, 0.4)
    (first, _), (second, _) = seen
    assert (first.read() + second.read() == trial.scan.counts).all()
    for half in (first, second):
        assert half.dose == 5000 and half.counts.sum() == pytest.approx(trial.scan.counts.sum() / 2, rel=0.01)
    assert abs(found["area"]) < 0.1, "independent objects do not correlate"


def test_every_map_has_numbers_of_its_own_and_the_thinned_one_the_sparse_photons(monkeypatch):
    seen, trial = [], scene(1e4).trial("dense", "sparse")
    solved_by(monkeypatch, seen)
    assert list(reconstruct_map._solve(trial, STUDY)) == ["map", "map_sparse", "map_thinned"]
    (dense, a), (sparse, b), (thinned, c) = seen
    assert [a, b, c] == [noise.stream(STUDY.seed, "solver", number).random() for number in (0, 1, 2)]
    assert (len(dense), len(sparse), len(thinned)) == (88, 15, 88)
    assert int(thinned.counts.sum()) == pytest.approx(int(sparse.counts.sum()), rel=0.05)
    assert thinned.incident == pytest.approx(dense.incident * 15 / 88, rel=1e-5)


# generate and overlap


def test_the_splits_draw_from_noises_of_their_own(monkeypatch, tmp_path):
    drawn = {}
    planned = dict.fromkeys(("train", "test"), scene(1e4).scan)
    monkeypatch.setattr(generate.base, "load", lambda *_: SimpleNamespace(obj=None, probe=None))
    monkeypatch.setattr(acquisition, "plan", lambda *_: planned)
    monkeypatch.setattr(acquisition, "counts", lambda obj, scan, rng: iter([np.array([rng.random()])]))
    monkeypatch.setattr(
        generate.cxi, "write", lambda path, scan, blocks: float(drawn.setdefault(path.stem, next(blocks))[0])
    )
    for name in ("write_arrays", "write_stage_manifest"):
        monkeypatch.setattr(generate, name, lambda *_, **__: None)
    generate.main()
    seed = STUDY.seed_of("noise")
    assert {split: float(value[0]) for split, value in drawn.items()} == {
        split: noise.stream(seed, f"noise/{split}").random() for split in ("train", "test")
    }


def test_both_splits_of_a_view_draw_from_its_stream_and_only_training_is_cut(monkeypatch):
    asked = []
    monkeypatch.setattr(
        overlap.views,
        "select",
        lambda scan, step, wanted, rule, rng, where: asked.append((wanted, set(rule.sizes), rng.random())),
    )
    monkeypatch.setattr(overlap.views, "describe", lambda *_: {})
    for number, name in enumerate(("dense", "sparse")):
        rng = noise.stream(STUDY.seed, "views", number)
        overlap._build(STUDY, name, 3, {"train": None, "test": None}, rng)
    streams = [noise.stream(STUDY.seed, "views", number) for number in (0, 1)]
    numbers = [rng.random() for rng in streams for _ in range(2)]
    assert [(wanted, number) for wanted, _, number in asked] == list(
        zip([STUDY.overlap.train_patterns, None] * 2, numbers, strict=True)
    )
    assert [sizes for _, sizes, _ in asked] == [{4}, {1, 4, 16}, {4}, {4}], "groups that an arm asks for"
