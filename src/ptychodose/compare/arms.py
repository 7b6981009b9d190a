"""The rows of the comparison: control rows, trained bundles and registered reconstructors, on the same photons."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ptychodose.compare import reconstructors
from ptychodose.errors import StudyError
from ptychodose.formats import bundle
from ptychodose.networks import predict, unrolled
from ptychodose.networks.groups import Patterns
from ptychodose.networks.unrolled import Batch
from ptychodose.physics import noise
from ptychodose.scans.groups import covering
from ptychodose.scans.scan import Scan, equal_total, thinned
from ptychodose.score import comparison
from ptychodose.study import progress
from ptychodose.study.settings import Arm, Params

Solver = Callable[[Batch, NDArray[np.int64]], Tensor]


@dataclass(frozen=True)
class Row:
    """A reconstruction (H, W) and what it was given: the view (None: none), C (None: not a matter of groups), and
    the share of the view's photons that thinning left."""

    obj: NDArray[np.complex64]
    view: str | None = "dense"
    group_size: int | None = None
    share: float = 1.0


def restore(job: Mapping[str, Any], size: int) -> nn.Module:
    """The network of a finished training job, for patches of `size` = N px.

    Raises StudyError for a bundle of another digest, group size or N, or with weights that do not fit.
    """
    path = Path(job["result"]["bundle_path"])
    meta, weights = bundle.load(path, job["result"]["bundle_sha256"])
    found, wanted = (meta.get("group_size"), meta.get("size")), (job.get("C"), size)
    if found != wanted:
        raise StudyError(
            f"{path}: trained on (C, N) = {found}, but this study needs {wanted}; run `dvc repro train_{job['arm']}`"
        )
    net = unrolled.build(meta.get("architecture", {}))
    try:
        net.load_state_dict({name: torch.as_tensor(value) for name, value in weights.items()}, strict=True)
    except RuntimeError as error:
        raise StudyError(f"{path}: weights do not fit the network ({' '.join(str(error).split())[:100]})") from None
    return net.eval()


def controls(test: Scan, truth: NDArray[np.complex64], block: int) -> dict[str, Row]:
    """Flat object and oracle (truth through the same stitching): what the numbers can mean."""
    rows = {"flat": Row(comparison.flat_object(test.header), view=None)}
    if "dense" in test.views:
        rows["oracle"] = Row(stitched(test, "dense", 4, predict.by_object(truth), "oracle", block), "dense", 4)
    return rows


def networks(
    test: Scan, arms: Mapping[str, Arm], jobs: list[dict[str, Any]], block: int, noise_seed: int
) -> dict[str, Row]:
    """A row for every trained arm, and one for `dense` on the thinned counts."""
    rows, share = {}, equal_total(test)
    for job in jobs:
        name, arm = job["arm"], arms[job["arm"]]
        solver = predict.by_network(restore(job, len(test.header.probe)))
        obj = stitched(test, str(arm.view), arm.group_size, solver, name, block)
        rows[name] = Row(obj, arm.view, arm.group_size)
        if name == "dense" and arm.view == "dense" and share is not None:
            few = thinned(test, share, noise_seed)
            obj = stitched(test, "dense", arm.group_size, solver, "dense_thinned", block, few, share)
            rows["dense_thinned"] = Row(obj, "dense", arm.group_size, share)
    return rows


def registered(test: Scan, params: Params, solved: Mapping[str, NDArray[np.complex64]]) -> dict[str, Row]:
    """A row for every line of the registry, on the dense view; `solved` holds objects that stages have made."""
    rows: dict[str, Row] = {}
    if "dense" not in test.views:
        return rows
    counts, positions = test.read("dense"), test.positions("dense")
    for number, name in enumerate(reconstructors.REGISTRY):
        if name in solved:
            obj = solved[name]
        else:
            rng = noise.stream(params.seed, "solver", 100 + number)
            found = {**solved, **{key: row.obj for key, row in rows.items()}}
            obj = reconstructors.run(name, counts, test.header.probe, positions, test.header.shape, params, rng, found)
        rows[name] = Row(obj)
    return rows


def stitched(
    test: Scan,
    view_name: str,
    group_size: int,
    solver: Solver,
    name: str,
    block: int,
    counts: NDArray[np.integer] | None = None,
    share: float = 1.0,
) -> NDArray[np.complex64]:
    """One row by groups: a covering set of the view's groups, stitched. `counts` (n, N, N) replace the view's own and
    hold a `share` of its photons."""
    view = test.views[view_name]
    groups = covering(view.groups[group_size])
    data, rows = (test.counts, view.index) if counts is None else (counts, None)
    probe = (test.header.probe * np.float32(share**0.5)).astype(np.complex64)
    patterns = Patterns(data, test.positions(view_name), probe, test.header.dose_measured * share, rows=rows)
    with progress.bar(len(groups), f"compare {name}", "group") as bar:
        return predict.reconstruct(solver, patterns, groups, test.header.shape, block, bar.update)[0]


def of_stage(test: Scan, solved: Mapping[str, NDArray[np.complex64]]) -> dict[str, Row]:
    """Rows of the MAP stage beyond the registry: the sparse view, and the dense one with the sparse one's photons."""
    share, rows = equal_total(test), {}
    if "map_sparse" in solved:
        rows["map_sparse"] = Row(solved["map_sparse"], "sparse")
    if "map_thinned" in solved and share is not None:
        rows["map_thinned"] = Row(solved["map_thinned"], "dense", share=share)
    return rows
