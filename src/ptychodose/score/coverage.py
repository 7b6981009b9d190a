"""Whether error bars hold: the share of true errors that lie within them."""

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from ptychodose.score.align import Alignment

LEVELS = (68, 95)  # per cent of errors that the nominal intervals should hold


def coverage(aligned: Alignment, truth: NDArray[np.complex128], error: NDArray[np.complexfloating]) -> dict[str, float]:
    """The share of pixels whose error lies within the nominal 68 and 95 % intervals, and the NRMSE that the standard
    errors foretell.

    `error` (H, W): the real part is the standard error along the object (of its amplitude), the imaginary part across
    (of its phase, times the amplitude); both count alike. `truth` (H, W). A Gaussian's intervals are +- ndtri(1/2 +
    p/2) standard errors.
    """
    target, bars = truth[aligned.region], error[aligned.region] * abs(aligned.factor)
    turned = (aligned.image - target) * target.conj() / np.maximum(np.abs(target), 1e-12)
    errors, sigma = np.abs(np.stack([turned.real, turned.imag])), np.stack([bars.real, bars.imag])
    made = {f"within_{level}": float((errors <= ndtri(0.5 + level / 200) * sigma).mean()) for level in LEVELS}
    return {**made, "nrmse_foretold": float(np.linalg.norm(bars) / np.linalg.norm(target))}
