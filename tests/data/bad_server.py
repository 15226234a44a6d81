"""A web server on loopback with good files and bad manners, one a path; it writes down what it was asked."""

from __future__ import annotations

import contextlib
import gzip
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

MEDIA = b"GIF89a" + random.Random(1).randbytes(300_000)
OTHER = b"GIF89a" + random.Random(2).randbytes(290_000)
SAME_LENGTH = b"GIF89a" + random.Random(3).randbytes(300_000)
STEP = 110_000
"""Bytes after which a connection is dropped."""


class BadServer(ThreadingHTTPServer):
    """What is known of all requests."""

    daemon_threads = True
    request_queue_size = 256

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.stopped = threading.Event()
        self.lock = threading.Lock()
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.hosts: list[str] = []
        self.now: Counter[str] = Counter()
        self.most: Counter[str] = Counter()
        self.connections = 0
        self.body = MEDIA

    @property
    def port(self) -> int:
        return int(self.server_address[1])

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def count(self, path: str) -> int:
        """How often a path was asked for."""
        return sum(asked == path for asked, _ in self.asked)

    def ranges(self, path: str) -> list[str | None]:
        """The Range of each request for a path."""
        return [headers.get("range") for asked, headers in self.asked if asked == path]

    def process_request(self, request: Any, client_address: Any) -> None:
        self.connections += 1
        super().process_request(request, client_address)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Silent: clients break off."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: BadServer

    def do_GET(self) -> None:
        path = self.path.split("?")[0]
        host = self.headers["Host"].split(":")[0]
        with self.server.lock:
            self.server.asked.append((path, {name.lower(): value for name, value in self.headers.items()}))
            self.server.hosts.append(host)
            self.server.now[host] += 1
            self.server.now["all"] += 1
            for name in (host, "all"):
                self.server.most[name] = max(self.server.most[name], self.server.now[name])
        name = path.strip("/").split("/")[0].split(".")[0]
        behave: Callable[[], None] = getattr(self, f"be_{name.replace('-', '_')}", self.be_good)
        try:
            with contextlib.suppress(OSError):  # the client has seen enough
                behave()
        finally:
            with self.server.lock:
                self.server.now[host] -= 1
                self.server.now["all"] -= 1

    do_HEAD = do_GET

    @property
    def nth(self) -> int:
        """1 for the first request of this path."""
        return self.server.count(self.path.split("?")[0])

    # how to answer

    def head(self, status: int = 200, **headers: object) -> None:
        self.send_response(status)
        for name, value in headers.items():
            if value is not None:
                self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()

    def drop(self) -> None:
        self.wfile.flush()
        self.close_connection = True
        with contextlib.suppress(OSError):
            self.connection.shutdown(2)

    def whole(self, body: bytes, *, kind: str = "image/gif", length: int | None = -1, **more: object) -> None:
        told = len(body) if length == -1 else length
        self.head(200, Content_Type=kind, Content_Length=told, **more)
        if self.command == "GET":
            self.wfile.write(body)
        if told != len(body):
            self.drop()

    def rest(
        self,
        body: bytes,
        *,
        etag: str | None = '"a"',
        heed_if_range: bool = True,
        limit: int | None = None,
        **more: object,
    ) -> None:
        """As a good server: the range asked for if it is of this version, else all; drops after `limit` bytes."""
        asked, wanted = self.headers.get("Range"), self.headers.get("If-Range")
        marks = (etag, more.get("Last_Modified"))
        start = 0
        if asked and (not heed_if_range or wanted in (None, *marks)):
            start = int(asked.removeprefix("bytes=").split("-")[0])
            more |= {"Content_Range": f"bytes {start}-{len(body) - 1}/{len(body)}"}
        self.head(206 if start else 200, Content_Type="image/gif", Content_Length=len(body) - start, ETag=etag, **more)
        if limit is None:
            self.wfile.write(body[start:])
        else:
            self.wfile.write(body[start : start + limit])
            if start + limit < len(body):
                self.drop()

    def log_message(self, *_: object) -> None:
        """Silent."""

    # behaviours, by the path's first word

    def be_good(self) -> None:
        self.rest(self.server.body)

    def be_drops(self) -> None:
        self.rest(MEDIA, limit=STEP)

    def be_dated(self) -> None:
        self.rest(MEDIA, etag=None, limit=STEP, Last_Modified="Wed, 21 Oct 2015 07:28:00 GMT")

    def be_ignores(self) -> None:
        self.head(200, Content_Type="image/gif", Content_Length=len(MEDIA), ETag='"a"')
        self.wfile.write(MEDIA[: STEP if self.nth == 1 else None])
        if self.nth == 1:
            self.drop()

    def be_unmarked(self) -> None:
        self.rest(MEDIA, etag=None, limit=STEP if self.nth == 1 else None)

    def be_weak(self) -> None:
        self.rest(MEDIA, etag='W/"a"', limit=STEP if self.nth == 1 else None)

    def be_changes(self) -> None:
        if self.nth == 1:
            self.rest(MEDIA, etag='"a"', limit=STEP)
        else:
            self.rest(OTHER, etag='"b"')

    def be_rude(self) -> None:
        """Changes, and gives a range of the new version for the old one."""
        if self.nth == 1:
            self.rest(MEDIA, etag='"a"', limit=STEP)
        else:
            self.rest(SAME_LENGTH, etag='"b"', heed_if_range=False)

    def be_sly(self) -> None:
        """As rude, without a mark; only the length tells."""
        if self.nth == 1:
            self.rest(MEDIA, etag='"a"', limit=STEP)
        else:
            self.rest(OTHER, etag=None, heed_if_range=False)

    def be_416(self) -> None:
        if self.headers.get("Range"):
            self.head(416, Content_Length=0)
        else:
            self.rest(MEDIA, limit=STEP if self.nth == 1 else None)

    def be_elsewhere(self) -> None:
        """Gives another range than asked for."""
        if self.headers.get("Range"):
            rest = len(MEDIA) - STEP
            self.head(206, Content_Length=rest, Content_Range=f"bytes 7-{rest + 6}/{len(MEDIA)}", ETag='"a"')
            self.wfile.write(MEDIA[7 : rest + 7])
        else:
            self.rest(MEDIA, limit=STEP if self.nth == 1 else None)

    def be_short(self) -> None:
        self.whole(MEDIA, length=len(MEDIA) + 50)

    def be_long(self) -> None:
        self.whole(MEDIA, length=len(MEDIA) - 50)

    def be_long_and_open(self) -> None:
        """Sends more than announced, in one or two, and keeps the connection."""
        body = MEDIA if "large" in self.path else MEDIA[:2000]
        self.head(200, Content_Type="image/gif", Content_Length=1000)
        for start, end in ((0, 1000), (1000, None)) if "two" in self.path else ((0, None),):
            self.wfile.write(body[start:end])

    def be_chunks(self) -> None:
        """Breaks off between two chunks the first time."""
        self.head(200, Content_Type="image/gif", Transfer_Encoding="chunked")
        for start in range(0, len(MEDIA), 100_000):
            block = MEDIA[start : start + 100_000]
            self.wfile.write(b"%x\r\n%s\r\n" % (len(block), block))
            if self.nth == 1:
                self.drop()
                return
        self.wfile.write(b"0\r\n\r\n")

    def be_stalls(self) -> None:
        self.head(200, Content_Type="image/gif", Content_Length=len(MEDIA), ETag='"a"')
        self.wfile.write(MEDIA[:STEP])
        self.server.stopped.wait(20)

    def be_silent(self) -> None:
        self.server.stopped.wait(20)

    def be_drips(self) -> None:
        self.head(200, Content_Type="image/gif", Content_Length=len(MEDIA))
        while not self.server.stopped.wait(0.05):
            self.wfile.write(b"G")

    def be_drips_headers(self) -> None:
        self.wfile.write(b"HTTP/1.1 200 OK\r\n")
        while not self.server.stopped.wait(0.05):
            self.wfile.write(b"X-More: yes\r\n")

    def be_steady(self) -> None:
        """A slice every twentieth of a second, with ranges."""
        start = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").split("-")[0])
        told = f"bytes {start}-{len(MEDIA) - 1}/{len(MEDIA)}" if start else None
        self.head(206 if start else 200, Content_Length=len(MEDIA) - start, ETag='"a"', Content_Range=told)
        for at in range(start, len(MEDIA), 20_000):
            self.wfile.write(MEDIA[at : at + 20_000])
            time.sleep(0.05)

    def be_busy(self) -> None:
        """`/busy/<how long to wait>`: once."""
        if self.nth > 1:
            self.be_good()
            return
        wait = self.path.rsplit("/", 1)[1].split(".")[0]
        told = formatdate(time.time() + 2, usegmt=True) if wait == "date" else wait
        self.head(429, Content_Length=0, Retry_After=told)

    def be_shaky(self) -> None:
        if self.nth < 3:
            self.head(503, Content_Length=0)
        else:
            self.be_good()

    def be_status(self) -> None:
        self.head(int(self.path.rsplit("/", 1)[1].split(".")[0]), Content_Length=0)

    def be_page(self) -> None:
        self.whole(b"<html>hello", kind="text/html; charset=utf-8")

    def be_disguised(self) -> None:
        self.whole(b"\xef\xbb\xbf\n<!DOCTYPE html><p>hello")

    def be_drips_page(self) -> None:
        self.head(200, Content_Type="image/gif", Content_Length=1000)
        self.wfile.write(b"<!doc")
        time.sleep(0.05)
        self.wfile.write(b"type html>" + b" " * 985)

    def be_empty(self) -> None:
        self.whole(b"")

    def be_endless(self) -> None:
        self.head(200, Content_Type="image/gif", Connection="close")
        self.wfile.write(b"\0" * 2_000_000)
        self.drop()

    def be_huge(self) -> None:
        self.head(200, Content_Type="image/gif", Content_Length=10**16)
        self.drop()

    def be_gzip(self) -> None:
        """Packs against our asking, offers to go on, and breaks off the first time."""
        packed = gzip.compress(MEDIA[:150_000]) + gzip.compress(MEDIA[150_000:])
        self.rest(packed, limit=STEP if self.nth == 1 else None, Content_Encoding="gzip")

    def be_gzip_cut(self) -> None:
        packed = gzip.compress(MEDIA)
        self.whole(packed[: len(packed) // 2], Content_Encoding="gzip")

    def be_gzip_bomb(self) -> None:
        self.whole(gzip.compress(b"\0" * 5_000_000), Content_Encoding="x-gzip")

    def be_gzip_no(self) -> None:
        self.whole(b"no gzip", Content_Encoding="gzip")

    def be_brotli(self) -> None:
        self.whole(b"what brotli makes", Content_Encoding="br")

    def be_nowhere(self) -> None:
        self.head(302, Content_Length=0)

    def be_to(self) -> None:
        """`/to/<word>`: redirects."""
        words = {
            "good": "../good.gif",
            "self": self.path,
            "file": "file:///etc/passwd",
            "ftp": "ftp://127.0.0.1/x",
            "bad": "http://[::1",
            "odd": "http://xn--a-/a.gif",
            "inside": f"http://[::1]:{self.server.port}/good.gif",
            "slow": f"http://one.example:{self.server.port}/slow/{self.path.rpartition('?')[2]}.gif",
            "other": f"http://other.example:{self.server.port}/good/other.mp4",
        }
        self.head(302, Content_Length=0, Location=words[self.path.rsplit("/", 1)[1].split("?")[0]])

    def be_slow(self) -> None:
        time.sleep(0.1)
        self.whole(MEDIA[:1000])


@contextmanager
def serving() -> Iterator[BadServer]:
    """A running server."""
    server = BadServer()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server
    finally:
        server.stopped.set()
        server.shutdown()
        server.server_close()
        thread.join()
