"""A search's budget of time: minutes on the wall and GPU-hours, over all processes that worked on it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Literal

from vidpred.cluster.contract import Search, Spent

_TELL_SECONDS = 5


class Budget:
    """Counts time while a search runs.

    Args:
        search: Its limits.
        before: What was spent in earlier processes.
        tell: Told every few seconds.
        now: Seconds, from any start.
    """

    def __init__(
        self,
        search: Search,
        before: Spent,
        tell: Callable[[Spent], None],
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._search, self._tell, self._now = search, tell, now
        self.spent = Spent(before.seconds, before.gpu_seconds)
        self._gpus = 0.0
        self._last = self._told = now()

    def holds(self, gpus: float) -> None:
        """That the trials which run have set aside together, from now on."""
        if gpus != self._gpus:
            self._count()
            self._gpus = gpus

    def used_up(self) -> Literal["minutes", "gpu_hours"] | None:
        """Which limit is reached."""
        self._count()
        if self._last - self._told >= _TELL_SECONDS:
            self.tell()
        for why, spent, limit in (
            ("minutes", self.spent.seconds, self._search.max_seconds),
            ("gpu_hours", self.spent.gpu_seconds, self._search.max_gpu_seconds),
        ):
            if limit is not None and spent >= limit:
                return why  # type: ignore[return-value]  # mypy widens the tuple's strings
        return None

    def tell(self) -> None:
        """How much it is by now."""
        self._count()
        self._told = self._last
        self._tell(Spent(self.spent.seconds, self.spent.gpu_seconds))

    def _count(self) -> None:
        now = self._now()
        self.spent.seconds += now - self._last
        self.spent.gpu_seconds += (now - self._last) * self._gpus
        self._last = now
