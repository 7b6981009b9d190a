"""The rows of the comparison: control rows, trained bundles and registered reconstructors, on the same photons."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from ptychodose.errors import StudyError
from ptychodose.iterative import poisson_map
from ptychodose.networks import predict, unrolled
from ptychodose.networks.predict import Solver
from ptychodose.networks.restore import restore
from ptychodose.physics import noise
from ptychodose.reconstruct import bundles, reconstructors
from ptychodose.reconstruct.reconstructors import Reconstruction, Refinement
from ptychodose.scans.groups import covering
from ptychodose.scans.scan import Scan
from ptychodose.scans.trial import Trial
from ptychodose.study import progress
from ptychodose.study.settings import Params


@dataclass(frozen=True)
class Row:
    """A reconstruction (H, W) and what it was given: the view (None: none), C (None: not a matter of groups), and
    the share of the view's photons that thinning left; its standard error (H, W) complex64 and what held-out photons
    chose, where it has them (see Reconstruction)."""

    obj: NDArray[np.complex64]
    view: str | None = "dense"
    group_size: int | None = None
    share: float = 1.0
    error: NDArray[np.complex64] | None = None
    weight: float | None = None
    blend: float | None = None

    def given(self) -> dict[str, str | int | float]:
        """What it was given and chose, as attributes of a file: None is left out."""
        named = {key: getattr(self, key) for key in ("view", "group_size", "share", "weight", "blend")}
        return {name: value for name, value in named.items() if value is not None}

    def arrays(self) -> dict[str, NDArray[np.complex64]]:
        """The arrays of its file."""
        return {"obj": self.obj} | ({} if self.error is None else {"error": self.error})


def network_of(job: Mapping[str, Any], size: int) -> nn.Module:
    """The network of a finished training job, for patches of `size` = N px.

    Raises StudyError for a bundle of another digest, group size or N, or with weights that do not fit.
    """
    path = Path(job["result"]["bundle_path"])
    net, meta = restore(path, job["result"]["bundle_sha256"], unrolled.build)
    found, wanted = (meta.get("group_size"), meta.get("size")), (job.get("C"), size)
    if found != wanted:
        raise StudyError(
            f"{path}: trained on (C, N) = {found}, but this study needs {wanted}; run `dvc repro train_{job['arm']}`"
        )
    return net


def networks(trial: Trial, params: Params, jobs: list[dict[str, Any]]) -> dict[str, Row]:
    """A row for every trained arm, and one for `dense` on the thinned counts; none, but a line that says so, where the
    scan's dose is outside those that taught the network."""
    rows, share, block = {}, trial.equal_total, params.compare.block_groups
    for job in jobs:
        name, arm = job["arm"], params.arms()[job["arm"]]
        view, size = str(arm.view), arm.group_size
        solver, groups = predict.by_network(network_of(job, trial.scan.size)), trial.views[view].groups[size]
        if _taught(name, job, trial.scan.dose):
            rows[name] = Row(stitched(trial.of(view), groups, solver, name, block), view, size)
        if (name, view) != ("dense", "dense") or share is None:
            continue
        if _taught("dense_thinned", job, trial.scan.dose * share):
            few = trial.thinned(share, params.seed_of("noise"))
            rows["dense_thinned"] = Row(stitched(few, groups, solver, "dense_thinned", block), view, size, share)
    return rows


def of_halves(
    trial: Trial, params: Params, jobs: list[dict[str, Any]], weight: float
) -> dict[str, list[NDArray[np.complex64]]]:
    """The two objects that every arm of the dense view makes of two halves of its photons, under what was found with
    all of them, MAP's `weight` too."""
    views = {"dense": trial.views["dense"]}
    mine = [job for job in jobs if params.arms()[job["arm"]].view == "dense"]
    rng = noise.stream(params.seed, "solver", "half data of every arm")
    halves = [replace(trial, scan=half, views=views) for half in trial.scan.split(0.5, rng)]
    made = [networks(half, params, mine) | registered(half, params, _map(half, params, weight)) for half in halves]
    return {name: [rows[name].obj for rows in made] for name in made[0] if name in made[1]}


def _map(trial: Trial, params: Params, weight: float) -> dict[str, Reconstruction]:
    """MAP of the dense view at a weight."""
    rng = noise.stream(params.seed, "solver", "map of a half")
    found = poisson_map.solve(trial.of("dense"), params.reconstruct_map, rng, weight)
    return {"map": Reconstruction(found.obj, weight=weight)}


def _taught(row: str, job: Mapping[str, Any], dose: float) -> bool:
    """Whether a network was taught at a dose, photons per pattern (a range or one dose); says so where it was not."""
    doses = job["dose"] if isinstance(job["dose"], list) else [job["dose"]]
    span = doses[0], doses[-1]
    if not (within := bundles.taught(span, dose)):
        said = f"{span[0]:g} to {span[1]:g} photons per pattern"
        print(f"{row}: left out; its network was taught by {said}, and this scan has {dose:g}")
    return within


def registered(trial: Trial, params: Params, solved: Mapping[str, Reconstruction]) -> dict[str, Row]:
    """A row for every line of the registry, on the dense view; `solved` holds what stages have made. An arm's
    random stream hangs on its name, not on its place in the registry."""
    if "dense" not in trial.views:
        return {}
    scan, found = trial.of("dense"), dict(solved)
    for name in reconstructors.REGISTRY:
        if name not in solved:
            found[name] = reconstructors.run(name, scan, params, noise.stream(params.seed, "solver", name), found)
    return {name: _row(found, name) for name in reconstructors.REGISTRY}


def _row(found: Mapping[str, Reconstruction], name: str, view: str = "dense", share: float = 1.0) -> Row:
    """The row of an arm; an error of its object that only a refinement of it could tell is its own."""
    made, error = found[name], found[name].error
    for other, entry in reconstructors.REGISTRY.items():
        if error is None and isinstance(entry, Refinement) and entry.start == name and other in found:
            error = found[other].start_error
    return Row(made.obj, view, None, share, error, made.weight, made.blend)


def stitched(scan: Scan, groups: NDArray[np.int64], solver: Solver, name: str, block: int) -> NDArray[np.complex64]:
    """One row by groups (n, C): a covering set of them, solved `block` at a time and stitched."""
    few = covering(groups)
    with progress.bar(len(few), name, "group") as bar:
        return predict.reconstruct(solver, scan, few, block, bar.update)[0]


def of_stage(trial: Trial, params: Params, solved: Mapping[str, Reconstruction]) -> dict[str, Row]:
    """Rows of the MAP stage beyond the registry, and the hybrid's from them: the sparse view, and the dense one with
    the sparse one's photons."""
    cases: dict[str, tuple[Scan, str, float]] = {}
    share, rows = trial.equal_total, dict[str, Row]()
    if "map_sparse" in solved:
        cases["sparse"] = trial.of("sparse"), "sparse", 1.0
    if "map_thinned" in solved and share is not None:
        cases["thinned"] = trial.thinned(share, params.seed_of("noise")), "dense", share
    for case, (scan, view, part) in cases.items():
        found = {"map": solved[f"map_{case}"]}
        rng = noise.stream(params.seed, "solver", f"hybrid_{case}")
        found["hybrid"] = reconstructors.run("hybrid", scan, params, rng, found)
        rows |= {f"{arm}_{case}": _row(found, arm, view, part) for arm in found}
    return rows
