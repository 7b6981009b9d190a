"""A small simulated scan and what is made of it, shared by the tests of training, networks and reconstructors."""

from dataclasses import dataclass, replace
from functools import cache

import numpy as np

from ptychodose.networks.own_scan import OwnScan
from ptychodose.networks.procedural_scans import ProceduralScans, template
from ptychodose.physics import lattice, noise, overlap, simulate, textures
from ptychodose.refine import procedural_probes
from ptychodose.scans import base, cxi, views
from ptychodose.scans.groups import neighbour_groups
from ptychodose.scans.scan import Nodes, Scan, of_arrays
from ptychodose.scans.trial import Trial
from ptychodose.study import params
from ptychodose.study.settings import Train
from sandbox import ROOT

GEOMETRY = base.geometry(params.load(ROOT / "params.yaml").generate)


@dataclass(frozen=True)
class Scene:
    """A scan and its true object (H, W)."""

    scan: Scan
    obj: np.ndarray

    @property
    def groups_of(self):
        return np.zeros(len(self.scan), np.int32)

    def groups(self, size, seed=1):
        rng = noise.stream(seed, "views")
        return neighbour_groups(self.scan.positions, self.groups_of, size, 7, rng)

    def trial(self, *built):
        """The scan as the stages see it, with the views `built`: dense is all of it, sparse every sixth pattern."""
        index = {"dense": np.arange(len(self.scan)), "sparse": np.arange(len(self.scan))[::6]}
        made = {name: views.View(index[name], self.groups_of[index[name]], {4: self.groups(4)}) for name in built}
        return Trial(self.scan, made)


@cache
def zone_plate(size=64):
    """The default study's probe (64, 64), unit energy: its numbers stand in the recipe alone."""
    generate = replace(params.load(ROOT / "params.yaml").generate, base=str(ROOT / "data/base/synthetic.yaml"))
    recipe = base.load(generate, noise.stream(0, "object"))
    assert recipe.probe.shape == (1, size, size)
    return recipe.probe[0]


@cache
def other_probe(kind):
    """A probe (64, 64) of another kind, unit energy: `wide` (a beam over half the window), `hard` (a sharp spot)."""
    if kind == "wide":
        square = ((np.indices((64, 64)) - 32) ** 2).sum(0)
        probe = np.exp(-square / 15.0**2 + 1j * square / 90)
    else:
        rng = noise.stream(0, "procedural")
        probe = next(p for p in (procedural_probes._hard_edged(64, rng) for _ in range(99)) if fits(p))
    return (probe / np.linalg.norm(probe)).astype(np.complex64)


def fits(probe):
    """Whether training would take it: little light on the rim, neither tiny nor as wide as the window."""
    rim = np.abs(np.concatenate([probe[0], probe[:, 0]])).max() / np.abs(probe).max()
    return rim**2 < 0.004 and 0.12 < overlap.encircled_diameter(probe[None]) / 64 < 0.62


def scene(dose=1e4, seed=0, contrast=0.55, background=0.0, mask=None, probe=None):
    """A scan of 88 patterns under the zone plate or a `probe` (64, 64); `background` counts per detector pixel, `mask`
    (64, 64) of good pixels."""
    obj = textures.synthetic_object((150, 122), contrast, 0.12, noise.stream(seed, "object")).astype(np.complex64)
    raster = lattice.finest_scan((32.0, 118.0), (32.0, 90.0), 7.2, noise.stream(seed, "jitter/train"))
    probe = simulate.scale_to_dose(obj, (zone_plate() if probe is None else probe)[None], raster.positions, dose)
    scan = of_arrays(None, probe, raster.positions, obj.shape)
    scan = replace(scan, background=np.full((64, 64), float(background)), dose=dose, geometry=GEOMETRY,
                   mask=scan.mask if mask is None else mask, nodes=Nodes(raster.nodes, 7.2))  # fmt: skip
    counts = noise.draw_counts(scan.expected(obj), noise.stream(seed, "noise/train"))
    return Scene(replace(scan, counts=counts), obj)


def measured(dose=1e4):
    """The scan of a scene as a beamline's file has it: without a lattice."""
    return replace(scene(dose).scan, nodes=None)


def written(path, scan):
    """The CXI file of a scan with counts."""
    cxi.write(path, scan, iter([scan.read().astype(np.uint32)]))
    return path


def corner(scan, side=4):
    """The patterns of the first `side` rows and columns of a scan: a canvas of about 64 + 7 `side` px."""
    return scan.select(np.flatnonzero((scan.nodes.index < side).all(1)))


def tiny(**changes) -> Train:
    """The committed training settings with a budget of seconds."""
    small = {"pattern_visits": 128, "steps": 2, "gradients": 2, "width": 4, "hidden": 1, "validations": 4}
    return replace(params.load("params.yaml").train, **{**small, "judged_patterns": 8, **changes})


def own(s, size, **changes):
    """A measured scan to learn from, by groups of `size`."""
    return OwnScan(s.scan, s.groups(size), tiny(**{"heldout": 0.3, **changes}))


def procedural(size, seed=1, **changes):
    """Procedural scans to learn from, like a view of stride 3, by groups of `size`."""
    positions, groups = template(2.4, 3, size, 7, seed)
    planned = of_arrays(None, zone_plate(), positions, (0, 0))
    return ProceduralScans(planned, groups, tiny(**{"objects": 6, **changes}), seed)
