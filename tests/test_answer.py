"""The answer for the terminal: every arm, who is no better than the flat object, the bounds at the dose."""

import json

import pytest

from ptychodose.compare import answer
from ptychodose.errors import StudyError


def row(nrmse, ssim=0.5, frc50=0.25):
    return {"nrmse": nrmse, "phase_ssim": ssim, "frc50": frc50}


HEADLINE = {"dose_requested": 1000.0, "dose_measured": 990.0, "photons_per_pixel": 19.4, "flat": row(0.6, 0.01, 0.0),
            "baseline": row(0.4), "dense": row(0.3, 0.71, 0.42), "same": row(0.6), "worse": row(0.61)}  # fmt: skip
CURVE = {"dose": [100.0, 10000.0], "nrmse": [0.5, 0.05]}
LIMIT = {
    "views": {"dense": {"bayes": CURVE, "crb": {**CURVE, "nrmse": [5.0, 0.5]}}},
    "ratio": {"dose": [100.0, 10000.0], "dense_over_baseline": [0.9, 0.4]},
}


def lines(headline=HEADLINE, limit=LIMIT):
    return answer.table(headline, {"limit": limit}).splitlines()


def line_of(name, **given):
    return next(line for line in lines(**given) if line.startswith(f"{name} "))


def test_every_arm_has_its_numbers_in_the_order_of_the_head():
    assert lines()[1] == "dose 1000: 19 photons per object pixel"
    assert lines()[2].split()[:2] == ["arm", "NRMSE"]
    assert line_of("dense").split() == ["dense", "0.300", "0.710", "0.42"]
    assert [line.split()[0] for line in lines()[3:8]] == ["flat", "baseline", "dense", "same", "worse"]


def test_a_reference_is_named_and_what_needs_none_is_beside_it():
    aligned, half = {"correlation": 0.987}, {"1/7": {"first": 0.81}}
    arms = {name: {"aligned": aligned, "deviance": 1.234} for name in ("flat", "baseline", "dense", "same", "worse")}
    arms["dense"]["half_data"] = half
    said = answer.table({**HEADLINE, "judged_by": "reference (of a half)"}, {"arms": arms}).splitlines()
    assert said[2] == "beside no truth but a reference (of a half), which has errors of its own"
    rows = {line.split()[0]: line.split() for line in said if line}
    assert rows["dense"] == ["dense", "0.300", "0.710", "0.42", "0.987", "0.81", "1.234"]
    assert rows["baseline"][4:] == ["0.987", "1.234"], "an arm without halves leaves that column empty"


def test_a_truth_without_contrast_is_called_so():
    assert line_of("dense", headline={**HEADLINE, "dense": row(0.3, None)}).split()[1:4] == ["0.300", "no", "contrast"]


@pytest.mark.parametrize(("arm", "lost"), [("flat", 0), ("baseline", 0), ("dense", 0), ("same", 1), ("worse", 1)])
def test_an_arm_that_is_not_better_than_the_flat_object_is_called_so(arm, lost):
    assert line_of(arm).count("NOT better than the flat object") == lost


def test_bounds_and_the_ratio_stand_at_the_dose_between_those_computed():
    assert line_of("limit, dense") == "limit, dense   0.158 with a Gaussian prior, 1.581 without (Cramér–Rao)"
    assert line_of("dense :").startswith("dense : baseline 0.75 measured, 0.60 by the bounds"), "0.3 / 0.4, sqrt(.36)"


@pytest.mark.parametrize("dose", [99.0, 1e5])
def test_outside_the_doses_computed_it_says_so(dose):
    headline = {**HEADLINE, "dose_requested": dose}
    words = "not computed with a Gaussian prior, not computed without"
    assert words in line_of("limit, dense", headline=headline)
    assert "0.75 measured, not computed by" in line_of("dense :", headline=headline)


@pytest.mark.parametrize("limit", [None, {}, {"views": {}, "ratio": None}])
def test_without_limits_the_table_stands_alone(limit):
    assert len(lines(limit=limit)) == 8


def test_without_both_arms_there_is_no_ratio():
    alone = {name: value for name, value in HEADLINE.items() if name != "baseline"}
    assert not any(line.startswith("dense :") for line in lines(headline=alone))


def written(folder, headline, details):
    """Both files as texts, which is what the terminal is told of them."""
    for name, text in (("compare.json", headline), ("details.json", details)):
        if text is not None:
            (folder / name).write_text(text if isinstance(text, str) else json.dumps(text))
    return answer.read(folder / "compare.json", folder / "details.json")


def test_the_files_of_a_comparison_are_its_table(tmp_path):
    assert written(tmp_path, HEADLINE, {"limit": LIMIT}) == answer.table(HEADLINE, {"limit": LIMIT})
    (tmp_path / "details.json").unlink()
    assert written(tmp_path, HEADLINE, None) == answer.table(HEADLINE, {})


MERGING = "<<<<<<< HEAD\n" + json.dumps(HEADLINE) + "\n=======\n{}\n>>>>>>> theirs\n"


@pytest.mark.parametrize(
    ("headline", "details", "words"),
    [
        (None, None, "not found; run `make repro`"),
        ("", None, "compare.json: not what"),
        ("[]", None, "not what"),
        ("3", None, "not what"),
        ("{", None, "not what"),
        ("[" * 10**5, None, "nested too deeply"),
        (MERGING, None, "marks of a merge"),
        (HEADLINE, MERGING, "details.json: not what `compare` writes \\(marks of a merge"),
        (HEADLINE, "[]", "not what"),
        (HEADLINE, {"limit": {"views": [1]}}, "not what"),
        (HEADLINE, {"limit": {"views": {"dense": {"bayes": 1, "crb": None}}}}, "not what"),
        ({**HEADLINE, "flat": 0.6}, None, "not what"),
        ({**HEADLINE, "dose_requested": "much"}, None, "not what"),
        ({**HEADLINE, "dense": {"nrmse": 0.3}}, None, "no entry 'phase_ssim'"),
        ({**HEADLINE, "dense": row(None)}, None, "not what"),
        ({**HEADLINE, "dense": row(10**400)}, None, "not what"),
        ({**HEADLINE, "judged_by": "x"}, None, "no entry 'arms'"),
        ({**HEADLINE, "\x1b[2J": row(0.4)}, None, "cannot be printed"),
        (json.dumps({**HEADLINE, "dense": row(float("nan"))}), None, "no finite number"),
    ],
)
def test_damaged_files_are_one_line(tmp_path, headline, details, words):
    with pytest.raises(StudyError, match=words) as caught:
        written(tmp_path, headline, details)
    assert str(caught.value).isprintable()
