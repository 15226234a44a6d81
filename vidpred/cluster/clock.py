"""What a trial knows of itself: how long it has computed, in all its starts, and where it is."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ray

from vidpred.cluster.scratch import scratch

CLOCK = "clock.json"
"""Beside what a trial saves: how long it has computed."""


class Clock:
    """Seconds that a trial has computed, in all its starts."""

    def __init__(self) -> None:
        self._before, self._since = 0.0, time.monotonic()

    @property
    def seconds(self) -> float:
        """Up to now."""
        return self._before + time.monotonic() - self._since

    def write(self, folder: Path) -> None:
        """Beside what was saved."""
        (folder / CLOCK).write_text(json.dumps({"seconds": self.seconds}))

    def go_on(self, folder: Path) -> None:
        """From where that was saved."""
        if (kept := folder / CLOCK).is_file():
            self._before, self._since = json.loads(kept.read_text())["seconds"], time.monotonic()


def whereabouts() -> dict[str, Any]:
    """Of this process."""
    context = ray.get_runtime_context()
    return {"node_id": context.get_node_id(), "node_ip": ray.util.get_node_ip_address(), "pid": os.getpid()}


@contextmanager
def saved(save: Callable[[Path], object], clock: Clock) -> Iterator[Path]:
    """A folder with what a trial saved and its clock, gone afterwards."""
    with scratch() as made:
        folder = Path(made)
        save(folder)
        clock.write(folder)
        yield folder
