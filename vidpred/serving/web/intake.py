"""How much may come in: uploads under way at once, their size, and the time they take to arrive.

Who is one too many is told so before a byte of the upload is read; who sends too much, as soon as it is too much.
"""

from __future__ import annotations

import asyncio
import math
from time import monotonic

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from vidpred.serving.web.meters import Meters
from vidpred.serving.web.refusal import Refusal
from vidpred.serving.web.settings import Limits

UPLOADS = ("/api/predict", "/api/classify")
_FORM_BYTES = 8192
"""Of all that is posted elsewhere."""
_CLOSE = {"Connection": "close"}
"""What is left of the upload is not waited for."""
_LONGEST_WAIT = 30
_DRAINED_BYTES, _DRAINED_SECONDS = 32 << 20, 2.0


class TooMuch(HTTPException):
    """Raised while a body is read; FastAPI hands only this kind on."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.status, refusal.detail, refusal.headers)
        self.refusal = refusal


class Intake:
    """Stands between the door and the app."""

    def __init__(self, app: ASGIApp, *, limits: Limits, meters: Meters) -> None:
        self._app, self._limits, self._meters = app, limits, meters
        self._under_way = 0
        self._seconds = 0.5
        """Between two uploads that were done, of late."""
        self._done_at = monotonic()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] in ("GET", "HEAD"):
            await self._app(scope, receive, send)
            return
        upload = scope["path"] in UPLOADS
        most = self._limits.max_bytes if upload else _FORM_BYTES
        bounded = _Bounded(receive, most, self._limits.upload_seconds, self._meters)
        polite = _Polite(send, bounded)
        refusal = self._before(Headers(scope=scope), most, upload=upload)
        if refusal is not None:
            self._meters.refused.labels(refusal.code).inc()
            await refusal.response()(scope, receive, polite)
            return
        if not upload:
            await self._app(scope, bounded, polite)
            return
        self._under_way += 1
        self._meters.under_way.set(self._under_way)
        try:
            await self._app(scope, bounded, polite)
        finally:
            self._under_way -= 1
            self._meters.under_way.set(self._under_way)
            now = monotonic()
            self._seconds += 0.1 * (min(10.0, now - self._done_at) - self._seconds)
            self._done_at = now

    def _before(self, headers: Headers, most: int, *, upload: bool) -> Refusal | None:
        told = headers.get("content-length", "")
        if told.isdecimal() and (len(told) > 15 or int(told) > most):
            return too_large(most)
        if upload and self._under_way >= self._limits.waiting:
            wait = min(_LONGEST_WAIT, max(1, math.ceil(self._seconds * self._under_way / 2)))
            return Refusal(
                429, "busy", f"{self._under_way} uploads are under way already: try again in {wait} s",
                {"Retry-After": str(wait), **_CLOSE},
            )  # fmt: skip
        return None


class _Bounded:
    """A body that ends when it is too large or too slow."""

    def __init__(self, receive: Receive, most: int, seconds: float, meters: Meters) -> None:
        self._receive, self._most, self._seconds, self._meters = receive, most, seconds, meters
        self._deadline = monotonic() + seconds
        self._size = 0
        self._whole = False

    async def __call__(self) -> Message:
        if self._whole:  # what comes now is the client's going away, which may take as long as it likes
            return await self._receive()
        try:
            async with asyncio.timeout(self._deadline - monotonic()):
                message = await self._receive()
        except TimeoutError:
            raise self._counted(
                Refusal(408, "slow", f"the upload did not arrive within {self._seconds:g} s", _CLOSE)
            ) from None
        self._size += len(message.get("body", b""))
        self._whole = not message.get("more_body", False)
        if self._size > self._most:
            raise self._counted(too_large(self._most))
        return message

    async def drain(self) -> None:
        """Reads on for a moment what nobody wants: a connection that is closed on bytes unread takes the answer with
        it."""
        left = _DRAINED_BYTES
        try:
            async with asyncio.timeout(_DRAINED_SECONDS):
                while left > 0 and not self._whole:
                    message = await self._receive()
                    left -= len(message.get("body", b""))
                    self._whole = not message.get("more_body", False)
        except TimeoutError:
            pass

    def _counted(self, refusal: Refusal) -> TooMuch:
        self._meters.refused.labels(refusal.code).inc()
        return TooMuch(refusal)


class _Polite:
    """Lets the client finish its sentence before the answer ends, and with it the connection."""

    def __init__(self, send: Send, body: _Bounded) -> None:
        self._send, self._body = send, body

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.body" and not message.get("more_body", False):
            await self._send({**message, "more_body": True})
            await self._body.drain()
            message = {"type": "http.response.body", "body": b"", "more_body": False}
        await self._send(message)


def too_large(most: int) -> Refusal:
    """What is said of an upload of too many bytes."""
    size = f"{most / (1 << 20):.3g} MiB" if most >= 1 << 20 else f"{most} bytes"
    return Refusal(413, "too_large", f"more than {size}: take a shorter or smaller clip", _CLOSE)
