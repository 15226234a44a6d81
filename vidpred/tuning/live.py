"""How a sweep gets on, for people: a table that is drawn anew, or a line a trial where there is no terminal."""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal

import pandas as pd
from rich import box
from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from vidpred.cluster.contract import ENDED, Figures
from vidpred.training.figures import NOTHING_MOVES, gain_in_words
from vidpred.tuning.ledger import Ledger
from vidpred.tuning.results import GAINS, PREDICTS, describe, metric_in

log = logging.getLogger(__name__)

_LINES = 12
"""Of trials that have ended; running ones are all shown, as far as there is room."""
_STYLES = {"running": "cyan", "finished": "green", "stopped": "dim", "failed": "red", "interrupted": "yellow"}


class Board:
    """The table of a sweep that runs. Made by `shown`."""

    def __init__(self, ledger: Ledger, *, steps: int, trials: int | None) -> None:
        self._ledger, self._steps, self._trials = ledger, steps, trials
        self._last: dict[int, tuple[float, float | None]] = {}
        self._began = time.monotonic()
        self._metric = metric_in(())
        self.live: Live | None = None

    def reported(self, number: int, figures: Figures) -> None:
        """What a trial came to."""
        metric = self._metric = metric_in(figures)
        gain = figures.get(GAINS[metric])
        distance = float(figures.get(metric, math.nan))
        self._last[number] = distance, None if gain is None else float(gain)

    def ended(self, number: int) -> None:
        """A line, where no table is shown; of a failed trial always."""
        entry = self._ledger.entries[number]
        if entry.status == "failed":
            log.warning("trial %d failed (%s): %s", number, entry.reason, describe(entry.point))
        elif self.live is None and entry.status != "interrupted":
            why = f" ({entry.reason})" if entry.reason else ""
            log.info("trial %d %s%s: %s", number, entry.status, why, describe(entry.point))

    def __rich__(self) -> Table:
        entries = self._ledger.entries
        running = [n for n, e in entries.items() if e.status == "running"]
        rest = [n for n, e in entries.items() if e.status != "running"]
        rest.sort(key=lambda n: (entries[n].status == "failed", _order(self._last.get(n, (math.nan, None))[0])))
        shown = Table(box=box.SIMPLE_HEAD, title=self._title(len(running)), title_justify="left", expand=False)
        named = ("PD", "gain") if self._metric in PREDICTS else ("cross-entropy", "top-1")
        for name in ("trial", "model", "varied", "step", *named, "state"):
            justify: Literal["left", "right"] = "right" if name in ("trial", "step", *named) else "left"
            shown.add_column(name, justify=justify, no_wrap=name != "varied")  # which gives way on a narrow terminal
        for number in [*running[: 2 * _LINES], *rest[:_LINES]]:
            entry = entries[number]
            distance, gain = self._last.get(number, (math.nan, None))
            shown.add_row(
                str(number),
                entry.point["model"],
                Text(describe(entry.point).removeprefix(f"{entry.point['model']} "), overflow="ellipsis", no_wrap=True),
                f"{entry.step}/{self._steps}",
                "–" if math.isnan(distance) else f"{distance:.2f}",
                "–" if gain is None else _gain(self._metric, gain),
                entry.status,
                style=_STYLES.get(entry.status, ""),
            )
        hidden = len(entries) - shown.row_count
        if hidden > 0:
            shown.caption, shown.caption_justify = f"and {hidden} more; the best are shown", "left"
        return shown

    def _title(self, running: int) -> str:
        ended = sum(e.status in ENDED for e in self._ledger.entries.values())
        minutes, seconds = divmod(int(time.monotonic() - self._began), 60)
        of = f" of {self._trials}" if self._trials else ""
        return f"sweep {self._ledger.folder.name}: {ended}{of} trials ended, {running} running, {minutes}:{seconds:02d}"


@contextmanager
def shown(ledger: Ledger, *, steps: int, trials: int | None) -> Iterator[Board]:
    """Inside, the board is on the terminal, if stderr is one."""
    board = Board(ledger, steps=steps, trials=trials)
    for number in ledger.entries:
        rows = [row for row in ledger.rows(number) if row.get(metric_in(row)) is not None]
        if rows:
            board.reported(number, min(rows, key=lambda row: float(row[metric_in(row)])))
    console = Console(stderr=True)
    if not console.is_terminal:
        yield board
        return
    with Live(board, console=console, refresh_per_second=2, transient=True) as live:
        board.live = live
        yield board


def show_trials(trials: pd.DataFrame, *, most: int = 30) -> None:
    """Prints trials, best first."""
    shown = Table(title="Trials, best first")
    shown_as = ("val PD", "gain") if metric_in(trials) in PREDICTS else ("cross-entropy", "top-1")
    for name in ("trial", "model", "varied", "steps", *shown_as, "state"):
        words = name in ("model", "varied", "state")
        shown.add_column(name, justify="left" if words else "right", no_wrap=not words)
    order = trials.assign(failed=trials["status"] == "failed").sort_values(["failed", metric_in(trials)], kind="stable")
    for row in order[:most].to_dict("records"):
        shown.add_row(str(row["trial"]), row["model"], _varied(row), str(row["step"]), *_outcome(row))
    notes = [f"{len(trials) - most} more are in data/tune/trials.parquet"] if len(trials) > most else []
    if metric_in(trials) in PREDICTS and trials["val_gain"].isna().all():
        notes.append(f"no gains: {NOTHING_MOVES}")
    shown.caption = "; ".join(notes) or None
    console = Console(stderr=True)
    console.print(shown)
    for row in order[order["error"] != ""].head(_LINES).to_dict("records"):
        console.print(f"trial {row['trial']} failed: {row['error']}", markup=False, highlight=False, soft_wrap=True)


def _varied(row: Mapping[Any, Any]) -> str:
    point = {"model": row["model"], "config": json.loads(row["config"]), "train": json.loads(row["train"])}
    return describe(point).removeprefix(f"{row['model']} ")


def _outcome(row: Mapping[Any, Any]) -> tuple[str, str, str]:
    """Its figure, what is told beside that, and how it ended."""
    metric = metric_in(row)
    if row["error"] or pd.isna(row[metric]):
        return "–", "–", str(row["status"])
    gain = row[GAINS[metric]]
    return f"{row[metric]:.2f}", _gain(metric, gain) if pd.notna(gain) else "–", str(row["status"])


def _gain(metric: str, value: float) -> str:
    """The gain over the baseline; of a classifier top-1."""
    return gain_in_words(value) if metric in PREDICTS else f"{100 * value:.1f} %"


def _order(distance: float) -> float:
    return math.inf if math.isnan(distance) else distance
