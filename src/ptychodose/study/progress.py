"""Progress bars: lively on a terminal, a line at every tenth in a log."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from tqdm import tqdm

LINE = "{desc}: {percentage:3.0f}% {n_fmt}/{total_fmt} {unit}s [{elapsed}<{remaining}{postfix}]"
_running: "list[tqdm[Any]]" = []  # bars of `steps`, innermost last: where `beat` is shown


class _Lines(tqdm):
    """A bar in a file or pipe: a line of its own whenever another tenth is done."""

    tenths: int | None = None  # of the last line; tqdm asks for one at the start

    def display(self, *_: Any, **__: Any) -> None:
        """The line, if it is time for one."""
        tenths = int(10 * self.n / self.total) if self.total else 0
        if self.tenths is not None and tenths > self.tenths:
            self.fp.write(f"{self}\n")
        self.tenths = tenths

    def clear(self, *_: Any, **__: Any) -> None:
        """Nothing: what stands in a log stays."""

    def close(self) -> None:
        """Nothing more: tqdm would write the line again."""
        self.disable = True


def bar(total: int, label: str, unit: str, done: int = 0) -> "tqdm[Any]":
    """A tqdm bar over `total` units, `done` of them already."""
    if sys.stderr.isatty():
        return tqdm(total=total, initial=done, desc=label, unit=unit)
    return _Lines(total=total, initial=done, desc=label, unit=unit, bar_format=LINE, mininterval=0, miniters=0)


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
