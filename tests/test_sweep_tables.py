"""The sweep's tables: answer, limits, pairs, spreads, on synthetic results with known numbers."""

import functools
import json

import numpy as np
import pytest

import sweep_scene as scene
from closure import ROOT
from ptychodose.errors import StudyError
from ptychodose.study import params
from ptychodose.sweeps import charts, design, markdown, results_csv, statistics


@pytest.fixture(scope="module")
def study():
    return params.load(ROOT / "params.yaml")


@pytest.fixture(scope="module")
def rows(study):
    return scene.rows(scene.everything(study))


def column(text, label, number):
    line = next(line for line in text.splitlines() if line.startswith(f"| {label}"))
    return line.split("|")[1 + number].strip()


def test_the_answer_holds_means_limits_ratios_and_collapses(study):
    runs = design.star(study)
    made = scene.rows(runs)
    errors = {run: 0.20 + 0.01 * i for i, run in enumerate(r for r in runs if r.dose == 1e4)}
    worse = {"baseline": 0.2, "dense": 0.0}
    made = [
        {**row, "nrmse": errors[run] + worse[row["arm"]], "collapsed": int(row["arm"] == "baseline")}
        if (run := results_csv.run_of(row)) in errors and row["arm"] in worse
        else row
        for row in made
    ]
    text = markdown.star_table(made, scene.LIMIT)
    assert "10,000 per pattern, n̄ 191" in text and "over 5–7 runs" in text
    assert column(text, "**dense", 2).startswith("0.230 ± 0.022 / 0.")
    assert column(text, "limit without bias", 2) == "0.0220" and column(text, "limit with a Gaussian", 2) == "0.0200"
    assert column(text, "dense − baseline, paired", 2) == "−0.200 [−0.200, −0.200]"
    assert column(text, "collapsed", 2) == "baseline 7 of 7"
    assert column(text, "dense : baseline, limits", 2) == "0.35"  # half way between 0.5 and 0.25 on a log axis
    assert "(0.14 n̄)" in text and "oracle" not in text


def test_the_answer_copes_with_missing_arms_and_runs(study):
    few = scene.rows(design.star(study)[7:8], ("flat", "dense"))
    text = markdown.star_table(few, None)
    assert column(text, "**dense", 1).count("±") == 0 and "baseline" not in text and "limit" not in text
    with pytest.raises(StudyError, match="make sweep"):
        markdown.star_table([], None)


def test_runs_that_only_repeat_another_one_count_once(study):
    made = scene.rows(design.star(study), ("flat", "dense", "map"))
    made = [{**row, "nrmse": 0.1 + row["seed_object"] % 7} if row["arm"] == "map" else row for row in made]
    assert len(results_csv.select(made, "map", 1e4)) == 5 and len(results_csv.select(made, "dense", 1e4)) == 7
    assert "over 5–7 runs" in markdown.star_table(made, None)
    assert markdown.source_table(made).splitlines()[-1].endswith("| – | – | – |"), "no spread from the networks"


def test_only_runs_that_both_arms_have_are_paired(study):
    made = []
    for i, row in enumerate(row for row in scene.rows(design.star(study), ("baseline", "dense")) if row["dose"] == 1e4):
        run, is_dense = i // 2, row["arm"] == "dense"
        if run != (0 if is_dense else 6):  # the first run has no dense, the last no baseline
            made.append({**row, "nrmse": 0.1 * (run + 1) if is_dense else 0.2 * (run + 1)})
    text = markdown.star_table(made, None)
    halves = np.array([0.2, 0.3, 0.4, 0.5, 0.6])  # of runs 1 to 5, baseline minus dense
    low, high = statistics.bootstrap_mean(-halves, 2026)
    assert column(text, "dense : baseline, measured", 1) == "0.50"
    assert column(text, "dense − baseline, paired", 1) == f"−0.400 [−{-low:.3f}, −{-high:.3f}]"
    alone = [row for row in made if (row["arm"] == "dense") == (row["seed_network"] == study.seed)]
    assert "paired" not in markdown.star_table(alone, None), "no run in common"


def test_limits_are_interpolated_on_log_axes_and_not_computed_outside():
    bayes = {"dose": [1e2, 1e3, 1e4], "nrmse": [0.4, 0.1, 0.01]}
    limit = {"views": {"dense": {"bayes": bayes}}}
    at = functools.partial(markdown.limit_at, limit, "dense", "bayes")
    assert [at(dose) for dose in (1e2, 1e3, 1e4)] == pytest.approx([0.4, 0.1, 0.01])
    assert at(10**2.5) == pytest.approx(0.2) and at(10**3.5) == pytest.approx(0.1**1.5)
    assert at(99.9) is None and at(1.001e4) is None
    for missing in (None, {}, {"views": {"dense": {}}}, {"views": {"sparse": limit["views"]["dense"]}}):
        assert markdown.limit_at(missing, "dense", "bayes", 1e3) is None


def test_a_limit_outside_its_doses_is_said_to_be_not_computed(rows):
    views = {"dense": {"bayes": {"dose": [1e3, 1e4], "nrmse": [0.1, 0.02]}}}
    text = markdown.star_table(rows, {"views": views, "ratio": scene.LIMIT["ratio"]}, (300.0, 1e3, 1e5))
    bayes = [column(text, "limit with a Gaussian", i) for i in (1, 2, 3)]
    assert bayes == ["not computed", "0.100", "not computed"] and "limit without bias" not in text
    assert [column(text, "dense : baseline, limits", i) for i in (1, 2, 3)] == ["not computed", "0.50", "0.25"]


def test_the_spread_of_a_source_is_that_of_the_runs_that_differ_in_it_alone(study):
    weight = {"seed_object": 0.01, "seed_noise": 0.001, "seed_network": 0.1}
    made = [
        {**row, "nrmse": 0.2 + sum(scale * (row[name] - study.seed) for name, scale in weight.items())}
        for row in scene.rows(design.star(study), ("dense",))
    ]
    text = markdown.source_table(made)
    assert [column(text, "**dense", i) for i in (1, 4, 7)] == ["0.0100", "0.0010", "0.1000"]


def test_longer_tables(rows):
    assert "| **dense: network, 4 patterns** | 0." in markdown.source_table(rows)
    heat = markdown.heat_table(rows, "map")
    assert heat.startswith("| map: overlap | 300 | 1,000 |") and len(heat.splitlines()) == 7
    assert [line.split(" ")[1] for line in heat.splitlines()[2:]] == ["0.8", "0.6", "0.4", "0.2", "0"]
    made = {(row["overlap_dense"], row["dose"]): row["nrmse"] for row in rows if row["arm"] == "map"}
    assert column(heat, "0.4", 4) == f"{made[0.4, 1e4]:.4f}"


def test_the_block_of_a_document_is_checked_and_replaced(tmp_path):
    page = tmp_path / "README.md"
    page.write_text(f"before\n{markdown.BEGIN}\nold\n{markdown.END}\nafter\n")
    assert not markdown.replace_block(page, "new\n", write=False) and "old" in page.read_text()
    markdown.replace_block(page, "new\n", write=True)
    assert page.read_text() == f"before\n{markdown.BEGIN}\nnew\n{markdown.END}\nafter\n"
    assert markdown.replace_block(page, "new\n", write=False)
    page.write_text("no markers")
    with pytest.raises(StudyError, match="answer:begin"):
        markdown.replace_block(page, "new\n", write=True)


SWEEP = ROOT / "metrics/sweep"


@pytest.mark.skipif(not (SWEEP / "sweep.csv").is_file(), reason="the sweep has not been run")
def test_the_committed_readme_says_what_the_sweep_says():
    limit = json.loads((SWEEP / "limit.json").read_text())
    text = markdown.star_table(results_csv.read(SWEEP / "sweep.csv"), limit)
    assert markdown.replace_block(ROOT / "README.md", text, write=False), "python src/sweep.py readme --write"


def test_a_truth_without_contrast_has_no_similarity(study, tmp_path):
    """A run whose phase SSIM is None goes through sweep.csv as an empty cell and out of the mean; a whole arm is said
    to have no contrast, and the picture is drawn without it."""
    found = scene.rows(design.star(study), ("flat", "dense", "map"))
    first = found[0]["seed_noise"]  # of the centre
    lost = [{**row, "phase_ssim": None} if row["arm"] == "map" or row["seed_noise"] != first else row for row in found]
    results_csv.write(tmp_path / "sweep.csv", lost)
    again = results_csv.read(tmp_path / "sweep.csv")
    assert [row["phase_ssim"] is None for row in again] == [row["phase_ssim"] is None for row in lost]
    text = markdown.star_table(again, None)
    assert column(text, "MAP", 2).endswith("/ no contrast") and "/ 0." in column(text, "**dense", 2)
    assert charts.quality_vs_dose(again, None).axes
