"""A small simulated scan, shared by the tests of networks and training."""

from dataclasses import dataclass, replace

import numpy as np

from ptychodose import noise, params, phantom, scan, simulate
from ptychodose.settings import Train


@dataclass(frozen=True)
class Scene:
    """obj (H, W), probe (N, N) in photons, positions (n, 2), scan ids (n,), counts (n, N, N)."""

    obj: np.ndarray
    probe: np.ndarray
    positions: np.ndarray
    scans: np.ndarray
    counts: np.ndarray

    def groups(self, size, seed=1):
        return scan.neighbour_groups(self.positions, self.scans, size, 7, noise.stream(seed, "views"))


def scene(dose=1e4, seed=0, contrast=0.55):
    obj = phantom.synthetic_object((150, 122), contrast, 0.12, noise.stream(seed, "object")).astype(np.complex64)
    lattice = scan.finest_scan((32.0, 118.0), (32.0, 90.0), 7.2, noise.stream(seed, "jitter/train"))
    probe = phantom.zone_plate_probe(64, 8800, 1.0, 172e-6, 29.26e-9, 0.4, 60.5e-6, 0.7).astype(np.complex64)
    probe = simulate.scale_to_dose(obj, probe, lattice.positions, dose)
    rate = simulate.expected_counts(obj, probe, lattice.positions)
    counts = noise.draw_counts(rate, noise.stream(seed, "noise/train"))
    return Scene(obj, probe, lattice.positions, np.zeros(len(counts), np.int32), counts)


def tiny(**changes) -> Train:
    """The committed training settings with a budget of seconds."""
    small = {"pattern_visits": 128, "steps": 2, "gradients": 2, "width": 4, "hidden": 1, "validations": 4}
    return replace(params.load("params.yaml").train, **{**small, "judged_patterns": 8, **changes})
