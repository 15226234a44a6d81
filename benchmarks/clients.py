"""Clients that upload one GIF after the other, each over a connection of its own. Used by `benchmarks.serve`."""

from __future__ import annotations

import http.client
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit

_BOUNDARY = "vidpred-benchmark-0f3b7c"
_HEADERS = {"Content-Type": f"multipart/form-data; boundary={_BOUNDARY}"}


def form(gif: bytes, **fields: object) -> bytes:
    """The body of an upload."""
    parts = [
        f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
        for name, value in fields.items()
    ]
    head = f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="clip.gif"\r\n\r\n'
    return b"".join([*parts, head.encode(), gif, f"\r\n--{_BOUNDARY}--\r\n".encode()])


@dataclass
class Load:
    """What clients saw."""

    seconds: float = 0.0
    """How long they went on."""
    latencies: list[float] = field(default_factory=list)
    """Seconds from the first byte sent to the last one received, of answers that are a GIF."""
    statuses: Counter[int] = field(default_factory=Counter)
    """Answers by status; 0: none came."""

    @property
    def rate(self) -> float:
        """GIFs a second."""
        return len(self.latencies) / self.seconds

    @property
    def errors(self) -> int:
        """Answers that are neither a GIF nor `come back later`, and those that did not come."""
        return sum(count for status, count in self.statuses.items() if status not in (200, 429))


def load(url: str, bodies: Sequence[bytes], *, clients: int, seconds: float, heed: bool = True) -> Load:
    """Uploads as fast as the answers come.

    Args:
        url: Of the server.
        bodies: Sent in turn.
        clients: At once.
        seconds: How long.
        heed: Whether who is told to come back later waits as long as he is told; else a tenth of a second.
    """
    seen, lock = Load(), threading.Lock()
    began = time.monotonic()
    end = began + seconds
    address = urlsplit(url).netloc

    def client(number: int) -> None:
        connection = http.client.HTTPConnection(address, timeout=120)
        latencies, statuses, turn = [], Counter[int](), number
        while time.monotonic() < end:
            body, started = bodies[turn % len(bodies)], time.monotonic()
            turn += clients
            try:
                connection.request("POST", "/api/predict", body, _HEADERS)
                answer = connection.getresponse()
                content, status, later = answer.read(), answer.status, answer.getheader("Retry-After")
            except (OSError, http.client.HTTPException):
                connection.close()
                content, status, later = b"", 0, None
            statuses[status] += 1
            if status == 200 and content.startswith(b"GIF8"):
                latencies.append(time.monotonic() - started)
            if status == 429:
                connection.close()
                time.sleep(min(float(later or 1) if heed else 0.1, max(0.0, end - time.monotonic())))
        connection.close()
        with lock:
            seen.latencies += latencies
            seen.statuses += statuses

    threads = [threading.Thread(target=client, args=(number,)) for number in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seen.seconds = time.monotonic() - began
    return seen
