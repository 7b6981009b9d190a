"""A small simulated scan and what is made of it, shared by the tests of training, networks and reconstructors."""

from dataclasses import dataclass, replace

import numpy as np

from ptychodose.networks import sources
from ptychodose.networks.groups import Patterns
from ptychodose.physics import lattice, noise, probes, simulate, textures
from ptychodose.scans import cxi, scan, views
from ptychodose.scans.groups import neighbour_groups
from ptychodose.study import params
from ptychodose.study.settings import Train


@dataclass(frozen=True)
class Scene:
    """obj (H, W), probe (N, N) in photons, positions (n, 2), scan ids (n,), counts (n, N, N)."""

    obj: np.ndarray
    probe: np.ndarray
    positions: np.ndarray
    scans: np.ndarray
    counts: np.ndarray

    def groups(self, size, seed=1):
        return neighbour_groups(self.positions, self.scans, size, 7, noise.stream(seed, "views"))

    def patterns(self):
        return Patterns(self.counts, self.positions, self.probe, self.counts.sum() / len(self.counts))

    def whole(self, *built):
        """The scan as the stages see it, with the views `built`: dense is all of it, sparse every sixth pattern."""
        index = {"dense": np.arange(len(self.positions)), "sparse": np.arange(len(self.positions))[::6]}
        dose = self.counts.sum() / len(self.counts)
        header = cxi.Header(
            self.positions, np.zeros((len(self.positions), 2), np.int32), self.probe, np.zeros((64, 64), np.uint32),
            8800.0, 1.0, 172e-6, 7.2, 24.0, self.obj.shape, dose, dose,
        )  # fmt: skip
        made = {name: views.View(index[name], self.scans[index[name]], {4: self.groups(4)}) for name in built}
        return scan.Scan(header, self.counts, made)


def zone_plate(defocus_m=60.5e-6):
    """The default study's probe (64, 64), unit energy."""
    return probes.zone_plate_probe(64, 8800, 1.0, 172e-6, 29.26e-9, 0.4, defocus_m, 0.7).astype(np.complex64)


def scene(dose=1e4, seed=0, contrast=0.55):
    obj = textures.synthetic_object((150, 122), contrast, 0.12, noise.stream(seed, "object")).astype(np.complex64)
    raster = lattice.finest_scan((32.0, 118.0), (32.0, 90.0), 7.2, noise.stream(seed, "jitter/train"))
    probe = simulate.scale_to_dose(obj, zone_plate(), raster.positions, dose)
    rate = simulate.expected_counts(obj, probe, raster.positions)
    counts = noise.draw_counts(rate, noise.stream(seed, "noise/train"))
    return Scene(obj, probe, raster.positions, np.zeros(len(counts), np.int32), counts)


def tiny(**changes) -> Train:
    """The committed training settings with a budget of seconds."""
    small = {"pattern_visits": 128, "steps": 2, "gradients": 2, "width": 4, "hidden": 1, "validations": 4}
    return replace(params.load("params.yaml").train, **{**small, "judged_patterns": 8, **changes})


def own(s, size, **changes):
    """A measured scan to learn from, by groups of `size`."""
    return sources.OwnScan(s.patterns(), s.groups(size), tiny(**{"heldout": 0.3, **changes}))


def procedural(size, seed=1, **changes):
    """Procedural scans to learn from, like a view of stride 3, by groups of `size`."""
    positions, groups = sources.template(2.4, 3, size, 7, seed)
    return sources.ProceduralScans(zone_plate(), positions, groups, tiny(**{"objects": 6, **changes}), seed)
