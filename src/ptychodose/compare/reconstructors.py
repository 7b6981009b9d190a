"""The registry of reconstructors: a function and a line each. docs/adding-a-reconstructor.md is the guide.

A reconstructor is a function

    (counts, probe, positions, shape, params, rng) -> object

of counts (n, N, N) photons, integer, zero frequency at (N // 2, N // 2); probe (N, N) complex64 in photons; positions
(n, 2) px, y then x, patch centres; shape (H, W) of the object; the study's Params; a numpy Generator, its only
randomness. It returns the object (H, W) complex. It never sees truth. An entry may instead be a `Refinement` of another
arm's object.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ptychodose.errors import StudyError
from ptychodose.iterative import poisson_map
from ptychodose.refine import hybrid, hybrid_bundle
from ptychodose.study.settings import Params

Counts = NDArray[np.integer]
Wave = NDArray[np.complex64]
Positions = NDArray[np.float64]
Reconstructor = Callable[[Counts, Wave, Positions, tuple[int, int], Params, np.random.Generator], Wave]


@dataclass(frozen=True)
class Refinement:
    """A reconstructor that starts from the object of arm `start`: improve(object, counts, probe, positions, params,
    rng) -> object."""

    start: str
    improve: Callable[[Wave, Counts, Wave, Positions, Params, np.random.Generator], Wave]


def by_map(
    counts: Counts, probe: Wave, positions: Positions, shape: tuple[int, int], params: Params, rng: np.random.Generator
) -> Wave:
    """Poisson maximum a posteriori, weight and stopping by held-out photons (see poisson_map)."""
    return poisson_map.solve(counts, probe, positions, shape, params.reconstruct_map, rng).obj


def by_hybrid(
    start: Wave, counts: Counts, probe: Wave, positions: Positions, params: Params, rng: np.random.Generator
) -> Wave:
    """A few learned proximal-gradient steps from the MAP object (see hybrid)."""
    return hybrid.refine(hybrid_bundle.load(params.train_hybrid.bundle), start, counts, probe, positions)


REGISTRY: dict[str, Reconstructor | Refinement] = {
    "map": by_map,
    "hybrid": Refinement("map", by_hybrid),
}


def run(
    name: str,
    counts: Counts,
    probe: Wave,
    positions: Positions,
    shape: tuple[int, int],
    params: Params,
    rng: np.random.Generator,
    found: Mapping[str, Wave] | None = None,
) -> Wave:
    """The object (H, W) complex64 of a registered arm; `found` holds objects of arms that were run before.

    Raises StudyError when the result is not an object of `shape`.
    """
    entry, known = REGISTRY[name], found or {}
    given = counts.copy(), probe.copy(), positions.copy()  # no arm may change what the next one sees
    if isinstance(entry, Refinement):
        start = known.get(entry.start)
        if start is None and entry.start not in REGISTRY:
            raise StudyError(f"reconstructor {name}: starts from {entry.start!r}, which is not in the registry")
        if start is None:
            start = run(entry.start, counts, probe, positions, shape, params, rng)
        obj = entry.improve(start.copy(), *given, params, rng)
    else:
        obj = entry(*given, shape, params, rng)
    if not isinstance(obj, np.ndarray) or obj.shape != tuple(shape):
        raise StudyError(f"reconstructor {name}: returned {getattr(obj, 'shape', type(obj).__name__)}, not {shape}")
    return obj.astype(np.complex64)
