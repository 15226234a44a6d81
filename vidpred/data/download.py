"""Downloads: one URL to one file, with limits, and never to a private address unless allowed.

A host's addresses are looked up once, checked, and then connected to, at every redirect; so a name cannot change what
it stands for in between. Finished downloads are kept under a hash of their URL and not fetched again.
"""

from __future__ import annotations

import ipaddress
import json
import logging
import socket
import time
import urllib.request
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

import httpx

from vidpred.config import FetchParams
from vidpred.data.media import SUFFIXES
from vidpred.errors import UserError
from vidpred.workspace import digest, file_sha256, write_json

log = logging.getLogger(__name__)

_REDIRECTS = 10
_SUFFIX_OF_TYPE = {
    "image/gif": ".gif",
    "video/mp4": ".mp4",
    "video/webm": ".webm",
    "video/quicktime": ".mov",
    "video/x-matroska": ".mkv",
    "video/x-msvideo": ".avi",
    "video/mpeg": ".mpg",
}
_HEAD_BYTES = 64
_RETRIED = frozenset({408, 425, 429, 500, 502, 503, 504})


class DownloadError(UserError):
    """A download that gave no file; the message is a short reason, without the URL."""


class _TryAgain(Exception):
    """A failure that may pass."""


@dataclass(frozen=True)
class _Asked:
    """A request that may be made."""

    targets: tuple[httpx.URL, ...]
    """The URL with each of its host's addresses in place of the name; any will do."""
    headers: dict[str, str]
    extensions: dict[str, str]
    """With the headers, what tells the server the name."""
    direct: bool
    """Whether no proxy is between."""


class _Clock:
    """The time that a download may take in all."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._end = time.monotonic() + seconds

    def check(self) -> None:
        """Raises DownloadError once the time is over."""
        if time.monotonic() > self._end:
            raise DownloadError(f"took longer than {self._seconds:g} s")


@dataclass(frozen=True)
class Download:
    """A finished download."""

    path: Path
    sha256: str
    bytes: int
    suffix: str
    """By which its kind is told, such as `.gif`."""


def download(url: str, folder: Path, params: FetchParams, *, pause_seconds: float = 1.0) -> Download:
    """Fetches a URL into `folder`, or finds it there.

    Args:
        url: http or https.
        folder: Of finished downloads.
        params: Limits and tries.
        pause_seconds: Before the second try; doubles with each further one.

    Raises:
        DownloadError: with the reason.
    """
    key = digest(url)[:32]
    path, note_path = folder / key, folder / f"{key}.json"
    try:
        note = json.loads(note_path.read_text())
        if path.stat().st_size == note["bytes"] <= params.max_bytes:
            return Download(path, note["sha256"], note["bytes"], note["suffix"])
    except (OSError, ValueError, KeyError):
        pass
    folder.mkdir(parents=True, exist_ok=True)
    part = folder / f".{key}.part"
    suffix = _with_tries(url, part, params, pause_seconds)
    done = Download(path, file_sha256(part), part.stat().st_size, suffix)
    part.replace(path)
    write_json(note_path, {"url": url, "bytes": done.bytes, "sha256": done.sha256, "suffix": suffix})
    return done


def _with_tries(url: str, part: Path, params: FetchParams, pause_seconds: float) -> str:
    """`_stream`, again and again where the failure may pass."""
    clock = _Clock(params.total_seconds)
    attempt = 1
    while True:
        try:
            return _stream(url, part, params, clock)
        except _TryAgain as error:
            clock.check()
            if attempt == params.tries:
                raise DownloadError(f"{error}{f' ({attempt} tries)' if attempt > 1 else ''}") from None
            log.info("%s: %s; trying again", url, error)
            time.sleep(pause_seconds * 2 ** (attempt - 1))
            attempt += 1


def _stream(url: str, part: Path, params: FetchParams, clock: _Clock) -> str:
    """Writes a URL's bytes to `part`, following redirects by hand; gives the suffix."""
    try:
        here = httpx.URL(url)
        for _ in range(_REDIRECTS + 1):
            asked = _checked(here, params.allow_private)
            with (
                httpx.Client(
                    timeout=params.timeout_seconds, follow_redirects=False, trust_env=not asked.direct
                ) as client,
                closing(_answer(client, asked, clock)) as response,
            ):
                if response.has_redirect_location:
                    here = here.join(response.headers["location"])
                    continue
                if response.status_code in _RETRIED:
                    raise _TryAgain(f"HTTP {response.status_code}")
                if response.status_code != 200:
                    raise DownloadError(f"HTTP {response.status_code}")
                _save(response, part, params.max_bytes, clock)
                return _suffix(here, response.headers.get("content-type", ""))
        raise DownloadError(f"more than {_REDIRECTS} redirects")
    except (httpx.InvalidURL, UnicodeError) as error:
        raise DownloadError(f"no URL: {error}") from None
    except httpx.TimeoutException:
        raise _TryAgain(f"nothing came for {params.timeout_seconds:g} s") from None
    except httpx.RequestError as error:
        raise _TryAgain(f"connection failed: {str(error) or type(error).__name__}") from None


def _answer(client: httpx.Client, asked: _Asked, clock: _Clock) -> httpx.Response:
    """What the first address says that can be connected to; its body is still to come."""
    *others, last = asked.targets
    for target in others:
        clock.check()
        try:
            return _sent(client, target, asked)
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            log.debug("%s: %s; trying the next address", target, error)
    clock.check()
    return _sent(client, last, asked)


def _sent(client: httpx.Client, target: httpx.URL, asked: _Asked) -> httpx.Response:
    request = client.build_request("GET", target, headers=asked.headers, extensions=asked.extensions)
    return client.send(request, stream=True)


def _save(response: httpx.Response, part: Path, max_bytes: int, clock: _Clock) -> None:
    too_large = DownloadError(f"larger than {max_bytes} bytes")
    if response.headers.get("content-type", "").lower().startswith("text/html"):
        raise DownloadError("a web page, not a GIF or video")
    length = response.headers.get("content-length", "")
    if length.isdigit() and int(length) > max_bytes:
        raise too_large
    head, taken = b"", 0
    with part.open("wb") as file:
        for block in response.iter_bytes():  # as they come: a block of fixed size may take a slow server for ever
            clock.check()
            if len(head) < _HEAD_BYTES:
                head += block[:_HEAD_BYTES]
                if head.lstrip()[:14].lower().startswith((b"<!doctype html", b"<html")):
                    raise DownloadError("a web page, not a GIF or video")
            taken += len(block)
            if taken > max_bytes:
                raise too_large
            file.write(block)
    if not taken:
        raise DownloadError("empty file")


def _suffix(url: httpx.URL, content_type: str) -> str:
    suffix = Path(unquote(url.path)).suffix.lower()
    return suffix if suffix in SUFFIXES else _SUFFIX_OF_TYPE.get(content_type.split(";")[0].strip().lower(), ".bin")


def _checked(url: httpx.URL, allow_private: bool) -> _Asked:
    """What to ask for, once no address that the host has is forbidden.

    Through a proxy the name stays: there the proxy looks it up, and only an address that stands in the URL is checked.
    """
    if url.scheme not in ("http", "https") or not url.host:
        raise DownloadError(f"no http or https URL: {url.scheme or 'no scheme'}")
    proxied = url.scheme in urllib.request.getproxies() and not urllib.request.proxy_bypass(url.host)
    if proxied:
        try:
            addresses = [str(ipaddress.ip_address(url.host))]
        except ValueError:
            addresses = ["127.0.0.1"] if url.host.lower().rstrip(".").endswith("localhost") else []
    else:
        try:
            found = socket.getaddrinfo(url.host, url.port or url.scheme, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError):
            raise _TryAgain(f"no address for {url.host}") from None
        addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
    if not allow_private and not all(_public(address) for address in addresses):
        raise DownloadError("private address (fetch.allow_private is false)")
    if proxied:
        return _Asked((url,), {}, {}, direct=False)
    targets = tuple(url.copy_with(host=address) for address in addresses)
    return _Asked(targets, {"Host": url.netloc.decode("ascii")}, {"sni_hostname": url.host}, direct=True)


def _public(address: str) -> bool:
    parsed = ipaddress.ip_address(address.split("%")[0])
    mapped = getattr(parsed, "ipv4_mapped", None)
    return bool((mapped or parsed).is_global) and not parsed.is_multicast
