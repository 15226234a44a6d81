"""Ray: the cluster of `RAY_ADDRESS`, or one of this machine that lives as long as it is needed."""

from __future__ import annotations

import logging
import os
import secrets
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from vidpred.cluster.guard import NotThereError, address_kind, check_cluster
from vidpred.errors import UserError

log = logging.getLogger(__name__)

_QUIET = {
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
}


@contextmanager
def connected() -> Iterator[None]:
    """Inside, Ray is there: the cluster that `RAY_ADDRESS` names, else a local one, stopped at the end.

    Raises:
        UserError: the cluster of `RAY_ADDRESS` does not answer, does not take our token, or is open to everybody and
            not on loopback; or Ray does not start here.
    """
    address = os.environ.get("RAY_ADDRESS", "").strip()
    kind = address_kind(address)
    if kind == "jobs":
        raise UserError(
            f"RAY_ADDRESS={address} is a job server, which only runs sweeps: for this write host:6379 on a machine of "
            "the cluster, or unset RAY_ADDRESS to use this machine"
        )
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    if kind == "driver":
        if check_cluster(address):
            _send_token()
    elif kind == "none" and "RAY_AUTH_TOKEN_PATH" not in os.environ:
        # Ray listens on every interface and wants a token of whoever speaks to it. Given one, it writes none into the
        # home folder.
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    before = signal.getsignal(signal.SIGTERM)
    _init(address if kind in ("driver", "auto") else "")
    if threading.current_thread() is threading.main_thread():
        # Ray's own handler aborts the process while its work still runs
        signal.signal(signal.SIGTERM, before)
    try:
        yield
    finally:
        import ray

        ray.shutdown()


def wait_for_nodes(nodes: int, *, seconds: float) -> int:
    """Waits until the cluster of `RAY_ADDRESS` has so many nodes; returns how many there are.

    Raises:
        UserError: it has fewer when the time is over, or it may not be used.
    """
    deadline = time.monotonic() + seconds
    while True:
        try:
            with connected():
                import ray

                while (there := _alive(ray.nodes())) < nodes and time.monotonic() < deadline:
                    time.sleep(0.5)
        except UserError as error:
            if not isinstance(error, NotThereError) or time.monotonic() > deadline:
                raise
            time.sleep(1)
            continue
        if there < nodes:
            raise UserError(f"{there} of {nodes} nodes came within {seconds:g} s: look at the logs of the others")
        return there


def _alive(nodes: list[dict[str, Any]]) -> int:
    return sum(bool(node["Alive"]) for node in nodes)


def _send_token() -> None:
    """Ray reads the mode once, where it is imported; and it asks the cluster before it thinks of a token itself."""
    os.environ["RAY_AUTH_MODE"] = "token"
    from ray._raylet import Config  # type: ignore[attr-defined]  # its stubs leave it out

    Config.initialize("")


def _init(address: str) -> None:
    import ray

    try:
        if address:
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
            if address == "auto":  # only now it is known where that is
                check_cluster(ray.get_runtime_context().gcs_address)
            log.info("using the Ray cluster at %s", address)
        else:
            ray.init(address="local", include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    except UserError:
        ray.shutdown()
        raise
    except Exception as error:  # noqa: BLE001  # Ray raises bare ones where its processes do not start in time
        ray.shutdown()
        why = (str(error).strip().splitlines() or [type(error).__name__])[0]
        if address:
            raise NotThereError(
                f"the Ray cluster at {address} cannot be used ({why}): look at `ray status` there"
            ) from None
        raise UserError(
            f"Ray does not start on this machine ({why}): free memory and disk, or set RAY_ADDRESS to a cluster"
        ) from None
