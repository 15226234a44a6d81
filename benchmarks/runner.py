"""What every benchmark's command does around its measuring: options, a folder, facts of the machine, table and JSON.

In: what to measure, as rows. Out: the table on stdout, the same as JSON, and an exit code.
"""

from __future__ import annotations

import argparse
import logging
import sys
import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from benchmarks.contest import Clock, Row, machine, show, write
from vidpred.errors import UserError
from vidpred.workspace import set_up_logging

log = logging.getLogger(__name__)


def options(name: str, about: str | None, *, quick: str, only: Collection[str] = ()) -> argparse.ArgumentParser:
    """Options that all benchmarks have.

    Args:
        name: Of the benchmark's module.
        about: Its docstring.
        quick: What `--quick` makes of it.
        only: Parts that may be asked for by name; none: it has no parts.
    """
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks.{name}", description=about)
    parser.add_argument("--quick", action="store_true", help=quick)
    if only:
        parser.add_argument("--only", action="append", choices=only, help="one of the benchmarks; may be repeated")
    parser.add_argument("--out", type=Path, default=Path(f"results/bench/{name}.json"), help="where the figures go")
    return parser


def at_least(chosen: argparse.Namespace, **least: int) -> None:
    """Refuses numbers that are too small; what is not given is passed over.

    Raises:
        UserError: one is.
    """
    for name, smallest in least.items():
        value = getattr(chosen, name)
        if value is not None and value < smallest:
            raise UserError(f"--{name} {value}: give at least {smallest}")


def command(parser: argparse.ArgumentParser, run: Callable[[argparse.Namespace], None]) -> None:
    """Reads the command line and runs; a `UserError` is one line and exit code 1, Ctrl-C is 130."""
    chosen = parser.parse_args()
    set_up_logging()
    try:
        run(chosen)
    except UserError as error:
        log.error("%s", error)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)


@contextmanager
def workplace(parent: Path | None = None) -> Iterator[Path]:
    """An empty folder, gone afterwards; in the system's temporary one unless told."""
    with tempfile.TemporaryDirectory(prefix="vidpred-bench-", dir=parent) as folder:
        yield Path(folder)


def publish(
    measure: Callable[[], list[Row]], folder: Path, *, out: Path, facts: Mapping[str, object], title: str
) -> None:
    """Measures, writes and prints.

    Args:
        measure: Gives the rows.
        folder: On the disk that is measured.
        out: Where the figures go.
        facts: What was measured, beside what is known of the machine.
        title: Of the table.
    """
    told = machine(folder) | dict(facts)
    began = Clock.now()
    rows = measure()
    told["taken by others"] = began.others(Clock.now())
    write(out, rows, told)
    show(rows, told, title=title)
    log.info("written to %s", out)
