"""What all readers of foreign bytes share: excerpts, JSON, paths, and text that HDF5 cannot hang on."""

import h5py
import numpy as np
import pytest

from ptychodose.formats import hdf5_guard, untrusted
from ptychodose.formats.h5 import read_arrays, write_arrays


@pytest.mark.parametrize(
    ("value", "length", "shown"),
    [
        ("plain µm", 8, "plain µm"),
        ("a\nb\x1b[2J\u2028", 40, r"a\nb\x1b[2J\u2028"),
        ("x" * 11, 10, "x" * 9 + "…"),
        ("\n" * 10, 10, r"\n\n\n\n" + "\\…"),
        ("\ud800", 10, r"\ud800"),
    ],
)
def test_excerpts_are_one_short_line(value, length, shown):
    assert untrusted.one_line(value, length) == shown
    assert untrusted.quoted(value).isprintable() and len(untrusted.quoted([value] * 99)) == 60


def test_numbers_without_a_text_have_an_excerpt():
    assert untrusted.one_line(10**5000) == untrusted.quoted(10**5000) == "an absurd int"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"a": NaN}', "NaN"),
        ("[-Infinity]", "Infinity"),
        ("[1e999]", "1e999 is no finite number"),
        ('{"a": {"b": 1, "b": 2}}', "'b' stands there twice"),
        ("[" * 10**5, "deep"),
        ("9" * 5000, "digits"),
        (b"\xff", "utf-8"),
    ],
)
def test_json_of_python_only_is_refused(text, words):
    with pytest.raises(ValueError, match=words):
        untrusted.parse_json(text)


def test_plain_json_is_read():
    assert untrusted.parse_json('{"a": [1, -2.5e3, null, true, "\\u00b5"]}') == {"a": [1, -2500.0, None, True, "µ"]}


def test_many_names_are_compared_fast():
    names = [str(number) for number in range(300_000)]
    assert untrusted.repeated(names) is None and untrusted.repeated([*names, "7"]) == "7"


@pytest.mark.parametrize("path", ["a", "data/b c.h5", "./x", "..a/b", "µ"])
def test_paths_inside(path):
    assert untrusted.is_inside(path)


@pytest.mark.parametrize(
    "path", ["", ".", "/", "/a", "..", "a/../b", "a\\b", "a\nb", "a\0", "x" * 1001, None, 3, "\ud800"]
)
def test_paths_that_are_not(path):
    assert not untrusted.is_inside(path)


@pytest.mark.parametrize("value", ["", "m", "grün", "a\nb", "x" * 5000])
def test_texts_come_back_and_never_use_the_global_heap(tmp_path, value):
    path = tmp_path / "a.h5"
    write_arrays(path, {}, {"text": value})
    assert read_arrays(path, "remake it")[1] == {"text": value}
    assert b"GCOL" not in path.read_bytes() and hdf5_guard.text(value).shape == ()


def test_arrays_of_hdf5_are_refused_together_before_they_are_read(tmp_path):
    write_arrays(tmp_path / "a.h5", {"a": np.zeros(8), "b": np.zeros(8)})
    with h5py.File(tmp_path / "a.h5") as file:
        found = dict(hdf5_guard.datasets(file))
        assert hdf5_guard.arrays(found, 128)["b"].shape == (8,)
        with pytest.raises(ValueError, match="too large"):
            hdf5_guard.arrays(found, 127)
