"""sweep.csv: a line per run and arm; in Python a dict by column, with None for an empty cell."""

import csv
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, astuple, fields
from pathlib import Path
from typing import Any

from ptychodose.errors import StudyError
from ptychodose.formats.atomic import atomic_path
from ptychodose.formats.untrusted import one_line
from ptychodose.sweeps import statistics
from ptychodose.sweeps.design import Run

CONTROLS = ("flat", "oracle")  # rows that no one reconstructs: they cannot collapse
OPTIONAL = ("view", "overlap", "nbar", "phase_ssim", "flat_nrmse")
Row = dict[str, Any]


def _finite(text: str) -> float:
    if not math.isfinite(float(text)):
        raise ValueError(f"{text!r} is not a finite number")
    return float(text)


def _flag(text: str) -> int:
    return ("0", "1").index(text)


COLUMNS: dict[str, Callable[[str], Any]] = {  # and how a cell is read
    "design": str, "code": str, "dose": _finite, "overlap_dense": _finite,
    "seed_object": int, "seed_noise": int, "seed_network": int,  # with code, these are the run
    "arm": str,
    "view": str,
    "overlap": _finite,  # ratio, of the arm's view
    "share": _finite,  # of the view's photons, left by thinning
    "nbar": _finite,  # detected photons per object pixel that the arm saw
    "nrmse": _finite,  # complex, after alignment
    "phase_ssim": _finite,  # after alignment; empty when truth's phase has no contrast
    "flat_nrmse": _finite,  # of the same run's flat object
    "collapsed": _flag,  # 1: see statistics.collapsed
}  # fmt: skip


def run_of(row: Row) -> Run:
    """The run a line belongs to."""
    return Run(**{field.name: row[field.name] for field in fields(Run)})


def rows_of(run: Run, code: str, details: Mapping[str, Any]) -> list[Row]:
    """The lines of a finished run from its metrics/details.json. Raises StudyError naming what that lacks."""
    arms = details.get("arms", {})
    try:
        flat = arms["flat"]["aligned"]["nrmse"] if "flat" in arms else None
        shared = {**asdict(run), "code": code, "flat_nrmse": flat}
        return [{**shared, "arm": name, **_cells(name, arms[name], details, flat)} for name in sorted(arms)]
    except (KeyError, TypeError, AttributeError) as error:
        raise StudyError(f"metrics/details.json of {run.name(code)}: no entry {error}") from None


def _cells(name: str, arm: Mapping[str, Any], details: Mapping[str, Any], flat: float | None) -> Row:
    """What differs from arm to arm of a run."""
    view, share = details.get("views", {}).get(arm.get("view"), {}), arm.get("share", 1.0)
    nbar, nrmse = view.get("photons_per_pixel"), arm["aligned"]["nrmse"]
    return {
        "view": arm.get("view"),
        "overlap": view.get("overlap_ratio"),
        "share": share,
        "nbar": None if nbar is None else nbar * share,
        "nrmse": nrmse,
        "phase_ssim": arm["aligned"]["phase"]["ssim"],
        "collapsed": int(name not in CONTROLS and statistics.collapsed(nrmse, flat, arm["valid_fraction"])),
    }


def read(path: Path) -> list[Row]:
    """The lines of a sweep.csv. Raises StudyError (file and line) when absent or not of this form."""
    try:
        with open(path, newline="", encoding="utf-8") as file:
            lines = csv.DictReader(file)
            if lines.fieldnames != list(COLUMNS):
                raise StudyError(f"{path}: columns differ from this version's; move it away and run `make sweep`")
            return [
                {k: None if text == "" and k in OPTIONAL else COLUMNS[k](text) for k, text in line.items()}
                for line in lines
            ]
    except FileNotFoundError:
        raise StudyError(f"{path}: not found; run `make sweep`") from None
    except (ValueError, KeyError, TypeError, csv.Error) as error:
        raise StudyError(
            f"{path}: line {lines.line_num} is damaged ({one_line(error)}); `git restore {path}`"
        ) from None


def write(path: Path, rows: Iterable[Row]) -> None:
    """Write a sweep.csv: numbers with six digits, a line per row."""
    with atomic_path(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        lines = csv.DictWriter(file, list(COLUMNS), lineterminator="\n")
        lines.writeheader()
        for row in rows:
            lines.writerow({k: f"{value:.6g}" if isinstance(value, float) else value for k, value in row.items()})


def add(path: Path, run: Run, code: str, details: Mapping[str, Any]) -> None:
    """Put a finished run's lines into a sweep.csv, which need not exist, in place of what it had of this run.

    Rows of other codes stay in front as they are, those of `code` are sorted. Raises StudyError as rows_of and read.
    """
    rows = read(path) if path.is_file() else []
    mine = [row for row in rows if row["code"] == code and run_of(row) != run] + rows_of(run, code, details)
    write(path, [row for row in rows if row["code"] != code] + sorted(mine, key=_place))


def _place(row: Row) -> tuple[object, ...]:
    """The star before the heat map; by dose, falling overlap, seeds and arm."""
    return row["design"] != "star", row["dose"], -row["overlap_dense"], *astuple(run_of(row)), row["arm"]


def latest(rows: Sequence[Row], design: str) -> list[Row]:
    """The rows of a design that its newest code has measured: what tables and charts show."""
    mine = [row for row in rows if row["design"] == design]
    return [row for row in mine if row["code"] == mine[-1]["code"]]


def select(rows: Sequence[Row], arm: str, dose: float) -> list[Row]:
    """The rows of an arm at a dose, each independent run once.

    Runs that differ in the network's seed alone and score the same are one run: no network takes part in that arm.
    """
    chosen: dict[tuple[object, ...], Row] = {}
    for row in rows:
        if row["arm"] == arm and row["dose"] == dose:
            same = row["design"], row["overlap_dense"], row["seed_object"], row["seed_noise"], row["nrmse"]
            chosen.setdefault(same, row)
    return list(chosen.values())
