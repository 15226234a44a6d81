"""A team's MLflow as deploy/mlflow sets it up: PostgreSQL, S3, a password for everybody; register here, use there."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import mlflow
import pytest

from tests.tracking.conftest import Project
from tests.tracking.servers import Team, bucket, postgres
from vidpred.commands.exposure import mlflow_address
from vidpred.models.files import load_model
from vidpred.tracking import store
from vidpred.tracking.server import answers_anybody, version

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1200),
    pytest.mark.usefixtures("home"),
    pytest.mark.filterwarnings(r"ignore::DeprecationWarning"),  # of MLflow's and moto's own making
    pytest.mark.filterwarnings(r"ignore::ResourceWarning"),
]

TRAINER, VIEWER = ("trainer", "trains all day 1"), ("viewer", "looks all day 12")


@pytest.fixture(scope="module")
def team(tmp_path_factory: pytest.TempPathFactory, require: Callable[[str], str], root: Path) -> Iterator[Team]:
    """The servers, with two accounts beside the admin."""
    folder = tmp_path_factory.mktemp("team")
    with ExitStack() as stack:
        database = stack.enter_context(postgres(Path(require("postgres")).parent))
        server = Team(folder, database, stack.enter_context(bucket("mlflow")))
        stack.enter_context(server.running(root / "deploy/mlflow/auth.ini"))
        for account in (TRAINER, VIEWER):
            server.account(*account)
        yield server


def vidpred(*arguments: str, home: Path) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own, in an empty folder, as on another machine; without a key of the bucket."""
    home.mkdir(parents=True, exist_ok=True)
    env = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    return subprocess.run(
        [sys.executable, "-c", "from vidpred.cli import main; main()", *arguments],
        cwd=home, env=env | {"VIDPRED_HOME": str(home)}, capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip


def test_register_here_use_there(team: Team, project: Project, tmp_path: Path) -> None:
    import boto3

    with team.as_user(*TRAINER):
        first, second = project.register(0.5), project.register(0.9)
        assert (first["alias"], second["alias"]) == ("champion", "champion")
        source = store.connect().get_model_version("vidpred", "2").source
    assert source.startswith("mlflow-artifacts:")  # through the server, so that nobody needs a key of the bucket
    kept = boto3.client(
        "s3", endpoint_url=team.bucket_server, aws_access_key_id="a", aws_secret_access_key="a", region_name="us-east-1"
    ).list_objects_v2(Bucket="mlflow")["Contents"]
    assert sum(entry["Key"].endswith("model.safetensors") for entry in kept) >= 2

    there = tmp_path / "elsewhere"
    with team.as_user(*VIEWER):
        pulled = vidpred("pull", "models:/vidpred@champion", "-o", "champion", home=there)
        assert pulled.returncode == 0, pulled.stderr
        assert load_model(there / "champion")[1]["weights_sha256"] == second["weights_sha256"]
        explained = vidpred("explain", "models:/vidpred@champion", "--json", home=there)
        assert explained.returncode == 0, explained.stderr
        assert second["weights_sha256"] in explained.stdout
        refused = vidpred("promote", "models:/vidpred/1", "--force", "--reason", "mine", home=there)
        assert refused.returncode == 1
        (line,) = refused.stderr.splitlines()
        assert "the user viewer may not do that" in line
    with team.as_user(*TRAINER):
        promoted = vidpred("promote", "models:/vidpred/1", "--force", "--reason", "less flicker", home=there)
        assert promoted.returncode == 0, promoted.stderr
        assert store.connect().get_model_version_by_alias("vidpred", "champion").version == "1"
        back = vidpred("rollback", home=there)
        assert back.returncode == 0, back.stderr
        assert store.connect().get_model_version_by_alias("vidpred", "champion").version == "2"
    team.post(
        "3.0/mlflow/users/permissions/grant",
        username=VIEWER[0], resource_type="registered_model", resource_id="vidpred", permission="MANAGE",
    )  # fmt: skip
    with team.as_user(*VIEWER):
        allowed = vidpred("promote", "models:/vidpred/1", "--force", "--reason", "mine", home=there)
    assert allowed.returncode == 0, allowed.stderr


@pytest.mark.parametrize("password", ["a wrong one", ""])
def test_a_wrong_password_is_one_line(team: Team, tmp_path: Path, password: str) -> None:
    with team.as_user("viewer", password):
        done = vidpred("pull", "models:/vidpred@champion", "-o", "champion", home=tmp_path / "there")
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"error: MLflow at {team.uri} cannot be opened: it ")
    assert "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD" in line


def test_doctor_finds_nothing_open(team: Team) -> None:
    with team.as_user(*VIEWER):
        assert not answers_anybody(team.uri, seconds=30)
        assert version(team.uri, seconds=30) == mlflow.__version__
        assert list(mlflow_address(team.uri)) == []
