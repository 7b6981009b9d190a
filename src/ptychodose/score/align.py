"""Removing what ptychography cannot know: a shift, a phase ramp and one complex factor."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import fft
from scipy.optimize import minimize

from ptychodose.score.region import Region

MAX_SHIFT = 4  # px; anything larger is a wrong reconstruction, not a choice of origin
MARGIN = 24  # px of the object around the region that a shift draws on; they fade outwards, since it wraps around
GAIN = 1e-9  # what lowers the misfit by less is rounding
FIRST_STEP = 0.1  # px, and rad at the region's edge: the search stays in the valley where it starts

Complex = NDArray[np.complex128]
Pose = NDArray[np.float64]  # (4,): shift (y, x) px, ramp (y, x) rad / px


@dataclass(frozen=True)
class Alignment:
    """The aligned image (h, w), the pixels `region` of truth that it stands beside, and what was removed: shift (y, x)
    px, ramp (y, x) rad / px, complex factor."""

    image: Complex
    region: Region
    shift: tuple[float, float]
    ramp: tuple[float, float]
    factor: complex


@dataclass(frozen=True)
class _Pair:
    """The object on the region (h, w) and MARGIN around it, truth (H, W), the region, and the part of it in use."""

    wide: Complex
    truth: Complex
    region: Region
    area: Region

    def target(self) -> Complex:
        return self.truth[self.area]

    def offsets(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Distances (h, 1) and (1, w) px of the area's pixels from the region's middle."""
        y, x = (
            np.arange(part.start, part.stop) - (whole.start + whole.stop - 1) / 2
            for part, whole in zip(self.area, self.region, strict=True)
        )
        return y[:, None], x[None, :]

    def wave(self, ramp: Pose) -> Complex:
        """exp(i ramp · r) on the area."""
        y, x = self.offsets()
        return np.exp(1j * ramp[0] * y) * np.exp(1j * ramp[1] * x)

    def padded(self, by: tuple[int, int] = (0, 0)) -> Region:
        """The area moved back by whole pixels, as a part of `wide`."""
        first = [MARGIN - whole.start - n for whole, n in zip(self.region, by, strict=True)]
        y, x = (slice(part.start + n, part.stop + n) for part, n in zip(self.area, first, strict=True))
        return y, x


def clean(image: NDArray[np.complexfloating]) -> Complex:
    """A copy with pixels that are not finite set to zero."""
    image = image.astype(np.complex128)
    return np.where(np.isfinite(image), image, 0)


def align(
    obj: NDArray[np.complexfloating], truth: NDArray[np.complexfloating], region: Region, free: bool = True
) -> Alignment:
    """Align a reconstruction with truth (both (H, W)) on `region` by least squares.

    With `free`, sub-pixel shift and linear phase ramp are removed when, and only when, that lowers the error; the
    complex factor always is. A shift brings in the object's own pixels from around the region; where the object ends,
    the region loses those that a shift leaves without data.
    """
    wide = _surroundings(clean(obj), region)
    size = float(np.abs(wide).max()) or 1.0
    pair = _Pair(wide / size, clean(truth), region, region)
    pose, image = np.zeros(4), pair.wide[pair.padded()]
    if free and image.any() and pair.target().any():
        pose = _better(pair, pose, _ramped(pair, pose))
        varied = np.ptp(image.real) + np.ptp(image.imag) > 1e-9 * np.abs(image).max()  # a constant has no shift
        pose = _better(pair, pose, _shifted(pair, pose)) if varied else pose
    pair = replace(pair, area=_covered(pair, pose[:2]))
    moved = _moved(pair, pose)
    energy = float((np.abs(moved) ** 2).sum())
    factor = complex(np.vdot(moved, pair.target())) / energy if energy > 0 else 0j
    sy, sx, ry, rx = pose.tolist()
    return Alignment(moved * factor, pair.area, (sy, sx), (ry, rx), factor / size)


def misfit(image: Complex, truth: Complex) -> float:
    """1 - |<image, truth>|^2 / (|image|^2 |truth|^2): squared error after the best complex factor, 0 to 1."""
    energy = float((np.abs(image) ** 2).sum() * (np.abs(truth) ** 2).sum())
    return float(1 - abs(np.vdot(image, truth)) ** 2 / energy) if energy > 0 else 1.0


def _surroundings(obj: Complex, region: Region) -> Complex:
    """The object on the region and MARGIN around it (h + 2 MARGIN, w + 2 MARGIN), faded to zero outwards."""
    y, x = (slice(part.start, part.stop + 2 * MARGIN) for part in region)
    fades = [_fade(part, length) for part, length in zip(region, obj.shape, strict=True)]
    return np.pad(obj, MARGIN, mode="reflect")[y, x] * np.outer(*fades)


def _fade(part: slice, length: int) -> NDArray[np.float64]:
    """Weights along one axis: 1 on the region's `part` and a third of what the object has beside it, but at least
    MAX_SHIFT, then a squared cosine to zero where the object ends; of an object that ends sooner, mirrored pixels."""
    sides = []
    for there in (part.start, length - part.stop):
        reach = min(max(there, 2 * MAX_SHIFT), MARGIN)
        kept = max(reach // 3, MAX_SHIFT)
        falling = np.cos(np.pi / 2 * np.linspace(0, 1, reach - kept + 1)[1:]) ** 2
        sides.append(np.concatenate([np.ones(kept), falling, np.zeros(MARGIN - reach)]))
    return np.concatenate([sides[0][::-1], np.ones(part.stop - part.start), sides[1]])


def _better(pair: _Pair, old: Pose, new: Pose) -> Pose:
    """The new pose if it gains, both judged where the new one has data."""
    both = replace(pair, area=_covered(pair, new[:2]))
    lost, kept = (misfit(_moved(both, pose), both.target()) for pose in (new, old))
    return new if lost < kept - GAIN else old


def _covered(pair: _Pair, *shifts: NDArray[np.float64]) -> Region:
    """The part of the region that has data of the object after each of the shifts."""
    found = []
    for axis, part in enumerate(pair.region):
        low = max(part.start, *(int(np.ceil(s[axis])) for s in shifts), 0)
        high = min(part.stop, *(pair.truth.shape[axis] + int(np.floor(s[axis])) for s in shifts))
        found.append(slice(low, min(high, pair.truth.shape[axis])))
    return found[0], found[1]


def _phases(shape: tuple[int, ...]) -> tuple[NDArray[np.complex128], NDArray[np.complex128]]:
    """-2 pi i q of every Fourier pixel, (H, 1) and (1, W), corner layout: derivative of a spectrum by the shift."""
    y, x = (-2j * np.pi * fft.fftfreq(n) for n in shape)
    return y[:, None], x[None, :]


def _moved(pair: _Pair, pose: Pose) -> Complex:
    """The object on the area after a shift, by its Fourier series, and without the ramp."""
    image = pair.wide
    if pose[:2].any():
        y, x = _phases(image.shape)
        image = fft.ifft2(fft.fft2(image) * np.exp(y * pose[0]) * np.exp(x * pose[1]))
    return image[pair.padded()] * pair.wave(pose[2:]).conj()


def _ramped(pair: _Pair, pose: Pose) -> Pose:
    """`pose` with the ramp at the peak of the zero-padded spectrum of image * conj(truth), refined."""
    product = _moved(pair, np.array([*pose[:2], 0, 0])) * pair.target().conj()
    spectrum = np.abs(fft.fft2(product, s=[4 * n for n in product.shape]))
    peak = np.unravel_index(int((spectrum > (1 - GAIN) * spectrum.max()).argmax()), spectrum.shape)  # first of equals
    ramp = [2 * np.pi * fft.fftfreq(n)[k] for n, k in zip(spectrum.shape, peak, strict=True)]
    return _refined(pair, np.array([*pose[:2], *ramp]), False)


def _shifted(pair: _Pair, pose: Pose) -> Pose:
    """The best whole-pixel shift under the ramp of `pose`, then both refined together; `pose` itself when that leads
    out of MAX_SHIFT or away from where it began."""
    reach = np.full(2, MAX_SHIFT)
    pair = replace(pair, area=_covered(pair, reach, -reach))
    tilted, steps = pair.target() * pair.wave(pose[2:]), range(-MAX_SHIFT, MAX_SHIFT + 1)
    found = {(y, x): misfit(pair.wide[pair.padded((y, x))], tilted) for y in steps for x in steps}
    low = min(found.values()) + GAIN
    start = np.array(min((shift for shift in found if found[shift] < low), key=np.hypot.reduce), float)  # of equals
    new = _refined(pair, _ramped(pair, np.array([*start, *pose[2:]])), True)
    inside = np.abs(new[:2]).max() <= MAX_SHIFT + 0.05 and np.abs(new[:2] - start).max() <= 1
    return new if inside else pose


def _refined(pair: _Pair, start: Pose, moving: bool) -> Pose:
    """The pose of least misfit near `start` (BFGS); the shift stays unless `moving`."""
    spectrum, size = fft.fft2(pair.wide), np.array(pair.target().shape)
    unit = FIRST_STEP * np.array([1, 1, *(2 / size)])
    free = np.array([moving, moving, True, True])

    def lost(x: Pose) -> tuple[float, Pose]:
        value, slope = _misfit_and_slope(pair, spectrum, start + unit * x)
        return value, slope * unit * free

    return start + unit * minimize(lost, np.zeros(4), jac=True, method="BFGS", options={"gtol": 1e-10}).x


def _misfit_and_slope(pair: _Pair, spectrum: Complex, pose: Pose) -> tuple[float, Pose]:
    """`misfit` at a pose and its derivative (4,) by shift and ramp, with `spectrum` of the padded object.

    Of f = 1 - |c|^2 / (E T), c = <image, truth>, the derivative is Re <g, d image> with
    g = -2 / (E T) (conj(c) truth - |c|^2 / E image); by the shift it is taken in Fourier space (Parseval).
    """
    (y, x), (down, right), wave = pair.offsets(), _phases(spectrum.shape), pair.wave(pose[2:])
    turned = spectrum * np.exp(down * pose[0]) * np.exp(right * pose[1])
    image, truth = fft.ifft2(turned)[pair.padded()] * wave.conj(), pair.target()
    overlap, energy = np.vdot(image, truth), float((np.abs(image) ** 2).sum())
    scale = energy * float((np.abs(truth) ** 2).sum())
    if not scale > 0:
        return 1.0, np.zeros(4)
    g = -2 / scale * (overlap.conj() * truth - abs(overlap) ** 2 / energy * image)
    wide = np.zeros_like(spectrum)
    wide[pair.padded()] = g * wave
    cross = fft.fft2(wide).conj() * turned / spectrum.size
    steps = [(cross * down).sum(), (cross * right).sum()]
    turns = [(g.conj() * image * -1j * y).sum(), (g.conj() * image * -1j * x).sum()]
    return 1 - abs(overlap) ** 2 / scale, np.array([*steps, *turns]).real
