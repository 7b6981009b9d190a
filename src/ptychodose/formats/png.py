"""Pictures as deterministic PNG bytes (Agg, matplotlib's own style and fonts, no software tag)."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import matplotlib
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from ptychodose.formats.atomic import atomic_path

DPI = 100
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")  # Okabe & Ito


@contextmanager
def style() -> Iterator[None]:
    """Matplotlib's defaults, whatever the user's matplotlibrc or this process has set: its DejaVu fonts, no locale."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        yield


def save_figure(draw: Callable[[], Figure], path: Path) -> None:
    """Write what `draw` makes as a PNG whose bytes depend on the drawing and matplotlib's version only. Artists take
    their style when they are made, so that `draw` is called in here."""
    with style(), atomic_path(path) as temporary:
        figure = draw()
        FigureCanvasAgg(figure)
        figure.savefig(temporary, format="png", dpi=DPI, metadata={"Software": None})
