"""deploy/mlflow: what its files say of each other, and that no password is in them. It starts no containers."""

from __future__ import annotations

import asyncio
import configparser
import re
import shutil
import stat
import subprocess
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

# of MLflow's own making
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*Any type hint is inferred:UserWarning"),
]


@pytest.fixture(scope="module")
def folder(root: Path) -> Path:
    return root / "deploy/mlflow"


@pytest.fixture(scope="module")
def services(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((folder / "compose.yaml").read_text())["services"]
    return found


def test_every_service_has_a_version_and_waits_for_health(services: dict[str, Any]) -> None:
    for name, service in services.items():
        assert re.search(r":v?\d+\.\d+", service["image"]), name
        if name == "backup":  # comes and goes
            assert service["profiles"] == ["backup"]
            continue
        assert "healthcheck" in service or name == "tls"
        assert service["restart"] == "unless-stopped"
        for other, condition in service.get("depends_on", {}).items():
            assert condition == {"condition": "service_healthy"}
            assert "healthcheck" in services[other]


def test_only_the_front_is_reached_from_elsewhere(services: dict[str, Any]) -> None:
    ports = {name: service["ports"] for name, service in services.items() if "ports" in service}
    assert set(ports) == {"mlflow", "tls"}
    assert all(port.startswith("127.0.0.1:") for port in ports["mlflow"])
    assert services["tls"]["profiles"] == ["tls"]


def test_a_new_env_has_all_that_compose_asks_for_and_no_two_are_the_same(folder: Path, tmp_path: Path) -> None:
    envs = []
    for name in ("one", "two"):
        there = tmp_path / name
        there.mkdir()
        shutil.copy(folder / "new-env.sh", there)
        subprocess.run(["sh", "new-env.sh"], cwd=there, check=True, capture_output=True)
        assert stat.S_IMODE((there / ".env").stat().st_mode) == 0o600
        envs.append(dict(line.split("=", 1) for line in (there / ".env").read_text().splitlines()))
    asked = set(re.findall(r"\$\{([A-Z0-9_]+)", (folder / "compose.yaml").read_text()))
    example = set(re.findall(r"^([A-Z0-9_]+)=", (folder / "env.example").read_text(), re.MULTILINE))
    assert set(envs[0]) == asked == example
    secret = {name for name in asked if name not in ("MLFLOW_PORT", "MLFLOW_DOMAIN")}
    assert all(envs[0][name] != envs[1][name] and len(envs[0][name]) >= 26 for name in secret)
    assert re.fullmatch(r"GK[0-9a-f]{24}", envs[0]["S3_ACCESS_KEY"])
    assert re.fullmatch(r"[0-9a-f]{64}", envs[0]["S3_SECRET_KEY"])


def test_an_env_in_use_is_kept(folder: Path, tmp_path: Path) -> None:
    shutil.copy(folder / "new-env.sh", tmp_path)
    (tmp_path / ".env").write_text("of a running server")
    done = subprocess.run(["sh", "new-env.sh"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "is there already" in done.stderr
    assert (tmp_path / ".env").read_text() == "of a running server"


def test_no_password_stands_in_a_file(folder: Path, services: dict[str, Any]) -> None:
    for service in services.values():
        for name, value in service.get("environment", {}).items():
            if re.search("PASSWORD|SECRET|ACCESS_KEY", name):
                assert str(value).startswith("${"), name
    auth = configparser.ConfigParser()
    auth.read(folder / "auth.ini")
    assert "admin_password" not in auth["mlflow"]
    assert auth["mlflow"]["default_permission"] == "READ"
    assert auth["mlflow"]["database_uri"] in " ".join(services["mlflow"]["command"])
    assert ":" not in auth["mlflow"]["database_uri"].partition("://")[2]


def test_the_image_has_the_locked_versions(folder: Path, root: Path, services: dict[str, Any]) -> None:
    lock = set((root / "requirements.lock").read_text().splitlines())
    wanted = [line for line in (folder / "requirements.txt").read_text().splitlines() if not line.startswith("#")]
    assert wanted
    assert set(wanted) <= lock
    mlflow = next(line for line in wanted if line.startswith("mlflow==")).partition("==")[2]
    assert services["mlflow"]["image"] == f"vidpred-mlflow:{mlflow}"


def test_the_page_is_not_refused_by_its_own_server_behind_the_front(
    services: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from fastapi import FastAPI
    from mlflow.server.fastapi_security import init_fastapi_security

    for name, value in services["mlflow"]["environment"].items():
        if name.startswith("MLFLOW_SERVER_"):
            monkeypatch.setenv(name, value.replace("${MLFLOW_DOMAIN:-localhost}", "mlflow.example.org"))
    app = FastAPI()
    app.post("/ajax-api/2.0/mlflow/runs/search")(lambda: "found")
    init_fastapi_security(app)

    async def asked(host: str, origin: str) -> int:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app)) as client:
            headers = {"Host": host, "Origin": origin}
            return (await client.post("http://front/ajax-api/2.0/mlflow/runs/search", headers=headers)).status_code

    def status(host: str, origin: str) -> int:
        return asyncio.run(asked(host, origin))

    assert status("mlflow.example.org", "https://mlflow.example.org") == 200
    assert status("127.0.0.1:5000", "http://127.0.0.1:5000") == 200
    assert status("mlflow.example.org", "https://elsewhere.example.org") == 403
    assert status("elsewhere.example.org", "https://mlflow.example.org") == 403


def test_the_server_is_started_by_options_that_mlflow_has(services: dict[str, Any]) -> None:
    from mlflow.cli import server

    known = {option for parameter in server.params for option in parameter.opts}
    program, command, *options = services["mlflow"]["command"]
    assert (program, command) == ("mlflow", "server")
    assert {option.partition("=")[0] for option in options} <= known
