"""What a network learns from: a measured scan alone, or procedural objects whose truth the simulator knows.

A source makes random batches, says how good an answer is, and keeps something aside to judge the weights by.
On a measured scan a reconstruction must predict patterns next to the group that were not in it (and, with thinning,
the photons withheld from the group). Their noise is independent of the input's, so fitting noise cannot lower the
expected loss (noise-to-noise: Lehtinen et al., ICML 2018; thinning: see noise.thin).
"""

from collections.abc import Callable
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ptychodose.physics.forward import Patterns

Judge = Callable[[Tensor], Tensor]  # canvases (B, H, W) -> scalar loss


class Source(Protocol):
    """Patternses to learn from and to be judged by; `groups` in a pass, `size` = C patterns a group, `queue` = what is
    left of the present pass (empty where a draw does not depend on earlier ones)."""

    groups: int
    size: int
    queue: NDArray[np.int64]

    def draw(self, number: int, rng: np.random.Generator) -> tuple[Patterns, Judge]:
        """A random batch of `number` groups and the loss of an answer to it."""

    def heldout(self) -> list[tuple[Patterns, Judge]]:
        """Fixed batches that are never drawn."""
