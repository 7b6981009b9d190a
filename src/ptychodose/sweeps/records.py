"""sweep.csv: a line per run and arm, with everything that tables and figures need."""

import csv
from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import Any, get_type_hints

from ptychodose.errors import StudyError
from ptychodose.formats.atomic import atomic_path
from ptychodose.sweeps import statistics
from ptychodose.sweeps.design import Run

CONTROLS = ("flat", "oracle")  # rows that no one reconstructs: they cannot collapse


@dataclass(frozen=True)
class Row:
    """A line of sweep.csv: the run, then one arm's scores; None = not measured.

    `share` is the part of the view's photons that thinning left, `nbar` the detected photons per object pixel that
    the arm saw, `overlap`, `alpha` and `m2` are those of its view. Errors are after alignment except `nrmse_raw`;
    phase in rad, amplitude relative to 1, FRC crossings in units of Nyquist, `half_period_nm` of the first 0.5.
    """

    design: str
    code: str
    dose: float
    overlap_dense: float
    seed_object: int
    seed_noise: int
    seed_network: int
    arm: str
    view: str | None
    overlap: float | None
    group_size: int | None
    share: float
    nbar: float | None
    alpha: float | None
    m2: float | None
    nrmse: float
    phase_ssim: float
    amplitude_ssim: float
    phase_mae: float
    amplitude_mae: float
    frc50_first: float
    frc50_last: float
    half_bit_first: float
    frc_area: float
    half_period_nm: float | None
    deviance: float | None
    nrmse_raw: float
    flat_nrmse: float | None
    collapsed: bool

    @property
    def run(self) -> Run:
        """The run this line belongs to."""
        return Run(
            self.design, self.dose, self.overlap_dense, self.seed_object, self.seed_noise, self.seed_network
        )  # fmt: skip


COLUMNS = tuple(field.name for field in fields(Row))


def rows_of(run: Run, code: str, details: dict[str, Any]) -> list[Row]:
    """The lines of a finished run from its metrics/details.json. Raises StudyError naming what that lacks."""
    arms, views = details.get("arms", {}), details.get("views", {})
    try:
        flat = arms["flat"]["aligned"]["nrmse"] if "flat" in arms else None
        return [_row(run, code, name, arm, views.get(arm.get("view"), {}), flat) for name, arm in sorted(arms.items())]
    except (KeyError, TypeError, AttributeError) as error:
        raise StudyError(f"metrics/details.json of {run.name(code)}: no entry {error}") from None


def _row(
    run: Run, code: str, name: str, arm: dict[str, Any], view: dict[str, Any], flat_nrmse: float | None
) -> Row:  # fmt: skip
    best, share = arm["aligned"], arm.get("share", 1.0)
    frc, nbar = best["frc"], view.get("photons_per_pixel")
    lost = name not in CONTROLS and statistics.collapsed(best["nrmse"], flat_nrmse, arm["valid_fraction"])
    return Row(
        run.design, code, run.dose, run.overlap_dense, run.seed_object, run.seed_noise, run.seed_network,
        arm=name,
        view=arm.get("view"),
        overlap=view.get("overlap_ratio"),
        group_size=arm.get("group_size"),
        share=share,
        nbar=None if nbar is None else nbar * share,
        alpha=view.get("alpha"),
        m2=view.get("m2_between_images"),
        nrmse=best["nrmse"],
        phase_ssim=best["phase"]["ssim"],
        amplitude_ssim=best["amplitude"]["ssim"],
        phase_mae=best["phase"]["mae"],
        amplitude_mae=best["amplitude"]["mae"],
        frc50_first=frc["0.5"]["first"],
        frc50_last=frc["0.5"]["last"],
        half_bit_first=frc["half_bit"]["first"],
        frc_area=frc["area"],
        half_period_nm=frc["0.5"]["first_half_period_nm"],
        deviance=arm.get("deviance"),
        nrmse_raw=arm["raw"]["nrmse"],
        flat_nrmse=flat_nrmse,
        collapsed=lost,
    )  # fmt: skip


def read(path: Path) -> list[Row]:
    """The lines of a sweep.csv. Raises StudyError (file and line) when absent or not of this form."""
    kinds = get_type_hints(Row)
    try:
        with open(path, newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            if tuple(reader.fieldnames or ()) != COLUMNS:
                raise StudyError(f"{path}: columns differ from this version's; move it away and run `make sweep`")
            return [Row(**{key: _parse(kinds[key], text) for key, text in line.items()}) for line in reader]
    except FileNotFoundError:
        raise StudyError(f"{path}: not found; run `make sweep`") from None
    except (ValueError, KeyError, TypeError) as error:
        raise StudyError(f"{path}: line {reader.line_num} is damaged ({error}); `git restore {path}`") from None


def _parse(kind: Any, text: str) -> Any:
    """A CSV cell as the type of its field; an empty one is None where the field allows it."""
    options = getattr(kind, "__args__", (kind,))
    if text == "" and type(None) in options:
        return None
    return {"0": False, "1": True}[text] if options[0] is bool else options[0](text)


def _format(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.6g}" if isinstance(value, float) else str(int(value) if isinstance(value, bool) else value)


def write(path: Path, rows: Iterable[Row]) -> None:
    """Write a sweep.csv: numbers with six digits, a line per row."""
    with atomic_path(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows([_format(value) for value in astuple(row)] for row in rows)


def merged(old: Sequence[Row], new: Sequence[Row], code: str) -> list[Row]:
    """Old rows with those of new runs in place of their own: other codes first, then `code`, sorted by run and arm."""
    fresh = {(row.code, row.run) for row in new}
    kept = [row for row in old if (row.code, row.run) not in fresh]
    mine = [row for row in kept if row.code == code] + list(new)
    mine.sort(key=lambda row: (row.design != "star", row.dose, -row.overlap_dense, astuple(row.run), row.arm))
    return [row for row in kept if row.code != code] + mine


def add(path: Path, run: Run, code: str, details: dict[str, Any]) -> None:
    """Put a finished run's lines into a sweep.csv, which need not exist. Raises StudyError as rows_of and read."""
    new = rows_of(run, code, details)
    write(path, merged(read(path) if path.is_file() else [], new, code))


def latest(rows: Sequence[Row], design: str) -> list[Row]:
    """The rows of a design that its newest code has measured: what tables and figures show."""
    mine = [row for row in rows if row.design == design]
    return [row for row in mine if row.code == mine[-1].code]


def select(rows: Sequence[Row], arm: str, dose: float) -> list[Row]:
    """The rows of an arm at a dose, each independent run once.

    Runs that differ in the network's seed alone and score the same are one run: no network takes part in that arm.
    """
    chosen: dict[tuple[object, ...], Row] = {}
    for row in rows:
        if row.arm == arm and row.dose == dose:
            chosen.setdefault((row.design, row.overlap_dense, row.seed_object, row.seed_noise, row.nrmse), row)
    return list(chosen.values())
