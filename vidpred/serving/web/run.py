"""The server's process: it tells where it is, and stops when it is told to, once what is under way is done."""

from __future__ import annotations

import logging
import secrets
import signal
import socket
from dataclasses import replace
from types import FrameType

import uvicorn

from vidpred.errors import UserError
from vidpred.serving.web.app import make_app
from vidpred.serving.web.scratch import scratch
from vidpred.serving.web.settings import Settings
from vidpred.training.device import set_threads

log = logging.getLogger(__name__)

_CONNECTIONS = 512
"""Open at once; far more than uploads under way, so that who is one too many can be told so."""
_BACKLOG = 256


def serve(settings: Settings) -> None:
    """Serves until SIGTERM or Ctrl-C.

    Raises:
        UserError: a model cannot be had, the address is taken, or it is open to others and the token is short.
    """
    made = settings.token is None and not settings.loopback
    if made:
        settings = replace(settings, token=secrets.token_urlsafe(24))
    listener = _listen(settings)
    settings = replace(settings, port=listener.getsockname()[1])
    set_threads(settings.threads)
    with listener, scratch() as folder:
        app = make_app(settings, scratch=folder)
        config = uvicorn.Config(
            app,
            log_config=None,
            log_level="warning",
            access_log=False,  # addresses may hold the token; /metrics counts
            server_header=False,
            timeout_keep_alive=10,
            timeout_graceful_shutdown=settings.limits.stop_seconds,
            limit_concurrency=_CONNECTIONS,
            ws="none",
        )
        for line in greeting(settings, made=made):
            log.info("%s", line)
        # uvicorn raises the signal that stopped it again when all is done, which would make a failure of it
        for one in (signal.SIGTERM, signal.SIGINT):
            signal.signal(one, lambda *_: None)
        _Server(config).run([listener])
    log.info("stopped")


class _Server(uvicorn.Server):
    """Says what it waits for when it is told to stop, and goes without a word when it is told so again."""

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Of SIGTERM and Ctrl-C."""
        if not self.should_exit and self.server_state.tasks:
            log.info("stopping once what is under way is done; Ctrl-C again stops at once")
        elif self.should_exit:  # tracebacks of what is broken off then
            logging.getLogger("uvicorn.error").disabled = True
        super().handle_exit(sig, frame)


def _listen(settings: Settings) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listener = socket.socket(family)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((settings.host.strip("[]"), settings.port))
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        raise UserError(
            f"{settings.host}:{settings.port} cannot be listened on ({error.strerror}): take another --port or --host"
        ) from None
    return listener


def greeting(settings: Settings, *, made: bool) -> list[str]:
    """What is said of a server that listens: where people reach it, and what it wants of them."""
    host = settings.host.strip("[]")
    shown = socket.gethostname() if host in ("", "0.0.0.0", "::") else f"[{host}]" if ":" in host else host
    address = f"http://{shown}:{settings.port}/"
    if made:
        return [
            f"vidpred: {address}?token={settings.token}",
            "others can reach this server, so it wants a token, and made one: set VIDPRED_TOKEN for one of your own",
        ]
    wants = " (with the token of VIDPRED_TOKEN or --token)" if settings.token else ""
    return [f"vidpred: {address}{wants}; Ctrl-C stops it"]
