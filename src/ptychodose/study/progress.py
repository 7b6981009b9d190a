"""Progress bars: lively on a terminal, a line now and then in a log."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from tqdm import tqdm

_running: "list[tqdm[Any]]" = []  # bars of `steps`, innermost last: where `beat` is shown


def bar(total: int, label: str, unit: str, done: int = 0) -> "tqdm[Any]":
    """A tqdm bar over `total` units, `done` of them already; a file or pipe gets a line every 20 seconds."""
    interval = 0.1 if sys.stderr.isatty() else 20.0
    return tqdm(total=total, initial=done, desc=label, unit=unit, mininterval=interval)


@contextmanager
def steps(total: int, label: str) -> Iterator[Callable[[str], None]]:
    """A bar over `total` long steps; the callable that it yields names the one that begins and counts the last."""
    begun = 0
    with bar(total, label, "step") as shown:
        shown.miniters = 0  # `beat` moves nothing and is shown all the same

        def begin(name: str) -> None:
            nonlocal begun
            shown.update(int(begun > 0))
            begun += 1
            shown.set_description_str(f"{label}: {name}")

        _running.append(shown)
        try:
            yield begin
            shown.update(int(begun > 0))
        finally:
            _running.pop()


def beat(iteration: int) -> None:
    """Show on the bar of the running command, if there is one, which iteration its step has reached."""
    if _running:
        _running[-1].set_postfix_str(f"iteration {iteration}", refresh=False)
        _running[-1].update(0)
