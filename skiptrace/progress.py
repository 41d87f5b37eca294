"""How far a long loop is: a bar on a terminal, a line now and then in a log."""

import sys
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from tqdm import tqdm

EVERY = 30.0  # seconds between two lines of a log; a loop that is done sooner leaves none

T = TypeVar("T")


class _Lines(tqdm):  # type: ignore[type-arg]
    """Whole lines where tqdm writes one line over and over."""

    monitor_interval = 0  # no thread of its own: stages fork

    @staticmethod
    def status_printer(file: Any) -> Callable[[str], None]:
        def write(status: str) -> None:
            if status:
                file.write(f"{status}\n")
                file.flush()

        return write

    def close(self) -> None:
        if self.disable:
            return
        if self.last_print_t >= self.start_t + EVERY and self.n > self.last_print_n:
            self.display()
        self.disable = True
        self._decr_instances(self)  # type: ignore[attr-defined]

    def moveto(self, n: int) -> None:
        """A log has one place, the end."""


def progress(
    items: Iterable[T],
    name: str,
    total: int | None = None,
    initial: int = 0,
    unit: str = "it",
    leave: bool = True,
) -> "tqdm[T]":
    """The items, one by one; on standard error, how many are done of `total` and the time they have left.

    `initial` of them were done before. `set_postfix` adds to the line.
    """
    shared: dict[str, Any] = {"total": total, "initial": initial, "unit": unit}
    if sys.stderr is not None and sys.stderr.isatty():
        return tqdm(items, name, leave=leave, **shared)
    count = "{n_fmt} of {total_fmt}, {elapsed} passed, {remaining} left"
    if total is None and not hasattr(items, "__len__"):
        count = "{n_fmt}{unit}, {elapsed} passed"
    line = f"{{desc}}: {count}{{postfix}}"
    return _Lines(items, name, mininterval=EVERY, delay=EVERY, miniters=1, bar_format=line, **shared)
