"""Photon statistics: drawing and thinning Poisson counts, and the study's one tree of random streams."""

import zlib

import numpy as np
from numpy.typing import NDArray

from ptychodose.errors import StudyError

# The order is the tree's contract: a stream keeps its numbers when another one is added at the end.
STREAMS = (
    "object", "noise/train", "noise/test", "jitter/train", "jitter/test", "views", "network",
    "procedural", "solver", "thinning",
)  # fmt: skip
BRIGHTEST = 4e9  # expected counts: their Poisson draws stay below 2^32 by four thousand standard deviations


def stream(seed: int, name: str, which: int | str = 0) -> np.random.Generator:
    """Independent generator for one purpose, a child of `seed` (Philox: same numbers on every machine).

    `name` is one of STREAMS (ValueError otherwise); `which` tells several of one purpose apart: a number, or the name
    of a view or an arm, so that no place in a list is a seed.
    """
    number = zlib.crc32(which.encode()) if isinstance(which, str) else which
    child = np.random.SeedSequence(entropy=seed, spawn_key=(STREAMS.index(name), number))
    return np.random.Generator(np.random.Philox(child))


def draw_counts(rate: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.uint32]:
    """Poisson counts of an expected rate (any shape, photons per detector pixel). StudyError where they would not fit
    32 bits, in which they would wrap around."""
    if not float(rate.max()) <= BRIGHTEST:  # NaN, too
        raise StudyError(f"a pixel expects {rate.max():.4g} counts, more than a file can count; lower the dose")
    return rng.poisson(rate).astype(np.uint32)


def thin(counts: NDArray[np.integer], keep: float, rng: np.random.Generator) -> NDArray[np.uint32]:
    """Keep each detected photon with probability `keep` in [0, 1]; the removed ones are `counts - thin(...)`.

    Poisson(lam) counts thinned this way are Poisson(keep * lam), independent of the removed part
    (Kingman, Poisson Processes, 1993, colouring theorem). Shapes are kept.
    """
    return rng.binomial(counts.astype(np.int64), keep).astype(np.uint32)
