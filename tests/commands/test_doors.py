"""What `vidpred doctor` says of versions, addresses and servers that are open."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from vidpred.commands import exposure
from vidpred.commands.exposure import environment, from_elsewhere, kind_of, mlflow_address, open_cluster
from vidpred.commands.findings import Finding
from vidpred.commands.versions import ffmpeg_findings, outside_ranges, server_findings


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in os.environ if name.startswith("MLFLOW_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))


def told(findings: object) -> str:
    """All warnings in one text."""
    return "\n".join(f"{f.level} {f.what} {f.text}" for f in findings if f.level != "ok")  # type: ignore[attr-defined]


def test_an_older_package_fails_and_a_newer_one_warns() -> None:
    text = told(
        outside_ranges(["numpy>=99,<100", "typer<0.0.1", "torch>=2", "ray>=99; extra == 'never'", "nowhere>=1"])
    )
    older, newer = text.splitlines()
    assert older.startswith("fail numpy ")
    assert "is older than vidpred is made for (<100,>=99): `pip install 'numpy<100,>=99'`" in older
    assert newer.startswith("warn typer ")
    assert "is newer than" in newer


def test_what_is_installed_is_in_range() -> None:
    import importlib.metadata

    assert told(outside_ranges(importlib.metadata.requires("vidpred") or ())) == ""


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        ("3.4.0", "no check of the Host header"),
        ("3.9.0", "CVE-2026-2652: basic-auth leaves the job API and trace ingestion open: upgrade it"),
        ("3.12.0", "is 3.12.0, vidpred is made for"),
        ("3.17.2", ""),
        ("not a version", ""),
    ],
)
def test_old_servers(version: str, expected: str) -> None:
    text = told(server_findings(version, "http://host"))
    assert expected in text
    assert bool(text) == bool(expected)


@pytest.mark.parametrize(
    ("version", "old"),
    [("4.4.2-0ubuntu0", True), ("5.1.6-0+deb12u1", False), ("n9.0.2-17-g2a5", False), ("N-12345-gabc", False)],
)
def test_old_ffmpeg(version: str, old: bool) -> None:
    assert ("set transcode.ffmpeg: bundled" in told(ffmpeg_findings(version))) == old


def test_passwords_in_addresses_are_told_and_not_shown() -> None:
    text = told(mlflow_address("http://me:secret@mlflow.invalid:5000"))
    assert "the address of http://mlflow.invalid:5000 holds a password" in text
    assert "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD" in text
    assert "is plain http" in text
    assert "secret" not in text
    text = told(mlflow_address("postgresql://me:secret@db/mlflow"))
    assert "use PGPASSWORD or ~/.pgpass" in text
    assert "secret" not in text


@pytest.mark.parametrize(
    "uri", ["https://mlflow.invalid", "http://127.0.0.1:1", "http://localhost:1", "sqlite:////a@b/c.db"]
)
def test_sound_addresses(uri: str) -> None:
    assert told(mlflow_address(uri)) == ""


def test_settings_that_open_a_server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert told(environment()) == ""
    monkeypatch.setenv("MLFLOW_HOST", "0.0.0.0")
    monkeypatch.setenv("MLFLOW_SERVER_ALLOWED_HOSTS", "a.example, *")
    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray/auth_token").write_text("t")
    (tmp_path / ".ray/auth_token").chmod(0o644)
    text = told(environment())
    assert "`mlflow server` listens for everybody" in text
    assert "MLFLOW_SERVER_ALLOWED_HOSTS=*" in text
    assert f"`chmod 600 {tmp_path}/.ray/auth_token`" in text
    (tmp_path / ".ray/auth_token").chmod(0o600)
    monkeypatch.setenv("MLFLOW_HOST", "127.0.0.1")
    monkeypatch.delenv("MLFLOW_SERVER_ALLOWED_HOSTS")
    assert told(environment()) == ""


def test_clusters(monkeypatch: pytest.MonkeyPatch) -> None:
    assert open_cluster("a:6379", "a", protected=True) == Finding("ok", "Ray", "a:6379 answers, to our token")
    assert open_cluster("127.0.0.1:6379", "127.0.0.1", protected=False).level == "ok"
    monkeypatch.setattr(exposure, "is_loopback", lambda _host: False)
    assert "RAY_AUTH_MODE=token" in told([open_cluster("far:6379", "far", protected=False)])


def test_servers_are_known_by_their_command_lines() -> None:
    assert kind_of(["/usr/bin/python3", "/usr/local/bin/mlflow", "server", "--host", "0.0.0.0"]) == "mlflow"
    assert kind_of(["python", "-m", "uvicorn", "mlflow.server.fastapi_app:app"]) == "mlflow"
    assert kind_of(["python", "-u", "site-packages/ray/dashboard/dashboard.py", "--host=0.0.0.0"]) == "ray"
    assert kind_of(["nginx", "-g", "daemon off;"]) is None
    assert [from_elsewhere(ip) for ip in ("0.0.0.0", "::", "10.0.0.7", "127.0.0.1", "::1")] == [True] * 3 + [False] * 2
