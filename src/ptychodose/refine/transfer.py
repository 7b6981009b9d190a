"""What the hybrid gains over MAP on object families and probes that its training never drew."""

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptychodose.iterative import poisson_map
from ptychodose.physics import lattice, noise, simulate, textures
from ptychodose.refine import refinement
from ptychodose.refine.hybrid_bundle import Hybrid
from ptychodose.scans.scan import of_arrays
from ptychodose.score import scoring
from ptychodose.score.region import scored_region
from ptychodose.study.settings import MapSettings

SIZE, SHAPE, STEP = 64, (180, 168), 7.2  # N; object px; scan step px, an overlap of about 0.7
DOSES = (1e3, 1e4, 1e5)  # photons per pattern
SEEDS = (1, 2, 3)


def aberrated(rng: np.random.Generator) -> NDArray[np.complex64]:
    """A family never trained on: a Gaussian beam (1/e half width 0.10 to 0.14 N) with random low-order phase
    aberrations of about a radian; no pupil, no stop. (N, N), unit energy."""
    v, u = (np.indices((SIZE, SIZE)) - SIZE // 2) / (rng.uniform(0.10, 0.14) * SIZE)
    a = rng.normal(0, 1, 5)
    phase = a[0] * (u**2 - v**2) + a[1] * u * v + 0.5 * (a[2] * u**3 + a[3] * v**3) + a[4] * (u**2 + v**2)
    probe = np.exp(-(u**2 + v**2) + 1j * phase)
    return (probe / np.sqrt((np.abs(probe) ** 2).sum())).astype(np.complex64)


def compare(net: Hybrid, settings: MapSettings, zone_plate: NDArray[np.complex64]) -> dict[str, Any]:
    """NRMSE of MAP (weight by held-out photons) and of the hybrid from it, per probe family, dose and seed, on the
    study's own object family (dead leaves, labyrinth, fibres), and their ratio; `zone_plate` (N, N) is the study's
    probe: of the family trained on, itself not in it."""
    rows: dict[str, Any] = {}
    drawn = [aberrated(noise.stream(seed, "procedural")) for seed in SEEDS]
    for label, waves in {"zone plate": [zone_plate] * len(SEEDS), "aberrated Gaussian": drawn}.items():
        for dose in DOSES:
            pairs = [_pair(net, settings, wave, dose, seed) for wave, seed in zip(waves, SEEDS, strict=True)]
            before, after = (np.array(column) for column in zip(*pairs, strict=True))
            rows[f"{label}, {dose:.0f} photons"] = {
                "map": before.tolist(),
                "hybrid": after.tolist(),
                "ratio": (after / before).tolist(),
                "mean_ratio": float((after / before).mean()),
            }
    return rows


def _pair(
    net: Hybrid, settings: MapSettings, probe: NDArray[np.complex64], dose: float, seed: int
) -> tuple[float, float]:
    obj = textures.synthetic_object(SHAPE, 0.55, 0.12, noise.stream(seed, "object")).astype(np.complex64)
    half = SIZE / 2
    bounds = [(half, length - half) for length in SHAPE]
    positions = lattice.finest_scan(bounds[0], bounds[1], STEP, noise.stream(seed, "jitter/test")).positions
    scan = of_arrays(None, simulate.scale_to_dose(obj, probe[None], positions, dose), positions, SHAPE)
    scan = replace(scan, counts=noise.draw_counts(scan.expected(obj), noise.stream(seed, "noise/test")))
    solved = poisson_map.solve(scan, settings, noise.stream(seed, "solver"))
    rng, start = noise.stream(seed, "solver", "hybrid"), solved.obj
    blend = refinement.choose_blend(net.refiner, start, solved.weight, scan, settings, rng)
    found = refinement.refine(net, start, scan, blend).obj
    region = scored_region([positions])
    first, second = (scoring.headline(scoring.score(image, obj, region, 1e-9))["nrmse"] for image in (start, found))
    return first, second
