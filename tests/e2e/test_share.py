"""Sharing: what one machine pushed, another pulls and need not run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from moto.server import ThreadedMotoServer

from tests.e2e.conftest import Project

pytestmark = pytest.mark.timeout(900)

CREDENTIALS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1"}


@pytest.fixture
def s3() -> Iterator[str]:
    """An S3 server on loopback with a bucket."""
    import boto3

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    address = f"http://{host}:{port}"
    keys = {"aws_access_key_id": "test", "aws_secret_access_key": "test", "region_name": "us-east-1"}
    boto3.client("s3", endpoint_url=address, **keys).create_bucket(Bucket="clips")
    yield address
    server.stop()


def test_a_second_clone_pulls_and_runs_nothing(project: Project, s3: str, tmp_path: Path) -> None:
    project.run("dvc", "repro")
    project.run("dvc", "remote", "add", "--default", "storage", "s3://clips/vidpred")
    project.run("dvc", "remote", "modify", "storage", "endpointurl", s3)
    project.run("git", "add", "--all")
    project.run("git", "commit", "--quiet", "-m", "results")
    project.run("dvc", "push", **CREDENTIALS)

    second = Project(tmp_path / "second")
    project.run("git", "clone", "--quiet", str(project.folder), str(second.folder))
    second.run("dvc", "pull", **CREDENTIALS)
    told = second.run("dvc", "repro", **CREDENTIALS)
    assert "up to date" in told
    assert "Running stage" not in told
    assert (second.folder / "report/index.html").read_bytes() == (project.folder / "report/index.html").read_bytes()
    assert not (second.folder / "runs/train").exists()

    # files have come, the registry has not: a receipt is none
    told = second.run("vidpred", "summary")
    assert "not registered: " in told
    assert "@champion" not in told
    assert "vidpred/1" not in second.run("vidpred", "models", "--registry")
    second.run("vidpred", "register", "--if-missing")
    assert "models:/vidpred/1" in second.run("vidpred", "register", "--if-missing")
    assert "not registered" not in second.run("vidpred", "summary")
    assert "up to date" in second.run("dvc", "status", **CREDENTIALS)
