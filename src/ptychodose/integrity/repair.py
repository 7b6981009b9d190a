"""Restore damaged files from an intact copy: workspace <-> cache <-> remote, never bad over good.

Intact means SHA256 equal to manifest.json and MD5 equal to dvc.lock, so both records must be the ones git holds.
"""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from ptychodose.errors import CouldNotCheck, StudyError
from ptychodose.formats.atomic import remove_stale
from ptychodose.integrity import lock, places, record, revision
from ptychodose.integrity.places import Digests, Remote, Wanted, digests
from ptychodose.integrity.record import Record
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
    for folder in {Path(path).parent for path in study.rows}:
        remove_stale(folder, deep=False)  # of a repair that was killed
    remove_stale(lock.repository().objects)
    made = [entry for folder in study.folders for entry in _listing(folder, far)]
    if made:
        study = record.read()  # the files of a folder are known once its listing is back
    for path in sorted(study.rows):
        made += _file(path, study, far)
    return made


def _trust_the_manifest() -> None:
    name = manifest.JOINED.as_posix()
    if why := revision.silence():
        raise CouldNotCheck(f"{name}: {why}, so nothing vouches for it; nothing was repaired")
    changed = revision.differs(name)
    if changed is None:
        raise StudyError(f"{name}: not in git's last commit, so nothing vouches for it; commit it, then repair")
    if changed:
        raise StudyError(
            f"{name}: differs from git's last commit; `git restore {name}` if it is damaged, commit it if it is new"
        )


def _listing(folder: record.Folder, far: Remote | None) -> list[Repair]:
    """A folder's listing in the cache and on the remote, from each other or made again from the folder's files."""
    md5, wanted = folder.out.md5, record.folder_wanted(folder.out.md5)
    with ExitStack() as stack:
        copies = _kept(lock.cache_path(md5), md5, wanted, far, stack)
        if not any(wanted.met_by(place.found) for place in copies) and folder.names is not None:
            made = Path(stack.enter_context(TemporaryDirectory(prefix="ptychodose-"))) / md5
            made.write_bytes(lock.written(folder.names))
            copies.append(Place("the folder's files", made, digests(made), lambda _: None))
        return _settle(folder.out.path, wanted, copies)


def _file(path: str, study: Record, far: Remote | None) -> list[Repair]:
    """One file of manifest.json in all its places."""
    item, wanted = study.files.get(path), study.wanted(path)
    if item is None or wanted is None:
        return []  # verify names what dvc.lock does not know; there is nothing to hold a copy against
    found = digests(Path(path))
    if item.cached is None:
        good = wanted.met_by(found)
        return [] if good else [Repair(path, "workspace", None, f"git keeps it: `git restore {path}`")]
    with ExitStack() as stack:
        here = Place(
            "workspace", Path(path), found, lambda source: places.put(source, Path(path), wanted, Path(), False)
        )
        return _settle(path, wanted, [here, *_kept(item.cached, item.md5, wanted, far, stack)])


def _kept(path: Path, md5: str, wanted: Wanted, far: Remote | None, stack: ExitStack) -> list[Place]:
    """An object in the cache and, when given, on the remote."""

    def replace(source: Path) -> None:
        places.put(source, path, wanted, lock.repository().objects, True)

    copies = [Place("cache", path, digests(path, own=True), replace)]
    if far is not None:
        copy, found = stack.enter_context(far.downloaded(md5))
        copies.append(Place(f"remote {far.name}", copy, found, lambda source: far.store(source, md5)))
    return copies


def _settle(path: str, wanted: Wanted, copies: list[Place]) -> list[Repair]:
    """Replace every bad copy by the first intact one; only what is bad is ever written."""
    intact = next((place for place in copies if wanted.met_by(place.found)), None)
    made = []
    for place in copies:
        if wanted.met_by(place.found):
            continue
        if place.found is not None and place.found.unread:
            made.append(Repair(path, place.name, None, f"{place.found.problem}; check its permissions and the disk"))
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
