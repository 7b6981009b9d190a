"""The hybrid's trained bundle, kept in git beside its training manifest."""

from pathlib import Path

from ptychodose.errors import StudyError
from ptychodose.formats.atomic import sha256_file
from ptychodose.networks.restore import restore
from ptychodose.refine import hybrid
from ptychodose.study.training_manifest import read_training_manifest

MANIFEST = "training_manifest.json"


def load(path: str | Path) -> hybrid.Refiner:
    """The network of the bundle at `path`, checked against the digest in the training manifest beside it.

    Raises StudyError in one line when either is missing, damaged or does not fit.
    """
    record, remedy = Path(path).with_name(MANIFEST), "restore both with `git restore data/hybrid` or run `make hybrid`"
    jobs = read_training_manifest(record, remedy, "hybrid")["jobs"]
    if len(jobs) != 1:
        raise StudyError(f"{record}: missing or not a training manifest ({len(jobs)} jobs); {remedy}")
    sha256 = jobs[0]["result"]["bundle_sha256"]
    if not Path(path).is_file() or sha256_file(Path(path)) != sha256:
        raise StudyError(f"{path}: missing, or its SHA256 is not the one in {record}; {remedy}")
    net, _ = restore(Path(path), sha256, hybrid.build)
    assert isinstance(net, hybrid.Refiner)
    return net
