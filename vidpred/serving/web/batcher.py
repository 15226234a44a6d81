"""Work on what many requests want, in batches: while one batch is under way the next gathers, so nobody waits for
company that does not come.

In: one item from each request. Out: its own result. A batch is done by a function in a thread.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Executor
from typing import Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


class Batcher(Generic[Item, Result]):
    """Gathers items and has them done together."""

    def __init__(
        self,
        work: Callable[[Sequence[Item]], Sequence[Result | Exception]],
        executor: Executor,
        *,
        most: int,
        workers: int = 1,
        alike: Callable[[Item], Hashable],
        told: Callable[[int], object],
    ) -> None:
        """Starts nothing yet: `start`.

        Args:
            work: Gives a result, or what went wrong, for each item in order.
            executor: Where it runs.
            most: Items of a batch.
            workers: Batches under way at once.
            alike: Only items for which it gives the same come into one batch.
            told: Is told the size of each batch.
        """
        self._work, self._executor, self._most, self._alike, self._told = work, executor, most, alike, told
        self._workers = workers
        self._waiting: deque[tuple[Item, asyncio.Future[Result]]] = deque()
        self._arrived = asyncio.Condition()
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def depth(self) -> int:
        """Items that wait for their batch."""
        return len(self._waiting)

    def start(self) -> None:
        """Begins to work; within a running event loop."""
        self._tasks = [asyncio.create_task(self._serve()) for _ in range(self._workers)]

    async def stop(self) -> None:
        """Ends the work; nobody may be waiting any more."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def __call__(self, item: Item) -> Result:
        """The item's result; raises what went wrong with it."""
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        async with self._arrived:
            self._waiting.append((item, future))
            self._arrived.notify()
        return await future

    async def _serve(self) -> None:
        while True:
            async with self._arrived:
                await self._arrived.wait_for(lambda: bool(self._waiting))
                batch = self._gathered()
            if batch:
                await self._done([item for item, _ in batch], [future for _, future in batch])

    def _gathered(self) -> list[tuple[Item, asyncio.Future[Result]]]:
        """The first that wait and are alike."""
        batch: list[tuple[Item, asyncio.Future[Result]]] = []
        others: deque[tuple[Item, asyncio.Future[Result]]] = deque()
        while self._waiting and len(batch) < self._most:
            item, future = self._waiting.popleft()
            if future.done():  # its client has gone
                continue
            if batch and self._alike(item) != self._alike(batch[0][0]):
                others.append((item, future))
            else:
                batch.append((item, future))
        self._waiting.extendleft(reversed(others))
        return batch

    async def _done(self, items: list[Item], futures: list[asyncio.Future[Result]]) -> None:
        self._told(len(items))
        try:
            results = await asyncio.get_running_loop().run_in_executor(self._executor, self._work, items)
        except Exception as error:  # noqa: BLE001 - it is each request's own to tell
            results = [error] * len(items)
        for future, result in zip(futures, results, strict=True):
            if future.done():
                continue
            if isinstance(result, Exception):
                future.set_exception(result)
            else:
                future.set_result(result)
