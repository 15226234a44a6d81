"""Doors that stand open: what `vidpred doctor` warns of around MLflow and Ray, each with what to do.

In: the addresses in use, the environment, what listens on this machine. Servers are asked, not guessed at: one is open
where it answers somebody who does not say who he is.
"""

from __future__ import annotations

import ipaddress
import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import urlsplit

import httpx

from vidpred.cluster.guard import ALLOW_OPEN, is_loopback
from vidpred.commands.findings import Finding
from vidpred.commands.versions import server_findings
from vidpred.tracking.server import answers_anybody, holds_password, scheme_of, version, without_password

PAGE = "docs/mlflow-server.md"


def mlflow_address(uri: str) -> Iterator[Finding]:
    """What is wrong with the store that runs and models go to.

    Args:
        uri: Of a server or a database.
    """
    where = without_password(uri)
    if holds_password(uri):
        instead = (
            "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or ~/.mlflow/credentials"
            if scheme_of(uri) != "other"
            else "PGPASSWORD or ~/.pgpass"
        )
        yield Finding(
            "warn", "MLflow", f"the address of {where} holds a password, which logs and `ps` show: use {instead}"
        )
    if scheme_of(uri) == "other":
        return
    here = is_loopback(urlsplit(where).hostname or "")
    if not here and scheme_of(uri) == "http":
        yield Finding(
            "warn",
            "MLflow",
            f"{where} is plain http: passwords and models can be read and changed on the way: use https ({PAGE})",
        )
    if not here and answers_anybody(uri):
        yield Finding(
            "warn",
            "MLflow",
            f"{where} answers whoever asks: anybody who reaches it can replace your models: start it with "
            f"--app-name basic-auth ({PAGE})",
        )
    if os.environ.get("MLFLOW_TRACKING_INSECURE_TLS", "").lower() in ("1", "true") and not here:
        yield Finding(
            "warn",
            "MLflow",
            "MLFLOW_TRACKING_INSECURE_TLS lets anybody pose as the server: unset it, and name its certificate in "
            "MLFLOW_TRACKING_SERVER_CERT_PATH",
        )
    if told := version(uri):
        yield from server_findings(told, where)


def environment() -> Iterator[Finding]:
    """Settings that open a server which is started from this shell, and passwords that others can read."""
    host = os.environ.get("MLFLOW_HOST", "").strip()
    if host and not is_loopback(host):
        yield Finding(
            "warn",
            "MLFLOW_HOST",
            f"{host}: `mlflow server` listens for everybody: unset it, or start with --app-name basic-auth ({PAGE})",
        )
    if "*" in [name.strip() for name in os.environ.get("MLFLOW_SERVER_ALLOWED_HOSTS", "").split(",")]:
        yield Finding(
            "warn",
            "MLflow",
            "MLFLOW_SERVER_ALLOWED_HOSTS=* lets web pages speak with the server in your name: list its own names",
        )
    for path in (Path.home() / name for name in (".mlflow/credentials", ".pgpass", ".ray/auth_token")):
        if path.is_file() and stat.S_IMODE(path.stat().st_mode) & 0o077:
            yield Finding("warn", "passwords", f"{path} can be read by others on this machine: `chmod 600 {path}`")


def listeners() -> Iterator[Finding]:
    """MLflow servers and Ray dashboards of this machine that can be reached from elsewhere and ask nobody who he is."""
    import psutil

    try:
        found = psutil.net_connections("tcp")
    except (psutil.Error, OSError):  # macOS shows them to root only
        return
    for connection in found:
        if connection.status != psutil.CONN_LISTEN or connection.pid is None or not from_elsewhere(connection.laddr.ip):
            continue
        try:
            command = psutil.Process(connection.pid).cmdline()
        except psutil.Error:
            continue
        kind = kind_of(command)
        if kind is None:
            continue
        ip, port = connection.laddr.ip, connection.laddr.port
        address = f"http://{_reached_by(ip)}:{port}"
        told = f"process {connection.pid} listens on {ip}:{port}"
        if kind == "mlflow" and answers_anybody(address):
            yield Finding(
                "warn",
                "MLflow",
                f"{told} and answers whoever asks: stop it, and start it with --host 127.0.0.1, or "
                f"--app-name basic-auth ({PAGE})",
            )
        if kind == "ray" and _dashboard_open(address):
            yield Finding(
                "warn",
                "Ray",
                f"{told}, a dashboard without a token: whoever reaches it can run code here: `ray stop`, and start it "
                "with RAY_AUTH_MODE=token or --dashboard-host 127.0.0.1",
            )


def open_cluster(address: str, host: str, *, protected: bool) -> Finding:
    """What to say of a Ray cluster that answers.

    Args:
        address: As `RAY_ADDRESS` has it.
        host: Of it.
        protected: Whether it wants a token.
    """
    if protected:
        return Finding("ok", "Ray", f"{address} answers, to our token")
    if is_loopback(host):
        return Finding("ok", "Ray", f"{address} answers, to everybody on this machine")
    return Finding(
        "warn",
        "Ray",
        f"{address} answers whoever asks, which {ALLOW_OPEN} allows: whoever reaches it can run code there: start it "
        "with RAY_AUTH_MODE=token",
    )


def from_elsewhere(ip: str) -> bool:
    """Whether what listens on an address of this machine can be reached from others."""
    return not ipaddress.ip_address(ip.partition("%")[0]).is_loopback


def kind_of(command: Sequence[str]) -> str | None:
    """`mlflow` or `ray` for the command line of such a server; None for all else."""
    text = " ".join(command)
    if "mlflow.server" in text or ("mlflow" in text and {"server", "ui"} & set(command)):
        return "mlflow"
    if "ray/dashboard/" in text or "ray-dashboard" in text:
        return "ray"
    return None


def _reached_by(ip: str) -> str:
    address = ipaddress.ip_address(ip.partition("%")[0])
    if address.is_unspecified:
        return "127.0.0.1"
    return f"[{address}]" if address.version == 6 else str(address)


def _dashboard_open(address: str) -> bool:
    try:
        answer = httpx.get(f"{address}/api/version", timeout=3, trust_env=False)
    except httpx.HTTPError:
        return False
    return answer.status_code == 200 and "ray_version" in answer.text
