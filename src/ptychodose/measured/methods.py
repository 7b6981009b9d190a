"""An arm by name as one function over a scan: a registered reconstructor, or a network from its bundle."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ptychodose.errors import StudyError
from ptychodose.iterative import poisson_map
from ptychodose.networks import predict
from ptychodose.reconstruct import arms, bundles, reconstructors
from ptychodose.reconstruct.reconstructors import Reconstruction, Refinement
from ptychodose.scans.groups import neighbour_groups
from ptychodose.scans.scan import Scan
from ptychodose.study.settings import ARMS, Params

NAMES = (*reconstructors.REGISTRY, *ARMS)
NETWORK = "network"  # what a bundle is called that no arm's name was given for


@dataclass(frozen=True)
class Method:
    """`run(scan, rng, weight)` -> Reconstruction; `weight` of the MAP prior, None where held-out photons choose it;
    the network's `bundle`, if it is one."""

    name: str
    run: Callable[[Scan, np.random.Generator, float | None], Reconstruction]
    bundle: bundles.Bundle | None = None


def of(arm: str | None, bundle: Path | None, study: Params) -> Method:
    """The method of the words of the command line; MAP without any.

    Raises StudyError for a bundle that is missing, damaged, or given for an arm that has none.
    """
    name = arm or ("map" if bundle is None else NETWORK)
    if name in reconstructors.REGISTRY:
        if bundle is not None:
            raise StudyError(f"--bundle {bundle}: arm {name} takes none; name a network with --arm, or none")
        return Method(name, lambda scan, rng, weight: _registered(name, scan, study, rng, weight))
    size = None if name == NETWORK else study.arms()[name].group_size
    found = bundles.load(name, bundle, size)
    return Method(name, lambda scan, rng, _: Reconstruction(_network(found, name, scan, study, rng)), found)


def _registered(name: str, scan: Scan, study: Params, rng: np.random.Generator, weight: float | None) -> Reconstruction:
    """A line of the registry; a MAP object that it starts from keeps the `weight` that is given."""
    entry, found = reconstructors.REGISTRY[name], dict[str, Reconstruction]()
    if name == "map" or (isinstance(entry, Refinement) and entry.start == "map"):
        if weight is None:
            found["map"] = reconstructors.run("map", scan, study, rng)
        else:
            solution = poisson_map.solve(scan, study.reconstruct_map, rng, weight)
            found["map"] = Reconstruction(solution.obj, weight=solution.weight)
    if name == "map":
        return found["map"]
    made = reconstructors.run(name, scan, study, rng, found)
    return replace(made, weight=found["map"].weight) if "map" in found else made


def _network(
    found: bundles.Bundle, name: str, scan: Scan, study: Params, rng: np.random.Generator
) -> NDArray[np.complex64]:
    """The object (H, W) of groups formed from the positions; of C = 0, of the whole scan on one canvas."""
    groups = np.arange(len(scan))[None]
    if found.group_size:
        nearest, alone = max(study.overlap.neighbours, found.group_size), np.zeros(len(scan), np.int32)
        groups = neighbour_groups(scan.positions, alone, found.group_size, nearest, rng)
    return arms.stitched(scan, groups, predict.by_network(found.net), name, study.compare.block_groups)
