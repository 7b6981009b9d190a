"""The numbers of one small scene, plain and with background and bad pixels: a few seconds through most of the library.

What tests/golden/scene.json records. Lists of floats are kept short, since a list longer than `golden.LONG` is compared
by digest, which only integers survive on every CPU.
"""

from dataclasses import replace

import numpy as np

from ptychodose.bounds import limits
from ptychodose.iterative import poisson_map
from ptychodose.networks import predict
from ptychodose.physics import noise
from ptychodose.refine import hybrid_bundle, refinement
from ptychodose.scans import views
from ptychodose.score import scoring
from ptychodose.score.region import deviance_per_pixel, scored_region
from ptychodose.study import params
from sandbox import ROOT
from scenes import scene

STUDY = params.load(ROOT / "params.yaml")
QUICK = replace(STUDY.reconstruct_map, iterations=12, weight_moves=4)
STEP, WANTED, GROUP = 2, 40, 4  # one whole scan of stride 2 and part of another, in groups of four
CROP, MARGIN = 16, 2
MASK = np.ones((64, 64), bool)
MASK[30:35, 28:33], MASK[:, 50] = False, False


def numbers():
    streams = {name: noise.stream(0, name).random(2).tolist() for name in noise.STREAMS}
    named = noise.stream(1, "thinning", "sparse").integers(0, 2**30, 2).tolist()
    nuisances = of_scene(scene(1e4, background=0.05, mask=MASK))
    return {"streams": {**streams, "named": named}, "plain": of_scene(scene(1e4)), "nuisances": nuisances}


def of_scene(s):
    scan, rule = s.scan, views.Rule(frozenset({0, 1, GROUP}), STUDY.overlap.neighbours)
    view = views.select(scan, STEP, WANTED, rule, noise.stream(0, "views"), "golden")
    region = scored_region([scan.positions[view.index]])
    return {
        "scan": of_scan(scan),
        "view": {"index": view.index.tolist(), "scan": view.scan.tolist(),
                 "groups": {str(size): groups.tolist() for size, groups in view.groups.items()}},
        "overlap": views.describe(scan, view, STEP, GROUP, rule.neighbours),
        "region": [[part.start, part.stop] for part in region],
        "noisy": scores(noisy(s.obj), s, region),
        "stitched": stitched(s, view.groups[GROUP], scan.select(view.index)),
        **reconstructed(s, region),
        "limit": limit(s, region),
    }  # fmt: skip


def of_scan(scan):
    positions, photons = scan.positions, float(scan.read().sum())
    placed = {"sum": positions.sum(0).tolist(), "first": positions[0].tolist(), "last": positions[-1].tolist()}
    return {"patterns": len(scan), "photons": photons, "positions": placed, "diameter": scan.diameter,
            "pixel_m": scan.pixel_m, "level": scan.level, "efficiency": scan.efficiency,
            "photons_per_pixel": scan.photons_per_pixel(7.2)}  # fmt: skip


def noisy(obj):
    real, imaginary = noise.stream(0, "solver").normal(0, 0.15, (2, *obj.shape))
    return (obj + real + 1j * imaginary).astype(np.complex64)


def scores(obj, s, region):
    row = scoring.score(obj, s.obj, region, s.scan.pixel_m)
    found = row["aligned"]["frc"]
    crossings = {name: [found[name]["first"], found[name]["last"]] for name in ("0.5", "half_bit", "one_bit")}
    return {**scoring.headline(row), "area": found["area"], **crossings, "raw_nrmse": row["raw"]["nrmse"]}


def stitched(s, groups, kept):
    obj, weight = predict.reconstruct(predict.by_object(s.obj), kept, groups, 8)
    return {"amplitude": float(np.abs(obj).sum()), "photons": float(weight.sum())}


def reconstructed(s, region):
    found = poisson_map.solve(s.scan, QUICK, noise.stream(0, "solver"))
    net, every_fourth = hybrid_bundle.load(ROOT / STUDY.train_hybrid.bundle), np.arange(len(s.scan))[::4]
    rng = noise.stream(0, "solver", "hybrid")
    blend = refinement.choose_blend(net.refiner, found.obj, found.weight, s.scan, QUICK, rng)
    refined = refinement.refine(net, found.obj, s.scan, blend)
    told = {"map": (found.obj, refined.start_error), "hybrid": (refined.obj, refined.error)}
    bars = {name: scoring.score(obj, s.obj, region, s.scan.pixel_m, error)["error_bars"]
            for name, (obj, error) in told.items()}  # fmt: skip
    chosen = {"weight": found.weight, "iterations": found.iterations, "tried": [list(row) for row in found.tried]}
    deviance = deviance_per_pixel(found.obj, s.scan, every_fourth)
    return {
        "map": {**chosen, **scores(found.obj, s, region), "deviance": deviance, "error_bars": bars["map"]},
        "hybrid": {"blend": blend, **scores(refined.obj, s, region), "error_bars": bars["hybrid"]},
    }


def limit(s, region):
    unit = replace(s.scan, counts=None, probe=(s.scan.probe / np.float32(s.scan.dose**0.5)).astype(np.complex64))
    known = limits.Known(s.obj, unit, limits.prior_of(s.obj[region]))
    found = limits.of_view(known, np.arange(len(unit)), limits.middle(region, CROP, MARGIN), MARGIN)
    return {**limits.photons(known, np.arange(len(unit)), 7.2), "crb": found["crb"], "bayes": found["bayes"]}
