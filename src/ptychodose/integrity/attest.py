"""Who else has this result: a machine says in attestations/ which seal it verified, and how many stages ran there.

Whether to believe it is the reader's: verify lists what the files say; a signature beside one is made and checked by
other tools (docs/trust.md).
"""

import hashlib
import json
import platform
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import Any

from ptychodose.errors import CouldNotCheck, StudyError
from ptychodose.formats.atomic import write_json
from ptychodose.formats.untrusted import is_sha256, is_whole, one_line, parse_json, read_text, regular
from ptychodose.integrity import lock, record, revision, verify
from ptychodose.study import machine
from ptychodose.study.params import load_yaml

FOLDER = Path("attestations")
LARGEST = 2**16  # bytes; some 500 are needed


@dataclass(frozen=True)
class Attestation:
    """What one file says: seal, day (UTC), the machine in words, stages that ran there and stages in all."""

    path: str
    seal: str
    date: str
    machine: str
    ran: int
    stages: int


def write() -> tuple[Path, int, int]:
    """Verify the study in the current folder and write what this machine can say of it; the file, stages that ran on
    this machine, stages in all. Raises StudyError, and writes nothing, when anything does not hold, was not checked or
    the disk fails."""
    findings, silent = verify.verify(), revision.silence()
    bad = next((finding for finding in findings if finding.kind != record.OK), None)
    if bad is not None:
        where = f"{one_line(bad.path)}: {bad.detail}"
        raise StudyError(f"{where}; nothing to attest, `python src/study.py verify` says all of it and what to do")
    if silent:
        raise CouldNotCheck(f"whether files were added: {silent}; nothing to attest")
    try:
        versions = machine.describe()
    except PackageNotFoundError as error:
        raise StudyError(f"{error.name}: not installed, so nothing ran here; `make setup`, then `dvc repro`") from None
    here = {"cpu": versions.pop("cpu"), "cores": versions.pop("cores"), "system": _system()}
    name = hashlib.sha256(json.dumps(here, sort_keys=True).encode()).hexdigest()[:16]
    ran, stages = _stages()
    document = {"seal": record.seal(), "date": datetime.now(UTC).date().isoformat(), "machine": here, "stages": stages,
                "outcome": f"verified: {len({finding.path for finding in findings})} files", "ran_here": ran,
                "versions": versions}  # fmt: skip
    try:
        write_json(FOLDER / f"{name}.json", document)
    except OSError as error:
        raise StudyError(f"{FOLDER}/{name}.json: {error.strerror}; check free space and permissions") from None
    return FOLDER / f"{name}.json", ran, stages


def _system() -> str:
    """Operating system and architecture; no name of a host or user."""
    with suppress(OSError):
        return f"{platform.freedesktop_os_release()['PRETTY_NAME']}, {platform.machine()}"
    return f"{platform.system()}, {platform.machine()}"


def _stages() -> tuple[int, int]:
    """Stages of dvc.lock that ran on this machine, by DVC's cache of runs, which `dvc pull` does not bring; and all
    that have their runs there, for which one out must be cached."""
    runs, seen = lock.repository().objects.parents[1] / "runs", set()
    for path in sorted(path for path in runs.glob("*/*/*") if path.is_file()):
        with suppress(StudyError):  # damaged, so it says nothing
            seen.add(_made(lock.outs({"stages": {"": load_yaml(path.as_posix())}})))
    outs, uncached = lock.outs(load_yaml("dvc.lock")), lock.uncached_outs()
    kept = {out.stage for out in outs if out.path not in uncached}
    stages = {stage: _made([out for out in outs if out.stage == stage]) for stage in kept}
    return sum(made in seen for made in stages.values()), len(stages)


def _made(outs: list[lock.Out]) -> frozenset[tuple[str, str]]:
    return frozenset((out.path, out.md5) for out in outs)


def read() -> tuple[list[Attestation], list[str]]:
    """What the files of attestations/ say, by name, and the paths of those that cannot be read as attestations."""
    found, damaged = [], []
    for path in sorted(FOLDER.glob("*.json")):
        try:
            found.append(_parsed(path.as_posix(), parse_json(read_text(regular(path), LARGEST))))
        except (OSError, ValueError, KeyError, TypeError):
            damaged.append(path.as_posix())
    return found, damaged


def _parsed(path: str, document: Any) -> Attestation:
    seal, date, here, ran, stages = (document[key] for key in ("seal", "date", "machine", "ran_here", "stages"))
    words = here["cpu"], here["system"], date
    if not is_sha256(seal) or not all(isinstance(word, str) for word in words) or not is_whole(stages, 1, 1000):
        raise ValueError("not an attestation")
    if not is_whole(ran, 0, stages):
        raise ValueError("more stages ran than there are")
    return Attestation(path, seal, one_line(date, 20), one_line(f"{here['cpu']}, {here['system']}"), ran, stages)


def line(seal: str) -> str | None:
    """Who rebuilt this seal, who has other ones, what cannot be read; None where there are no attestations."""
    found, damaged = read()
    mine = [entry for entry in found if entry.seal == seal]
    rebuilt = [f"{entry.machine}, {entry.date}" for entry in mine if entry.ran == entry.stages]
    counts = {"checked without running every stage": len(mine) - len(rebuilt), "of other seals": len(found) - len(mine)}
    said = [f"{number} {what}" for what, number in counts.items() if number]
    said += [f"not readable: {', '.join(map(one_line, damaged))}"] * bool(damaged)
    if not found and not damaged:
        return None
    return "; ".join([f"rebuilt, as {FOLDER}/ says: {' | '.join(rebuilt) or 'this seal by nobody'}", *said])
