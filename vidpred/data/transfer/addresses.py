"""Which addresses may be connected to: those of this machine and of private networks only where that is allowed.

A name's addresses are looked up once, checked, and those are connected to: a name cannot change what it stands for in
between. That holds for every connection, so also for every redirect. Through a proxy the name stays: there the proxy
looks it up, and only an address that stands in the URL is checked.
"""

from __future__ import annotations

import contextlib
import http.cookiejar
import ipaddress
import socket
import ssl
import urllib.request
from collections.abc import AsyncIterator, Iterable
from functools import cached_property
from types import TracebackType
from typing import Any

import httpcore
import httpx

from vidpred import __version__
from vidpred.config import FetchParams
from vidpred.data.transfer.items import DownloadError
from vidpred.data.transfer.threads import in_thread
from vidpred.errors import UserError

_IDLE_CONNECTIONS = 64
_IDLE_SECONDS = 15.0


_WITH_IPV4 = (ipaddress.IPv6Network("64:ff9b::/96"), ipaddress.IPv6Network("::/96"))
"""Addresses that end in one of IPv4, to which a gateway may lead."""


def public(address: str) -> bool:
    """Whether an IP address belongs to neither this machine nor a private network."""
    parsed = ipaddress.ip_address(address.split("%")[0])
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.is_site_local:
            return False
        inner = parsed.ipv4_mapped or parsed.sixtofour
        if any(parsed in network for network in _WITH_IPV4):
            inner = ipaddress.IPv4Address(int(parsed) & 0xFFFFFFFF)
        if inner is not None:
            return public(str(inner))
    return parsed.is_global and not parsed.is_multicast


def check_public(addresses: Iterable[str], allow_private: bool) -> None:
    """Raises DownloadError where one of a host's addresses is forbidden."""
    if not allow_private and not all(public(address) for address in addresses):
        raise DownloadError(
            "private address", "fetch.allow_private is false", decided_by={"allow_private": allow_private}
        )


def parsed_url(url: str) -> httpx.URL:
    """A URL of http or https.

    Raises:
        DownloadError: it is none.
    """
    try:
        parsed = httpx.URL(url)
        host, port = parsed.host, parsed.port
    except (httpx.InvalidURL, UnicodeError) as error:
        raise DownloadError("no url", str(error)) from None
    if parsed.scheme not in ("http", "https"):
        raise DownloadError("no url", f"{parsed.scheme or 'no scheme'}, where http, https or s3 is expected")
    if not host or (port is not None and not 0 < port < 65536):
        raise DownloadError("no url", "no host" if not host else f"port {port}")
    return parsed


class Network:
    """Connections of a run; those to a host are used again."""

    def __init__(self, params: FetchParams) -> None:
        self._params = params
        self._open = contextlib.AsyncExitStack()
        self._proxied: dict[str, httpx.AsyncClient] = {}

    async def __aenter__(self) -> Network:
        await self._open.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._open.__aexit__(kind, error, trace)

    async def client(self, url: httpx.URL) -> httpx.AsyncClient:
        """Through which a URL may be asked for.

        Raises:
            DownloadError: a URL for a proxy names a forbidden address.
            UserError: there is no such proxy.
        """
        proxy = proxy_of(url)
        if proxy is None:
            return await self._direct()
        check_public(_addresses_in(url.host), self._params.allow_private)
        if proxy not in self._proxied:
            try:
                client = self._client(proxy=proxy, verify=self._certificates)
            except (ImportError, ValueError, httpx.InvalidURL) as error:
                raise UserError(f"the proxy variables name {proxy}, which cannot be used: {error}") from None
            self._proxied[proxy] = await self._open.enter_async_context(client)
        return self._proxied[proxy]

    async def _direct(self) -> httpx.AsyncClient:
        if "" not in self._proxied:
            transport = _Transport(_CheckedBackend(self._params.allow_private), self._certificates)
            self._proxied[""] = await self._open.enter_async_context(self._client(transport=transport))
        return self._proxied[""]

    @cached_property
    def _certificates(self) -> ssl.SSLContext:
        return httpx.create_ssl_context()

    def _client(self, **how: Any) -> httpx.AsyncClient:
        seconds = self._params.timeout_seconds
        no_cookies = http.cookiejar.CookieJar(http.cookiejar.DefaultCookiePolicy(allowed_domains=[]))
        return httpx.AsyncClient(
            headers={"User-Agent": f"vidpred/{__version__}", "Accept": "*/*", "Accept-Encoding": "identity"},
            timeout=httpx.Timeout(seconds, connect=self._params.connect_seconds, pool=None),
            cookies=no_cookies,
            follow_redirects=False,
            trust_env=False,
            **how,
        )


def proxy_of(url: httpx.URL) -> str | None:
    """The proxy that the environment names for a URL."""
    proxies = urllib.request.getproxies()
    proxy = proxies.get(url.scheme) or proxies.get("all")
    if not proxy or urllib.request.proxy_bypass(url.host):
        return None
    return proxy if "://" in proxy else f"http://{proxy}"


def _addresses_in(host: str) -> list[str]:
    """Addresses that a host's name tells without being looked up, in any way that it may be written: 127.1 too."""
    host = host.lower().rstrip(".")
    try:
        return [str(ipaddress.ip_address(host))]
    except ValueError:
        pass
    try:
        return [socket.inet_ntoa(socket.inet_aton(host))]
    except (OSError, UnicodeError):
        return ["127.0.0.1"] if host.endswith("localhost") else []


async def _looked_up(host: str, port: int) -> list[str]:
    try:
        found = await in_thread(lambda: socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
    except (OSError, UnicodeError):
        found = []
    if not found:  # not in the handler: the words of that failure say less than these
        raise httpcore.ConnectError(f"no address for {host}")
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


class _Stream(httpcore.AsyncNetworkStream):
    """A connection that shows the block read last: in it stands what came beyond an answer's end."""

    def __init__(self, inner: httpcore.AsyncNetworkStream) -> None:
        self._inner = inner
        self.last = b""

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        self.last = await self._inner.read(max_bytes, timeout)
        return self.last

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        await self._inner.write(buffer, timeout)

    async def aclose(self) -> None:
        await self._inner.aclose()

    async def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.AsyncNetworkStream:
        return _Stream(await self._inner.start_tls(ssl_context, server_hostname, timeout))

    def get_extra_info(self, info: str) -> Any:
        return self._inner.get_extra_info(info)


class _CheckedBackend(httpcore.AsyncNetworkBackend):
    """Connects to the addresses that it has checked."""

    def __init__(self, allow_private: bool) -> None:
        self._inner = httpcore.AnyIOBackend()
        self._allow_private = allow_private

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        addresses = await _looked_up(host, port)
        check_public(addresses, self._allow_private)
        *others, last = addresses
        for address in others:
            with contextlib.suppress(httpcore.ConnectError, httpcore.ConnectTimeout):
                return _Stream(await self._inner.connect_tcp(address, port, timeout, local_address, socket_options))
        return _Stream(await self._inner.connect_tcp(last, port, timeout, local_address, socket_options))


class _Body(httpx.AsyncByteStream):
    def __init__(self, stream: Any) -> None:
        self._stream = stream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for block in self._stream:
            yield block

    async def aclose(self) -> None:
        await self._stream.aclose()


class _Transport(httpx.AsyncBaseTransport):
    """httpx over connections of our own; httpx's own transport takes no backend."""

    def __init__(self, backend: httpcore.AsyncNetworkBackend, certificates: ssl.SSLContext) -> None:
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=certificates,
            max_connections=None,
            max_keepalive_connections=_IDLE_CONNECTIONS,
            keepalive_expiry=_IDLE_SECONDS,
            network_backend=backend,
        )

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        url = request.url
        answer = await self._pool.handle_async_request(
            httpcore.Request(
                request.method,
                httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path),
                headers=request.headers.raw,
                content=request.stream,
                extensions=request.extensions,
            )
        )
        return httpx.Response(
            answer.status, headers=answer.headers, stream=_Body(answer.stream), extensions=answer.extensions
        )

    async def aclose(self) -> None:
        await self._pool.aclose()
