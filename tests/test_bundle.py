"""Bundles: equal weights are equal bytes, a round trip is bit-equal, anything foreign is refused."""

import hashlib
import time
import zipfile

import numpy as np
import pytest

from ptychodose.errors import StudyError
from ptychodose.formats import bundle

META = {"architecture": {"name": "unrolled", "steps": 3}, "group_size": 4, "size": 64}


def weights():
    rng = np.random.Generator(np.random.Philox(0))
    return {"b.weight": rng.standard_normal((3, 4)).astype(np.float32), "a": np.array([1.5], np.float32)}


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "wts.h5.zip"
    return path, bundle.save(path, META, weights())


def test_round_trip_is_bit_equal_and_the_digest_is_of_the_disk(saved):
    path, (sha256, size) = saved
    meta, loaded = bundle.load(path, sha256)
    assert meta == {**META, "schema": 1}
    assert all((loaded[k] == v).all() and loaded[k].dtype == v.dtype for k, v in weights().items())
    assert hashlib.sha256(path.read_bytes()).hexdigest() == sha256 and path.stat().st_size == size


def test_equal_weights_give_equal_bytes_whatever_their_order_and_the_time(saved, tmp_path):
    time.sleep(1.1)
    other = tmp_path / "other.zip"
    bundle.save(other, dict(reversed(META.items())), dict(reversed(weights().items())))
    assert other.read_bytes() == saved[0].read_bytes()


def test_every_truncation_is_refused(saved):
    path, _ = saved
    whole = path.read_bytes()
    for cut in range(0, len(whole), max(1, len(whole) // 40)):
        path.write_bytes(whole[:cut])
        with pytest.raises(StudyError):
            bundle.load(path)


def test_a_flipped_byte_is_caught_by_the_digest_or_the_checksum(saved):
    path, (sha256, _) = saved
    whole = bytearray(path.read_bytes())
    whole[len(whole) // 2] ^= 1
    path.write_bytes(whole)
    with pytest.raises(StudyError, match="SHA256"):
        bundle.load(path, sha256)
    with pytest.raises(StudyError, match="damaged"):
        bundle.load(path)


@pytest.mark.parametrize("name", ["../evil", "extra.pkl", "bundle.json"])
def test_foreign_members_are_refused(saved, name):
    path, _ = saved
    with (
        pytest.warns(UserWarning, match="Duplicate name") if name == "bundle.json" else _nothing(),
        zipfile.ZipFile(path, "a") as archive,
    ):
        archive.writestr(name, b"x")
    with pytest.raises(StudyError, match="members"):
        bundle.load(path)


class _nothing:
    def __enter__(self):
        return self

    def __exit__(self, *_):
        return False


def test_weights_that_are_not_finite_are_refused(tmp_path):
    path = tmp_path / "wts.h5.zip"
    bundle.save(path, META, {"a": np.array([np.nan], np.float32)})
    with pytest.raises(StudyError, match="not finite"):
        bundle.load(path)
    with pytest.raises(StudyError, match="not found"):
        bundle.load(tmp_path / "absent")


@pytest.mark.parametrize("schema", [0, 2, "1", None, True])
def test_a_bundle_of_another_schema_is_refused(tmp_path, schema):
    path = tmp_path / "wts.h5.zip"
    bundle.save(path, {**META, "schema": schema}, weights())
    with pytest.raises(StudyError, match="unknown schema"):
        bundle.load(path)
