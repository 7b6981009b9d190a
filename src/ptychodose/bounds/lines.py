"""A bound at a dose between those it was computed at: the one interpolation of tables, curves and the answer."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptychodose.bounds import fisher


def at_dose(curve: Mapping[str, Sequence[float]], dose: float, key: str = "nrmse") -> float | None:
    """`key` of a limit curve {dose: (d,), key: (d,)} (see limits.of_view) at `dose`, linear on log axes; None outside
    the doses it was computed at: a bound is not extrapolated."""
    doses = curve["dose"]
    if not doses[0] <= dose <= doses[-1]:
        return None
    return float(np.exp(np.interp(np.log(dose), np.log(doses), np.log(curve[key]))))


def frc_at_dose(frc: Mapping[str, Any], dose: float) -> NDArray[np.float64] | None:
    """FRC with truth (r,) of an unbiased method at `dose`, from the `frc` of limits.of_view; None outside its doses."""
    doses, ssnr = frc["dose"], np.maximum(np.array(frc["ssnr"]), 1e-300)  # (d, r)
    if not doses[0] <= dose <= doses[-1]:
        return None
    logs = [np.interp(np.log(dose), np.log(doses), np.log(ring)) for ring in ssnr.T]
    return fisher.frc_with_truth(np.exp(logs))
