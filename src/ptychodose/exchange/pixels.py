"""Detector pixels of a foreign scan: which are bad, where zero frequency lies, and another size about it."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from ptychodose.errors import StudyError
from ptychodose.exchange.found import SIZES, Found

UNSURE = 0.6  # share of the light that must lie where zero frequency is said to be
LARGEST = (2**16 - 1, 2**31 - 1, 2**32 - 1)  # of detectors' types, which bad pixels hold even in a wider type
CLEARLY = 0.9  # share of a mask's pixels beyond which a value must mean good: the contrary leaves nothing


def without_markers(
    patterns: NDArray, bad: NDArray[np.bool_] | None, where: str
) -> tuple[NDArray, NDArray[np.bool_], str]:
    """Patterns (n, H, W) with 0 in bad pixels; these (H, W); and how many there are, and why.

    Bad: what the file's mask calls so, and what holds a marker (NaN, a negative number, or the largest number of a
    type) in every pattern. StudyError for a marker in some patterns only.
    """
    marked = ~np.isfinite(patterns) if patterns.dtype.kind == "f" else np.zeros(patterns.shape, bool)
    with np.errstate(invalid="ignore"):
        marked |= patterns < 0
    if patterns.dtype.kind == "u":
        marked |= patterns == np.iinfo(patterns.dtype).max
    masked = np.zeros(patterns.shape[1:], bool) if bad is None else bad
    if CLEARLY < masked.mean() < 1:
        raise StudyError(
            f"{where}: the mask calls {masked.mean():.0%} of the pixels bad, so it may be inverted; correct it (CXI: "
            "say --mask-good 1)"
        )
    lowest = patterns.min(0)
    always = marked.all(0) | ((lowest == patterns.max(0)) & np.isin(lowest, LARGEST))
    some = (marked & ~always & ~masked).any(0)
    if some.any():
        value = patterns[marked & some][0]
        raise StudyError(
            f"{where}: {int(some.sum())} pixels hold {value:g} in some of the patterns only, which is no count; mask "
            "them in the file (or leave those patterns out)"
        )
    fresh, found = int((always & ~masked).sum()), always | masked
    if found.all():
        raise StudyError(f"{where}: no pixel is good; correct the mask")
    line = f"bad pixels: {int(masked.sum())} by the file's mask, {fresh} by a marker (NaN, negative or largest number)"
    return np.where(found, patterns.dtype.type(0), patterns), found, line


def mask_of(values: NDArray, good: int | None, where: str) -> tuple[NDArray[np.bool_], str]:
    """Bad pixels (H, W) of a mask whose format does not say whether 0 or 1 is `good`, and how that is known.

    Known where one of them covers nearly everything. StudyError otherwise, naming the flag."""
    if not values.size:
        raise StudyError(f"{where}: a mask {values.shape} is none; leave it out")
    zero = float((values == 0).mean())
    if good is None:
        if max(zero, 1 - zero) < CLEARLY:
            raise StudyError(
                f"{where}: {zero:.0%} of the mask is 0, and the format does not say whether 0 is good; say --mask-good "
                "0 or 1"
            )
        good = int(zero < 0.5)
        told = f"{max(zero, 1 - zero):.0%} of the pixels are"
    else:
        told = "as you say"
    return (values != 0) if good == 0 else (values == 0), f"mask: {good} = good ({told})"


def centred(
    counts: NDArray[np.unsignedinteger], mask: NDArray[np.bool_], zero: str | None, usual: str | None
) -> tuple[NDArray[np.unsignedinteger], NDArray[np.bool_], str]:
    """Counts (n, H, W) and `mask` (H, W) with zero frequency at (H // 2, W // 2), and how that is known.

    `zero`, `centre` or `corner`: where the user says it lies; None: where the light is. StudyError when neither has
    most of it, or not the one that is `usual` in the format.
    """
    mean = counts.mean(0)
    if not mean.any():
        raise StudyError("patterns: there is no light in them")
    middle = tuple(slice(size // 4, size - size // 4) for size in mean.shape)
    shares = {"centre": mean[middle].sum() / mean.sum(), "corner": np.fft.fftshift(mean)[middle].sum() / mean.sum()}
    told = "as you say"
    if zero is None:
        zero = max(shares, key=lambda name: shares[name])
        told = f"{100 * shares[zero]:.0f} % of the light lies there"
        if shares[zero] < UNSURE or usual not in (None, zero):
            raise StudyError(
                f"zero frequency: {100 * shares['centre']:.0f} % of the light is in the middle of the patterns and "
                f"{100 * shares['corner']:.0f} % in their corners{f', usual here: {usual}' if usual else ''}; "
                "say --zero-frequency centre or corner"
            )
    said = f"zero frequency: in the {zero} ({told})"
    if zero == "centre":
        return counts, mask, said
    return np.fft.fftshift(counts, axes=(-2, -1)), np.fft.fftshift(mask), said


def resized(found: Found, size: int) -> tuple[Found, str]:
    """The same scan with patterns of `size` x `size` px about zero frequency, what is added counting as bad, and a line
    on it. The object pixel changes with the detector's width, so positions and probe go to the new one and `obj` is
    dropped."""
    if size % 2 or not SIZES[0] <= size <= SIZES[1]:
        raise StudyError(f"--crop, --pad: {size} is not an even N from {SIZES[0]} to {SIZES[1]}")
    scale = np.array([size / side for side in found.counts.shape[-2:]])
    probe = found.probe
    if probe is not None:
        far = fft.fftshift(fft.fft2(probe.astype(np.complex128), norm="ortho"), axes=(-2, -1))
        near = fft.ifft2(fft.ifftshift(_window(far, size), axes=(-2, -1)), norm="ortho")
        probe = near.astype(np.complex64)
    line = f"size: {' x '.join(map(str, found.counts.shape[-2:]))} px made {size} x {size} about zero frequency"
    counts, mask = _window(found.counts, size), _window(found.mask, size)
    return replace(found, counts=counts, mask=mask, positions=found.positions * scale, probe=probe, obj=None), line


def _window(values: NDArray, size: int) -> NDArray:
    """Arrays (..., H, W) cut to or filled with zeros to (..., size, size), (H // 2, W // 2) going to the middle."""
    made = np.zeros((*values.shape[:-2], size, size), values.dtype)
    here, there = [], []
    for side in values.shape[-2:]:
        shift = size // 2 - side // 2
        first, last = max(0, shift), min(size, side + shift)
        here.append(slice(first, last))
        there.append(slice(first - shift, last - shift))
    made[..., here[0], here[1]] = values[..., there[0], there[1]]
    return made
