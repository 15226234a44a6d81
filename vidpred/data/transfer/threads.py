"""Work that blocks, beside an event loop."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


async def in_thread(work: Callable[[], T]) -> T:
    """Result of a function that blocks, run in a thread of its own.

    asyncio's own threads are waited for when the process ends; this one is not, so Ctrl-C is not held up by a name
    server that says nothing.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def tell(set_it: Callable[[], None]) -> None:
        def unless_cancelled() -> None:
            if not future.done():
                set_it()

        with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile
            loop.call_soon_threadsafe(unless_cancelled)

    def run() -> None:
        try:
            result = work()
        except BaseException as error:  # noqa: BLE001 - it is raised where the result is awaited
            told = error
            tell(lambda: future.set_exception(told))
        else:
            tell(lambda: future.set_result(result))

    threading.Thread(target=run, name="fetch", daemon=True).start()
    return await future
