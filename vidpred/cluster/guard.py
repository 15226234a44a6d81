"""Whether a Ray cluster may be used: something answers, it takes our token, and it is not open to everybody.

Who can speak with an open cluster runs code on it and on whoever uses it. So one that is not on loopback is refused
where it answers without a token, unless `VIDPRED_ALLOW_OPEN_RAY=1` says that its network can be trusted. What is asked
here are single, cheap requests: Ray itself would try for minutes, or end the process.
"""

from __future__ import annotations

import ipaddress
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import httpx

from vidpred.errors import UserError

ALLOW_OPEN = "VIDPRED_ALLOW_OPEN_RAY"
PROBE_SECONDS = 5
_CHECK_ALIVE = "/ray.rpc.NodeInfoGcsService/CheckAlive"
"""Of Ray's control service; every driver asks it first."""
_HINT = "start it, or unset RAY_ADDRESS to use this machine"


class NotThereError(UserError):
    """Nothing answers, or what answers is not ready."""


Answer = Literal["welcome", "refused", "silent"]


def token() -> str | None:
    """Ray's token, looked for where Ray does: `RAY_AUTH_TOKEN`, `RAY_AUTH_TOKEN_PATH`, `~/.ray/auth_token`.

    Raises:
        UserError: the file that `RAY_AUTH_TOKEN_PATH` names cannot be read, or is empty.
    """
    if os.environ.get("RAY_AUTH_MODE", "").lower() == "disabled":
        return None
    if given := os.environ.get("RAY_AUTH_TOKEN", "").strip():
        return given
    if named := os.environ.get("RAY_AUTH_TOKEN_PATH"):
        try:
            found = Path(named).expanduser().read_text().strip()
        except OSError as error:
            raise UserError(f"RAY_AUTH_TOKEN_PATH={named} cannot be read ({error.strerror}): name the file") from None
        if not found:
            raise UserError(f"RAY_AUTH_TOKEN_PATH={named} is empty: write the cluster's token there")
        return found
    default = Path.home() / ".ray/auth_token"
    return (default.read_text().strip() or None) if default.is_file() else None


def check_cluster(address: str) -> bool:
    """Looks whether a cluster may be used by a driver; returns whether it wants a token.

    Args:
        address: host:port of its control service, such as `RAY_ADDRESS`.

    Raises:
        UserError: nothing answers there, it wants another token, or it is open to everybody and not on loopback.
    """
    host, _, port = address.rpartition(":")
    host = host.strip("[]")
    try:
        socket.create_connection((host, int(port)), timeout=PROBE_SECONDS).close()
    except OSError as error:
        raise NotThereError(
            f"no Ray cluster answers at RAY_ADDRESS={address} ({error.strerror or error}): {_HINT}"
        ) from None
    if os.environ.get("RAY_USE_TLS", "").lower() in ("1", "true"):  # certificates on both sides: nobody else gets in
        return token() is not None
    return _judge(
        address, host, bare=_ask_control(address, None), with_token=lambda known: _ask_control(address, known)
    )


def check_job_server(url: str) -> bool:
    """Looks whether a cluster's job server (`http://head:8265`) may be used; returns whether it wants a token.

    Raises:
        UserError: as `check_cluster`.
    """
    host = httpx.URL(url).host
    return _judge(url, host, bare=_ask_job_server(url, None), with_token=lambda known: _ask_job_server(url, known))


def is_loopback(host: str) -> bool:
    """Whether a host name or address stands for loopback and nothing else."""
    try:
        found = {info[4][0] for info in socket.getaddrinfo(host, None)}
    except OSError:
        return False
    return all(ipaddress.ip_address(str(address).partition("%")[0]).is_loopback for address in found)


def allowed_open() -> bool:
    """Whether `VIDPRED_ALLOW_OPEN_RAY` lets clusters be used that everybody can use."""
    return os.environ.get(ALLOW_OPEN, "").strip().lower() in ("1", "true", "yes")


def headers(known: str | None) -> dict[str, str]:
    """Of requests to a job server."""
    return {"Authorization": f"Bearer {known}"} if known else {}


def _judge(address: str, host: str, *, bare: Answer, with_token: Callable[[str], Answer]) -> bool:
    if bare == "silent":
        raise NotThereError(
            f"what answers at RAY_ADDRESS={address} is no Ray cluster, or one that does not start: {_HINT}"
        )
    if bare == "welcome":
        if is_loopback(host) or allowed_open():
            return False
        raise UserError(
            f"the Ray cluster at {address} wants no token: whoever reaches it can run code there. Start it with "
            f"RAY_AUTH_MODE=token, or set {ALLOW_OPEN}=1 if its network can be trusted"
        )
    known = token()
    remedy = "set RAY_AUTH_TOKEN, or RAY_AUTH_TOKEN_PATH to a file with it"
    if os.environ.get("RAY_AUTH_MODE", "").lower() == "disabled":
        raise UserError(f"the Ray cluster at {address} wants a token: unset RAY_AUTH_MODE=disabled and {remedy}")
    if known is None:
        raise UserError(f"the Ray cluster at {address} wants a token: {remedy}")
    if with_token(known) != "welcome":
        raise UserError(f"the Ray cluster at {address} does not take this token: {remedy}")
    return True


def _ask_control(address: str, known: str | None) -> Answer:
    import grpc

    sent = [("authorization", f"Bearer {known}")] if known else []
    with grpc.insecure_channel(address, options=[("grpc.enable_http_proxy", 0)]) as channel:
        ask = channel.unary_unary(_CHECK_ALIVE, request_serializer=bytes, response_deserializer=bytes)
        try:
            ask(b"", metadata=sent, timeout=PROBE_SECONDS)
        except grpc.RpcError as error:
            return "refused" if error.code() == grpc.StatusCode.UNAUTHENTICATED else "silent"
    return "welcome"


def _ask_job_server(url: str, known: str | None) -> Answer:
    try:
        answer = httpx.get(f"{url.rstrip('/')}/api/version", headers=headers(known), timeout=PROBE_SECONDS)
    except httpx.HTTPError as error:
        raise NotThereError(
            f"no Ray job server answers at RAY_ADDRESS={url} ({' '.join(str(error).split())}): {_HINT}"
        ) from None
    if answer.status_code in (401, 403):
        return "refused"
    return "welcome" if answer.is_success and "ray_version" in answer.text else "silent"


def address_kind(address: str) -> Literal["none", "driver", "auto", "jobs"]:
    """What `RAY_ADDRESS` names: nothing, a cluster for a driver (host:port), the one of this machine, a job server.

    Raises:
        UserError: none of these.
    """
    if address in ("", "local"):
        return "none"
    if address == "auto":
        return "auto"
    if address.startswith(("http://", "https://")):
        return "jobs"
    _, _, port = address.rpartition(":")
    if "://" in address or not port.isdigit():
        raise UserError(
            f"RAY_ADDRESS={address} is not understood: write host:6379 on a machine of the cluster, or the address of "
            "its job server from elsewhere, http://host:8265"
        )
    return "driver"
