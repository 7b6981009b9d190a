"""Progress bars: lively on a terminal, a line now and then in a log."""

import sys
from typing import Any

from tqdm import tqdm


def bar(total: int, label: str, unit: str, done: int = 0) -> "tqdm[Any]":
    """A tqdm bar over `total` units, `done` of them already; a file or pipe gets a line every 20 seconds."""
    interval = 0.1 if sys.stderr.isatty() else 20.0
    return tqdm(total=total, initial=done, desc=label, unit=unit, mininterval=interval)
