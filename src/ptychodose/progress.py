"""Progress bars: lively on a terminal, a line now and then in a log."""

import sys
from typing import Any

from tqdm import tqdm


def bar(total: int, label: str, unit: str) -> "tqdm[Any]":
    """A tqdm bar over `total` units; in a file or pipe it writes every 20 seconds instead of ten times a second."""
    return tqdm(total=total, desc=label, unit=unit, mininterval=0.1 if sys.stderr.isatty() else 20.0)
