"""The base of a study: object and probe, from a recipe or from an NPZ of a reconstruction, and the detector's flaws."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ptychodose.errors import StudyError
from ptychodose.formats import npz
from ptychodose.formats.mask import read_mask
from ptychodose.formats.untrusted import MAX_PIXELS, one_line
from ptychodose.physics import textures
from ptychodose.physics.overlap import encircled_diameter
from ptychodose.physics.probes import Geometry, ZonePlate, cone, pupil_radius, zone_plate_probe
from ptychodose.scans.scan import Scan
from ptychodose.study.params import load_yaml, read_section
from ptychodose.study.settings import Generate, Recipe

MAX_MODES = 16  # mutually incoherent modes of a probe
SIZES = (64, 128)  # patch sizes N the networks and figures are tested for
MAX_SMALL = 2**26  # bytes of a probe and of coordinates
LEAST_PUPIL = 2.0  # detector pixels in radius of a pupil that is sampled at all
WIDEST = 0.8  # of the window, D90 of a probe that is not cut or wrapped around at its edges
LARGEST, SMALLEST = 1e100, 1e-100  # of amplitudes: their squares must not overflow or vanish


@dataclass(frozen=True)
class Base:
    """obj (H, W) complex64 with amplitude <= 1; probe (M, N, N) complex64, unit energy in all; centres ((y0, y1),
    (x0, x1)) px that scan positions may take: patches inside the object and inside the base's own scan; background
    (N, N) counts per detector pixel and pattern, mask (N, N), True = good."""

    obj: NDArray[np.complex64]
    probe: NDArray[np.complex64]
    centres: tuple[tuple[float, float], tuple[float, float]]
    background: NDArray[np.float64]
    mask: NDArray[np.bool_]


def load(settings: Generate, rng: np.random.Generator) -> Base:
    """Load `generate.base`: a .yaml recipe (drawn with `rng`) or an .npz with probeGuess and objectGuess; and the
    detector's background and mask.

    An object whose amplitude exceeds 1 is divided by its maximum; the dose fixes the probe's scale later, so
    their product is unchanged. Raises StudyError naming file, key and remedy.
    """
    path = Path(settings.base)
    if path.suffix in (".yaml", ".yml"):
        obj, probe = _from_recipe(path, settings, rng)
        own_scan = None
    elif path.suffix == ".npz":
        arrays = npz.read(path, ("probeGuess", "xcoords", "ycoords"), MAX_SMALL, "generate.base")
        arrays |= npz.read(path, ("objectGuess",), 16 * MAX_PIXELS, "generate.base")
        obj, probe = _checked(path, arrays)
        own_scan = _own_scan(path, arrays)
    else:
        raise StudyError(f"generate.base: {one_line(path)} is neither a .yaml recipe nor an .npz; name one of these")
    obj = obj / max(1.0, float((obj.real**2 + obj.imag**2).max()) ** 0.5)
    probe = probe / float((probe.real**2 + probe.imag**2).sum()) ** 0.5
    size = probe.shape[-1]
    background = np.full((size, size), float(settings.background))
    mask = np.ones((size, size), bool) if settings.mask is None else read_mask(Path(settings.mask), size)
    centres = _centres(obj.shape, size, own_scan)
    return Base(obj.astype(np.complex64), probe.astype(np.complex64), centres, background, mask)


def files(settings: Generate) -> list[Path]:
    """What `load` reads, or the measured scan and what `believed` reads."""
    source = settings.scan if settings.source == "measured" else settings.base
    return [Path(name) for name in (source, settings.mask) if name is not None]


def believed(scan: Scan, settings: Generate) -> Scan:
    """A measured scan in memory, with the bad pixels of `generate.mask` beside its own; it knows its geometry and
    background. StudyError for a background in params.yaml, which would count twice or be ignored."""
    if settings.background:
        raise StudyError(
            f"generate.background: {settings.background:g} is for simulated scans; `solve.background` finds that of a "
            "measured one"
        )
    mask = scan.mask if settings.mask is None else scan.mask & read_mask(Path(settings.mask), scan.size)
    return replace(scan, mask=mask, nodes=None).copy()


def geometry(settings: Generate) -> Geometry:
    """Energy, distance and detector pixel of the study."""
    return Geometry(settings.energy_ev, settings.distance_m, settings.detector_pixel_um * 1e-6)


def _from_recipe(
    path: Path, settings: Generate, rng: np.random.Generator
) -> tuple[NDArray[np.complex128], NDArray[np.complex128]]:
    recipe: Recipe = read_section(Recipe, load_yaml(path, by_hand=True), str(path))
    obj = textures.synthetic_object((recipe.rows, recipe.columns), recipe.phase_std, recipe.amplitude_std, rng)
    return obj, _probe(path, recipe, settings)[None]


def _probe(path: Path, recipe: Recipe, settings: Generate) -> NDArray[np.complex128]:
    """The probe (N, N) of a recipe. StudyError, with the ranges that work, when pupil or spot does not fit N pixels."""
    plate = _plate(recipe)
    radius, low, high = pupil_radius(geometry(settings), plate), LEAST_PUPIL, recipe.size / 2
    if not low <= radius <= high:
        shrinks = {  # the radius with them
            "generate.energy_ev": settings.energy_ev,
            "generate.detector_pixel_um": settings.detector_pixel_um,
            "probe.outer_zone_width_nm": recipe.probe.outer_zone_width_nm,
        }
        ranges = [f"{key} {value * radius / high:.3g} to {value * radius / low:.3g}" for key, value in shrinks.items()]
        grows = settings.distance_m / radius
        raise StudyError(
            f"{path}: the zone plate's light has a radius of {radius:.3g} detector pixels, and {low:g} to {high:g} fit "
            f"N = {recipe.size}; correct one of {', '.join(ranges)}, generate.distance_m {grows * low:.3g} to "
            f"{grows * high:.3g}"
        )
    probe = zone_plate_probe(recipe.size, geometry(settings), plate)
    diameter = encircled_diameter(probe[None])
    spread = cone(recipe.size, geometry(settings), plate)
    if not (diameter <= WIDEST * recipe.size and spread <= recipe.size):  # a wider cone folds back, and can look narrow
        room = WIDEST * recipe.size - 1.22 * recipe.size / radius  # px beside the Airy disc of 1.22 N / radius
        usable = abs(recipe.probe.defocus_um) * min(room / spread, 1.0) if spread else 0.0
        raise StudyError(
            f"{path}: probe.defocus_um: {recipe.probe.defocus_um:g} spreads the probe to {max(diameter, spread):.0f} "
            f"px of {recipe.size}; usable is up to {usable:.3g}, at a larger size more"
        )
    return probe


def plate_of(path: Path) -> ZonePlate:
    """The zone plate of a recipe (.yaml), which a probe can be made of. StudyError as `load`."""
    recipe: Recipe = read_section(Recipe, load_yaml(path, by_hand=True), str(path))
    return _plate(recipe)


def _plate(recipe: Recipe) -> ZonePlate:
    plate = recipe.probe
    return ZonePlate(plate.outer_zone_width_nm * 1e-9, plate.central_stop, plate.defocus_um * 1e-6, plate.edge_px)


def _checked(
    path: Path, arrays: dict[str, NDArray[np.generic]]
) -> tuple[NDArray[np.complex128], NDArray[np.complex128]]:
    """Object (H, W) and probe (M, N, N) as complex128; a leading axis of the object must have length 1."""
    for key in ("objectGuess", "probeGuess"):
        if key not in arrays:
            raise StudyError(f"{path}: key {key!r} is missing; a base needs probeGuess and objectGuess")
    obj, probe = arrays["objectGuess"], arrays["probeGuess"]
    obj = obj[0] if obj.ndim == 3 and obj.shape[0] == 1 else obj
    probe = probe[None] if probe.ndim == 2 else probe
    if obj.ndim != 2 or probe.ndim != 3:
        found = f"objectGuess has shape {obj.shape}, probeGuess {probe.shape}"
        raise StudyError(f"{path}: {found}; expected (H, W) and (N, N) or (M, N, N)")
    obj, probe = _wave(path, "objectGuess", obj), _wave(path, "probeGuess", probe)
    if probe.shape[1] != probe.shape[2] or probe.shape[2] not in SIZES or not 1 <= len(probe) <= MAX_MODES:
        raise StudyError(f"{path}: probeGuess is {probe.shape}; supported are (M, 64, 64) and (M, 128, 128), M <= 16")
    if min(obj.shape) <= probe.shape[2]:
        raise StudyError(
            f"{path}: objectGuess {obj.shape} is not larger than the probe {probe.shape}; use a larger object"
        )
    return obj, probe


def _wave(path: Path, key: str, array: NDArray[np.generic]) -> NDArray[np.complex128]:
    """A complex wave (any shape) of sane size and values."""
    if not np.iscomplexobj(array):
        raise StudyError(f"{path}: {key} is {array.dtype}, not complex; save the complex wave, not its modulus")
    if array.size > MAX_PIXELS:
        raise StudyError(f"{path}: {key} has {array.size} pixels, more than {MAX_PIXELS}; crop it")
    if not np.isfinite(array).all() or not array.any():
        raise StudyError(f"{path}: {key} holds NaN, infinity or only zeros; repair the reconstruction")
    if not SMALLEST < max(float(np.abs(part).max()) for part in (array.real, array.imag)) < LARGEST:
        raise StudyError(f"{path}: {key} has amplitudes beyond {SMALLEST:g} to {LARGEST:g}; scale it")
    return array.astype(np.complex128)


def _own_scan(path: Path, arrays: dict[str, NDArray[np.generic]]) -> tuple[tuple[float, float], ...] | None:
    """Bounding box ((y0, y1), (x0, x1)) of the base's own positions, outside which its object is not known."""
    if "xcoords" not in arrays or "ycoords" not in arrays:
        return None
    box = []
    for key in ("ycoords", "xcoords"):
        values = np.asarray(arrays[key])
        if values.dtype.kind not in "fiu" or not values.size or not (np.abs(values.astype(float)) < MAX_PIXELS).all():
            raise StudyError(
                f"{path}: {key} holds values that are not finite numbers; repair or drop both coordinate keys"
            )
        box.append((float(values.min()), float(values.max())))
    return tuple(box)


def _centres(
    shape: tuple[int, ...], size: int, own_scan: tuple[tuple[float, float], ...] | None
) -> tuple[tuple[float, float], tuple[float, float]]:
    inside = [(float(size // 2), float(length - size // 2)) for length in shape]
    if own_scan is not None:
        inside = [
            (max(low, own_low), min(high, own_high))
            for (low, high), (own_low, own_high) in zip(inside, own_scan, strict=True)
        ]
    return inside[0], inside[1]
