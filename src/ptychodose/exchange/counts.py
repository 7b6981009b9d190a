"""Are these photon counts? Everything here rests on Poisson noise, so other data are refused, with the reason."""

import numpy as np
from numpy.typing import NDArray

from ptychodose.errors import StudyError
from ptychodose.scans.scan import shrunk

ROUNDED = 3e-7  # relative error of the square of a float32 amplitude, and a little
DIM = (0.05, 5.0)  # mean counts of a pixel where neighbours differ by their noise and hardly by anything else
ENOUGH = 2000.0  # counts in such places, for the ratio of noise to Poisson's to be good to some per cent
NORMALISED = (0.5, 2.0)  # photons per pattern that are no measurement but a norm
REMEDY = "give --counts-per-unit if you know the detector's gain, or fetch the raw counts"
QUIET = 0.8  # of Poisson's variance: less is no counting noise


def of_values(
    values: NDArray, kind: str | None, told: str | None, per_unit: float | None, where: str
) -> tuple[NDArray[np.unsignedinteger], str]:
    """Counts (n, H, W) of values that are amplitudes or intensities by the format's `kind` or, above it, as `told`, and
    how that is known. If not told, whole numbers are counts whatever `kind` says, and with None others are amplitudes.
    StudyError as `of_intensities`, and for amplitudes normalised to a sum of 1."""
    known = told or kind
    if told is not None or per_unit is not None:
        if known is None:
            raise StudyError(f"{where}: with --counts-per-unit say also --values amplitude or intensity")
        made = of_amplitudes if known == "amplitude" else of_intensities
        gain = "" if per_unit is None else f", {per_unit:g} counts to a unit of intensity"
        return made(values, per_unit, where), f"values: {known} ({'as you say' if told else 'of this format'}){gain}"
    if kind == "intensity" or (values == np.rint(values)).all():
        said = "counts (whole numbers)" if kind == "intensity" else "counts (whole numbers already, not amplitudes)"
        return of_intensities(values, None, where), f"values: {said}"
    square = values.astype(np.float64) ** 2
    total = float(square.sum() / len(square))
    if NORMALISED[0] < total < NORMALISED[1]:
        raise StudyError(
            f"{where}: amplitudes normalised to {total:.3g} photons per pattern; how many there were is missing: give "
            "--counts-per-unit, the photons of a pattern (nphotons)"
        )
    return of_intensities(square, None, where), "values: amplitudes (their squares are whole numbers)"


def of_amplitudes(amplitude: NDArray[np.floating], per_unit: float | None, where: str) -> NDArray[np.unsignedinteger]:
    """Counts (n, N, N) of amplitudes, their squares; see `of_intensities`."""
    return of_intensities(amplitude.astype(np.float64) ** 2, per_unit, where)


def of_intensities(
    values: NDArray, per_unit: float | None, where: str, remedy: str = REMEDY
) -> NDArray[np.unsignedinteger]:
    """Counts (n, N, N) of detector values, times `per_unit` where the detector's gain is known.

    Raises StudyError, `where` naming the data, for values that are negative, not whole numbers within rounding, all
    multiples of the same number, or less noisy than counts can be.
    """
    exact = values.dtype.kind in "iu" and per_unit is None  # whole already: no copies of large scans
    photons = values if exact else values.astype(np.float64) * (1.0 if per_unit is None else per_unit)
    if not np.isfinite(photons).all() or photons.min() < 0:
        wrong = photons.min() if photons.min() < 0 else photons.max()
        raise StudyError(f"{where}: {wrong:g} is no count; set bad pixels to 0 and mask them")
    whole: NDArray = photons if exact else np.rint(photons)
    if whole.max() >= 2**32:
        raise StudyError(f"{where}: {whole.max():g} counts in one pixel are beyond any detector; {remedy}")
    if per_unit is None:
        rest = 0.0 if exact else float((np.abs(photons - whole) - ROUNDED * photons).max())
        if rest > 1e-3:
            raise StudyError(f"{where}: not whole numbers of photons (one is {rest:.2g} off); {remedy}")
        divisor = int(np.gcd.reduce(whole if exact else whole.astype(np.int64), axis=None))
        if divisor > 1:
            raise StudyError(
                f"{where}: all counts are multiples of {divisor}, so one photon is not one count; {remedy}"
            )
    ratio = noise_ratio(whole)
    if ratio is not None and ratio < QUIET:
        raise StudyError(
            f"{where}: neighbouring dim pixels differ by {ratio:.2f} of what counting noise does, so these are no "
            f"counts of single photons (averaged, filtered, or a gain); {remedy}"
        )
    return shrunk(whole if exact else whole.astype(np.int64))


def noise_ratio(counts: NDArray) -> float | None:
    """Sum of (a - b)^2 over that of a + b for neighbours a, b in dim places of patterns (n, N, N): 1 for independent
    Poisson counts of equal means (the variance of a difference is the sum of the means), more where means differ; None
    where too few photons fall to tell."""
    mean = counts.mean(0)
    dim = (mean > DIM[0]) & (mean < DIM[1])
    pairs = dim[:, 1:] & dim[:, :-1]
    a, b = (counts[:, :, part][:, pairs].astype(np.float64) for part in (slice(1, None), slice(None, -1)))
    total = float((a + b).sum())
    return float(((a - b) ** 2).sum()) / total if total > ENOUGH else None
