"""DVC's listings of folders: a JSON list of names and MD5s, kept like a file, named by its own MD5 plus `.dir`."""

import functools
import hashlib
import json
import re
from collections.abc import Iterable
from pathlib import Path

from ptychodose.formats.untrusted import is_inside
from ptychodose.integrity import copies

MD5 = re.compile(r"[0-9a-f]{32}")


def parse(data: bytes, md5: str) -> dict[str, str]:
    """MD5 by name of the files in a folder. ValueError unless the bytes are the listing that `md5` names and all names
    stay inside the folder."""
    if hashlib.md5(data, usedforsecurity=False).hexdigest() != md5.removesuffix(".dir"):
        raise ValueError("its MD5 does not match its name")
    try:
        found = {str(row["relpath"]): str(row["md5"]) for row in json.loads(data)}
    except (KeyError, TypeError, RecursionError):
        raise ValueError("not a listing of names and MD5s") from None
    if not all(MD5.fullmatch(value) and is_inside(name) for name, value in found.items()):
        raise ValueError("a name or MD5 in it is not usable")
    return found


def written(names: dict[str, str]) -> bytes:
    """The bytes DVC 3 writes for a folder (dvc_data.hashfile.tree.Tree.as_bytes): sorted by name, default JSON."""
    return json.dumps([{"md5": names[name], "relpath": name} for name in sorted(names)], sort_keys=True).encode()


def rebuild(md5: str, wanted: dict[str, tuple[int, str]], folder: str, objects: Iterable[Path]) -> bytes | None:
    """A lost listing made again from intact files, or None.

    `wanted` maps names to size and SHA256. The MD5 that DVC knows a file by is taken from the workspace's file or
    from any cache object of that size and SHA256; the result counts only if its own MD5 is the one dvc.lock names.
    """
    sized: dict[int, list[Path]] = {}
    for path in objects:
        sized.setdefault(path.stat().st_size, []).append(path)
    names, read = {}, functools.cache(copies.digests)
    for name, (size, sha256) in wanted.items():
        candidates = [Path(folder) / name, *sized.get(size, [])]
        found = (read(path) for path in candidates if path.is_file() and path.stat().st_size == size)
        match = next((item.md5 for item in found if item is not None and item.sha256 == sha256), None)
        if match is None:
            return None
        names[name] = match
    data = written(names)
    return data if hashlib.md5(data, usedforsecurity=False).hexdigest() == md5.removesuffix(".dir") else None
