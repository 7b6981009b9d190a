"""The command line of `study.py verify`: runs the checks asked for, prints what they found and what to do next."""

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

from ptychodose.errors import CouldNotCheck, StudyError
from ptychodose.formats.untrusted import one_line
from ptychodose.integrity import attest, lock, places, record, repair, reproduced, revision, sample, verify
from ptychodose.integrity.places import Remote
from ptychodose.integrity.record import Finding
from ptychodose.integrity.sample import Sample
from ptychodose.study import manifest

LONGEST = 2000  # characters of a line: names in the records are anyone's
GIT_KEEPS = {manifest.JOINED.as_posix(), "dvc.lock"}


@dataclass
class Report:
    """Everything one run of verify found. `objects` counts what was read of the whole cache and of the remote."""

    findings: list[Finding] = field(default_factory=list)
    objects: dict[str, int] = field(default_factory=dict)
    repairs: list[repair.Repair] = field(default_factory=list)
    against: reproduced.Comparison | None = None
    seal: str | None = None
    expected: str | None = None
    strict: bool = False  # --against was given: a difference counts
    sample: Sample | None = None
    attested: str | None = None
    silent: str = ""  # why git could not be asked, if so

    @property
    def bad(self) -> list[Finding]:
        """What does not hold."""
        return [finding for finding in self.findings if finding.kind not in (record.OK, record.UNREADABLE)]

    @property
    def unchecked(self) -> list[str]:
        """What could not be checked."""
        unread = [f"{f.path}: {f.detail}" for f in self.findings if f.kind == record.UNREADABLE]
        return unread + [f"what was added, and whether git has this manifest.json: {self.silent}"] * bool(self.silent)

    @property
    def status(self) -> int:
        """0 when everything asked for holds, 1 when something does not, 3 when all that could be checked does."""
        differs = self.strict and self.against is not None and self.against.holds == reproduced.DIFFERENT
        if self.bad or differs or (self.seal is not None and self.expected not in (None, self.seal)):
            return 1
        return CouldNotCheck.status if self.unchecked else 0


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare the options of verify."""
    parser.add_argument("--cache", action="store_true", help="hash the whole DVC cache, older revisions included")
    parser.add_argument("--remote", metavar="NAME", help="also download this remote's objects and hash them")
    help_sample = "read only SHARE of the copies in cache and remote, e.g. 10%%; 10%%:2 is the second tenth"
    parser.add_argument("--sample", metavar="SHARE", type=sample.parse, help=help_sample)
    parser.add_argument("--repair", action="store_true", help="restore bad copies from intact ones, then verify")
    parser.add_argument("--against", metavar="REV", help="which holds against a commit or tag, and why (default: HEAD)")
    parser.add_argument("--expect", metavar="DIGEST", help="compare manifest.json with a seal kept elsewhere")
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument("--seal", action="store_true", help="when all holds, print one digest over manifest.json")
    kind.add_argument("--json", action="store_true", help="print everything as JSON")
    kind.add_argument("--sha256sums", action="store_true", help="print the manifest for `sha256sum -c`, check nothing")
    kind.add_argument("--verbose", action="store_true", help="list intact files too")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run verify; exit status as `Report.status`. StudyError when there is nothing to check."""
    if options.sha256sums:
        if options.expect is not None and record.seal() != record.expected_seal(options.expect):
            raise StudyError(f"manifest.json: its seal is {record.seal()}, not the expected one; nothing was listed")
        print(verify.sha256sums(), end="")
        return 0
    report = _check(options)
    if options.json:
        print(json.dumps(_document(report), indent=1))
    elif options.seal and report.status == 0:
        print(report.seal)
        print(f"keep it outside this repository, e.g. `git tag -s NAME -m 'seal {report.seal}'`", file=sys.stderr)
    else:
        # A refused seal leaves standard output empty, so that $(... verify --seal) is a seal or nothing.
        for line in _lines(report, options):
            print(one_line(line, LONGEST), file=sys.stderr if options.seal else sys.stdout)
    return report.status


def _check(options: argparse.Namespace) -> Report:
    if options.sample is not None and (options.seal or options.repair):
        raise StudyError("--sample: not with --seal or --repair, which need every copy to be read; leave one out")
    report = Report(
        sample=options.sample, expected=None if options.expect is None else record.expected_seal(options.expect)
    )
    far = None if options.remote is None else Remote(options.remote)
    if options.repair:
        report.repairs = repair.repair(far)
    if report.sample is not None:
        report.sample.key = record.seal()
    report.findings, report.silent = verify.verify(report.sample), revision.silence()
    if options.cache:
        found, report.objects["DVC's cache"] = verify.whole_cache(report.sample)
        report.findings += found
    if far is not None:
        found, report.objects[f"remote {far.name}"] = verify.check_remote(far, report.sample)
        report.findings += found
    report.strict = options.against is not None
    if report.strict or (not report.bad and revision.differs(manifest.JOINED) is not None):
        report.against = reproduced.against(options.against or "HEAD")
    if not report.bad:
        report.seal = record.seal()
        report.attested = attest.line(report.seal)
    return report


def _document(report: Report) -> dict[str, Any]:
    """The report as JSON has it: what holds beside what was found."""
    document = {"ok": report.status == 0, "status": report.status, "unchecked": report.unchecked, **asdict(report)}
    document["sample"] = None if report.sample is None else report.sample.line()
    del document["strict"], document["silent"]
    if report.against is not None:
        document["against"]["holds"] = report.against.holds
    return document


def _lines(report: Report, options: argparse.Namespace) -> Iterator[str]:
    for entry in report.repairs:
        done = "not repaired" if entry.source is None else f"repaired from {entry.source}"
        yield f"{done}: {entry.path} ({entry.place}): {entry.detail}"
    for finding in report.findings if options.verbose else report.bad:
        yield f"{finding.kind:9} {finding.path}: {finding.detail}"
    yield from (f"NOT checked: {what}" for what in report.unchecked)
    if report.against is not None and report.strict:
        for file in report.against.files:
            if options.verbose or file.verdict != reproduced.IDENTICAL:
                yield f"{file.verdict:16} {file.path}: {file.detail}"
        yield from (f"because   {line}" for line in report.against.because)
    if report.bad:
        files = len({finding.path for finding in report.bad})
        yield f"NOT verified: {len(report.bad)} findings in {files} files; next: {_next(report)}"
        return
    checked = len({finding.path for finding in report.findings})
    copies = "their cache objects" if report.sample is None else "a share of their cache objects"
    where = f"equal manifest.json, dvc.lock and {copies}, and were made as this checkout has it"
    yield f"verified{' but for the above' if report.unchecked else ''}: {checked} files {where}"
    yield from (f"verified: {count} objects of {place}" for place, count in report.objects.items())
    yield from filter(None, (report.sample and report.sample.line(), report.attested))
    if report.against is not None:
        more = "" if report.strict or not report.against.because else "; `verify --against HEAD` says where and why"
        yield report.against.line() + more
    if report.expected is not None:
        seals = f"manifest.json has {report.seal}, expected {report.expected}"
        broken = f"NOT the expected seal: {seals}; next: `git log -p manifest.json`"
        yield f"seal as expected: {report.seal}" if report.expected == report.seal else broken


def _next(report: Report) -> str:
    """What to do about findings: the records first, then git's files, then DVC's, then what is new."""
    kept = GIT_KEEPS | lock.uncached_outs()
    damaged = {finding.path for finding in report.bad if finding.kind in (record.MISSING, record.MISMATCH)}
    cached = [finding for finding in report.bad if finding.path in damaged - kept]
    steps = []
    if changed := [name for name in sorted(GIT_KEEPS) if damaged and revision.differs(name)]:
        steps.append(f"`git restore {' '.join(changed)}` unless you mean to change {'them' if changed[1:] else 'it'}")
    if mine := damaged & kept - GIT_KEEPS:
        steps.append(f"`git restore {' '.join(sorted(mine))}`")
    if cached and all(finding.kind == record.MISSING for finding in cached):
        steps.append(places.to_fetch())
    elif cached and any(entry.source is None for entry in report.repairs):
        steps.append("`python src/study.py verify --repair --remote NAME`, or `dvc repro -f` of the stage")
    elif cached:
        steps.append("`python src/study.py verify --repair`")
    if any(finding.kind == record.STALE for finding in report.bad):
        steps.append("`dvc repro`, or change back what is stale")
    if any(finding.kind == record.UNLISTED for finding in report.bad):
        steps.append("remove what is unlisted, or `dvc add` it and commit its .dvc file if it is yours")
    return ", then ".join(steps) or "`dvc repro`"
