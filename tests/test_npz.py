"""NPZ files: plain arrays come back, pickles, absurd sizes and damage are one line (bases: see test_base)."""

import io
import pickle
import zipfile

import numpy as np
import pytest

from ptychodose.errors import StudyError
from ptychodose.formats import npz

ARRAYS = {"a": np.arange(6000).reshape(60, 100), "b": np.array(2 - 3j, np.complex64)}
LIMIT = 2**20


@pytest.fixture
def path(tmp_path):
    return tmp_path / "some.npz"


def refused(path, words, wanted=("a",)):
    with pytest.raises(StudyError, match=words) as caught:
        npz.read(path, wanted, LIMIT, "the test")
    assert "\n" not in str(caught.value) and "some.npz" in str(caught.value)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_wanted_members_come_back_and_others_are_never_opened(path, save):
    save(path, **ARRAYS, pickled=np.array([{}], dtype=object), large=np.zeros(LIMIT))
    found = npz.read(path, ["b", "a", "absent"], LIMIT, "the test")
    assert list(found) == ["b", "a"] and all(np.array_equal(found[key], ARRAYS[key]) for key in found)
    assert found["b"].dtype == np.complex64


def test_pickles_are_never_loaded(path):
    np.savez(path, a=np.array([{}], dtype=object))
    refused(path, "pickled")
    path.write_bytes(pickle.dumps([1, 2]))
    refused(path, "pickled")


def test_members_beyond_the_limit_are_refused_before_they_are_read(path):
    np.savez_compressed(path, a=np.zeros(LIMIT // 8 + 1))  # a few hundred bytes on disk
    assert path.stat().st_size < 10_000
    refused(path, "'a.npy' claims 1.0 MiB, more than 1.0; too large")
    np.savez_compressed(path, a=np.zeros(LIMIT // 8 - 100))
    assert len(npz.read(path, ["a"], LIMIT, "the test")["a"]) == LIMIT // 8 - 100


@pytest.mark.parametrize("shape", [(2**36,), (2**50,), (2**63,), (2**70,), (-5,)])
def test_headers_that_claim_more_than_there_is_are_refused(path, shape):
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f8", "fortran_order": False, "shape": shape})
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.npy", header.getvalue() + bytes(80))
    refused(path, "a claims|a is float64 .*, neither|a has an unreadable header")


@pytest.mark.parametrize("content", [b"", b"hello", b"\x93NUMPY", b"\x93NUMPY\2\0", b"PK"])
def test_members_that_are_no_arrays_are_refused(path, content):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.npy", content)
    refused(path, "EOF|magic|no plain array")


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_every_damage_is_one_line_or_harmless(path, save):
    """A flipped byte is caught by the archive's checksum, wherever it stands, or changes nothing that was wanted."""
    save(path, **ARRAYS)
    whole = path.read_bytes()
    for at in range(0, len(whole), len(whole) // 97):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0xFF]) + whole[at + 1 :])
        said, found = "", {}
        try:
            found = npz.read(path, ["a"], LIMIT, "the test")
        except StudyError as error:
            said = str(error)
        assert "\n" not in said
        assert not found or np.array_equal(found["a"], ARRAYS["a"])
        path.write_bytes(whole[:at])
        refused(path, "damaged or no NPZ|pickled")


def test_other_files_are_refused(path, tmp_path):
    refused(path, "the test: .*not found")
    path.mkdir()
    refused(path, "damaged or no NPZ .*not a regular file")
    path.rmdir()
    with open(path, "wb") as file:
        np.save(file, ARRAYS["a"])
    refused(path, "not a zip file")
    path.write_text("text")
    refused(path, "not a zip file")


def test_an_array_of_records_is_no_damage_and_the_way_out_is_said(tmp_path):
    """HDF5 and MATLAB write complex numbers so."""
    made = np.zeros((4, 4), [("re", "f4"), ("im", "f4")])
    np.savez(tmp_path / "a.npz", probeGuess=made)
    with pytest.raises(
        StudyError, match=r"probeGuess is an array of records with fields re, im; save .*1j \* a"
    ) as told:
        npz.read(tmp_path / "a.npz", ("probeGuess",), 2**20, "test")
    assert "damaged" not in str(told.value)
