"""`verify --repair`: every direction, never bad over good, and a plain word where there is nothing to copy."""

import functools
import http.server
import json
import re
import threading

import pytest

from damage import (
    BUNDLE,
    COUNTS,
    FOLDER,
    METRIC,
    TRUTH,
    VIEW,
    cached,
    edit_manifest,
    flip,
    flipped,
    md5_of,
    objects,
    remote,
    store_path,
    truncate,
)  # fmt: skip

pytestmark = pytest.mark.slow


def contents(*folders):
    """Bytes and mode of every file, by path."""
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file() and ".git" not in path.parts]
    return {path: (path.read_bytes(), path.stat().st_mode) for path in files if ".dvc/tmp" not in path.as_posix()}


def test_workspace_and_cache_repair_each_other(copied):
    before = contents(copied.folder / "data", copied.folder / ".dvc/cache/files")
    flip(copied.folder / VIEW)
    (copied.folder / COUNTS).unlink()
    truncate(cached(copied, TRUTH))
    cached(copied, BUNDLE).unlink()
    cached(copied, FOLDER).unlink()  # made again of the folder's files
    done = copied.study("verify", "--repair")
    for words in (rf"from cache: {VIEW} \(workspace\)", rf"from cache: {COUNTS} \(workspace\): was missing",
                  rf"from workspace: {TRUTH} \(cache\): was damaged", rf"from workspace: {BUNDLE} \(cache\)",
                  rf"from the folder's files: {FOLDER} \(cache\)"):  # fmt: skip
        assert re.search(f"^repaired {words}", done.stdout, re.M), done.stdout
    assert "\nverified: " in done.stdout and "not repaired" not in done.stdout
    assert contents(copied.folder / "data", copied.folder / ".dvc/cache/files") == before, "modes of the cache too"
    assert "up to date" in copied.dvc("status").stdout
    assert not copied.study("verify", "--repair").stdout.startswith("repaired"), "nothing left to do"


def test_a_listing_is_made_again_even_when_its_files_are_only_in_the_cache(copied):
    before = contents(copied.folder / "data")
    flip(cached(copied, FOLDER))
    flip(copied.folder / BUNDLE)
    (copied.folder / FOLDER / "history.csv").unlink()
    copied.study("verify", "--repair")
    assert contents(copied.folder / "data") == before


def test_a_remote_gives_and_takes(copied, tmp_path):
    far = remote(copied, tmp_path / "far")
    before = contents(copied.folder / "data", copied.folder / ".dvc/cache/files", far)
    flip(copied.folder / VIEW)
    truncate(cached(copied, VIEW))  # both places at once: only the remote is left
    for name in (BUNDLE, FOLDER):
        cached(copied, name).unlink()
    (copied.folder / BUNDLE).unlink()
    flip(store_path(far, md5_of(copied, COUNTS)))  # here it is the other way round
    store_path(far, md5_of(copied, TRUTH)).unlink()
    (copied.folder / TRUTH).unlink()
    done = copied.study("verify", "--repair", "--remote", "near")
    for words in (rf"from remote near: {VIEW} \(workspace\)", rf"from remote near: {VIEW} \(cache\)",
                  rf"from remote near: {BUNDLE} \(workspace\)", rf"from remote near: {FOLDER} \(cache\)",
                  rf"from workspace: {COUNTS} \(remote near\)", rf"from cache: {TRUTH} \(remote near\)"):  # fmt: skip
        assert re.search(f"^repaired {words}", done.stdout, re.M), done.stdout
    assert contents(copied.folder / "data", copied.folder / ".dvc/cache/files", far) == before
    assert re.search(r"^verified: \d+ objects of remote near$", done.stdout, re.M)


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


def test_a_remote_that_only_reads_still_gives(copied, tmp_path):
    far = remote(copied, tmp_path / "far")
    flip(store_path(far, md5_of(copied, COUNTS)))
    store_path(far, md5_of(copied, TRUTH)).unlink()
    flip(copied.folder / VIEW)
    flip(cached(copied, VIEW))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=far)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        copied.dvc("remote", "add", "-q", "web", f"http://127.0.0.1:{server.server_port}")
        done = copied.study("verify", "--repair", "--remote", "web", ok=False)
        server.shutdown()
    assert done.returncode == 1 and "Traceback" not in done.stderr
    for name in ("workspace", "cache"):
        assert f"repaired from remote web: {VIEW} ({name}): was damaged" in done.stdout
    for name, kind in ((COUNTS, "mismatch"), (TRUTH, "missing")):
        assert f"not repaired: {name} (remote web): remote 'web': not written" in done.stdout, done.stdout
        assert re.search(rf"^{kind}\s+{name}: .*object \w+ of remote web", done.stdout, re.M)


def test_what_is_bad_everywhere_stays_and_is_named(copied, tmp_path):
    far = remote(copied, tmp_path / "far")
    for path in (copied.folder / VIEW, cached(copied, VIEW), store_path(far, md5_of(copied, VIEW))):
        flip(path)
    (copied.folder / FOLDER / "x").write_text("not ours to delete")
    flip(copied.folder / METRIC)
    flip(copied.folder / TRUTH)
    before = contents(copied.folder / "data", copied.folder / ".dvc/cache/files", far)
    intact = flipped(copied.folder / TRUTH)
    done = copied.study("verify", "--repair", "--remote", "near", "--json", ok=False)
    report = json.loads(done.stdout)
    assert done.returncode == 1 and not report["ok"]
    made = {(entry["path"], entry["place"]): entry["source"] for entry in report["repairs"]}
    assert made == {(VIEW, "workspace"): None, (VIEW, "cache"): None, (VIEW, "remote near"): None,
                    (METRIC, "workspace"): None, (TRUTH, "workspace"): "cache"}  # fmt: skip
    assert {f["path"] for f in report["findings"] if f["kind"] != "OK"} == {VIEW, METRIC, f"{FOLDER}/x"}
    assert (copied.folder / TRUTH).read_bytes() == intact
    before[copied.folder / TRUTH] = (intact, before[copied.folder / TRUTH][1])
    assert contents(copied.folder / "data", copied.folder / ".dvc/cache/files", far) == before, "nothing else written"
    last = copied.study("verify", ok=False).stdout.splitlines()[-1]
    assert f"`git restore {METRIC}`" in last and "remove what is unlisted" in last


def test_a_forged_lock_repairs_nothing_and_git_has_the_remedy(copied):
    intact = (copied.folder / VIEW).read_bytes()
    (copied.folder / VIEW).write_bytes(flipped(copied.folder / VIEW))
    copied.dvc("commit", "-q", "-f")
    done = copied.study("verify", "--repair", ok=False)
    assert done.returncode == 1 and "git restore dvc.lock" in done.stdout.splitlines()[-1]
    assert len(objects(copied.folder / ".dvc/cache")) > 0 and (copied.folder / VIEW).read_bytes() != intact
    copied.run("git", "restore", "dvc.lock")
    assert f"repaired from cache: {VIEW} (workspace)" in copied.study("verify", "--repair").stdout
    assert (copied.folder / VIEW).read_bytes() == intact


def test_a_manifest_that_is_not_gits_is_no_ground_for_repairs(copied):
    flip(copied.folder / VIEW)
    damaged = (copied.folder / VIEW).read_bytes()
    edit_manifest(copied, lambda stages: stages["generate"].pop(0))
    done = copied.study("verify", "--repair", ok=False)
    assert done.returncode == 1 and done.stdout == "" and done.stderr.count("\n") == 1
    assert "manifest.json: differs from git's last commit" in done.stderr and "git restore" in done.stderr
    assert (copied.folder / VIEW).read_bytes() == damaged
