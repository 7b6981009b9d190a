"""The sweep's design, keys, table and pictures on synthetic results with known numbers."""

import argparse
import dataclasses
import shutil
import subprocess

import pytest
import yaml

import sweep
import sweep_scene as scene
from closure import ROOT
from ptychodose.errors import StudyError
from ptychodose.formats.png import DPI, save_figure
from ptychodose.study import params
from ptychodose.sweeps import charts, design, results_csv


@pytest.fixture(scope="module")
def study():
    return params.load(ROOT / "params.yaml")


@pytest.fixture(scope="module")
def rows(study):
    return scene.rows(scene.everything(study))


def test_the_star_varies_one_source_at_a_time(study):
    runs = design.star(study)
    assert len(set(runs)) == len(runs) == 42 and {run.dose for run in runs} == set(design.DOSES)
    seeds = {(run.seed_object, run.seed_noise, run.seed_network) for run in runs}
    centre = (study.seed,) * 3
    assert len(seeds) == 7 and centre in seeds
    assert all(sum(a != b for a, b in zip(some, centre, strict=True)) == 1 for some in seeds - {centre})


def test_the_heat_map_varies_dose_and_overlap(study):
    runs = design.heat(study)
    assert len(set(runs)) == 30 and {run.overlap_dense for run in runs} == {0.8, 0.6, 0.4, 0.2, 0.0}


def test_overrides_change_what_the_run_says_and_nothing_else(study):
    document = {**yaml.safe_load((ROOT / "params.yaml").read_text()), "train_own": {"view": "dense"}}
    centre = design.star(study)[2 * 7]
    other = dataclasses.replace(centre, seed_noise=7)
    assert design.overrides(centre, study, document) == ["dose=3000", "train_own.view=null"]
    assert design.overrides(other, study, document) == ["dose=3000", "seeds.noise=7", "train_own.view=null"]
    heat = design.overrides(design.heat(study)[-1], study, document)
    assert heat[:4] == ["dose=100000", "overlap.dense=0", "overlap.sparse=null", "train_baseline.view=null"]
    document.pop("train_own")
    assert design.overrides(centre, study, document) == ["dose=3000"]


def test_every_network_is_trained_by_one_run_before_the_others_need_it(study):
    runs = design.ordered(scene.everything(study))
    assert len(runs) == 72 and set(runs) == set(scene.everything(study))
    leaders, rest = runs[:8], runs[8:]
    assert len({run.training for run in leaders}) == 8 and {run.dose for run in leaders} == {design.LEAD_DOSE}
    assert [run.design for run in leaders[:4]] == ["star", "heat", "star", "heat"]
    # when a follower starts, at most the one leader that a second worker may still hold is unfinished
    assert rest[0].training == leaders[0].training and rest[-1].training == leaders[-1].training


def test_names_are_good_git_refs_and_tell_runs_apart(study):
    runs = scene.everything(study)
    names = {run.name(scene.CODE) for run in runs}
    assert len(names) == len(runs) and all(set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789.-") for name in names)
    assert not names & {run.name("f" + scene.CODE[1:]) for run in runs}


@pytest.fixture
def copied(tmp_path):
    for name in [*design.code_files(ROOT), "params.yaml"]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


def edited(folder, change):
    document = yaml.safe_load((folder / "params.yaml").read_text())
    change(document)
    (folder / "params.yaml").write_text(yaml.safe_dump(document))
    return design.code_digest(folder)


def test_the_digest_follows_code_libraries_and_fixed_parameters_but_not_the_swept_ones(copied):
    before = design.code_digest(copied)
    assert before == design.code_digest(ROOT) and len(before) == 12
    assert edited(copied, lambda p: p.update(dose=5)) == before
    assert edited(copied, lambda p: p["seeds"].update(noise=5)) == before
    assert edited(copied, lambda p: p["overlap"].update(dense=0.5)) == before
    seen = {before, edited(copied, lambda p: p["train"].update(steps=7))}
    seen.add(edited(copied, lambda p: p["overlap"].update(sparse=0.5)))
    files = ("src/ptychodose/physics/forward.py", "requirements.lock", "dvc.yaml", "data/base/synthetic.yaml")
    for name in (*files, "data/hybrid/wts.h5.zip"):
        with open(copied / name, "a") as file:
            file.write("\n# changed\n")
        seen.add(design.code_digest(copied))
    assert len(seen) == 8
    shutil.rmtree(copied / "src/ptychodose/physics")
    with pytest.raises(StudyError, match=r"physics: not found"):
        design.code_digest(copied)


def test_rows_hold_the_scores_their_view_and_collapse(study):
    run = design.star(study)[0]
    details = scene.details(run)
    details["arms"]["baseline"]["aligned"] = {**details["arms"]["baseline"]["aligned"], "nrmse": 0.54}
    details["arms"]["cnn"]["valid_fraction"] = 0.2
    made = {row["arm"]: row for row in results_csv.rows_of(run, scene.CODE, details)}
    assert set(made) == set(scene.FLOORS) and results_csv.run_of(made["dense"]) == run
    thinned = made["map_thinned"]
    assert (thinned["view"], thinned["overlap"], thinned["share"]) == ("dense", 0.7, 0.141)
    assert thinned["nbar"] == pytest.approx(made["map"]["nbar"] * 0.141) and made["flat"]["nbar"] is None
    assert made["baseline"]["collapsed"] and made["cnn"]["collapsed"] and made["dense"]["flat_nrmse"] == 0.54
    assert not made["flat"]["collapsed"] and not made["oracle"]["collapsed"] and not made["dense"]["collapsed"]


def test_results_without_views_or_with_a_hole_are_met(study):
    run = design.star(study)[0]
    details = scene.details(run, ("dense",))
    for key in ("view", "group_size", "share"):
        details["arms"]["dense"].pop(key)
    details.pop("views")
    (row,) = results_csv.rows_of(run, scene.CODE, details)
    assert [row[name] for name in ("view", "share", "nbar", "flat_nrmse", "collapsed")] == [None, 1.0, None, None, 0]
    details["arms"]["dense"]["aligned"].pop("nrmse")
    with pytest.raises(StudyError, match="no entry 'nrmse'"):
        results_csv.rows_of(run, scene.CODE, details)


def test_the_table_on_disk_reads_back_and_does_not_depend_on_the_order_of_results(study, tmp_path):
    runs = design.star(study)[:4]
    paths = [tmp_path / "a.csv", tmp_path / "b.csv"]
    for path, order in zip(paths, (runs, runs[::-1]), strict=True):
        for run in order:
            results_csv.add(path, run, scene.CODE, scene.details(run))
        results_csv.add(path, runs[0], scene.CODE, scene.details(runs[0]))  # again: replaced, not doubled
    assert paths[0].read_bytes() == paths[1].read_bytes()
    back = results_csv.read(paths[0])
    assert len(back) == 4 * len(scene.FLOORS)
    results_csv.write(paths[1], back)
    assert paths[0].read_bytes() == paths[1].read_bytes()
    for harm in (lambda text: text.replace("star", "star,", 1), lambda text: text.replace(",0\n", ",x\n", 1)):
        paths[1].write_text(harm(paths[0].read_text()))
        with pytest.raises(StudyError, match=r"b\.csv: line \d+"):
            results_csv.read(paths[1])
    with pytest.raises(StudyError, match="make sweep"):
        results_csv.read(tmp_path / "none.csv")


def test_newest_code_wins_and_old_rows_stay_in_front(study, tmp_path):
    run, path = design.star(study)[0], tmp_path / "sweep.csv"
    old = scene.rows([run])[::-1]  # their order is not touched
    results_csv.write(path, old)
    results_csv.add(path, run, "ffff", scene.details(run))
    both = results_csv.read(path)
    assert [row["arm"] for row in both[: len(old)]] == [row["arm"] for row in old] and len(both) == 2 * len(old)
    assert {row["code"] for row in results_csv.latest(both, "star")} == {"ffff"}
    assert results_csv.latest(both, "heat") == []


def test_a_run_repeats_another_only_if_nothing_but_the_networks_seed_differs(study):
    made = [{**row, "nrmse": 0.2} for row in scene.rows(design.star(study), ("map",))]
    assert len(results_csv.select(made, "map", 1e4)) == 5, "the same score from another object or noise counts"
    both = [*made, *({**row, "design": "heat", "overlap_dense": 0.6} for row in made)]
    assert len(results_csv.select(both, "map", 1e4)) == 10


TABLE = ROOT / "metrics/sweep/sweep.csv"


def committed():
    return results_csv.read(TABLE)


@pytest.mark.skipif(not TABLE.is_file(), reason="the sweep has not been run")
def test_the_committed_table_is_as_it_would_be_written_and_calls_every_run_worse_than_flat_collapsed(tmp_path):
    results_csv.write(tmp_path / "again.csv", committed())
    assert (tmp_path / "again.csv").read_bytes() == TABLE.read_bytes()
    solved = [row for row in committed() if row["arm"] not in ("flat", "oracle")]
    assert all(row["collapsed"] for row in solved if row["nrmse"] >= row["flat_nrmse"])
    assert {row["flat_nrmse"] for row in solved} == {row["nrmse"] for row in committed() if row["arm"] == "flat"}


@pytest.mark.parametrize(
    ("cell", "bad"), [(",300,", f",{bad},") for bad in ("nan", "inf", "x", "")] + [(",0\n", ",2\n")]
)
def test_a_cell_that_is_no_finite_number_or_flag_is_named(study, tmp_path, cell, bad):
    path, run = tmp_path / "sweep.csv", design.star(study)[0]
    results_csv.add(path, run, scene.CODE, scene.details(run, ("flat",)))
    path.write_text(path.read_text().replace(cell, bad))
    with pytest.raises(StudyError, match=r"sweep\.csv: line 2 is damaged"):
        results_csv.read(path)


def test_numbers_are_written_with_six_digits(study, tmp_path):
    (row,) = scene.rows(design.star(study)[:1], ("dense",))
    results_csv.write(tmp_path / "sweep.csv", [{**row, "nrmse": 0.123456789, "overlap": None}])
    (back,) = results_csv.read(tmp_path / "sweep.csv")
    assert back["nrmse"] == 0.123457 and back["overlap"] is None and back["seed_noise"] == study.seed


def test_a_figure_whose_data_are_missing_is_skipped_and_the_others_are_drawn(study, tmp_path, monkeypatch, capsys):
    (tmp_path / "metrics/sweep").mkdir(parents=True)
    results_csv.write(tmp_path / "metrics/sweep/sweep.csv", scene.rows(design.star(study)[:2], ("flat", "dense")))
    shutil.copy(ROOT / "params.yaml", tmp_path)
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    monkeypatch.chdir(tmp_path)
    assert sweep.draw(argparse.Namespace()) == 0
    said = dict(line.split(" ", 1) for line in capsys.readouterr().out.replace("metrics/sweep/", "").splitlines())
    assert (said["dose.png"], said["photons.png"]) == ("drawn", "drawn")
    assert "design heat" in said["overlap.png"] and "make bench" in said["cost.png"]
    assert said["gallery.png"].startswith("skipped: the experiments of the sweep's centre are not")
    assert {path.name for path in tmp_path.rglob("*.png")} == {"dose.png", "photons.png"}


BENCH = {"arms": {"dense": {"train_cpu_s": 55, "solve_cpu_s": 7}, "map": {"solve_cpu_s": 9}}}
DRAWINGS = {
    "dose": lambda rows, limit: charts.quality_vs_dose(rows, limit),
    "photons": lambda rows, limit: charts.quality_vs_photons(rows, limit),
    "overlap": lambda rows, _: charts.heat_maps(rows),
    "cost": lambda rows, _: charts.quality_vs_cost(rows, BENCH),
}


@pytest.mark.parametrize("name", DRAWINGS)
def test_figures_repeat_and_label_their_axes(rows, name, tmp_path):
    for path in ("a.png", "b.png"):
        save_figure(lambda: DRAWINGS[name](rows, scene.LIMIT), tmp_path / path)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    figure = DRAWINGS[name](rows, scene.LIMIT)
    panels = [axes for axes in figure.axes if axes.get_label() != "<colorbar>"]
    assert all(axes.get_xlabel() for axes in panels) and panels[0].get_ylabel()
    assert any(unit in panels[0].get_xlabel() for unit in ("photons", "seconds"))
    assert figure.get_figwidth() * DPI <= 910


@pytest.mark.parametrize("name", DRAWINGS)
def test_figures_are_drawn_without_limits_and_with_few_arms(study, name, tmp_path):
    few = scene.rows([*design.star(study)[:2], *design.heat(study)[:2]], ("flat", "oracle", "dense"))
    save_figure(lambda: DRAWINGS[name](few, None), tmp_path / "few.png")
    with pytest.raises(StudyError, match="make sweep"):
        DRAWINGS[name]([], None)


def test_heat_maps_share_a_scale_and_print_their_values(rows):
    images = [image for axes in charts.heat_maps(rows).axes for image in axes.images]
    assert len(images) == 2 and len({image.get_clim() for image in images}) == 1
    assert sum(len(axes.texts) for axes in charts.heat_maps(rows).axes) == 60
