"""Servers for tests, real ones on loopback: MLflow that can be killed and started again, a private PostgreSQL."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

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


class Team:
    """What deploy/mlflow sets up, without containers: MLflow with passwords, runs in PostgreSQL, files in S3 (moto)."""

    ADMIN = "of the admin, 32"

    def __init__(self, folder: Path, database: str, bucket_server: str) -> None:
        self.port, self.folder, self.database, self.bucket_server = free_port(), folder, database, bucket_server
        self.uri = f"http://127.0.0.1:{self.port}"

    @contextmanager
    def running(self, auth: Path) -> Iterator[Team]:
        """Started as the docs say, with the project's own auth.ini at another address of the database."""
        config = self.folder / "auth.ini"
        config.write_text(re.sub(r"(?m)^database_uri = .*$", f"database_uri = {self.database}", auth.read_text()))
        command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(self.port)]
        command += ["--workers", "1", "--app-name", "basic-auth", "--backend-store-uri", self.database]
        command += ["--artifacts-destination", "s3://mlflow"]
        env = {name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW_", "AWS_"))} | {
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "MLFLOW_AUTH_CONFIG_PATH": str(config),
            "MLFLOW_AUTH_ADMIN_PASSWORD": self.ADMIN,
            "MLFLOW_FLASK_SERVER_SECRET_KEY": "signs forms",
            "MLFLOW_S3_ENDPOINT_URL": self.bucket_server,
            "AWS_ACCESS_KEY_ID": "the-servers-own",
            "AWS_SECRET_ACCESS_KEY": "the-servers-own",
            "AWS_DEFAULT_REGION": "us-east-1",
        }
        with (self.folder / "server.log").open("ab") as told:
            process = subprocess.Popen(
                command, cwd=self.folder, env=env, stdout=told, stderr=told, start_new_session=True
            )
        try:
            deadline = time.monotonic() + 240
            while not answers(self.uri):
                assert process.poll() is None, (self.folder / "server.log").read_text()[-3000:]
                assert time.monotonic() < deadline, (self.folder / "server.log").read_text()[-3000:]
                time.sleep(0.3)
            yield self
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def account(self, name: str, password: str) -> None:
        """A new account."""
        self.post("2.0/mlflow/users/create", username=name, password=password)

    def post(self, what: str, **fields: str) -> None:
        """A request of the admin, as docs/mlflow-server.md shows it."""
        answer = httpx.post(
            f"{self.uri}/api/{what}", json=fields, auth=("admin", self.ADMIN), timeout=60, trust_env=False
        )
        assert answer.is_success, answer.text

    @contextmanager
    def as_user(self, name: str, password: str) -> Iterator[None]:
        """Inside, this process and those it starts are that user's."""
        mine = {
            "MLFLOW_TRACKING_URI": self.uri,
            "MLFLOW_TRACKING_USERNAME": name,
            "MLFLOW_TRACKING_PASSWORD": password,
        }
        before = {key: os.environ.get(key) for key in mine}
        os.environ.update(mine)
        try:
            yield
        finally:
            for key, value in before.items():
                os.environ.pop(key, None)
                if value is not None:
                    os.environ[key] = value


@contextmanager
def bucket(name: str) -> Iterator[str]:
    """The address of an S3 server on loopback that has one bucket."""
    import boto3
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        address = f"http://{host}:{port}"
        boto3.client(
            "s3",
            endpoint_url=address,
            aws_access_key_id="anybody",
            aws_secret_access_key="anybody",
            region_name="us-east-1",
        ).create_bucket(Bucket=name)
        yield address
    finally:
        server.stop()
