"""Every damage is made for real; verify must name the file and the kind, and DVC's own word on it is on record."""

import hashlib
import json
import re
import shutil
from pathlib import Path

import h5py
import pytest

from damage import (
    BUNDLE,
    COLLISION,
    FOLDER,
    METRIC,
    TRUTH,
    VIEW,
    cached,
    edit_manifest,
    flip,
    forge,
    md5_of,
    objects,
    remote,
    store_path,
)
from damages import DAMAGES
from ptychodose.study import manifest

pytestmark = pytest.mark.slow

# Does plain DVC (`dvc status`, default configuration, a copy it has looked at before) notice?
DVC_NOTICES = {
    "output edited, modification time restored": False,
    "output deleted": True,
    "file added to an output folder": True,
    "cache object: one bit flipped": False,
    "cache object: truncated": False,
    "cache object: replaced": False,
    "cache object: deleted": True,
    "listing of a folder: one bit flipped": True,
    "listing of a folder: deleted": True,
    "workspace restored from a bad cache object": False,
    "remote object flipped, then `dvc pull`": False,
    "remote object truncated, then `dvc pull`": False,
    "output forged, then `dvc commit -f`": False,
    "metric in git (`cache: false`) edited": True,
    "the same, modification time restored": False,
    "MD5 collision swapped in": False,
    "manifest entry removed": True,
    "dvc.lock and manifest.json disagree": True,
    "half-written output after a kill, then `dvc commit -f`": False,
    "parameter edited": True,
    "parameter edited in params.yaml and dvc.lock, committed": False,
    "code edited, then `dvc commit -f`": False,
    "command of a stage edited, then `dvc commit -f`": False,
    "pinned instruction set edited, then `dvc commit -f`": False,
    "the hybrid's bundle replaced, then `dvc commit -f`": False,
    "lock of libraries edited, then `dvc commit -f`": False,
    "a stage added and not run": True,
    "a dependency dropped, then `dvc commit -f`": False,
    "a stage dropped": False,
    "link to nothing added to an output folder": True,
    "link to a folder added beside outputs": False,
    "empty folder added to an output folder": False,
    "file added to an output folder with `git add -f`": True,
    "cache object: replaced by a link to the workspace": False,
    "output replaced by a folder": True,
    "another cache by the machine's configuration: one bit flipped": False,
}
PICTURE, ARRAYS = "metrics/curves.png", "data/reconstructions/dense.h5"
noticed = {}


def findings(made, *options):
    """What `verify --json` finds wrong: (path, kind) -> detail."""
    done = made.study("verify", "--json", *options, ok=False)
    document = json.loads(done.stdout)
    assert document["ok"] == (done.returncode == 0), done.stderr
    return {(f["path"], f["kind"]): f["detail"] for f in document["findings"] if f["kind"] != "OK"}


# With the real DVC once per release; tests/test_provenance.py and tests/test_verify_hostile.py make the same by hand.
WITH_THE_SOAK = {
    "parameter edited",
    "command of a stage edited, then `dvc commit -f`",
    "pinned instruction set edited, then `dvc commit -f`",
    "the hybrid's bundle replaced, then `dvc commit -f`",
    "lock of libraries edited, then `dvc commit -f`",
    "a stage added and not run",
    "a dependency dropped, then `dvc commit -f`",
    "a stage dropped",
    "link to nothing added to an output folder",
    "link to a folder added beside outputs",
    "empty folder added to an output folder",
    "cache object: replaced by a link to the workspace",
    "output replaced by a folder",
}
TIERS = [pytest.param(name, marks=[pytest.mark.soak] * (name in WITH_THE_SOAK)) for name in DAMAGES]


@pytest.mark.parametrize("name", TIERS)
def test_verify_names_every_damage(copied, tmp_path, name):
    damage, path, kind = DAMAGES[name]
    assert "up to date" in copied.dvc("status").stdout  # DVC has seen the files: from now on it trusts their times
    made = damage(copied, tmp_path) or copied
    noticed[name] = "Data and pipelines are up to date" not in made.dvc("status", ok=False).stdout
    found = findings(made)
    assert (path, kind) in found, found
    others = {p for p, _ in found} - {path, "manifest.json", "data/manifests/generate.json"}
    assert not others, "nothing else is accused"


def test_what_dvc_notices():
    assert noticed == {name: DVC_NOTICES[name] for name in noticed}
    assert set(DVC_NOTICES) == set(DAMAGES) > WITH_THE_SOAK


def test_the_collision_is_one():
    one, other = COLLISION
    assert hashlib.md5(one).digest() == hashlib.md5(other).digest() and len(one) == len(other) == 128
    assert hashlib.sha256(one).digest() != hashlib.sha256(other).digest()


def test_the_text_names_file_kind_and_remedy(copied):
    flip(copied.folder / VIEW)
    flip(copied.folder / METRIC)
    done = copied.study("verify", ok=False)
    assert done.returncode == 1 and re.search(rf"^mismatch\s+{VIEW}: workspace bytes differ", done.stdout, re.M)
    last = done.stdout.splitlines()[-1]
    assert "NOT verified" in last and f"git restore {METRIC}" in last and "verify --repair" in last


def test_a_lost_listing_does_not_hide_damage_inside_the_folder(copied):
    cached(copied, BUNDLE).unlink()
    cached(copied, FOLDER).unlink()
    flip(copied.folder / BUNDLE)
    found = findings(copied)
    assert {(FOLDER, "missing"), (BUNDLE, "mismatch")} <= set(found)
    assert {path for path, _ in found} == {FOLDER, BUNDLE}


def test_the_whole_cache_is_hashed_wherever_it_is(copied, tmp_path):
    cache = copied.folder / ".dvc/cache"
    before = objects(cache)
    (copied.folder / "data/extra").write_bytes(b"of a revision that is gone")
    copied.dvc("add", "-q", "data/extra")
    for name in ("data/extra", "data/extra.dvc"):
        (copied.folder / name).unlink()
    (other,) = objects(cache) - before
    assert findings(copied, "--cache") == {}
    flip(other)
    assert findings(copied) == {}
    assert set(findings(copied, "--cache")) == {(other.relative_to(copied.folder).as_posix(), "mismatch")}
    shutil.move(cache, tmp_path / "cache")
    copied.dvc("cache", "dir", "-q", str(tmp_path / "cache"))
    assert findings(copied) == {}
    assert set(findings(copied, "--cache")) == {(str(tmp_path / "cache" / other.relative_to(cache)), "mismatch")}


def test_a_remote_is_downloaded_and_hashed(copied, tmp_path):
    far = remote(copied, tmp_path / "far")
    assert findings(copied, "--remote", "near") == {}
    flip(store_path(far, md5_of(copied, VIEW)))
    store_path(far, md5_of(copied, TRUTH)).unlink()
    flip(store_path(far, md5_of(copied, FOLDER)))
    expected = {(VIEW, "mismatch"), (TRUTH, "missing"), (FOLDER, "mismatch")}
    assert set(findings(copied, "--remote", "near")) == expected and findings(copied) == {}


def test_remotes_that_are_not_there_are_one_line(copied, tmp_path):
    copied.dvc("remote", "add", "-q", "gone", str(tmp_path / "gone"))
    copied.dvc("remote", "add", "-q", "closed", "http://127.0.0.1:9")  # discard: nothing listens there
    copied.dvc("remote", "add", "-q", "exotic", "s3://bucket")
    cases = {
        "none": "knows closed, exotic, gone, store",
        "gone": "no folder",
        "closed": "not",
        "exotic": r"dvc\[s3\]|not",
    }
    for name, words in cases.items():
        done = copied.study("verify", "--remote", name, ok=False)
        status = 1 if name == "none" else 3  # a name that is wrong; a remote that does not answer
        assert done.returncode == status and done.stdout == "" and done.stderr.count("\n") == 1, done.stderr
        assert done.stderr.startswith(f"error: remote '{name}'") and re.search(words, done.stderr), done.stderr


def test_only_the_seal_sees_file_lock_and_manifest_forged_together(copied):
    digest = copied.study("verify", "--seal").stdout.strip()
    forge(copied, PICTURE)
    copied.commit("forged")
    assert findings(copied) == {} and "up to date" in copied.dvc("status").stdout
    done = copied.study("verify", "--expect", digest, ok=False)
    assert done.returncode == 1 and "NOT the expected seal" in done.stdout.splitlines()[-1]
    assert copied.study("verify", "--seal").stdout.strip() != digest


def record_again(made):
    """Both manifests of stage `reconstruct` for its files as they are; the working directory is the study's."""
    path = manifest.FOLDER / "reconstruct.json"
    document = manifest.read(path)
    document["outputs"] = manifest.entries(Path(row["path"]) for row in document["outputs"])
    path.write_text(json.dumps(document))
    edit_manifest(made, lambda stages: stages.update(reconstruct=[*document["outputs"], manifest.entry(path)]))


def test_which_holds_and_why(copied, monkeypatch):
    path = copied.folder / ARRAYS
    with h5py.File(path, "r+") as file:
        file["obj"][...] *= 1 + 1e-5
    monkeypatch.chdir(copied.folder)
    record_again(copied)
    document = json.loads(Path("manifest.json").read_text())
    document["environments"]["train_dense"]["torch"] = "1.0"
    Path("manifest.json").write_text(json.dumps(document))
    copied.dvc("commit", "-q", "-f", "reconstruct", "compare")
    assert findings(copied) == {}
    done = copied.study("verify", "--against", "HEAD")
    assert re.search(rf"^within tolerance\s+{ARRAYS}: all values agree", done.stdout, re.M), done.stdout
    assert re.search(r"^because\s+environment: torch \S+ -> 1\.0 \(train_dense\)$", done.stdout, re.M)
    assert "against HEAD: content within tolerance: " in done.stdout.splitlines()[-1]
    with h5py.File(path, "r+") as file:
        file["obj"][...] *= 1.01
    record_again(copied)
    copied.dvc("commit", "-q", "-f", "reconstruct", "compare")
    done = copied.study("verify", "--against", "HEAD", ok=False)
    assert done.returncode == 1 and re.search(rf"^different\s+{ARRAYS}: values of obj", done.stdout, re.M)
    assert copied.study("verify").returncode == 0, "without --against it is only said"
