"""Where runs and the registry are, and how they are opened.

By default an SQLite file in `VIDPRED_HOME` with the artifacts beside it; `MLFLOW_TRACKING_URI` names another place,
such as a team's server. A server that does not answer is found out in seconds, once, before MLflow retries.
"""

from __future__ import annotations

import logging
import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vidpred import workspace
from vidpred.errors import UserError
from vidpred.tracking import own

if TYPE_CHECKING:
    from mlflow import MlflowClient

EXPERIMENT = "vidpred"
"""Unless `MLFLOW_EXPERIMENT_NAME` says otherwise."""

log = logging.getLogger(__name__)

_PROBE_SECONDS = 3


class StoreError(UserError):
    """MLflow does not answer, or not as it should."""


def tracking_uri() -> str:
    """`MLFLOW_TRACKING_URI`, else the SQLite file in `VIDPRED_HOME`.

    Raises:
        UserError: neither is set and this is not inside a project.
    """
    chosen = os.environ.get("MLFLOW_TRACKING_URI", "").strip()
    return chosen or f"sqlite:///{own_file()}"


def exists() -> bool:
    """Whether there is a store, or a server to ask; a database file that is not there would be made by asking."""
    uri = tracking_uri()
    return not uri.startswith("sqlite:///") or Path(uri.removeprefix("sqlite:///")).exists()


def is_own() -> bool:
    """Whether the store is the project's own file rather than one that others may write to."""
    chosen = os.environ.get("MLFLOW_TRACKING_URI", "").strip()
    if not chosen:
        return True
    try:
        return chosen == f"sqlite:///{own_file()}"
    except UserError:
        return False  # outside a project there is none


def own_file() -> Path:
    """The project's own store, whether it is used and there or not.

    Raises:
        UserError: this is not inside a project.
    """
    return _home() / "mlflow.db"


def artifact_root() -> Path:
    """Where artifacts go when the store is the default SQLite file; a server decides for itself."""
    return _home() / "mlartifacts"


def follow() -> str:
    """Lets the project's own store point to where its artifacts are, after it was moved or copied with them.

    Returns:
        What was done, in a sentence; empty: nothing was to be done, or another store is used.
    """
    if not is_own() or not own_file().is_file():
        return ""
    try:
        moved = own.follow(own_file(), artifact_root())
    except (OSError, sqlite3.Error) as error:
        log.warning("%s may point to where it was before it was moved, and cannot be changed: %s", own_file(), error)
        return ""
    if moved is None:
        return ""
    return (
        f"{own_file()} pointed to {', '.join(moved.before)}: it was moved or copied, and points to {artifact_root()} "
        f"now ({moved.entries} entries)"
    )


def _home() -> Path:
    folder = workspace.home_or_none()
    if folder is None:
        raise UserError(
            f"no registry is known in {Path.cwd()}: cd into the project that has it, or set MLFLOW_TRACKING_URI to a "
            "server, or VIDPRED_HOME to a project's runs/"
        )
    return folder


def set_defaults(*, patience_seconds: int = 5) -> None:
    """Settings of MLflow that are read from the environment; what the user has set stays.

    Args:
        patience_seconds: How long a server may take over one answer. MLflow's own two minutes and seven tries hold up
            training for that long each time.
    """
    for name, value in {
        "MLFLOW_HTTP_REQUEST_TIMEOUT": str(patience_seconds),
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
        "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
        "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",  # two lines a trial, into the table that is drawn
    }.items():
        os.environ.setdefault(name, value)


def connect(*, patience_seconds: int = 5) -> MlflowClient:
    """A client of the store, which answers.

    Raises:
        StoreError: no answer; names the address.
        UserError: there is no store, as in `tracking_uri`.
    """
    uri = tracking_uri()
    set_defaults(patience_seconds=patience_seconds)
    from mlflow import MlflowClient

    for name in ("alembic", "mlflow"):  # the making of a database takes 60 lines otherwise
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)  # a line a retry; we tell of the last
    if told := follow():
        log.info("%s", told)
    with explained(f"MLflow at {display(uri)} cannot be opened"):
        _probe(uri)
        client = MlflowClient(tracking_uri=uri, registry_uri=uri)
        client.get_experiment_by_name(EXPERIMENT)  # a database is opened by the first query
        return client


def _probe(uri: str) -> None:
    """Asks a server once, with its own credentials and proxies but without retries."""
    if not uri.startswith(("http://", "https://")):
        return
    from mlflow.utils.credentials import get_default_host_creds
    from mlflow.utils.rest_utils import http_request

    ask: Callable[..., object] = http_request
    credentials: Callable[[str], object] = get_default_host_creds
    ask(credentials(uri), "/health", "GET", max_retries=0, timeout=_PROBE_SECONDS, raise_on_status=False)


def experiment(client: MlflowClient) -> str:
    """The id of the experiment, made if missing.

    Raises:
        UserError: it has been deleted.
    """
    from mlflow.exceptions import MlflowException

    name = os.environ.get("MLFLOW_EXPERIMENT_NAME", EXPERIMENT)
    found = client.get_experiment_by_name(name)
    if found is None:
        try:
            place = artifact_root().as_uri() if is_own() else None
            return str(client.create_experiment(name, artifact_location=place))
        except MlflowException:
            found = client.get_experiment_by_name(name)  # another process was first
            if found is None:
                raise
    if found.lifecycle_stage != "active":
        raise UserError(
            f"experiment {name} was deleted from MLflow: `mlflow experiments restore -x {found.experiment_id}`, "
            "or set MLFLOW_EXPERIMENT_NAME to another name"
        )
    return str(found.experiment_id)


def every(search: Callable[..., Any], query: str | None = None) -> list[Any]:
    """All pages of a search of a client."""
    found: list[Any] = []
    token = None
    while True:
        page = search(query, page_token=token)
        found += page
        token = page.token
        if not token:
            return found


@contextmanager
def explained(what: str) -> Iterator[None]:
    """Turns MLflow's and the network's exceptions into one line.

    Raises:
        StoreError: with `what` and the reason.
    """
    import requests
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (MlflowException, SQLAlchemyError, requests.RequestException, OSError, ImportError) as error:
        raise StoreError(f"{what}: {reason(error)}") from error


def reason(error: Exception) -> str:
    """The first line of a message of MLflow, SQLAlchemy or requests; the essence where it is a dead server."""
    text = str(error)
    user = os.environ.get("MLFLOW_TRACKING_USERNAME", "").strip()
    for sign, meaning in {
        "Connection refused": "nothing listens there; start the server",
        "Name or service not known": "there is no such host",
        "nodename nor servname": "there is no such host",
        "timed out": "no answer in time",
        "database is locked": "another process holds the database",
        "error code 401": _unknown(user),
        "are not authenticated": _unknown(user),
        "error code 403": _not_allowed(user),
        "PERMISSION_DENIED": _not_allowed(user),
    }.items():
        if sign in text:
            return meaning
    line = next((line.strip() for line in text.splitlines() if line.strip()), type(error).__name__)
    return line if len(line) <= 200 else line[:197] + "..."


def _unknown(user: str) -> str:
    does = f"does not take this password of {user}" if user else "wants a name and a password"
    return f"it {does}: set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"


def _not_allowed(user: str) -> str:
    return f"the user {user or 'you are'} may not do that: ask the server's admin for the right (docs/mlflow-server.md)"


def display(uri: str) -> str:
    """A URI without the password that may be in it."""
    scheme, separator, rest = uri.partition("://")
    return f"{scheme}{separator}{rest.rpartition('@')[2] if not scheme.startswith('sqlite') else rest}"
