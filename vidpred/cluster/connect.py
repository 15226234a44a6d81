"""Ray: the cluster of `RAY_ADDRESS`, or one of this machine that lives as long as it is needed."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager

from vidpred.errors import UserError

log = logging.getLogger(__name__)

_QUIET = {
    "RAY_AUTH_MODE": "disabled",  # a local cluster binds to loopback; token mode would write a file to the home folder
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_DEDUP_LOGS": "1",
    "RAY_AIR_NEW_OUTPUT": "0",
}


@contextmanager
def connected() -> Iterator[None]:
    """Inside, Ray is there: the cluster that `RAY_ADDRESS` names, else a local one, stopped at the end.

    Raises:
        UserError: `RAY_ADDRESS` is set and nothing answers there.
    """
    address = os.environ.get("RAY_ADDRESS")
    if not address:
        for name, value in _QUIET.items():
            os.environ.setdefault(name, value)
    import ray  # only now: it reads its settings from the environment when it is imported

    try:
        if address:
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
            log.info("using the Ray cluster at %s", address)
        else:
            ray.init(address="local", include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    except ConnectionError as error:
        raise UserError(
            f"no Ray cluster answers at RAY_ADDRESS={address} ({_first_line(error)}): start it, or unset "
            "RAY_ADDRESS to use this machine"
        ) from None
    try:
        yield
    finally:
        ray.shutdown()


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
