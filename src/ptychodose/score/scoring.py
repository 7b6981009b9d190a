"""One row of the comparison: align, measure, summarise."""

import csv
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptychodose.formats.atomic import atomic_path
from ptychodose.score import frc, metrics
from ptychodose.score.align import Alignment, align, clean


def score(
    obj: NDArray[np.complexfloating],
    truth: NDArray[np.complexfloating],
    region: tuple[slice, slice],
    pixel_m: float,
) -> dict[str, Any]:
    """All metrics of a reconstruction (H, W) against truth (H, W) on `region`, JSON-able, never NaN.

    `aligned` removes sub-pixel shift, phase ramp and one complex factor; `raw` the factor only. `valid_fraction`
    is the share of pixels that are finite and not empty. Object pixel in metres.
    """
    target = clean(truth[region])
    image = clean(obj[region])
    row: dict[str, Any] = {"valid_fraction": float((np.abs(image) > 1e-9 * np.abs(target).mean()).mean())}
    for kind, free in (("aligned", True), ("raw", False)):
        row[kind] = measure(align(image, target, free), target, pixel_m)
    return row


def measure(aligned: Alignment, truth: NDArray[np.complex128], pixel_m: float) -> dict[str, Any]:
    """Metrics of one aligned image: complex, amplitude, phase, FRC, and what the alignment removed."""
    image = aligned.image
    return {
        "nrmse": metrics.nrmse(image, truth),
        "correlation": metrics.correlation(image, truth),
        "amplitude": metrics.compare_real(np.abs(image), np.abs(truth)),
        "phase": metrics.compare_real(metrics.phase_beside(image, truth), np.angle(truth)),
        "frc": frc.summary(frc.ring_correlation(image, truth), pixel_m),
        "shift_px": list(aligned.shift),
        "ramp_rad_per_px": list(aligned.ramp),
        "scale": abs(aligned.factor),
    }


def headline(row: dict[str, Any]) -> dict[str, float]:
    """The three numbers of a table: complex NRMSE, phase SSIM, first FRC crossing of 0.5 (of Nyquist)."""
    best = row["aligned"]
    return {"nrmse": best["nrmse"], "phase_ssim": best["phase"]["ssim"], "frc50": best["frc"]["0.5"]["first"]}


def write_frc(path: Path, rows: dict[str, dict[str, Any]]) -> None:
    """CSV of FRC curves: a column of frequencies (of Nyquist), one per arm; empty where a ring has no signal."""
    curves = {name: row["aligned"]["frc"] for name, row in rows.items()}
    frequency = next(iter(curves.values()))["frequency"]
    with atomic_path(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["frequency", *curves])
        for i, value in enumerate(frequency):
            writer.writerow(
                [value, *("" if c["correlation"][i] is None else c["correlation"][i] for c in curves.values())]
            )
