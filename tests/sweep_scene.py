"""Synthetic results of a sweep, shaped like metrics/details.json, for tests: known numbers, no physics."""

import numpy as np

from ptychodose.sweeps import design, results_csv

CODE = "0123456789ab"
CURVE = {"first": 0.6, "last": 0.7, "first_half_period_nm": 21.3, "last_half_period_nm": 18.3}
LIMIT = {
    "views": {
        "dense": {
            "photons_per_pixel_per_dose": 0.0191, "alpha": 79.0,
            "crb": {"dose": [100.0, 1e6], "nrmse": [0.22, 0.0022], "phase_rms": [0.15, 0.0015]},
            "bayes": {"dose": [300.0, 1e4, 1e5], "nrmse": [0.09, 0.02, 0.0068], "phase_rms": [0.1, 0.02, 0.01]},
        },
        "sparse": {
            "photons_per_pixel_per_dose": 0.0027, "alpha": 11.0,
            "crb": {"dose": [100.0, 1e6], "nrmse": [1.4, 0.014], "phase_rms": [0.9, 0.009]},
        },
    },
    "ratio": {"dose": [1e3, 1e5], "c1": [0.5, 0.2], "c4": [0.25, 0.05], "dense_over_baseline": [0.5, 0.25]},
}  # fmt: skip
FLOORS = {  # arm: view, group size, share, NRMSE at high dose, its part that falls with the root of n-bar
    "flat": (None, None, 1.0, 0.54, 0.0),
    "oracle": (None, None, 1.0, 1e-9, 0.0),
    "baseline": ("dense", 1, 1.0, 0.37, 0.8),
    "dense": ("dense", 4, 1.0, 0.15, 1.0),
    "sparse": ("sparse", 4, 1.0, 0.30, 1.0),
    "dense_thinned": ("dense", 4, 0.141, 0.15, 1.0),
    "cnn": ("dense", 4, 1.0, 0.28, 1.2),
    "map": ("dense", None, 1.0, 0.01, 0.6),
    "map_sparse": ("sparse", None, 1.0, 0.06, 0.9),
    "map_thinned": ("dense", None, 0.141, 0.01, 0.6),
    "hybrid": ("dense", 4, 1.0, 0.01, 0.55),
}


def details(run, arms=tuple(FLOORS)):
    """metrics/details.json of a run: errors fall with photons per pixel, low overlap costs, seeds add a little."""
    ratios = {"dense": run.overlap_dense} if run.design == "heat" else {"dense": run.overlap_dense, "sparse": 0.2}
    views = {
        name: {
            "photons_per_pixel": run.dose * 0.0191 * (0.3 / (1 - ratio)) ** 2, "alpha": 79.0,
            "m2_between_images": 0.6, "overlap_ratio": ratio, "images": 800,
        }
        for name, ratio in ratios.items()
    }  # fmt: skip
    shift = 0.004 * ((run.seed_object * 3 + run.seed_noise * 5 + run.seed_network * 7) % 11 - 5) / 5
    made = [name for name in arms if run.design == "star" or not name.endswith(("sparse", "thinned"))]
    rows = {name: _arm(run, views, shift, FLOORS[name]) for name in made}
    totals = {"dose_requested": run.dose, "dose_measured": run.dose, "photons_per_pixel": run.dose * 0.0191}
    return {**totals, "region": [[0, 9], [0, 9]], "pixel_m": 1.28e-8, "views": views, "arms": rows, "limit": LIMIT}


def _arm(run, views, shift, row):
    view, size, share, floor, fall = row
    seen = views.get(view, views["dense"])
    hardship = 1 + 1.5 * max(0.0, 0.45 - seen["overlap_ratio"]) ** 1.5
    error = hardship * np.hypot(floor, fall / np.sqrt(seen["photons_per_pixel"] * share + 1)) if fall else floor
    error += shift * bool(fall)
    image = {"mae": error, "psnr": 20.0, "ssim": max(0.0, 1 - 1.7 * error)}
    frc = {"area": 0.6, "0.5": CURVE, "half_bit": CURVE, "one_bit": CURVE, "correlation": [], "frequency": []}
    scores = {"nrmse": error, "correlation": 0.9, "amplitude": image, "phase": image, "frc": frc}
    return {
        "view": view, "group_size": size, "share": share, "valid_fraction": 1.0, "deviance": 1.0,
        "aligned": scores, "raw": scores,
    }  # fmt: skip


def rows(runs, arms=tuple(FLOORS)):
    """The lines of sweep.csv of these runs."""
    return [row for run in runs for row in results_csv.rows_of(run, CODE, details(run, arms))]


def everything(study):
    """All runs of both designs."""
    return [*design.star(study), *design.heat(study)]
