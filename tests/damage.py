"""Ways a study gets damaged, each made in a real repository with real DVC commands."""

import hashlib
import json
import os
import re

# X. Wang, D. Feng, X. Lai, H. Yu, "Collisions for Hash Functions MD4, MD5, HAVAL-128 and RIPEMD", IACR ePrint 2004/199.
COLLISION = tuple(
    bytes.fromhex(f"""
    d131dd02c5e6eec4693d9a0698aff95c 2fcab5{x[0]}12467eab4004583eb8fb7f89 55ad340609f4b30283e4888325{x[1]}415a
    085125e8f7cdc99fd91dbd{x[2]}80373c5b d8823e3156348f5bae6dacd436c919c6 dd53e2{x[3]}87da03fd02396306d248cda0
    e99f33420f577ee8ce54b67080{x[4]}0d1e c69821bcb6a8839396f965{x[5]}6ff72a70""")
    for x in (("87", "71", "f2", "b4", "a8", "2b"), ("07", "f1", "72", "34", "28", "ab"))
)
VIEW, TRUTH, BUNDLE = "data/views/dense.h5", "data/scan/truth.h5", "data/bundles/dense/wts.h5.zip"
FOLDER, METRIC, COUNTS = "data/bundles/dense", "metrics/compare.json", "data/scan/train.cxi"
CODE, HYBRID = "src/ptychodose/scans/scan.py", "data/hybrid/wts.h5.zip"


def overwrite(path, data):
    """Other bytes, with size (if `data` has it), inode, mode and modification time as they were: as a disk rots."""
    before = path.stat()
    path.chmod(0o644)
    path.write_bytes(data)
    path.chmod(before.st_mode)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def flipped(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    return bytes(data)


def flip(path):
    overwrite(path, flipped(path))


def truncate(path):
    overwrite(path, path.read_bytes()[:100])


def md5_of(made, name):
    """The MD5 dvc.lock has for an out, or for a file of a folder out."""
    text = (made.folder / "dvc.lock").read_text()
    whole = re.search(rf"path: {re.escape(name)}\n\s+hash: md5\n\s+md5: (\S+)", text[text.index("outs:") :])
    if whole:
        return whole.group(1)
    folder, _, inside = name.rpartition("/")
    listing = json.loads(cached(made, folder).read_text())
    return next(row["md5"] for row in listing if row["relpath"] == inside)


def store_path(folder, md5):
    return folder / "files/md5" / md5[:2] / md5[2:]


def objects(folder):
    return {path for path in (folder / "files/md5").rglob("*") if path.is_file()}


def cached(made, name):
    return store_path(made.folder / ".dvc/cache", md5_of(made, name))


def edit_manifest(made, change):
    path = made.folder / "manifest.json"
    document = json.loads(path.read_text())
    change(document["stages"])
    path.write_text(json.dumps(document, sort_keys=True, indent=1) + "\n")


def entry(made, name):
    """A manifest's entry of a file as it is now (of a kind whose content is its bytes)."""
    data = (made.folder / name).read_bytes()
    digest = hashlib.sha256(data).hexdigest()
    return {"path": name, "bytes": len(data), "sha256": digest, "content_sha256": digest}


def forge(made, name):
    """Change a file of the last stage, its entry in the manifest and dvc.lock: all that is inside the repository."""
    (made.folder / name).write_bytes(flipped(made.folder / name))

    def change(stages):
        rows = stages["compare"]
        at = next(i for i, row in enumerate(rows) if row["path"] == name)
        rows[at] = {**entry(made, name), "content_sha256": rows[at]["content_sha256"]}

    edit_manifest(made, change)
    made.dvc("commit", "-q", "-f", "compare")


def remote(made, folder, verify=False):
    """A remote in `folder`, the default one and without DVC's own checks, holding the study."""
    made.dvc("remote", "add", "-q", "-d", "near", str(folder))
    made.dvc("remote", "modify", "near", "verify", str(verify).lower())
    made.dvc("push", "-q")
    made.commit("a remote")
    return folder
