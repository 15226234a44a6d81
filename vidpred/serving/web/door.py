"""Who may come in, and what every answer says to the browser.

Under a foreign name (DNS rebinding) or from a foreign page (CSRF) nobody comes in; where there is a token, only who
shows it: as `Authorization: Bearer`, or by the cookie that the login form gives. Comparisons take the same time
whatever is compared.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Iterable
from time import perf_counter
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import cookie_parser
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from vidpred.serving.web.meters import Meters
from vidpred.serving.web.refusal import Refusal
from vidpred.serving.web.settings import Settings, is_loopback

_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
    "media-src 'self' blob:; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    # not no-referrer: with it a form on our own page would send `Origin: null`
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=(), payment=()",
    "Cache-Control": "no-store",
}
_OPEN = ("/healthz", "/login", "/static/style.css", "/static/icon.svg")
"""What strangers may see: whether the server lives, and the form for the token."""
_READING = ("GET", "HEAD", "OPTIONS")
_WEEK = 7 * 24 * 3600


class Key:
    """The token, and the cookie that stands for it."""

    def __init__(self, token: str | None, port: int) -> None:
        self._token = token
        self.cookie = f"vidpred-{port}"  # browsers send a host's cookies to all of its ports
        self._value = hmac.digest((token or "").encode(), b"vidpred serve: cookie", "sha256").hex()

    @property
    def needed(self) -> bool:
        """Whether there is a token at all."""
        return self._token is not None

    def fits(self, token: str) -> bool:
        """Whether a token is the one."""
        return self._token is not None and secrets.compare_digest(token.encode(), self._token.encode())

    def shown(self, headers: Headers) -> bool:
        """Whether a request shows the token or the cookie."""
        kind, _, value = headers.get("authorization", "").partition(" ")
        if kind.lower() == "bearer" and self.fits(value.strip()):
            return True
        cookie = cookie_parser(headers.get("cookie", "")).get(self.cookie, "")
        return self._token is not None and secrets.compare_digest(cookie.encode(), self._value.encode())

    def give(self, response: Response, *, secure: bool) -> Response:
        """Adds the cookie to an answer."""
        response.set_cookie(
            self.cookie, self._value, max_age=_WEEK, httponly=True, samesite="strict", secure=secure, path="/"
        )
        return response


class Door:
    """The outermost of what a request passes."""

    def __init__(self, app: ASGIApp, *, settings: Settings, meters: Meters, key: Key, routes: Iterable[str]) -> None:
        """Stands before an app.

        Args:
            app: What lies behind.
            settings: Names and token.
            meters: Count every answer.
            key: The token.
            routes: Paths that are counted by name; others are counted together.
        """
        self._app, self._meters, self._key = app, meters, key
        # with a token a foreign name is no danger: its cookies are not ours
        self._names = None if settings.token else {name.lower() for name in settings.allow_hosts}
        self._routes = set(routes)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, status = perf_counter(), 500

        async def sent(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        try:
            response = self._before(scope)
            await (response or self._app)(scope, receive, sent)
        finally:
            path = scope["path"]
            route = path if path in self._routes else "/static" if path.startswith("/static/") else "other"
            method = scope["method"] if scope["method"] in (*_READING, "POST") else "other"
            self._meters.requests.labels(route, method, str(status)).inc()
            self._meters.latency.labels(route).observe(perf_counter() - began)

    def _before(self, scope: Scope) -> Response | None:
        """An answer instead of the app's."""
        headers = Headers(scope=scope)
        try:
            self._check_name(headers)
            self._check_origin(scope, headers)
            return self._ask_for_token(scope, headers)
        except Refusal as refusal:
            self._meters.refused.labels(refusal.code).inc()
            return refusal.response()

    def _check_name(self, headers: Headers) -> None:
        name = _name(headers.get("host", ""))
        if self._names is not None and not is_loopback(name) and name not in self._names:
            raise Refusal(
                403, "host", f"this server does not answer to {name[:100] or 'no name'}: start it with --allow-host"
            )

    def _check_origin(self, scope: Scope, headers: Headers) -> None:
        if scope["method"] in _READING:
            return
        site, origin = headers.get("sec-fetch-site"), headers.get("origin")
        if site is not None:
            foreign = site not in ("same-origin", "none")
        else:  # programs send neither; old browsers, and all on plain http, an origin
            foreign = origin is not None and urlsplit(origin).netloc.lower() != headers.get("host", "").lower()
        if foreign:
            raise Refusal(403, "cross_origin", "requests from other sites are not answered")

    def _ask_for_token(self, scope: Scope, headers: Headers) -> Response | None:
        if not self._key.needed or scope["path"] in _OPEN or self._key.shown(headers):
            return None
        path = scope["path"]
        if path == "/" and scope["method"] == "GET":
            query = dict(part.partition("=")[::2] for part in scope["query_string"].decode("latin-1").split("&"))
            if self._key.fits(query.get("token", "")):
                return self._key.give(RedirectResponse("/", 303), secure=is_secure(scope, headers))
            return RedirectResponse("/login", 303)
        raise Refusal(
            401, "token", "this server wants its token: send it as Authorization: Bearer, or log in at /login",
            {"WWW-Authenticate": 'Bearer realm="vidpred"'},
        )  # fmt: skip


def is_secure(scope: Scope, headers: Headers) -> bool:
    """Whether the browser speaks HTTPS, to us or to the proxy before us."""
    return scope.get("scheme") == "https" or headers.get("x-forwarded-proto", "").split(",")[0].strip() == "https"


def _name(host: str) -> str:
    """A `Host` header without its port."""
    host = host.strip().lower()
    if host.startswith("["):
        return host.partition("]")[0].lstrip("[")
    return host.rpartition(":")[0] if ":" in host else host
