"""The places objects live in besides the workspace: DVC's whole cache, and a remote."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from ptychodose.integrity import listings, lock, record
from ptychodose.integrity.copies import Digests, Wanted, digests
from ptychodose.integrity.record import MISMATCH, MISSING, Record
from ptychodose.integrity.remote import Remote
from ptychodose.integrity.verify import UNLISTED, Finding


def whole_cache() -> tuple[list[Finding], int]:
    """Hash every object of DVC's cache, of whatever revision: a finding for each that is not what its name says, and
    the number of files read."""
    findings, count = [], 0
    for count, path in enumerate(lock.objects(), 1):  # noqa: B007
        md5 = path.parent.name + path.name.removesuffix(".dir")
        if not listings.MD5.fullmatch(md5):
            problem = "not an object of DVC's cache; an interrupted copy, perhaps"
            findings.append(Finding(path.as_posix(), UNLISTED, problem))
            continue
        found = digests(path)
        if found is None or found.md5 != md5:
            problem = (found.problem if found is not None else "") or "whose MD5 is not its name"
            findings.append(Finding(path.as_posix(), MISMATCH, f"cache object {problem}"))
    return findings, count


def objects_wanted(study: Record) -> dict[str, tuple[str, Wanted | None]]:
    """Every object that dvc.lock names and DVC keeps: MD5 -> a path it belongs to, and what it must be (None when
    manifest.json does not list that path)."""
    found: dict[str, tuple[str, Wanted | None]] = {}
    for folder in study.folders:
        found[folder.out.md5] = (folder.out.path, Wanted(None, folder.out.md5.removesuffix(".dir")))
    for item in study.files.values():
        if item.cached is not None and found.get(item.md5, ("", None))[1] is None:
            found[item.md5] = (item.path, study.wanted(item.path))
    return found


@contextmanager
def downloaded(far: Remote, md5: str) -> Iterator[tuple[Path, Digests | None]]:
    """An object of a remote in a temporary folder, and its digests, None when the remote has none of that name."""
    with TemporaryDirectory(prefix="ptychodose-") as folder:
        path = Path(folder) / md5
        yield path, digests(path) if far.fetch(md5, path) else None


def check_remote(far: Remote) -> tuple[list[Finding], int]:
    """Download every object of the current dvc.lock, one after the other, and hash it: a finding for each that is
    missing or not what dvc.lock and manifest.json record, and the number of objects asked for."""
    wanted = objects_wanted(record.read())
    findings = []
    for md5, (path, must_be) in sorted(wanted.items(), key=lambda entry: entry[1][0]):
        with downloaded(far, md5) as (_, found):
            where = f"object {md5} of remote {far.name}"
            if found is None:
                findings.append(Finding(path, MISSING, f"no {where}"))
            elif found.md5 != md5.removesuffix(".dir"):
                findings.append(Finding(path, MISMATCH, f"{where} is damaged"))
            elif must_be is not None and not must_be.met_by(found):
                findings.append(Finding(path, MISMATCH, f"{where} is not the file of manifest.json"))
    return findings, len(wanted)
