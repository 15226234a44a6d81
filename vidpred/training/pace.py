"""How fast training goes and what it needs: clips a second, waiting for batches, memory; and the progress bar."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

log = logging.getLogger(__name__)

QUIET_SECONDS = 60.0
"""Between lines of a log, so that nobody takes a slow machine for one that hangs."""


class Pace:
    """Of the steps since it was made.

    Args:
        batch_size: Windows of a step.
        device: Whose memory is told.
    """

    def __init__(self, batch_size: int, device: torch.device) -> None:
        self.steps = 0
        self._batch_size, self._device = batch_size, device
        self._began, self._waited = time.perf_counter(), 0.0

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Inside, the step waits for its batch."""
        began = time.perf_counter()
        yield
        self._waited += time.perf_counter() - began

    def figures(self) -> dict[str, float]:
        """`clips_per_second`, `input_wait_share` and `memory_mb`, the most that was held so far."""
        seconds = time.perf_counter() - self._began
        return {
            "clips_per_second": self.steps * self._batch_size / seconds,
            "input_wait_share": self._waited / seconds,
            "memory_mb": most_held(self._device) / 2**20,
        }


def most_held(device: torch.device) -> int:
    """Bytes that this process held at the most: on the GPU that it computes on, else in memory."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    try:  # not ru_maxrss, which begins with what the process that started this one held
        with Path("/proc/self/status").open() as lines:
            return next(int(line.split()[1]) << 10 for line in lines if line.startswith("VmHWM:"))
    except (OSError, StopIteration):
        import resource
        import sys

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak << 10


def in_words(figures: dict[str, float]) -> str:
    """`310 clips/s, 1 % of it waiting for them, 1,234 MB`."""
    waits = f"{100 * figures['input_wait_share']:.0f} % waiting for them"
    return f"{figures['clips_per_second']:.0f} clips/s, {waits}, {figures['memory_mb']:,.0f} MB"


@contextmanager
def bar(*, first: int, steps: int, batch_size: int) -> Iterator[Callable[[int, str], None]]:
    """A progress bar with clips a second and a note; where stderr is no terminal, a line a minute.

    Yields:
        To be called after each step with its number and the note.
    """
    console = Console(stderr=True)
    columns = (
        TextColumn("train"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[note]}"), TimeRemainingColumn()
    )  # fmt: skip
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task, began = progress.add_task("train", total=steps, completed=first, note=""), time.perf_counter()
        told = began

        def tick(step: int, note: str) -> None:
            nonlocal told
            now = time.perf_counter()
            speed = (step - first) * batch_size / (now - began)
            progress.update(task, completed=step, note=f"{speed:.0f} clips/s{note and ', '}{note}")
            if progress.disable and now - told >= QUIET_SECONDS:
                told = now
                left = (steps - step) * batch_size / speed / 60
                log.info("step %d of %d, %.0f clips/s, about %.0f minutes left", step, steps, speed, left)

        yield tick
