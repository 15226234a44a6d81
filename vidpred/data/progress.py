"""What people see of the work: a progress bar, silent where nobody watches a terminal, and what was set aside."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager

log = logging.getLogger(__name__)

EXAMPLES = 3
"""Inputs of each reason that are named."""
WORTH_A_BAR = 4_000_000
"""Bytes; fewer are there before a bar is."""


def tell_set_aside(examples: Iterable[tuple[str, str]], counts: Mapping[str, int], *, more: str) -> None:
    """Warns of inputs that cannot be used, a few of each reason.

    Args:
        examples: Name and reason (`code` or `code: detail`) of some of them, at least `EXAMPLES` of each code.
        counts: How many there are of each code.
        more: Where the others are to be found.
    """
    alike: dict[str, list[str]] = {code: [] for code in counts}
    for name, reason in examples:
        alike[reason.split(":")[0]].append(f"{name}: {reason}")
    for code, lines in alike.items():
        for line in lines[:EXAMPLES]:
            log.warning("set aside %s", line)
        if counts[code] > EXAMPLES:
            log.warning("and %d more: %s", counts[code] - EXAMPLES, code)
    if any(count > EXAMPLES for count in counts.values()):
        log.warning("%s", more)


@contextmanager
def progress(text: str, total: int) -> Iterator[Callable[[], None]]:
    """Shows how many of `total` are done; what it gives is called once for each."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(text, total=total)
        yield lambda: bar.advance(task)


@contextmanager
def transfer(text: str, total: int) -> Iterator[Callable[[int], None]]:
    """Shows how many bytes of `total` have come, and how fast; what it gives is called with those that are new."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    shown = console.is_terminal and total >= WORTH_A_BAR
    with Progress(*columns, TimeRemainingColumn(), console=console, transient=True, disable=not shown) as bar:
        task = bar.add_task(text, total=total)
        yield lambda count: bar.advance(task, count)
