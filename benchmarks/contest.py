"""Contests: contestants that take turns on the same work, the ratios of their times, and the table of them all.

In: functions to time. Out: rows, each a ratio with its spread and its limit, printed as a table and written as JSON.
Absolute times are those of one machine at one hour; a ratio of two neighbouring turns is what can be compared.
"""

from __future__ import annotations

import logging
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from vidpred.workspace import cores, write_json

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    name: str
    """Of the benchmark: what `--only` takes."""
    what: str
    """What was measured, against what."""
    value: float | None = None
    """The median over the repeats; None: not measured."""
    unit: str = "x"
    """`x`: so many times as fast as the other."""
    limit: float | None = None
    """What is to be reached; None: told for the reader, without a limit."""
    at_least: bool = True
    """Whether the value has to reach the limit, or must not pass it."""
    low: float | None = None
    """Smallest of the repeats."""
    high: float | None = None
    """Largest of the repeats."""
    repeats: int = 1
    """How often it was measured."""
    note: str = ""
    """What a reader of the figure has to know."""

    @property
    def met(self) -> bool | None:
        """Whether the limit is met; None where there is nothing to compare."""
        if self.value is None or self.limit is None:
            return None
        return self.value >= self.limit if self.at_least else self.value <= self.limit


Turn = Callable[[Path], object]
"""A contestant: does the work, in an empty folder of its own."""


def take_turns(contestants: Mapping[str, Turn], repeats: int, folder: Path) -> dict[str, list[float]]:
    """Times in seconds, A B A B, so that whatever else the machine does falls on all alike.

    The folders stay until the caller removes `folder`: on some file systems making files is slow just after others
    were deleted.
    """
    times: dict[str, list[float]] = {name: [] for name in contestants}
    for repeat in range(repeats):
        for number, (name, turn) in enumerate(contestants.items()):
            own = folder / f"{repeat}-{number}"
            own.mkdir(parents=True)
            began = time.monotonic()
            turn(own)
            times[name].append(time.monotonic() - began)
            log.info("  %s: %.3g s (%d of %d)", name, times[name][-1], repeat + 1, repeats)
    return times


def versus(
    name: str,
    what: str,
    times: Mapping[str, Sequence[float]],
    ours: str,
    other: str,
    *,
    limit: float | None = None,
    scale: float = 1,
    note: str = "",
) -> Row:
    """How many times as fast ours is, by turns that stood side by side.

    Args:
        name: Of the benchmark.
        what: What was measured, against what.
        times: Of `take_turns`.
        ours: Whose speed is meant.
        other: Whom it is compared with.
        limit: What is to be reached.
        scale: So many times as much work was done by ours in its time.
        note: What a reader of the figure has to know.
    """
    ratios = [scale * b / a for a, b in zip(times[ours], times[other], strict=True)]
    seconds = f"{statistics.median(times[ours]):.3g} s and {statistics.median(times[other]):.3g} s"
    return Row(
        name,
        what,
        value=statistics.median(ratios),
        limit=limit,
        low=min(ratios),
        high=max(ratios),
        repeats=len(ratios),
        note=f"{seconds}; {note}" if note else seconds,
    )


def machine(folder: Path) -> dict[str, Any]:
    """What the figures depend on besides the code.

    Args:
        folder: Where the work is done: its file system is named.
    """
    return {
        "processor": _processor(),
        "cores": cores(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": platform.python_version(),
        "file_system": file_system(folder),
    }


@dataclass(frozen=True)
class Clock:
    """Processor time so far, in seconds."""

    wall: float
    own: float
    """Of this process and those that it started."""
    all: float | None
    """Of the whole machine; None where the system does not say."""

    @classmethod
    def now(cls) -> Clock:
        """Reads it."""
        try:
            fields = Path("/proc/stat").read_text().split(maxsplit=9)[1:8]
        except OSError:
            return cls(time.monotonic(), sum(os.times()[:4]), None)
        user, nice, system, _idle, _waiting, interrupts, soft_interrupts = map(int, fields)
        busy = (user + nice + system + interrupts + soft_interrupts) / os.sysconf("SC_CLK_TCK")
        return cls(time.monotonic(), sum(os.times()[:4]), busy)

    def others(self, later: Clock) -> str:
        """What share of the machine's cores others took until `later`: how much the figures can be trusted."""
        if self.all is None or later.all is None:
            return "unknown"
        taken = (later.all - self.all) - (later.own - self.own)
        return f"{max(0.0, taken) / ((later.wall - self.wall) * (os.cpu_count() or 1)):.0%}"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or "unknown"
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")


def file_system(folder: Path) -> str:
    """The kind of file system that a folder is on, such as `ext4` or `tmpfs` (which is memory)."""
    try:
        mounts = [line.split()[1:3] for line in Path("/proc/self/mounts").read_text().splitlines()]
    except OSError:
        return "unknown"
    own = folder.resolve()
    holding = [(len(point), kind) for point, kind in mounts if own.is_relative_to(point)]
    return max(holding)[1] if holding else "unknown"


def write(path: Path, rows: Sequence[Row], facts: Mapping[str, Any]) -> None:
    """The table as JSON."""
    write_json(path, {"machine": dict(facts), "rows": [asdict(row) | {"met": row.met} for row in rows]})


def show(rows: Sequence[Row], facts: Mapping[str, Any], *, title: str = "data layer") -> None:
    """Prints the table to stdout."""
    table = Table(title=title, title_justify="left", show_lines=True)
    for heading in ("benchmark", "what", "measured", "spread", "limit", "met"):
        table.add_column(heading, justify="right" if heading in ("measured", "spread", "limit") else "left")
    styles = {True: "[green]yes", False: "[bold red]no", None: "—"}
    for row in rows:
        sign = "≥" if row.at_least else "≤"
        table.add_row(
            row.name,
            f"{row.what}\n[dim]{row.note}" if row.note else row.what,
            "not measured" if row.value is None else _figure(row.value, row.unit),
            "—"
            if row.low is None or row.high is None
            else f"{_figure(row.low)} to {_figure(row.high)}, {row.repeats}x",
            "—" if row.limit is None else f"{sign} {_figure(row.limit, row.unit)}",
            styles[row.met],
        )
    console = Console(width=None if Console().is_terminal else 150)
    console.print(table)
    console.print(", ".join(f"{name} {value}" for name, value in facts.items()), highlight=False, soft_wrap=True)


def _figure(value: float, unit: str = "") -> str:
    """Three digits, and no exponent."""
    shown = f"{value:,.0f}" if abs(value) >= 100 or value == int(value) else f"{value:.3g}"
    return f"{shown}{unit}" if unit == "x" else f"{shown} {unit}".strip()
