"""Does everything on disk still equal what the study recorded? Reads bytes, never DVC's state database."""

import os
from collections.abc import Iterator
from pathlib import Path

from ptychodose.errors import StudyError
from ptychodose.integrity import lock, provenance, record, revision
from ptychodose.integrity.places import Digests, Remote, Wanted, digests
from ptychodose.integrity.record import MISMATCH, MISSING, OK, UNLISTED, UNREADABLE, Finding, Record, Row
from ptychodose.integrity.sample import Sample
from ptychodose.study import manifest


def verify(sample: Sample | None = None) -> list[Finding]:
    """Check manifest.json <-> dvc.lock <-> stage manifests <-> workspace <-> cache in the current folder, and that the
    stages ran as this checkout has them.

    Returns a finding per file (several when several checks fail). Of cache objects that `sample` does not take only
    presence and size are checked. Raises StudyError when manifest.json or dvc.lock
    cannot be read at all.
    """
    study = record.read()
    findings = [_listing(folder) for folder in study.folders if folder.kind]
    findings += [Finding(path, MISMATCH, "listed twice in manifest.json") for path in study.twice]
    for path, row in sorted(study.rows.items()):
        problems = _file(study, row, sample or Sample())
        findings += problems or [Finding(path, OK, _agreement(study, path))]
    own = manifest.JOINED.as_posix()
    for path in sorted(set(study.files) - set(study.rows) - {own}):
        findings.append(Finding(path, UNLISTED, "recorded in dvc.lock, absent from manifest.json"))
    findings += _joined_itself(study.files.get(own)) + _stage_manifests(study) + _strays(study)
    return findings + provenance.check(study)


def _listing(folder: record.Folder) -> Finding:
    what = "missing" if folder.kind == MISSING else "damaged"
    rest = "its files tell what it was" if folder.names is not None else "dvc.lock cannot be asked about its files"
    return Finding(folder.out.path, folder.kind, f"DVC's listing {folder.out.md5} of this folder is {what}; {rest}")


def _agreement(study: Record, path: str) -> str:
    folder = study.unlisted_folder(path)
    if folder is None:
        return "bytes, dvc.lock and cache agree with manifest.json"
    return f"bytes agree with manifest.json; without the listing of {folder.out.path} dvc.lock says nothing of them"


def _file(study: Record, row: Row, sample: Sample) -> list[Finding]:
    """What is wrong with one file in the workspace, in dvc.lock and in the cache."""
    item, found = study.files.get(row.path), digests(Path(row.path))
    findings = []
    if found is None:
        findings.append(Finding(row.path, MISSING, "listed in manifest.json, not in the workspace"))
    elif found.problem:
        findings.append(_problem(row.path, "workspace file", found))
    elif (found.sha256, found.size) != (row.sha256, row.bytes):
        findings.append(Finding(row.path, MISMATCH, "workspace bytes differ from manifest.json"))
    if item is None:
        if study.unlisted_folder(row.path) is None:
            findings.append(Finding(row.path, MISMATCH, "listed in manifest.json, absent from dvc.lock"))
        return findings
    if item.stage != row.stage:
        findings.append(Finding(row.path, MISMATCH, f"stage {row.stage} in manifest.json, {item.stage} in dvc.lock"))
    if found is not None and not found.problem and found.md5 != item.md5:
        findings.append(Finding(row.path, MISMATCH, "workspace bytes differ from dvc.lock"))
    if item.cached is not None:
        what = f"cache object {item.md5}"
        if sample.takes(item.md5) or not _of_size(item.cached, row.bytes):
            findings += _copy(row.path, what, digests(item.cached, own=True), study.wanted(row.path), item.md5)
    return findings


def _of_size(path: Path, size: int) -> bool:
    return os.path.isfile(path) and not path.is_symlink() and path.stat().st_size == size


def _copy(path: str, what: str, found: Digests | None, wanted: Wanted | None, md5: str) -> list[Finding]:
    """What is wrong with a copy outside the workspace; `wanted` is None when manifest.json does not list its path."""
    if found is None:
        return [Finding(path, MISSING, f"no {what}")]
    if found.problem:
        return [_problem(path, what, found)]
    if found.md5 != md5.removesuffix(".dir"):
        return [Finding(path, MISMATCH, f"{what} is damaged")]
    if wanted is not None and not wanted.met_by(found):  # forged, or another file of the same MD5
        return [Finding(path, MISMATCH, f"{what} is not the file of manifest.json")]
    return []


def _problem(path: str, what: str, found: Digests) -> Finding:
    return Finding(path, UNREADABLE if found.unread else MISMATCH, f"{what} {found.problem}")


def _joined_itself(item: lock.Out | None) -> list[Finding]:
    path, found = manifest.JOINED.as_posix(), digests(manifest.JOINED)
    if item is None:
        return [Finding(path, MISMATCH, "absent from dvc.lock")]
    if found is None or found.md5 != item.md5:
        return [Finding(path, MISMATCH, "bytes differ from dvc.lock")]
    return [Finding(path, OK, "bytes agree with dvc.lock")]


def _stage_manifests(study: Record) -> list[Finding]:
    """Every stage's own record must say the same of its outputs as the joined manifest."""
    findings = []
    for path in sorted(p for p in study.rows if Path(p).parent == manifest.FOLDER and Path(p).is_file()):
        stage = study.rows[path].stage
        try:
            own = set(record.rows({"stages": {stage: manifest.read(Path(path))["outputs"]}}))
        except StudyError:
            findings.append(Finding(path, MISMATCH, "damaged manifest of a stage"))
            continue
        joined = {row for row in study.rows.values() if row.stage == stage and row.path != path}
        for name in sorted({row.path for row in own ^ joined}):
            findings.append(Finding(name, MISMATCH, f"{path} and manifest.json disagree"))
    return findings


def _strays(study: Record) -> list[Finding]:
    """What lies in the stages' out folders and neither manifest.json nor git nor a .dvc file in git knows. Out folders
    themselves are DVC's alone; beside outs lie files of the repository, which only git can tell from others."""
    tracked, added = revision.tracked(), lock.repository().added
    whole = {Path(folder.out.path) for folder in study.folders}
    known, beside = set(study.rows), set[Path]()
    if tracked is not None:
        beside = {Path(path).parent for path in study.rows} - {Path(".")}
        inside = {path for path in tracked if not whole.isdisjoint(Path(path).parents)}
        known |= (tracked - inside) | {path for path, file in added.items() if file in tracked}
    present = {found for folder in whole | beside for found in _entries(folder)}
    strays = sorted(path for path in present - known if not any(name.startswith(f"{path}/") for name in known))
    return [Finding(path, UNLISTED, "in an out folder, unknown to manifest.json and git") for path in strays]


def _entries(folder: Path) -> Iterator[str]:
    """Everything below a folder, whatever it is: links are not followed, folders count when they are empty."""
    for base, folders, files in os.walk(folder):
        yield from (Path(base, name).as_posix() for name in files)
        for name in folders:
            path = Path(base, name)
            if path.is_symlink() or not any(path.iterdir()):
                yield path.as_posix()


def whole_cache(sample: Sample | None = None) -> tuple[list[Finding], int]:
    """Hash every object of DVC's cache, of whatever revision, that `sample` takes (None: all): a finding for each that
    is not what its name says, and the number of files read."""
    findings, number, sample = [], 0, sample or Sample()
    for path in lock.objects():
        md5, name = path.parent.name + path.name.removesuffix(".dir"), path.as_posix()
        if not lock.MD5.fullmatch(md5):
            findings.append(Finding(name, UNLISTED, "not an object of DVC's cache; an interrupted copy, perhaps"))
            continue
        if not sample.takes(md5):
            continue
        number += 1
        if (found := digests(path, own=True)) is not None and found.problem:
            findings.append(_problem(name, "cache object", found))
        elif found is None or found.md5 != md5:
            findings.append(Finding(name, MISMATCH, "cache object whose MD5 is not its name"))
    return findings, number


def check_remote(far: Remote, sample: Sample | None = None) -> tuple[list[Finding], int]:
    """Download every object of the current dvc.lock that `sample` takes (None: all), one by one, and hash it: a finding
    for each that is missing or not what dvc.lock and manifest.json record, and the number asked for."""
    sample = sample or Sample()
    objects = {md5: entry for md5, entry in record.read().objects().items() if sample.takes(md5.removesuffix(".dir"))}
    findings = []
    for md5, (path, wanted) in sorted(objects.items(), key=lambda entry: entry[1][0]):
        with far.downloaded(md5) as (_, found):
            findings += _copy(path, f"object {md5} of remote {far.name}", found, wanted, md5)
    return findings, len(objects)


def sha256sums() -> str:
    """The manifest in the format `sha256sum -c` reads."""
    listed = {row.path: row for row in record.rows(manifest.read(manifest.JOINED))}
    return "".join(f"{row.sha256}  {path}\n" for path, row in sorted(listed.items()))
