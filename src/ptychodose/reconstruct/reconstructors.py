"""The registry of reconstructors: a function and a line each. docs/adding-a-reconstructor.md is the guide.

A reconstructor is a function (scan, params, rng) -> object: a Scan (see scans.scan), the study's Params, a numpy
Generator, its only randomness. It returns the object (H, W) complex. It never sees truth. An entry may instead be a
`Refinement` of another arm's object. What a scan has beside one coherent probe (background, mask, modes) must be in the
method's model, and the function says so with `honours`; otherwise such a scan is refused, never misread.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from ptychodose.errors import StudyError
from ptychodose.iterative import poisson_map
from ptychodose.refine import hybrid, hybrid_bundle
from ptychodose.scans.scan import Scan
from ptychodose.study.settings import Params

Wave = NDArray[np.complex64]
Reconstructor = Callable[[Scan, Params, np.random.Generator], Wave]
Function = TypeVar("Function", bound=Callable[..., Wave])


@dataclass(frozen=True)
class Refinement:
    """A reconstructor that starts from the object of arm `start`: improve(object, scan, params, rng) -> object."""

    start: str
    improve: Callable[[Wave, Scan, Params, np.random.Generator], Wave]


def honours(*names: str) -> Callable[[Function], Function]:
    """Say that a function's model has these of `background`, `mask` and `modes` in it."""

    def mark(function: Function) -> Function:
        function.honours = frozenset(names)  # type: ignore[attr-defined]
        return function

    return mark


@honours("background", "mask", "modes")
def by_map(scan: Scan, params: Params, rng: np.random.Generator) -> Wave:
    """Poisson maximum a posteriori, weight and stopping by held-out photons (see poisson_map)."""
    return poisson_map.solve(scan, params.reconstruct_map, rng).obj


@honours("background", "mask", "modes")
def by_hybrid(start: Wave, scan: Scan, params: Params, _: np.random.Generator) -> Wave:
    """A few learned proximal-gradient steps from the MAP object (see hybrid)."""
    return hybrid.refine(hybrid_bundle.load(params.train_hybrid.bundle), start, scan)


REGISTRY: dict[str, Reconstructor | Refinement] = {
    "map": by_map,
    "hybrid": Refinement("map", by_hybrid),
}


def run(
    name: str, scan: Scan, params: Params, rng: np.random.Generator, found: Mapping[str, Wave] | None = None
) -> Wave:
    """The object (H, W) complex64 of a registered arm; `found` holds objects of arms that were run before.

    Raises StudyError when the arm does not honour what the scan has, or its result is not an object of the scan's
    shape.
    """
    entry, known = REGISTRY[name], found or {}
    function = entry.improve if isinstance(entry, Refinement) else entry
    refused = sorted(scan.nuisances - getattr(function, "honours", frozenset()))
    if refused:
        raise StudyError(
            f"reconstructor {name}: the scan has a {' and a '.join(refused)} and this arm does not say that it honours "
            f"that; put it into its model and mark the function @honours({', '.join(map(repr, refused))})"
        )
    given = scan.copy()  # no arm may change what the next one sees
    if isinstance(entry, Refinement):
        start = known.get(entry.start)
        if start is None and entry.start not in REGISTRY:
            raise StudyError(f"reconstructor {name}: starts from {entry.start!r}, which is not in the registry")
        if start is None:
            start = run(entry.start, scan, params, rng)
        obj = entry.improve(start.copy(), given, params, rng)
    else:
        obj = entry(given, params, rng)
    if not isinstance(obj, np.ndarray) or obj.shape != scan.shape:
        raise StudyError(
            f"reconstructor {name}: returned {getattr(obj, 'shape', type(obj).__name__)}, not {scan.shape}"
        )
    return obj.astype(np.complex64)
