"""The catalogue of damages: how each is made in a real repository by real DVC, and what verify must name."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time

from damage import (
    BUNDLE,
    CODE,
    COLLISION,
    COUNTS,
    FOLDER,
    HYBRID,
    METRIC,
    TRUTH,
    VIEW,
    cached,
    edit_manifest,
    entry,
    flip,
    flipped,
    md5_of,
    overwrite,
    remote,
    store_path,
    truncate,
)
from sandbox import Study, clone, environment


def edited(made, _):
    flip(made.folder / VIEW)


def deleted(made, _):
    (made.folder / TRUTH).unlink()


def unlisted(made, _):
    (made.folder / FOLDER / "x").write_text("x")


def cache_flipped(made, _):
    flip(cached(made, VIEW))


def cache_truncated(made, _):
    truncate(cached(made, VIEW))


def cache_replaced(made, _):
    overwrite(cached(made, VIEW), cached(made, TRUTH).read_bytes())


def cache_deleted(made, _):
    cached(made, BUNDLE).unlink()


def listing_flipped(made, _):
    flip(cached(made, FOLDER))


def listing_deleted(made, _):
    cached(made, FOLDER).unlink()


def checked_out_bad(made, _):
    flip(cached(made, VIEW))
    (made.folder / VIEW).unlink()
    made.dvc("checkout", "-q", VIEW)


def pulled(made, folder, damage):
    """A clone elsewhere that pulled from a remote with a damaged object."""
    far = remote(made, folder / "far")
    damage(store_path(far, md5_of(made, VIEW)))
    other = clone(made, folder / "other")
    other.dvc("pull", "-q")
    return other


def remote_flipped(made, folder):
    return pulled(made, folder, flip)


def remote_truncated(made, folder):
    return pulled(made, folder, truncate)


def forged(made, _):
    (made.folder / VIEW).write_bytes(flipped(made.folder / VIEW))
    made.dvc("commit", "-q", "-f")


def metric_edited(made, _):
    path = made.folder / METRIC
    path.write_bytes(path.read_bytes().replace(b"0.", b"1.", 1))


def metric_edited_quietly(made, _):
    flip(made.folder / METRIC)


def entry_removed(made, _):
    edit_manifest(made, lambda stages: stages["generate"].pop(0))


def lock_edited(made, _):
    path, md5 = made.folder / "dvc.lock", md5_of(made, VIEW)
    path.write_text(path.read_text().replace(md5, md5[::-1]))


def collided(made, _):
    """A stage more, whose output is one half of a collision; the other half then takes its place everywhere."""
    one, other = COLLISION
    name = "data/collision.bin"
    with open(made.folder / "dvc.yaml", "r+") as graph:
        text = graph.read()
        stage = f"  collide:\n    cmd: 'true'\n    outs:\n    - {name}\n\nplots:\n- loss curves:"
        graph.seek(0)
        graph.write(text.replace("plots:\n- loss curves:", stage, 1))
    (made.folder / name).write_bytes(one)
    edit_manifest(made, lambda stages: stages.update(collide=[entry(made, name)]))
    made.dvc("commit", "-q", "-f", "collide", "compare")
    made.commit("one more output")
    assert made.study("verify").returncode == 0 and "up to date" in made.dvc("status").stdout
    overwrite(made.folder / name, other)
    overwrite(cached(made, name), other)


def killed(made, _):
    """A stage killed while it writes; what it had written gets the final name and is committed."""
    folder = made.folder / "data/scan"
    process = subprocess.Popen([sys.executable, "src/generate.py"], cwd=made.folder, env=environment(made.home),
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # fmt: skip
    halves: list = []
    while not halves and process.poll() is None:
        time.sleep(0.001)
        halves = list(folder.glob(".train.cxi.*.tmp"))
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    os.truncate(halves[0], min(halves[0].stat().st_size, (made.folder / COUNTS).stat().st_size // 2))  # it may be whole
    (made.folder / COUNTS).unlink()
    halves[0].rename(made.folder / COUNTS)
    made.dvc("commit", "-q", "-f")


def replaced(made, name, old, new):
    text = (made.folder / name).read_text()
    assert old in text
    (made.folder / name).write_text(text.replace(old, new, 1))


def settled(made, *stages):
    """DVC and git take what is there for results of what is there."""
    made.dvc("commit", "-q", "-f", *stages)
    made.commit("as if it had been so")


def parameter_edited(made, _):
    replaced(made, "params.yaml", "dose: 10000", "dose: 1000")


def parameter_edited_in_both(made, _):
    """What a paper would be said to rest on, in both records that DVC and git look at."""
    parameter_edited(made, _)
    lock = made.folder / "dvc.lock"
    lock.write_text(lock.read_text().replace("dose: 10000", "dose: 1000"))
    made.commit("as if it had been so")


def code_edited(made, _):
    with open(made.folder / CODE, "a") as file:
        file.write("# other code\n")
    settled(made)


def command_edited(made, _):
    replaced(made, "dvc.yaml", "src/limit.py\n", "src/limit.py && touch data/limit/limit.json\n")
    settled(made, "limit")


def pins_edited(made, _):
    replaced(made, "dvc.yaml", "OPENBLAS_CORETYPE=Haswell", "OPENBLAS_CORETYPE=Zen")
    settled(made)


def hybrid_replaced(made, _):
    (made.folder / HYBRID).write_bytes(flipped(made.folder / HYBRID))
    settled(made)


def libraries_edited(made, _):
    replaced(made, "requirements.lock", "numpy==", "numpy==1")
    settled(made)


def stage_added(made, _):
    replaced(made, "dvc.yaml", "\nplots:\n- loss", "\n  more:\n    cmd: 'true'\n\nplots:\n- loss")


def dependency_dropped(made, _):
    """Code that DVC no longer watches, as it says of itself."""
    replaced(made, "dvc.yaml", "src/ptychodose/bounds, ", "")
    settled(made, "limit")


def stage_dropped(made, _):
    graph = made.folder / "dvc.yaml"
    graph.write_text(re.sub(r"(?s)\n  limit:\n.*?\n\n", "\n", graph.read_text()))


def link_added(made, _):
    (made.folder / FOLDER / "x").symlink_to("nowhere")


def folder_linked(made, folder):
    (folder / "elsewhere").mkdir()
    (made.folder / "data/x").symlink_to(folder / "elsewhere")


def folder_added(made, _):
    (made.folder / FOLDER / "x").mkdir()


def forced_into_git(made, _):
    unlisted(made, _)
    made.run("git", "add", "-f", f"{FOLDER}/x")
    made.run("git", "commit", "-qm", "forced")


def linked_to_workspace(made, _):
    path = cached(made, VIEW)
    path.unlink()
    path.symlink_to(made.folder / VIEW)


def by_folder(made, _):
    (made.folder / TRUTH).unlink()
    (made.folder / TRUTH).mkdir()


def cache_elsewhere_flipped(made, folder):
    """The machine's configuration names another cache; beside it the old one stays, and is intact."""
    shutil.copytree(made.folder / ".dvc/cache", folder / "cache")
    (folder / "system").mkdir()
    (folder / "system/config").write_text(f"[cache]\n    dir = {folder}/cache\n")
    flip(store_path(folder / "cache", md5_of(made, VIEW)))
    return Study(made.folder, made.home, DVC_SYSTEM_CONFIG_DIR=str(folder / "system"))


# damage -> how it is made, the file verify names, the kind
DAMAGES = {
    "output edited, modification time restored": (edited, VIEW, "mismatch"),
    "output deleted": (deleted, TRUTH, "missing"),
    "file added to an output folder": (unlisted, f"{FOLDER}/x", "unlisted"),
    "cache object: one bit flipped": (cache_flipped, VIEW, "mismatch"),
    "cache object: truncated": (cache_truncated, VIEW, "mismatch"),
    "cache object: replaced": (cache_replaced, VIEW, "mismatch"),
    "cache object: deleted": (cache_deleted, BUNDLE, "missing"),
    "listing of a folder: one bit flipped": (listing_flipped, FOLDER, "mismatch"),
    "listing of a folder: deleted": (listing_deleted, FOLDER, "missing"),
    "workspace restored from a bad cache object": (checked_out_bad, VIEW, "mismatch"),
    "remote object flipped, then `dvc pull`": (remote_flipped, VIEW, "mismatch"),
    "remote object truncated, then `dvc pull`": (remote_truncated, VIEW, "mismatch"),
    "output forged, then `dvc commit -f`": (forged, VIEW, "mismatch"),
    "metric in git (`cache: false`) edited": (metric_edited, METRIC, "mismatch"),
    "the same, modification time restored": (metric_edited_quietly, METRIC, "mismatch"),
    "MD5 collision swapped in": (collided, "data/collision.bin", "mismatch"),
    "manifest entry removed": (entry_removed, "data/scan/test.cxi", "unlisted"),
    "dvc.lock and manifest.json disagree": (lock_edited, VIEW, "mismatch"),
    "half-written output after a kill, then `dvc commit -f`": (killed, COUNTS, "mismatch"),
    "parameter edited": (parameter_edited, "params.yaml", "stale"),
    "parameter edited in params.yaml and dvc.lock, committed": (parameter_edited_in_both, "params.yaml", "stale"),
    "code edited, then `dvc commit -f`": (code_edited, CODE, "stale"),
    "command of a stage edited, then `dvc commit -f`": (command_edited, "dvc.yaml", "stale"),
    "pinned instruction set edited, then `dvc commit -f`": (pins_edited, "dvc.yaml", "stale"),
    "the hybrid's bundle replaced, then `dvc commit -f`": (hybrid_replaced, HYBRID, "stale"),
    "lock of libraries edited, then `dvc commit -f`": (libraries_edited, "requirements.lock", "stale"),
    "a stage added and not run": (stage_added, "dvc.lock", "stale"),
    "a dependency dropped, then `dvc commit -f`": (dependency_dropped, "dvc.yaml", "stale"),
    "a stage dropped": (stage_dropped, "dvc.yaml", "stale"),
    "link to nothing added to an output folder": (link_added, f"{FOLDER}/x", "unlisted"),
    "link to a folder added beside outputs": (folder_linked, "data/x", "unlisted"),
    "empty folder added to an output folder": (folder_added, f"{FOLDER}/x", "unlisted"),
    "file added to an output folder with `git add -f`": (forced_into_git, f"{FOLDER}/x", "unlisted"),
    "cache object: replaced by a link to the workspace": (linked_to_workspace, VIEW, "mismatch"),
    "output replaced by a folder": (by_folder, TRUTH, "mismatch"),
    "another cache by the machine's configuration: one bit flipped": (cache_elsewhere_flipped, VIEW, "mismatch"),
}
