"""The registry of reconstructors: a function and a line each. docs/adding-a-reconstructor.md is the guide.

A reconstructor is a function (scan, params, rng) -> object: a Scan (see scans.scan), the study's Params, a numpy
Generator, its only randomness. It returns the object (H, W) complex, or a `Reconstruction` that holds more. It never
sees truth. An entry may instead be a `Refinement` of what another arm made. What a scan has beside one coherent probe
(background, mask, modes) must be in the method's model, and the function says so with `honours`; otherwise such a scan
is refused, never misread.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from ptychodose.errors import StudyError
from ptychodose.iterative import poisson_map
from ptychodose.refine import hybrid_bundle, refinement
from ptychodose.scans.scan import Scan
from ptychodose.study.settings import Params

Wave = NDArray[np.complex64]


@dataclass(frozen=True)
class Reconstruction:
    """What an arm made of a scan: obj (H, W) complex64 and, where it knows them, the standard error (H, W) complex64
    (real part along the object, imaginary part across: of the amplitude, and of the phase times the amplitude), the
    weight of its prior, `blend` (the share of the learned move that held-out photons took), and its start's error."""

    obj: Wave
    error: Wave | None = None
    weight: float | None = None
    blend: float | None = None
    start_error: Wave | None = None


Reconstructor = Callable[[Scan, Params, np.random.Generator], Wave | Reconstruction]
Function = TypeVar("Function", bound=Callable[..., Wave | Reconstruction])


@dataclass(frozen=True)
class Refinement:
    """A reconstructor that starts from what arm `start` made: improve(Reconstruction, scan, params, rng) -> object."""

    start: str
    improve: Callable[[Reconstruction, Scan, Params, np.random.Generator], Wave | Reconstruction]


def honours(*names: str) -> Callable[[Function], Function]:
    """Say that a function's model has these of `background`, `mask` and `modes` in it."""

    def mark(function: Function) -> Function:
        function.honours = frozenset(names)  # type: ignore[attr-defined]
        return function

    return mark


@honours("background", "mask", "modes")
def by_map(scan: Scan, params: Params, rng: np.random.Generator) -> Reconstruction:
    """Poisson maximum a posteriori, weight by held-out photons (see poisson_map)."""
    solution = poisson_map.solve(scan, params.reconstruct_map, rng)
    return Reconstruction(solution.obj, weight=solution.weight)


@honours("background", "mask", "modes")
def by_hybrid(start: Reconstruction, scan: Scan, params: Params, rng: np.random.Generator) -> Reconstruction:
    """Learned proximal-gradient steps from the MAP object, as far as held-out photons follow, and the error bars of
    both (see refinement)."""
    net, blend = hybrid_bundle.load(params.train_hybrid.bundle), 1.0
    if start.weight is not None:
        settings = params.reconstruct_map
        blend = refinement.choose_blend(net.refiner, start.obj, start.weight, scan, settings, rng)
    found = refinement.refine(net, start.obj, scan, blend)
    return Reconstruction(found.obj, found.error, blend=blend, start_error=found.start_error)


REGISTRY: dict[str, Reconstructor | Refinement] = {
    "map": by_map,
    "hybrid": Refinement("map", by_hybrid),
}


def run(
    name: str, scan: Scan, params: Params, rng: np.random.Generator, found: Mapping[str, Reconstruction] | None = None
) -> Reconstruction:
    """What a registered arm makes of a scan; `found` holds what arms made that were run before.

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
        made = entry.improve(replace(start, obj=start.obj.copy()), given, params, rng)
    else:
        made = entry(given, params, rng)
    obj = made.obj if isinstance(made, Reconstruction) else made
    if not isinstance(obj, np.ndarray) or obj.shape != scan.shape:
        raise StudyError(
            f"reconstructor {name}: returned {getattr(obj, 'shape', type(obj).__name__)}, not {scan.shape}"
        )
    whole = made if isinstance(made, Reconstruction) else Reconstruction(obj)
    return replace(whole, obj=obj.astype(np.complex64))
