"""What the benchmarks of what models learn have in common: a table of columns, and a run that may be broken off.

In: rows, and for each column how a row's cell is told. Out: a table on stdout, the same as Markdown, and JSON.
"""

from __future__ import annotations

import logging
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from vidpred.errors import UserError
from vidpred.training.loop import Stopped
from vidpred.workspace import atomic, set_up_logging, write_json

log = logging.getLogger(__name__)

Row = dict[str, Any]
Columns = Mapping[str, Callable[[Row], str]]
"""By its heading, how a column tells of a row."""


def write(out: Path, rows: Sequence[Row], facts: Mapping[str, Any], columns: Columns) -> None:
    """The rows so far, as JSON and, beside it, as a page of docs/ has them."""
    write_json(out, {"machine": dict(facts), "rows": list(rows)})
    cells = [tuple(columns), ("---",) * len(columns), *(tuple(tell(row) for tell in columns.values()) for row in rows)]
    with atomic(out.with_suffix(".md")) as part:
        part.write_text("".join(f"| {' | '.join(line)} |\n" for line in cells), encoding="utf-8")


def show(rows: Sequence[Row], facts: Mapping[str, Any], columns: Columns, *, title: str) -> None:
    """The table on stdout."""
    table = Table(title=title, title_justify="left")
    for place, heading in enumerate(columns):
        table.add_column(heading, justify="right" if place else "left")
    for row in rows:
        table.add_row(*(tell(row) for tell in columns.values()))
    console = Console(width=None if Console().is_terminal else 150)
    console.print(table)
    console.print(", ".join(f"{name} {value}" for name, value in facts.items()), highlight=False, soft_wrap=True)


def at_least_one(chosen: object, *names: str) -> None:
    """Does nothing where options are positive, or not given.

    Raises:
        UserError: one is not.
    """
    for name in names:
        value = getattr(chosen, name)
        if value is not None and value < 1:
            raise UserError(f"--{name} {value}: give at least 1")


def carry_out(run: Callable[[Callable[[], bool]], None]) -> None:
    """Runs something that asks whether it should stop, as Ctrl-C and SIGTERM say; errors are one line."""
    set_up_logging()
    asked_to_stop: list[int] = []
    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, lambda number, _: asked_to_stop.append(number))
    try:
        run(lambda: bool(asked_to_stop))
    except UserError as error:
        log.error("%s", error)
        sys.exit(1)
    except Stopped:
        log.warning("stopped: what is done is kept, and the same command goes on from there")
        sys.exit(130)
