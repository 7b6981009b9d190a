"""params.yaml: every spelling of a number is one value, every mistake is one line that names the remedy."""

import dataclasses
import re
from pathlib import Path

import pytest
import yaml
from dvc.utils.serialize import parse_yaml

from ptychodose.errors import StudyError
from ptychodose.study import params

COMMITTED = Path(__file__).parents[1] / "params.yaml"


@pytest.fixture
def edited(tmp_path):
    """Load the committed parameters after `change(document)`."""

    def load(change):
        document = yaml.safe_load(COMMITTED.read_text())
        change(document)
        path = tmp_path / "params.yaml"
        path.write_text(yaml.safe_dump(document))
        return params.load(path)

    return load


def test_the_committed_file_is_valid_and_every_line_has_a_reason():
    study = params.load(COMMITTED)
    assert study.dose > 0 and dataclasses.is_dataclass(study.generate)
    for line in COMMITTED.read_text().splitlines():
        if line and not line.startswith("#") and ":" in line and not line.rstrip().endswith(":"):
            head = line.split("#")[0].strip()
            assert "#" in line or head.endswith(": null"), f"no comment: {line}"


@pytest.mark.parametrize("spelling", [10000, 10000.0, "1e4", "1E4", "10000"])
def test_every_spelling_of_a_number_is_one_value(edited, spelling):
    study = edited(lambda d: d.update(dose=spelling))
    assert study.dose == 10000 and isinstance(study.dose, float)


def nested(section, key, value):
    return lambda d: d[section].update({key: value})


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda d: d.update(dosse=4), ["dosse", "'dose'"]),
        (nested("overlap", "neighbors", 7), ["overlap", "'neighbors'", "'neighbours'"]),
        (lambda d: d.pop("dose"), ["dose", "missing"]),
        (nested("overlap", "dense", "half"), ["overlap.dense", "'half'", "number"]),
        (nested("overlap", "dense", 1.0), ["overlap.dense", "[0, 1)"]),
        (nested("overlap", "sparse", -0.1), ["overlap.sparse", "-0.1"]),
        (lambda d: d.update(dose=0), ["dose", "(0,"]),
        (lambda d: d.update(dose=-5), ["dose", "-5"]),
        (lambda d: d.update(dose=float("nan")), ["dose", "finite"]),
        (lambda d: d.update(dose=True), ["dose", "finite"]),
        (lambda d: d.update(seed=1.5), ["seed", "whole"]),
        (lambda d: d.update(seed=True), ["seed", "True", "whole"]),
        (lambda d: d.update(seed=2**63), ["seed", "[0, 9.22337e+18]"]),
        (nested("limit", "crop", 73), ["limit.crop", "73", "[16, 72]"]),
        (nested("limit", "crop", 15), ["limit.crop", "15", "[16, 72]"]),
        (nested("train", "portable", 1), ["train.portable", "true or false"]),
        (nested("generate", "mask", ""), ["generate.mask", "text"]),
        (nested("generate", "base", 7), ["generate.base", "text"]),
        (lambda d: d.update(generate=[1]), ["generate", "section"]),
        (nested("train_dense", "view", "densse"), ["train_dense.view", "'dense'"]),
    ],
)
def test_mistakes_are_one_line_naming_key_and_remedy(edited, change, words):
    with pytest.raises(StudyError) as caught:
        edited(change)
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message


@pytest.mark.parametrize("text", ["", "- 1\n", "a: [\n", "\x00", "a: &a [*a]\n"])
def test_files_that_are_not_parameters(tmp_path, text):
    path = tmp_path / "params.yaml"
    path.write_text(text)
    with pytest.raises(StudyError):
        params.load(path)
    with pytest.raises(StudyError, match="not found"):
        params.load(tmp_path / "absent.yaml")


def as_typed(path, text):
    """The committed file with a dose as typed."""
    path.write_text(COMMITTED.read_text().replace("dose: 10000 ", f"dose: {text} "))
    return params.load(path).dose


TWO_WAYS = {
    **{"05000": "5000", "-010": "-10", "1_000": "1000"},
    **dict.fromkeys(("0o17", "1:30", "1:30.5", "1_0.5", "010.5"), "decimal"),
    **{"yes": "true", "y": "true", "No": "false", "off": "false"},
}


@pytest.mark.parametrize("text", TWO_WAYS)
def test_what_versions_of_yaml_read_differently_is_refused_with_its_line_and_how_to_write_it(tmp_path, text):
    """In params.yaml and recipes, which people type and other programs read; a lock that DVC writes may hold it."""
    said = rf"line 2: dose: '{re.escape(text)}' is read in two ways; write .*{TWO_WAYS[text]}"
    for typed in (text, f"{text}  # a reason"):
        with pytest.raises(StudyError, match=said):
            as_typed(tmp_path / "params.yaml", typed)
    assert params.load_yaml(tmp_path / "params.yaml")["dose"] is not None


def test_in_quotes_it_is_a_text_for_all(tmp_path):
    for text in ("yes", "1:30", "off"):
        with pytest.raises(StudyError, match=rf"dose: '{text}' is not a finite number"):
            as_typed(tmp_path / "params.yaml", f"'{text}'")


@pytest.mark.parametrize(
    "text", ["5000", "1e4", "1E+4", "1.e4", ".5", "+.5e+3", "0x1F", "0.5", "0.0625", "10.0", "0b11"]
)
def test_numbers_that_are_read_in_one_way_pass(tmp_path, text):
    assert as_typed(tmp_path / "params.yaml", text) == parse_yaml(f"dose: {text}\n", "p.yaml")["dose"]


def test_whole_numbers_keep_every_digit_and_may_be_written_as_floats(edited):
    assert edited(lambda d: d.update(seed=2**63 - 1)).seed == 2**63 - 1
    for spelling in (1000.0, "1e3"):
        found = edited(nested("train", "objects", spelling)).train.objects
        assert found == 1000 and isinstance(found, int)


def test_seeds_follow_the_root_unless_set(edited):
    study = edited(lambda d: d["seeds"].update(noise=5))
    assert study.seed_of("noise") == 5 and study.seed_of("network") == study.seed == study.seed_of("object")


@pytest.mark.parametrize(
    "text",
    ["05000", "1:30", "yes", "on", "1_000", "1e3", ".5", ".5e1", "0x10", "0o17", "0b11", "+5", "1.", "~", "TRUE"],
)
def test_a_value_is_to_the_study_what_it_is_to_dvc(text, tmp_path):
    """YAML 1.1 made 2560 of 05000 and 90 of 1:30; DVC, which reads YAML 1.2, tracked 5000 and a text."""
    (tmp_path / "p.yaml").write_text(f"dose: {text}\n")
    ours, dvcs = params.load_yaml(tmp_path / "p.yaml")["dose"], parse_yaml(f"dose: {text}\n", "p.yaml")["dose"]
    assert (type(ours), ours) == (type(dvcs), dvcs)
