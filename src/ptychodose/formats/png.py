"""Pictures as deterministic PNG bytes (Agg, matplotlib's own fonts, no software tag)."""

from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from ptychodose.formats.atomic import atomic_path

DPI = 100
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")  # Okabe & Ito


def save_figure(figure: Figure, path: Path) -> None:
    """Write a PNG whose bytes depend on the drawing and matplotlib's version only."""
    FigureCanvasAgg(figure)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", dpi=DPI, metadata={"Software": None})
