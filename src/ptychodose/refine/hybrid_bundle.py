"""The hybrid's trained bundle, kept in git beside its training manifest: learned steps and error bars."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from ptychodose.errors import StudyError
from ptychodose.formats.atomic import sha256_file
from ptychodose.networks.restore import restore
from ptychodose.refine.hybrid import Refiner
from ptychodose.refine.spread import Spread
from ptychodose.study.training_manifest import read_training_manifest

MANIFEST = "training_manifest.json"


ARGUMENTS = {"steps", "gradients", "width", "hidden", "spread_width"}


class Hybrid(nn.Module):
    """The two networks of the arm."""

    def __init__(self, refiner: Refiner, spread: Spread) -> None:
        super().__init__()
        self.refiner, self.spread = refiner, spread
        self.spec = {**refiner.spec, "name": "hybrid", "spread_width": spread.spec["width"]}


def build(spec: Mapping[str, Any]) -> Hybrid:
    """The networks of a bundle's `spec`; StudyError for another kind."""
    arguments = {key: value for key, value in spec.items() if key != "name"}
    if spec.get("name") != "hybrid" or set(arguments) != ARGUMENTS:
        raise StudyError(f"hybrid bundle: unknown network {dict(spec)}; remake it with `make hybrid`")
    spread = Spread(arguments.pop("spread_width"))
    return Hybrid(Refiner(**arguments), spread)


def load(path: str | Path) -> Hybrid:
    """The networks of the bundle at `path`, checked against the digest in the training manifest beside it.

    Raises StudyError in one line when either is missing, damaged or does not fit.
    """
    record, remedy = Path(path).with_name(MANIFEST), "restore both with `git restore data/hybrid` or run `make hybrid`"
    jobs = read_training_manifest(record, remedy, "hybrid")["jobs"]
    if len(jobs) != 1:
        raise StudyError(f"{record}: missing or not a training manifest ({len(jobs)} jobs); {remedy}")
    sha256 = jobs[0]["result"]["bundle_sha256"]
    if not Path(path).is_file() or sha256_file(Path(path)) != sha256:
        raise StudyError(f"{path}: missing, or its SHA256 is not the one in {record}; {remedy}")
    net, _ = restore(Path(path), sha256, build)
    assert isinstance(net, Hybrid)
    return net
