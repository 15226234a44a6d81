"""Many jobs at once, so many of one host, and some of them later again.

A job that waits (for a slot of its host, or to be tried again) holds no slot of the others.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import time
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar


class HasHost(Protocol):
    """What is queued."""

    @property
    def host(self) -> str:
        """Whose slots it needs; may differ when it comes back."""


J = TypeVar("J", bound=HasHost)


@dataclass(frozen=True)
class Later:
    """A job comes back."""

    seconds: float = 0.0
    """After so long; 0: before those of its host that have not begun."""
    whole_host: bool = False
    """Whether all jobs of its host wait so long."""


class _Queue(Generic[J]):
    def __init__(self, jobs: Iterable[J], work: Callable[[J], Awaitable[Later | None]], per_host: int) -> None:
        self._work = work
        self._per_host = per_host
        self._ready: dict[str, deque[J]] = {}
        self._later: list[tuple[float, int, J]] = []
        self._resting: dict[str, float] = {}
        self._busy: Counter[str] = Counter()
        self._running: dict[asyncio.Task[Later | None], tuple[J, str]] = {}
        self._numbers = itertools.count()
        for job in jobs:
            self._ready.setdefault(job.host, deque()).append(job)

    async def run(self, at_once: int) -> None:
        """Returns when every job is done with; raises what a job's work raises."""
        try:
            while self._ready or self._later or self._running:
                self._wake()
                while len(self._running) < at_once and (job := self._next()):
                    self._busy[job.host] += 1
                    self._running[asyncio.create_task(self._coroutine(job))] = (job, job.host)
                await self._some_end()
        finally:
            for task in self._running:
                task.cancel()
            await asyncio.gather(*self._running, return_exceptions=True)

    async def _coroutine(self, job: J) -> Later | None:
        return await self._work(job)

    def _wake(self) -> None:
        """Brings those back whose time has come, to the front: what has begun is finished first."""
        now = time.monotonic()
        while self._later and self._later[0][0] <= now:
            job = heapq.heappop(self._later)[2]
            self._ready.setdefault(job.host, deque()).appendleft(job)
        self._resting = {host: until for host, until in self._resting.items() if until > now}

    def _next(self) -> J | None:
        """A job whose host has a slot; hosts take turns."""
        for host, jobs in self._ready.items():
            if self._busy[host] < self._per_host and host not in self._resting:
                job = jobs.popleft()
                del self._ready[host]
                if jobs:
                    self._ready[host] = jobs
                return job
        return None

    async def _some_end(self) -> None:
        """Waits until a job has ended or may begin."""
        moments = [*(when for when, _, _ in self._later[:1]), *self._resting.values()]
        pause = max(0.0, min(moments) - time.monotonic()) if moments else None
        if not self._running:
            await asyncio.sleep(pause or 0)
            return
        ended, _ = await asyncio.wait(self._running, timeout=pause, return_when=asyncio.FIRST_COMPLETED)
        for task in ended:
            job, host = self._running.pop(task)
            self._busy[host] -= 1
            if not self._busy[host]:
                del self._busy[host]
            again = task.result()
            if again is None:
                continue
            when = time.monotonic() + again.seconds
            heapq.heappush(self._later, (when, next(self._numbers), job))
            if again.whole_host:
                self._resting[host] = max(when, self._resting.get(host, 0.0))


async def run(jobs: Iterable[J], work: Callable[[J], Awaitable[Later | None]], *, at_once: int, per_host: int) -> None:
    """Works off all jobs.

    Args:
        jobs: In the order in which those of a host begin.
        work: None: done with; `Later`: to be worked on again.
        at_once: Jobs worked on at once, and
        per_host: of one host.
    """
    await _Queue(jobs, work, per_host).run(at_once)
