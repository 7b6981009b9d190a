"""What `reconstruct` leaves: an HDF5 file of the object, all that was found and how good it is; a picture beside."""

import json
from collections.abc import Mapping
from pathlib import Path

from numpy.typing import NDArray

from ptychodose.errors import StudyError
from ptychodose.formats.atomic import remove_stale
from ptychodose.formats.h5 import write_arrays
from ptychodose.measured.quality import THRESHOLDS, resolution
from ptychodose.reconstruct.reconstructors import Reconstruction
from ptychodose.scans import calibration
from ptychodose.scans.scan import Scan
from ptychodose.score.frc import Curve

SUFFIXES = (".h5", ".hdf5")


def place(out: Path) -> None:
    """Make room for a result: its folder, without what killed runs left there. StudyError where none can go."""
    if out.suffix not in SUFFIXES:
        raise StudyError(f"--out {out}: the result is HDF5; end its name in {' or '.join(SUFFIXES)}")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StudyError(f"--out {out}: {error.strerror}; name another place") from None
    if out.is_dir():
        raise StudyError(f"--out {out}: a folder stands there; name another file")
    remove_stale(out.parent, deep=False)


def picture_of(out: Path) -> Path:
    """Where the picture of a result goes."""
    return out.with_suffix(".png")


def write(out: Path, made: Reconstruction, scans: tuple[Scan, Scan], said: Mapping[str, object]) -> None:
    """The result of a scan as recorded and as found. An earlier picture goes first: none stands beside a file that it
    does not show."""
    recorded, scan = scans
    arrays: dict[str, NDArray] = {"obj": made.obj, "recorded_positions": recorded.positions, **calibration.arrays(scan)}
    if made.error is not None:
        arrays["error"] = made.error
    picture_of(out).unlink(missing_ok=True)
    write_arrays(out, arrays, {**of_geometry(scan), **said})


def of_geometry(scan: Scan) -> dict[str, float]:
    """Attributes that turn pixels into lengths and back, and the dose."""
    known = {"pixel_m": scan.pixel_m, "dose": scan.dose}
    if scan.geometry is not None:
        known |= {"energy_ev": scan.geometry.energy_ev, "distance_m": scan.geometry.distance_m,
                  "detector_pixel_m": scan.geometry.detector_pixel_m}  # fmt: skip
    return known


def of_quality(deviance: tuple[float, float], curve: Curve, pixel_m: float) -> dict[str, float]:
    """Attributes that say how good an arm is without truth; half periods only where there are any."""
    said = {"heldout_deviance": deviance[0], "heldout_deviance_flat": deviance[1]}
    for name, threshold in THRESHOLDS.items():
        of_nyquist, half_period = resolution(curve, threshold, pixel_m)
        key = "half_data_frc_" + name.replace("/", "_").replace(".", "_")
        said[key] = of_nyquist
        if half_period is not None:
            said[f"{key}_nm"] = half_period
    return said


def of_choices(made: Reconstruction, found: Mapping[str, object]) -> dict[str, object]:
    """Attributes of what held-out photons chose and what was found."""
    chosen = {"weight": made.weight, "blend": made.blend, "found": json.dumps(found) if found else None}
    return {name: value for name, value in chosen.items() if value is not None}
