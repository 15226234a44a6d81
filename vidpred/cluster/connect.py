"""Ray: the cluster of `RAY_ADDRESS`, or one of this machine that lives as long as it is needed."""

from __future__ import annotations

import logging
import os
import secrets
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from vidpred.errors import UserError

log = logging.getLogger(__name__)

_QUIET = {
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
}
_PROBE_SECONDS = 5


@contextmanager
def connected() -> Iterator[None]:
    """Inside, Ray is there: the cluster that `RAY_ADDRESS` names, else a local one, stopped at the end.

    Raises:
        UserError: `RAY_ADDRESS` is set and nothing answers there.
    """
    address = os.environ.get("RAY_ADDRESS", "")
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    if address:
        _probe(address)
    elif "RAY_AUTH_TOKEN_PATH" not in os.environ:
        # Ray listens on every interface and wants a token of whoever speaks to it. Given one, it writes none into the
        # home folder.
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    import ray

    before = signal.getsignal(signal.SIGTERM)
    try:
        if address:
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
            log.info("using the Ray cluster at %s", address)
        else:
            ray.init(address="local", include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    except ConnectionError as error:
        raise _unreachable(address, (str(error).splitlines() or [type(error).__name__])[0]) from None
    if threading.current_thread() is threading.main_thread():
        # Ray's own handler aborts the process while its work still runs
        signal.signal(signal.SIGTERM, before)
    try:
        yield
    finally:
        ray.shutdown()


def _probe(address: str) -> None:
    """Asks once whether anything listens: Ray itself would try for five minutes."""
    host, _, port = address.rpartition(":")
    if "://" in address or not port.isdigit():  # `auto`, or a client's URL: Ray knows what to do
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_PROBE_SECONDS).close()
    except OSError as error:
        raise _unreachable(address, error.strerror or str(error)) from None


def _unreachable(address: str, why: str) -> UserError:
    return UserError(
        f"no Ray cluster answers at RAY_ADDRESS={address} ({why}): start it, set its RAY_AUTH_TOKEN if it wants "
        "one, or unset RAY_ADDRESS to use this machine"
    )
