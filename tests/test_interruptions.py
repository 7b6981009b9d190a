"""A full disk, a read-only folder, a lost remote, two at once: a clear message, and the right state after a retry."""

import hashlib
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

import kills
from sandbox import Study, clone, environment

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform != "linux", reason="limits and mounts of Linux")]

FULL = {  # stage: what may be written to one file; each fails at another writer: packed counts, HDF5, PNG, zip, JSON
    "generate": 1_000_000,
    "overlap": 50_000,
    "train_dense": 4_000,
    "reconstruct_map": 100_000,
    "limit": 1_000,
}


def namespace(mount: str, *command: str) -> list[str]:
    """A command line after a mount of its own, which nobody else sees."""
    return ["unshare", "-rm", "sh", "-c", f'{mount} && exec "$@"', "sh", *command]


def mounts_allowed() -> bool:
    """Whether this user may have such mounts; some containers and kernels forbid it."""
    if shutil.which("unshare") is None:
        return False
    return subprocess.run(namespace("mount -t tmpfs none /mnt", "true"), capture_output=True).returncode == 0


def script(stage: str) -> list[str]:
    name, _, arm = stage.partition("_")
    return [sys.executable, "src/train.py", arm] if name == "train" else [sys.executable, f"src/{stage}.py"]


def remove_outs(study: Study, stage: str) -> None:
    """As DVC does before it runs a stage."""
    record = yaml.safe_load((study.folder / "dvc.lock").read_text())["stages"][stage]
    for out in record["outs"]:
        path = study.folder / out["path"]
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


def assert_fails_in_one_line(study: Study, command: list[str], words: str, **options) -> None:
    """A stage's own process says what is wrong with the disk, and nothing else."""
    done = subprocess.run(
        command, cwd=study.folder, env=environment(study.home), capture_output=True, text=True, **options
    )
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert done.returncode == 1 and len(errors) == 1 and words in errors[0], (done.returncode, done.stderr)
    assert not any(sign in done.stderr for sign in ("Traceback", "Exception ignored", "h5py"))


def assert_retry_recovers(finished: Study, study: Study, stage: str) -> None:
    """Nothing partial under a final name, and a forced run of the stage makes all good."""
    kills.assert_nothing_partial(study, kills.digests(finished.folder))
    kills.retry(study, "-f", "-s", stage)
    kills.assert_recovered(study, finished)
    assert kills.temporaries(study.folder) == []


@pytest.mark.parametrize("stage", FULL)
def test_a_file_that_cannot_grow(finished, copied, stage):
    size = FULL[stage]
    remove_outs(copied, stage)
    limit = {"preexec_fn": lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))}
    assert_fails_in_one_line(copied, script(stage), "File too large", **limit)
    assert_retry_recovers(finished, copied, stage)


@pytest.mark.skipif(not mounts_allowed(), reason="no mount namespaces here")
def test_a_full_disk(finished, copied):
    full = namespace("mount -t tmpfs -o size=200k none data/scan", *script("generate"))
    assert_fails_in_one_line(copied, full, "No space left on device")
    assert_retry_recovers(finished, copied, "generate")


@pytest.mark.skipif(not mounts_allowed(), reason="no mount namespaces here")
def test_a_disk_mounted_read_only(finished, copied):
    mount = "mount --bind data/views data/views && mount -o remount,bind,ro data/views"
    assert_fails_in_one_line(copied, namespace(mount, *script("overlap")), "data/views/.dense.h5")
    assert_retry_recovers(finished, copied, "overlap")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_permission(finished, copied):
    (copied.folder / "data/views").chmod(0o555)
    assert_fails_in_one_line(copied, script("overlap"), "Permission denied")
    (copied.folder / "data/views").chmod(0o755)
    assert_retry_recovers(finished, copied, "overlap")


def test_a_file_in_the_place_of_a_folder(finished, copied):
    shutil.rmtree(copied.folder / "data/views")
    (copied.folder / "data/views").touch()
    assert_fails_in_one_line(copied, script("overlap"), "data/views: File exists")
    (copied.folder / "data/views").unlink()
    assert_retry_recovers(finished, copied, "overlap")


@pytest.fixture
def held(copied):
    """A `dvc repro` whose training stands still in the middle of its work; it goes on at the end."""
    dvc = kills.start(copied, "-f", "-s", "train_dense")
    stage = kills.appearing(dvc)
    while not list((copied.folder / "data/bundles").glob(".dense.*.tmp")):  # made at the start of the work
        assert kills.alive(stage)
        time.sleep(0.005)
    stage.send_signal(signal.SIGSTOP)
    yield dvc, stage
    if dvc.poll() is None:
        stage.send_signal(signal.SIGCONT)
        dvc.wait(kills.WAIT_SECONDS)


def test_a_second_writer_and_a_second_dvc_are_refused(finished, copied, held):
    dvc, stage = held
    assert_fails_in_one_line(copied, script("train_dense"), "train_dense is already running in this folder")
    for arguments in (["-f", "-s", "train_dense"], []):
        second = copied.dvc("repro", *arguments, ok=False)
        assert second.returncode != 0 and f"(PID {dvc.pid})" in second.stderr, second.stderr
        assert "is busy" in second.stderr and "Traceback" not in second.stderr
    stage.send_signal(signal.SIGCONT)
    assert dvc.wait(kills.WAIT_SECONDS) == 0, kills.said(copied)
    kills.assert_recovered(copied, finished)


def forget(study: Study, *stages: str) -> None:
    """The state before these stages ever ran."""
    path = study.folder / "dvc.lock"
    for stage in stages:
        remove_outs(study, stage)
    document = yaml.safe_load(path.read_text())
    document["stages"] = {name: row for name, row in document["stages"].items() if name not in stages}
    path.write_text(yaml.safe_dump(document, sort_keys=False))


@pytest.mark.parametrize("later", [0.0, 0.3, 1.5])
def test_two_trainings_side_by_side_as_make_repro_runs_them(finished, copied, later):
    pair = ("train_dense", "train_baseline")
    forget(copied, *pair)
    first = kills.start(copied, "-s", pair[0])
    time.sleep(later)
    second = kills.start(copied, "-s", pair[1])
    codes = [process.wait(kills.WAIT_SECONDS) for process in (first, second)]
    assert codes == [0, 0], kills.said(copied)
    whole = yaml.safe_load((finished.folder / "dvc.lock").read_text())
    assert yaml.safe_load((copied.folder / "dvc.lock").read_text()) == whole, "both stages are on record"
    assert kills.digests(copied.folder) == kills.digests(finished.folder)
    assert "up to date" in copied.dvc("repro").stdout


def test_a_lock_file_that_a_killed_dvc_cut_off_is_named(finished, copied):
    path = copied.folder / "dvc.lock"
    path.write_bytes(path.read_bytes()[: path.read_bytes().rindex(b"sh: md5")])  # DVC writes it in place
    done = copied.dvc("repro", ok=False)
    assert done.returncode != 0 and "dvc.lock" in done.stderr and "Traceback" not in done.stderr, done.stderr
    copied.run("git", "checkout", "dvc.lock")
    assert "up to date" in copied.dvc("repro").stdout
    kills.assert_recovered(copied, finished)


@pytest.fixture
def remote(copied, tmp_path):
    """An empty folder that `dvc push` of the copied study goes to."""
    folder = tmp_path / "remote"
    folder.mkdir()
    use_remote(copied, folder)
    return folder


def use_remote(study: Study, folder: Path) -> None:
    study.dvc("remote", "modify", "--local", "store", "url", str(folder))


def objects(remote: Path) -> list[Path]:
    return [path for path in remote.glob("files/md5/??/*") if path.suffix in ("", ".dir")]


def assert_push_completes(study: Study, remote: Path) -> None:
    """The next push ends well, and every object is what its name says.

    On a file system that cannot clone files DVC makes an object as an empty file first; a kill at that moment leaves
    an empty listing of a folder, which the next push names and which then has to be removed.
    """
    done = study.dvc("push", ok=False)
    if done.returncode:
        named = re.search(r"object (\w{2})(\w{30}\.dir) is corrupted", done.stderr)
        assert named, done.stderr
        (remote / "files/md5" / named[1] / named[2]).unlink()
        study.dvc("push")
    assert "in sync" in study.dvc("status", "-c").stdout
    for path in objects(remote):
        name = f"{path.parent.name}{path.name}".removesuffix(".dir")
        assert hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest() == name


def test_a_push_to_a_remote_that_refuses_a_part(copied, remote, tmp_path):
    copied.dvc("push", "-q")
    taken = objects(remote)[0].parent
    shutil.rmtree(remote)
    taken.parent.mkdir(parents=True)
    taken.touch()  # a file in the place of a folder of objects
    done = copied.dvc("push", ok=False)
    assert done.returncode != 0 and str(taken) in done.stderr and "Traceback" not in done.stderr, done.stderr
    taken.unlink()
    assert_push_completes(copied, remote)
    elsewhere = clone(copied, tmp_path / "clone")
    use_remote(elsewhere, remote)
    elsewhere.dvc("pull", "-q")
    assert "verified" in elsewhere.study("verify").stdout


@pytest.mark.parametrize("event", ["killed", "remote lost"])
def test_a_push_cut_off_half_way(copied, remote, event):
    push = subprocess.Popen(
        ["dvc", "push", "-q", "-j", "1"], cwd=copied.folder, env=environment(copied.home), stderr=subprocess.DEVNULL
    )
    while len(objects(remote)) < 10 and push.poll() is None:
        time.sleep(0.0005)
    if event == "killed":
        push.kill()
    else:
        remote.rename(remote.with_name("unplugged"))
    push.wait(kills.WAIT_SECONDS)
    if event == "remote lost":
        shutil.rmtree(remote, ignore_errors=True)  # what DVC has put in its place
        remote.with_name("unplugged").rename(remote)
    assert_push_completes(copied, remote)


def test_a_listing_that_a_killed_push_left_empty_is_named(copied, remote):
    copied.dvc("push", "-q")
    next(path for path in objects(remote) if path.suffix == ".dir").write_bytes(b"")
    assert "is corrupted" in copied.dvc("push", ok=False).stderr
    assert_push_completes(copied, remote)
