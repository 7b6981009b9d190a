"""The sweep: which runs it has, and what identifies one.

Two designs. `star`: one centre and, around it, two more seeds of each source of randomness (object, noise, network),
one source at a time, at every dose. `heat`: dose x overlap of the dense view. A run is identified by its swept
parameters and by a digest of everything else that its numbers depend on, so that a table never mixes two states of
the study.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest
from pathlib import Path
from typing import Any

from ptychodose.errors import StudyError
from ptychodose.formats.atomic import sha256_file
from ptychodose.study.params import load_yaml
from ptychodose.study.settings import Params

DOSES = (300.0, 1e3, 3e3, 1e4, 3e4, 1e5)  # mean detected photons per pattern over the finest scan
LEAD_DOSE = 1e4  # the first run of every network: later ones find it trained
HEAT_OVERLAPS = (0.8, 0.6, 0.4, 0.2, 0.0)
SOURCES = ("object", "noise", "network")  # of randomness
SKIPPED_ARMS = {"star": ("own",), "heat": ("baseline", "wide", "sparse", "own", "cnn")}


@dataclass(frozen=True)
class Run:
    """One run of the study: its design and the swept parameters (dose in photons per pattern, overlap ratio, seeds)."""

    design: str
    dose: float
    overlap_dense: float
    seed_object: int
    seed_noise: int
    seed_network: int

    @property
    def training(self) -> tuple[str, float, int]:
        """Runs that agree in this use the same trained networks, which see neither dose nor object nor noise."""
        return self.design, self.overlap_dense, self.seed_network

    def name(self, code: str) -> str:
        """The DVC experiment's name; the same run of the same code always has the same."""
        seeds = f"o{self.seed_object}-n{self.seed_noise}-w{self.seed_network}"
        return f"sweep-{code[:8]}-{self.design}-d{self.dose:.0f}-v{self.overlap_dense:g}-{seeds}"


def centres(study: Params) -> list[Run]:
    """The star's centre at every dose: params.yaml's overlap and seeds."""
    return [Run("star", dose, _dense(study), *_seeds(study)) for dose in DOSES]


def star(study: Params) -> list[Run]:
    """Seven runs a dose: the centre, and two other seeds of one source of randomness at a time."""
    changes = [(f"seed_{source}", step) for source in SOURCES for step in (1, 2)]
    return [
        run
        for centre in centres(study)
        for run in [centre, *(replace(centre, **{name: getattr(centre, name) + step}) for name, step in changes)]
    ]


def heat(study: Params) -> list[Run]:
    """Every dose at every overlap of the dense view, at the centre's seeds."""
    return [Run("heat", dose, overlap, *_seeds(study)) for overlap in HEAT_OVERLAPS for dose in DOSES]


def _seeds(study: Params) -> list[int]:
    return [study.seed_of(source) for source in SOURCES]


def _dense(study: Params) -> float:
    if study.overlap.dense is None:
        raise StudyError("params.yaml: overlap.dense is null; the sweep needs the dense view, set a ratio")
    return study.overlap.dense


def overrides(run: Run, study: Params, document: dict[str, Any]) -> list[str]:
    """What `dvc exp run -S` must change of params.yaml (`study`, and as plain YAML `document`) for a run."""
    changes = [f"dose={run.dose:.15g}"]
    seeds = (run.seed_object, run.seed_noise, run.seed_network)
    own = zip(SOURCES, seeds, _seeds(study), strict=True)
    changes += [f"seeds.{source}={seed}" for source, seed, usual in own if seed != usual]
    if run.overlap_dense != study.overlap.dense:
        changes.append(f"overlap.dense={run.overlap_dense:g}")
    if run.design == "heat" and study.overlap.sparse is not None:
        changes.append("overlap.sparse=null")
    arms = [f"train_{arm}" for arm in SKIPPED_ARMS[run.design]]
    return changes + [f"{arm}.view=null" for arm in arms if (document.get(arm) or {}).get("view") is not None]


def ordered(runs: Sequence[Run]) -> list[Run]:
    """One run of each set of networks first, the designs in turn; then the others in the same order of sets.

    A queue with fewer workers than sets then hardly ever computes one thing twice at once: neither a network, nor
    the limits of an object (neighbours in the order differ in their seeds or overlap).
    """
    sets: dict[tuple[str, float, int], list[Run]] = {}
    for run in sorted(runs, key=lambda run: run.dose != LEAD_DOSE):
        sets.setdefault(run.training, []).append(run)
    first = [[sets[key][0] for key in sets if key[0] == design] for design in SKIPPED_ARMS]
    leaders = [run for turn in zip_longest(*first) for run in turn if run is not None]
    return leaders + [run for leader in leaders for run in sets[leader.training][1:]]


def code_files(root: Path) -> list[str]:
    """dvc.yaml, the base, and every file its stages depend on and none of them makes (complete by test of the graph):
    code, libraries, the hybrid's weights. Raises StudyError for one that is missing."""
    stages = load_yaml(root / "dvc.yaml")["stages"].values()
    outs = [out for stage in stages for kind in ("outs", "metrics", "plots") for out in stage.get(kind, [])]
    made = {name for out in outs for name in (out if isinstance(out, dict) else [out])}
    deps = {dep for stage in stages for dep in stage["deps"] if "${" not in dep}
    given = {dep for dep in deps if not any(out == dep or out.startswith(f"{dep}/") for out in made)}
    names: set[str] = set()
    for name in given | {"dvc.yaml", load_yaml(root / "params.yaml")["generate"]["base"]}:
        path = root / name
        if not path.exists():
            raise StudyError(f"{name}: not found; dvc.yaml depends on it, restore it")
        inside = [file.relative_to(root) for file in path.rglob("*") if file.is_file()]
        kept = {file.as_posix() for file in inside if "__pycache__" not in file.parts}
        names |= kept if path.is_dir() else {name}
    return sorted(names)


def code_digest(root: Path) -> str:
    """12 hex digits of SHA256 over what a run's numbers depend on besides the swept parameters.

    These are `code_files` and the other values of params.yaml; drawing the sweep differently leaves its runs valid.
    Raises StudyError as `code_files` does.
    """
    digest = hashlib.sha256()
    for name in code_files(root):
        digest.update(f"{name} {sha256_file(root / name)}\n".encode())
    document = load_yaml(root / "params.yaml")
    fixed = {key: value for key, value in document.items() if key not in ("dose", "seeds")}
    fixed["overlap"] = {key: value for key, value in fixed["overlap"].items() if key != "dense"}
    digest.update(json.dumps(fixed, sort_keys=True).encode())
    return digest.hexdigest()[:12]
