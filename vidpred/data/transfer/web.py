"""One request by http or https: its answer is written to a part, or leads elsewhere.

What is there already is gone on with by Range and If-Range; an answer that is not the rest of the same version begins
anew. An answer counts as whole only where its length is the one that was announced.
"""

from __future__ import annotations

import contextlib
import os
import zlib
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import unquote

import httpcore
import httpx

from vidpred.config import FetchParams
from vidpred.data.graphs import SUFFIXES
from vidpred.data.transfer.addresses import Network, parsed_url
from vidpred.data.transfer.items import DownloadError, Item, Moved, ending
from vidpred.data.transfer.part import Part, web_page

_SUFFIX_OF_TYPE = {
    "image/gif": ".gif",
    "video/mp4": ".mp4",
    "video/webm": ".webm",
    "video/quicktime": ".mov",
    "video/x-matroska": ".mkv",
    "video/x-msvideo": ".avi",
    "video/mpeg": ".mpg",
}
_PAGE_TYPES = ("text/html", "application/xhtml")
_PACKED = (".gz", ".tgz")
_UNPACKED_BYTES = 1 << 20
_STRONG_SECONDS = 1.0
_SURPLUS_SECONDS = 0.002
_MOST_DIGITS = 18

_TIMEOUTS = (httpx.TimeoutException, httpcore.TimeoutException)
_BROKEN_OFF = (httpx.RemoteProtocolError, httpcore.RemoteProtocolError)
_FAILURES = (httpx.RequestError, httpcore.NetworkError, httpcore.ProtocolError, httpcore.ProxyError)


async def ask(url: str, item: Item, part: Part, network: Network, params: FetchParams) -> Moved | str:
    """Brings what is at a URL, or the rest of it.

    Returns:
        The suffix of what is now whole in `part`, or where to go on.

    Raises:
        DownloadError: with the reason; what came is kept if the rest may be asked for.
    """
    here = parsed_url(url)
    await part.prepare()
    headers = {"Range": f"bytes={part.size}-", "If-Range": part.validator} if part.validator else {}
    try:
        client = await network.client(here)
        async with client.stream("GET", here, headers=headers) as response:
            if response.has_redirect_location:
                return _moved(here, response.headers["location"])
            with closing(part):
                if not _opened(response, part, asked_for_rest=bool(headers)):
                    part.drop()
                    return Moved(url)
                await _save(response, part)
                return _suffix(item, here, response.headers)
    except (httpx.ConnectTimeout, httpcore.ConnectTimeout):
        raise DownloadError("timeout", f"no connection within {params.connect_seconds:g} s") from None
    except _TIMEOUTS:
        raise DownloadError("timeout", f"nothing came for {params.timeout_seconds:g} s") from None
    except (httpx.InvalidURL, UnicodeError) as error:  # httpx reads the redirect before we do
        raise DownloadError("redirects", str(error)) from None
    except _FAILURES as error:
        if "location header" in str(error):
            raise DownloadError("redirects", str(error)) from None
        raise DownloadError("connection", _told(error)) from None


def _moved(here: httpx.URL, location: str) -> Moved:
    try:
        target = str(here.join(location))
        parsed_url(target)
    except (httpx.InvalidURL, UnicodeError, DownloadError) as error:
        raise DownloadError("redirects", f"to {location[:100]!r} ({error})") from None
    return Moved(target)


def _told(error: BaseException) -> str:
    """The operating system's words, if it has some: the libraries' own are seldom clearer."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.strerror:
            # asyncio puts words of its own there
            return os.strerror(cause.errno or 0) if isinstance(cause, ConnectionError) else cause.strerror
        cause = cause.__cause__ or cause.__context__  # httpcore hides causes (`from None`)
    return str(error) or type(error).__name__


def _opened(response: httpx.Response, part: Part, *, asked_for_rest: bool) -> bool:
    """Makes the part ready for the answer's body; False if all must be asked for anew."""
    status, headers = response.status_code, response.headers
    if status == 416 and asked_for_rest:
        return False
    if status == 206 and asked_for_rest:
        if not _is_rest(headers, part):
            return False
        part.go_on()
        return True
    if status != 200:
        raise DownloadError(f"http {status}", wait_seconds=_wait_seconds(headers.get("retry-after", "")))
    if headers.get("content-type", "").strip().lower().startswith(_PAGE_TYPES):
        raise web_page()
    plain = not _encodings(response)
    part.begin(_validator(headers) if plain else None, _announced(headers) if plain else None)
    return True


def _is_rest(headers: httpx.Headers, part: Part) -> bool:
    """Whether an answer goes on where the part ends, in the same version."""
    unit, _, told = headers.get("content-range", "").partition(" ")
    span, _, total = told.partition("/")
    if unit.lower() != "bytes" or span.partition("-")[0] != str(part.size):
        return False
    if _number(total) is not None and part.total is not None and _number(total) != part.total:
        return False
    mark = headers.get("etag" if str(part.validator).startswith('"') else "last-modified")
    return not headers.get("content-encoding") and mark in (None, part.validator)


def _validator(headers: httpx.Headers) -> str | None:
    """A strong ETag, or a Last-Modified that is strong because a second lies between it and the answer (RFC 9110)."""
    etag = headers.get("etag", "")
    if etag:
        return str(etag) if etag.startswith('"') and etag.isascii() else None
    modified, now = _moment(headers.get("last-modified", "")), _moment(headers.get("date", ""))
    if modified is None or now is None or now - modified < _STRONG_SECONDS:
        return None
    return str(headers["last-modified"])


def _moment(date: str) -> float | None:
    try:
        moment = parsedate_to_datetime(date)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


def _number(text: str) -> int | None:
    """A count in a header; a few digits more than any file needs are none."""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= _MOST_DIGITS else None


def _wait_seconds(told: str) -> float:
    """How long Retry-After asks to wait."""
    seconds = _number(told.strip())
    if seconds is not None:
        return float(seconds)
    moment = _moment(told)
    return 0.0 if moment is None else max(0.0, moment - datetime.now(UTC).timestamp())


def _announced(headers: httpx.Headers) -> int | None:
    """Bytes of the body, as sent."""
    return None if "transfer-encoding" in headers else _number(headers.get("content-length", ""))


def _encodings(response: httpx.Response) -> list[str]:
    """How the body was packed against our asking; not where the file itself is the packed one."""
    told = response.headers.get("content-encoding", "").lower().split(",")
    encodings = [name.strip().removeprefix("x-") for name in told if name.strip() not in ("", "identity")]
    return [] if encodings == ["gzip"] and response.url.path.lower().endswith(_PACKED) else encodings


async def _save(response: httpx.Response, part: Part) -> None:
    """Writes the body."""
    encodings = _encodings(response)
    if encodings not in ([], ["gzip"], ["deflate"]):
        raise DownloadError("encoding", ", ".join(encodings))
    unpacker = _Unpacker() if encodings else None
    announced, came = _announced(response.headers), 0
    try:
        async for block in response.aiter_raw():
            came += len(block)
            if came == announced and await _goes_on(response, block):
                part.drop()
                raise DownloadError("length", f"more than the {announced} bytes announced came")
            for plain in unpacker.unpacked(block) if unpacker else (block,):
                part.write(plain)
    except _BROKEN_OFF:
        raise DownloadError("length", f"{came} of {'?' if announced is None else announced} bytes came") from None
    if unpacker and not unpacker.whole:
        raise DownloadError("length", "the packed body is cut short")
    if part.total is not None and part.size != part.total:
        have, total = part.size, part.total
        part.drop()
        raise DownloadError("length", f"{have} of {total} bytes came")
    if not part.size:
        raise DownloadError("empty", "no bytes")


async def _goes_on(response: httpx.Response, end: bytes) -> bool:
    """Whether bytes follow an answer's end. Then the connection is closed: nobody else shall read on there.

    Called before the answer is closed, for then another may be waited for on its connection.
    """
    connection: Any = response.extensions.get("network_stream")
    if not hasattr(connection, "last"):  # a proxy's
        return False
    more = not connection.last.endswith(end)  # the end came with the block read last, and with nothing after it
    if not more:
        with contextlib.suppress(httpcore.ReadError, httpcore.ReadTimeout):
            more = bool(await connection.read(1, timeout=_SURPLUS_SECONDS))
    if more:
        await connection.aclose()
    return more


class _Unpacker:
    """gzip (also several members) or deflate, in small steps: a bomb meets the size limit before it fills memory."""

    def __init__(self) -> None:
        self._any = zlib.MAX_WBITS | 32
        self._unpacker = zlib.decompressobj(self._any)

    @property
    def whole(self) -> bool:
        """Whether the end has come."""
        return self._unpacker.eof

    def unpacked(self, block: bytes) -> Iterator[bytes]:
        """Raises DownloadError where it is neither."""
        try:
            while block:
                if self._unpacker.eof:
                    self._unpacker = zlib.decompressobj(self._any)
                if plain := self._unpacker.decompress(block, _UNPACKED_BYTES):
                    yield plain
                block = self._unpacker.unconsumed_tail or self._unpacker.unused_data
        except zlib.error as error:
            raise DownloadError("encoding", str(error)) from None


def _suffix(item: Item, url: httpx.URL, headers: httpx.Headers) -> str:
    """By which a file's kind is told."""
    given, final = (ending(address) for address in (unquote(parsed_url(item.url).path), unquote(url.path)))
    if not item.media:
        return given or final
    kind = headers.get("content-type", "").split(";")[0].strip().lower()
    return next((suffix for suffix in (final, given) if suffix in SUFFIXES), _SUFFIX_OF_TYPE.get(kind, ".bin"))
