"""Restore damaged files from an intact copy: workspace <-> cache <-> remote, never bad over good.

Intact means SHA256 equal to manifest.json and MD5 equal to dvc.lock, so both records must be the ones git holds.
"""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from ptychodose.errors import StudyError
from ptychodose.integrity import copies, lock, record, revision
from ptychodose.integrity.copies import Digests, Wanted, digests
from ptychodose.integrity.record import Record
from ptychodose.integrity.remote import Remote
from ptychodose.integrity.stores import downloaded
from ptychodose.study import manifest


@dataclass(frozen=True)
class Repair:
    """One bad copy: the file, the place it is bad in, where the intact copy came from (None: not repaired), remarks."""

    path: str
    place: str
    source: str | None
    detail: str


@dataclass(frozen=True)
class Place:
    """One place a copy should be: how messages call it, the file to copy from, what is there, how to replace it."""

    name: str
    file: Path
    found: Digests | None
    replace: Callable[[Path], None]


def repair(far: Remote | None = None) -> list[Repair]:
    """Repair workspace, cache and, when given, a remote, in the current folder; an entry per bad copy.

    Files of git (`cache: false`) are only named, and so is what has no intact copy. Raises StudyError when
    manifest.json is not the one git holds: then nothing says what intact means.
    """
    _trust_the_manifest()
    study = record.read()
    made = [entry for folder in study.folders for entry in _listing(folder, study, far)]
    if made:
        study = record.read()  # the files of a folder are known once its listing is back
    for path in sorted(study.rows):
        made += _file(path, study, far)
    return made


def _trust_the_manifest() -> None:
    name = manifest.JOINED.as_posix()
    changed = revision.differs(name)
    if changed is None:
        raise StudyError(f"{name}: not in git's last commit, so nothing vouches for it; commit it, then repair")
    if changed:
        raise StudyError(
            f"{name}: differs from git's last commit; `git restore {name}` if it is damaged, commit it if it is new"
        )


def _listing(folder: record.Folder, study: Record, far: Remote | None) -> list[Repair]:
    """A folder's listing in the cache and on the remote, from each other or made again from the folder's files."""
    md5 = folder.out.md5
    wanted = Wanted(None, md5.removesuffix(".dir"))
    with ExitStack() as stack:
        places = [_cache(lock.cache_path(md5), wanted)]
        if far is not None:
            places.append(_remote(far, md5, stack))
        intact = [place for place in places if wanted.met_by(place.found)]
        if len(intact) == len(places):
            return []
        if not intact and (data := record.rebuilt(folder.out, study.rows)) is not None:
            made = Path(stack.enter_context(TemporaryDirectory(prefix="ptychodose-"))) / md5
            made.write_bytes(data)
            places.append(Place("the folder's files", made, digests(made), lambda source: None))
        return _settle(folder.out.path, wanted, places)


def _file(path: str, study: Record, far: Remote | None) -> list[Repair]:
    """One file of manifest.json in all its places."""
    item, wanted = study.files.get(path), study.wanted(path)
    found = digests(Path(path))
    if item is None or wanted is None:
        return []  # verify names what dvc.lock does not know; there is nothing to hold a copy against
    if item.cached is None:
        good = wanted.met_by(found)
        return [] if good else [Repair(path, "workspace", None, f"git keeps it: `git restore {path}`")]
    with ExitStack() as stack:
        here = Place("workspace", Path(path), found, lambda source: copies.put(source, Path(path), wanted, False))
        places = [here, _cache(item.cached, wanted)]
        if far is not None:
            places.append(_remote(far, item.md5, stack))
        return _settle(path, wanted, places)


def _cache(path: Path, wanted: Wanted) -> Place:
    return Place("cache", path, digests(path), lambda source: copies.put(source, path, wanted, True))


def _remote(far: Remote, md5: str, stack: ExitStack) -> Place:
    path, found = stack.enter_context(downloaded(far, md5))
    return Place(f"remote {far.name}", path, found, lambda source: far.store(source, md5))


def _settle(path: str, wanted: Wanted, places: list[Place]) -> list[Repair]:
    """Replace every bad copy by the first intact one; only what is bad is ever written."""
    intact = next((place for place in places if wanted.met_by(place.found)), None)
    made = []
    for place in places:
        if wanted.met_by(place.found):
            continue
        if intact is None:
            made.append(Repair(path, place.name, None, _no_copy()))
            continue
        try:
            place.replace(intact.file)
            made.append(Repair(path, place.name, intact.name, "was damaged" if place.found else "was missing"))
        except StudyError as error:  # a read-only remote, a full disk: the other copies may still be repaired
            made.append(Repair(path, place.name, None, str(error)))
    return made


def _no_copy() -> str:
    if revision.differs("dvc.lock"):
        return "no copy is intact by this dvc.lock, which is not git's: `git restore dvc.lock`, then repair again"
    return "no intact copy here; try --remote NAME, or run its stage again with `dvc repro -f`"
