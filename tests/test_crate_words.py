"""What a crate takes of CITATION.cff and pyproject.toml: as committed, or in one line why not."""

import pytest
import yaml

from ptychodose.archive import crate_files
from ptychodose.errors import StudyError
from sandbox import ROOT

CITED = yaml.safe_load((ROOT / "CITATION.cff").read_text())


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_committed_ones_are_taken(monkeypatch):
    monkeypatch.chdir(ROOT)
    assert crate_files.citation()["title"] == CITED["title"] and crate_files.project()["name"] == "ptychodose"


PERSON = {"given-names": "A", "family-names": "B", "orcid": "https://orcid.org/0000-0000-0000-0000"}


@pytest.mark.parametrize(
    ("key", "good", "bad"),
    [
        ("title", "x", (None, "", [], {}, ["x"], "a\x1bb")),
        ("version", 1.0, (None, " ", {"a": 1}, [1])),
        ("license", "GPL-3.0+", (None, "MIT or so", ["MIT"], 3.5j.__repr__() + " ")),
        ("authors", [PERSON], (None, [], "me", {"name": "me"}, [3], [{}], [{"alias": "x"}], [{"name": {}}],
                               [{"name": "x", "orcid": 7}], [{"name": "x", "website": "./"}])),
        ("keywords", [], ("dose", [1], {"a": 1}, [["a"]], None)),
        ("date-released", "2026-01-02", ("today", 2026, [], "2026-01-02\n", None)),
    ],
)  # fmt: skip
def test_what_no_crate_can_hold_is_named(home, key, good, bad):
    (home / "CITATION.cff").write_text(yaml.safe_dump({**CITED, key: good}))
    assert crate_files.citation()[key] == good
    for value in bad:
        (home / "CITATION.cff").write_text(yaml.safe_dump({**CITED, key: value}))
        with pytest.raises(StudyError, match=f"CITATION.cff: {key}: ") as caught:
            crate_files.citation()
        assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    "text",
    [None, b"", b"[project", b"\xff", b"project = 3", b"[project]\ndescription = 'x'",
     b"[project]\ndescription = 'x'\ndependencies = [3]", b"[project]\ndescription = 3\ndependencies = []"],
)  # fmt: skip
def test_an_odd_pyproject_is_one_line(home, text):
    if text is not None:
        (home / "pyproject.toml").write_bytes(text)
    with pytest.raises(StudyError, match=r"pyproject\.toml: .*git restore") as caught:
        crate_files.project()
    assert str(caught.value).isprintable()
