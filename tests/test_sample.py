"""`verify --sample`: which copies are read, that all parts together are everything, and that the outcome says so."""

import argparse
import hashlib
import json
import re
from contextlib import contextmanager
from pathlib import Path

import pytest

import mini
from damage import flip
from mini import ARRAY, NOTES, TABLE
from ptychodose.errors import StudyError
from ptychodose.integrity import lock, record, sample, verify, verify_command
from test_verify_units import run

MD5S = [hashlib.md5(str(number).encode()).hexdigest() for number in range(2000)]


@pytest.fixture
def study(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "none"))
    mini.make()


def part(text, key="seal"):
    drawn = sample.parse(text)
    drawn.key = key
    return drawn


@pytest.mark.parametrize(("share", "parts"), [("10%", 10), ("30%", 4), ("0.5%", 200), ("100%", 1)])
def test_every_copy_is_in_one_part_and_a_part_has_its_share(share, parts):
    taken = [{md5 for md5 in MD5S if part(f"{share}:{number}").takes(md5)} for number in range(1, parts + 1)]
    assert sum(map(len, taken)) == len(set().union(*taken)) == len(MD5S)
    expected = len(MD5S) * float(share[:-1]) / 100
    assert abs(len(taken[0]) - expected) < 4 * expected**0.5 + 1
    assert part(share).takes(MD5S[0]) is part(f"{share}:1").takes(MD5S[0])


def test_the_seal_draws_the_parts():
    drawn = [[part("10%", key).takes(md5) for md5 in MD5S] for key in ("a", "a", "b")]
    assert drawn[0] == drawn[1] != drawn[2]


@pytest.mark.parametrize("text", ["10", "0%", "101%", "-5%", "10%:0", "10%:11", "1e1%", "10%:", "nan%", "١٠%", ""])
def test_what_is_no_share_is_refused(text):
    with pytest.raises(argparse.ArgumentTypeError, match="expected a share as 10%"):
        sample.parse(text)


def test_damage_is_found_by_the_part_that_reads_it_and_absence_by_every_part(study, capsys):
    flip(record.read().files[ARRAY].cached)  # size and presence as before
    assert [run("--sample", f"25%:{number}") for number in range(1, 5)].count(1) == 1
    capsys.readouterr()
    for damage in (Path.unlink, lambda path: path.write_bytes(path.read_bytes()[:-1])):
        path = record.read().files[TABLE].cached
        path.chmod(0o644)
        damage(path)
        for number in range(1, 5):
            assert run("--sample", f"25%:{number}") == 1 and TABLE in capsys.readouterr().out
        mini.keep(TABLE)


def test_a_damaged_workspace_is_found_by_every_part(study):
    flip(Path(NOTES))
    assert [run("--sample", f"50%:{number}") for number in (1, 2)] == [1, 1]


class Far:
    """A remote that has what the cache has."""

    name = "far"

    @contextmanager
    def downloaded(self, md5):
        yield lock.cache_path(md5), verify.digests(lock.cache_path(md5))


def test_the_outcome_says_what_was_not_read(study, capsys, monkeypatch):
    monkeypatch.setattr(verify_command, "Remote", lambda _: Far())
    wholly = len(lock.objects()) + len(record.read().objects())
    assert run("--sample", "50%", "--cache", "--remote", "far") == 0
    out = capsys.readouterr().out
    assert "equal manifest.json, dvc.lock and a share of their cache objects" in out
    (line,) = (line for line in out.splitlines() if line.startswith("sampled"))
    form = r"sampled \(50 %, part 1 of 2, drawn by the seal\): (\d+) copies in cache and remote read, (\d+) NOT read"
    read, left = map(int, re.fullmatch(form, line).groups())
    assert read > 0 and left > 0 and read + left >= wholly
    assert run("--sample", "50%", "--json") == 0
    assert json.loads(capsys.readouterr().out)["sample"].startswith("sampled (50 %")
    assert run() == 0 and "sampled" not in capsys.readouterr().out


@pytest.mark.parametrize("option", ["--seal", "--repair"])
def test_what_needs_every_copy_is_not_done_on_a_share(study, option):
    with pytest.raises(StudyError, match="--sample: not with --seal or --repair"):
        run("--sample", "10%", option)
