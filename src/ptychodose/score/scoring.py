"""One row of the comparison: align, measure, summarise."""

import csv
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptychodose.errors import StudyError
from ptychodose.formats.atomic import atomic_path
from ptychodose.score import frc, metrics
from ptychodose.score.align import Alignment, align, clean
from ptychodose.score.coverage import coverage
from ptychodose.score.region import Region


def score(
    obj: NDArray[np.complexfloating],
    truth: NDArray[np.complexfloating],
    region: Region,
    pixel_m: float,
    error: NDArray[np.complexfloating] | None = None,
) -> dict[str, Any]:
    """All metrics of a reconstruction (H, W) against truth (H, W) on `region`, JSON-able, never NaN.

    `aligned` removes sub-pixel shift, phase ramp and one complex factor; `raw` the factor only. `valid_fraction`
    is the share of pixels that are finite and not empty. PSNR and SSIM are None where truth has no contrast. Object
    pixel in metres. `error_bars` says how well a standard error (H, W), where there is one, holds (see coverage).
    Raises StudyError when truth is zero all over the region.
    """
    size = np.abs(clean(truth[region])).mean()
    if not size > 1e-100:  # its square would vanish
        raise StudyError("truth is zero all over the scored region, so there is nothing to compare with; check it")
    row: dict[str, Any] = {"valid_fraction": float((np.abs(clean(obj[region])) > 1e-9 * size).mean())}
    for kind, free in (("raw", False), ("aligned", True)):
        found = align(obj, truth, region, free)
        row[kind] = measure(found, clean(truth), pixel_m)
    if error is not None:
        row["error_bars"] = coverage(found, clean(truth), error)
    return row


def measure(aligned: Alignment, truth: NDArray[np.complex128], pixel_m: float) -> dict[str, Any]:
    """Metrics of one aligned image beside truth (H, W): complex, amplitude, phase, FRC, and what the alignment
    removed."""
    image, target = aligned.image, truth[aligned.region]
    amplitude = np.abs(target)
    return {
        "nrmse": metrics.nrmse(image, target),
        "correlation": metrics.correlation(image, target),
        "amplitude": metrics.compare_real(np.abs(image), amplitude, float(amplitude.mean())),
        "phase": metrics.compare_real(metrics.phase_beside(image, target), metrics.phase_of(target)),
        "frc": frc.summary(frc.ring_correlation(image, target), pixel_m),
        "shift_px": list(aligned.shift),
        "ramp_rad_per_px": list(aligned.ramp),
        "scale": abs(aligned.factor),
    }


def headline(row: dict[str, Any]) -> dict[str, Any]:
    """The three numbers of a table: complex NRMSE, phase SSIM (None without contrast), first FRC crossing of 0.5 (of
    Nyquist)."""
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
