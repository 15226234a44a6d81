"""Servers for tests, real ones on loopback: MLflow that can be killed and started again, a private PostgreSQL."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.tracking.conftest import answers, free_port


class Server:
    """A real MLflow server on a port of its own, that can be killed and started again."""

    def __init__(self, folder: Path, database: str) -> None:
        self.port, self.folder, self.database = free_port(), folder, database
        self.uri = f"http://127.0.0.1:{self.port}"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(self.port)]
        command += ["--workers", "1", "--backend-store-uri", self.database]
        quiet = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
        env = {name: value for name, value in os.environ.items() if name != "MLFLOW_TRACKING_URI"} | quiet
        with (self.folder / "server.log").open("ab") as told:
            self.process = subprocess.Popen(
                command, cwd=self.folder, env=env, stdout=told, stderr=told, start_new_session=True
            )
        deadline = time.monotonic() + 120
        while not answers(self.uri):
            assert self.process.poll() is None, (self.folder / "server.log").read_text()[-2000:]
            assert time.monotonic() < deadline
            time.sleep(0.2)

    def kill(self) -> None:
        if self.process is not None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.process = None


@contextmanager
def postgres(binary: Path) -> Iterator[str]:
    """A private PostgreSQL cluster on loopback; as root under the account that packages make for it."""
    port = free_port()
    data = Path(tempfile.mkdtemp(prefix="vidpred-postgres-"))  # pytest's folders are closed to other accounts
    as_user: list[str] = []
    if os.geteuid() == 0:
        shutil.chown(data, "postgres", "postgres")
        as_user = ["setpriv", "--reuid", "postgres", "--regid", "postgres", "--clear-groups"]

    def run(*command: str) -> None:
        done = subprocess.run(
            [*as_user, *command],
            capture_output=True,
            text=True,
            cwd="/",
            timeout=120,
            check=False,
            stdin=subprocess.DEVNULL,
        )
        assert done.returncode == 0, f"{command[0]}: {done.stderr or done.stdout}"

    control = [str(binary / "pg_ctl"), "-D", str(data / "db"), "-l", str(data / "log"), "-w"]
    options = f"-c listen_addresses=127.0.0.1 -c port={port} -c unix_socket_directories={data} -c fsync=off"
    try:
        run(str(binary / "initdb"), "-D", str(data / "db"), "-A", "trust", "-U", "vidpred", "--no-sync")
        run(*control, "-o", options, "start")
        try:
            # the driver by name: SQLAlchemy's own choice is psycopg 3
            yield f"postgresql+psycopg2://vidpred@127.0.0.1:{port}/postgres"
        finally:
            run(*control, "-m", "immediate", "stop")
    finally:
        shutil.rmtree(data, ignore_errors=True)
