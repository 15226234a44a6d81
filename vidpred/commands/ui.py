"""`vidpred ui`: the MLflow UI on the project's own store, on loopback."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path
from typing import NoReturn

import typer

from vidpred.errors import UserError
from vidpred.tracking import store


def serve(*, port: int) -> NoReturn:
    """Becomes the MLflow server.

    Raises:
        UserError: runs go to a server already, the port is taken, or there is nothing to show yet.
    """
    uri = store.tracking_uri()
    if uri.startswith(("http://", "https://")):
        raise UserError(f"runs go to the server of MLFLOW_TRACKING_URI: open {store.display(uri)} in a browser")
    if uri.startswith("sqlite:///") and not Path(uri.removeprefix("sqlite:///")).is_file():
        raise UserError(
            f"{uri.removeprefix('sqlite:///')} is not there, so there are no runs to show: `make repro` makes some"
        )
    with socket.socket() as probe:
        if probe.connect_ex(("127.0.0.1", port)) == 0:
            raise UserError(f"port {port} is in use: take another one, `make ui PORT={port + 1}`")
    if told := store.follow():
        typer.echo(told)
    store.set_defaults()
    os.environ.setdefault("PYTHONWARNINGS", "ignore:starlette.middleware.wsgi is deprecated")  # MLflow's own import
    arguments = ["--backend-store-uri", uri, "--registry-store-uri", uri]
    arguments += ["--default-artifact-root", store.artifact_root().as_uri(), "--host", "127.0.0.1", "--port", str(port)]
    # one person looks: four workers only start more slowly. `lifespan` tidies up after MLflow's assistant, and makes a
    # traceback of Ctrl-C
    arguments += ["--workers", "1", "--uvicorn-opts", "--log-level warning --lifespan off"]
    typer.echo(f"MLflow: http://127.0.0.1:{port} in some seconds; Ctrl-C ends it")
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, "-m", "mlflow", "server", *arguments])
