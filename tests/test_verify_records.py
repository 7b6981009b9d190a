"""The records behind verify: stage manifests against the joined one, equal MD5s, whose configuration counts, crates."""

import contextlib
import json
from pathlib import Path

import pytest

import mini
from damage import COLLISION
from mini import ARRAY, NOTES, TABLE
from ptychodose.errors import StudyError
from ptychodose.integrity import lock, record, repair, verify
from ptychodose.integrity.places import digests

ONE = "data/manifests/one.json"
DIGEST = "0" * 64


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "user"))
    monkeypatch.delenv("DVC_GLOBAL_CONFIG_DIR", raising=False)
    mini.make()


def bad():
    return {(f.path, f.detail) for f in verify.verify() if f.kind != verify.OK}


def edit(path, change):
    document = json.loads(Path(path).read_text())
    change(document)
    Path(path).write_text(json.dumps(document))


@pytest.mark.parametrize(
    ("key", "value"), [("bytes", 1), ("sha256", DIGEST), ("content_sha256", DIGEST), ("path", "x")]
)
def test_a_stage_manifest_that_disagrees_with_the_joined_one_is_named(key, value):
    edit(ONE, lambda document: document["outputs"][0].update({key: value}))
    disagreeing = {(ARRAY, f"{ONE} and manifest.json disagree")}
    if key == "path":
        disagreeing.add(("x", f"{ONE} and manifest.json disagree"))
    mini.keep(ONE)
    assert {found for found in bad() if "disagree" in found[1]} == disagreeing


def test_a_stage_manifest_must_have_all_that_the_joined_one_files_under_it():
    edit(ONE, lambda document: document["outputs"].clear())
    assert (ARRAY, f"{ONE} and manifest.json disagree") in bad()


def test_a_stage_manifest_of_another_stage_is_damaged():
    edit(ONE, lambda document: document.update(stage="two"))
    assert (ONE, "damaged manifest of a stage") in bad()


def test_stages_have_one_name_in_both_records():
    def rename(document):
        document["stages"]["other"] = document["stages"].pop("one")

    edit("manifest.json", rename)
    told = "stage other in manifest.json, one in dvc.lock"
    assert {(ARRAY, told), (ONE, told)} <= bad()


@pytest.fixture(params=[COLLISION, COLLISION[::-1]], ids=["first recorded", "second recorded"])
def halves(request):
    """A study with one half of a collision for a table, and the other half."""
    recorded, other = request.param
    mini.write(TABLE, recorded)
    mini.record()
    mini.commit("one half")
    assert bad() == set()
    return recorded, other


def swap(path, data):
    path.chmod(0o644)
    path.write_bytes(data)


class Far:
    """A remote whose object of the table is `data`; of all others it has what the cache has."""

    name = "far"

    def __init__(self, data):
        self.data, self.stored = data, []

    @contextlib.contextmanager
    def downloaded(self, md5):
        path = Path("downloaded")
        path.write_bytes(self.data if md5 == record.read().files[TABLE].md5 else lock.cache_path(md5).read_bytes())
        yield path, digests(path)

    def store(self, source, md5):
        self.stored.append((source.read_bytes(), md5))


def test_files_of_one_md5_are_told_apart_wherever_the_other_one_is(halves):
    recorded, other = halves
    item = record.read().files[TABLE]
    here = (TABLE, "workspace bytes differ from manifest.json")
    kept = (TABLE, f"cache object {item.md5} is not the file of manifest.json")
    swap(Path(TABLE), other)
    assert bad() == {here}
    swap(item.cached, other)
    assert bad() == {here, kept}
    swap(Path(TABLE), recorded)
    assert bad() == {kept} and verify.whole_cache()[0] == [], "by MD5 alone all is well"


def test_a_remote_may_have_the_other_file_of_one_md5(halves):
    recorded, other = halves
    md5 = record.read().files[TABLE].md5
    assert verify.check_remote(Far(recorded))[0] == []
    (found,) = verify.check_remote(Far(other))[0]
    assert (found.path, found.kind) == (TABLE, "mismatch") and "is not the file of manifest.json" in found.detail
    far = Far(other)
    assert [(entry.path, entry.place, entry.source) for entry in repair.repair(far)] == [
        (TABLE, "remote far", "workspace")
    ]
    assert far.stored == [(recorded, md5)]


def test_repair_never_takes_the_other_file_of_one_md5(halves):
    recorded, other = halves
    item = record.read().files[TABLE]
    swap(item.cached, other)
    assert [(entry.place, entry.source) for entry in repair.repair()] == [("cache", "workspace")]
    assert item.cached.read_bytes() == Path(TABLE).read_bytes() == recorded and bad() == set()
    swap(item.cached, other)
    swap(Path(TABLE), other)
    assert [entry.source for entry in repair.repair()] == [None, None] and Path(TABLE).read_bytes() == other


def test_a_lost_listing_is_made_of_the_recorded_file_alone(halves):
    _, other = halves
    folder = record.read().folders[0]
    lock.cache_path(folder.out.md5).unlink()
    assert record.read().folders[0].names == folder.names
    swap(record.read().files[TABLE].cached, other)
    swap(Path(TABLE), other)
    assert record.read().folders[0].names is None and NOTES in record.read().rows


def test_a_study_that_does_not_verify_gets_no_crate():
    from ptychodose.archive import crate

    Path(ARRAY).unlink()
    with pytest.raises(StudyError, match=rf"^{ARRAY}: listed in manifest.json, not in the workspace; .*verify"):
        crate.write(Path("crate"), with_data=False)
    assert not Path("crate").exists()
