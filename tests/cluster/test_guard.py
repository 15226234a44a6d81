"""What RAY_ADDRESS may be, which token is taken, and what counts as this machine alone."""

from __future__ import annotations

import socket
import time
from pathlib import Path

import pytest

from vidpred.cluster.connect import connected, wait_for_nodes
from vidpred.cluster.guard import address_kind, check_job_server, is_loopback, token
from vidpred.errors import UserError


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("RAY_ADDRESS", "RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "RAY_USE_TLS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))


@pytest.mark.parametrize(
    ("address", "kind"),
    [
        ("", "none"),
        ("local", "none"),
        ("auto", "auto"),
        ("head:6379", "driver"),
        ("[::1]:6379", "driver"),
        ("http://head:8265", "jobs"),
        ("https://ray.example.org", "jobs"),
    ],
)
def test_what_an_address_names(address: str, kind: str) -> None:
    assert address_kind(address) == kind


@pytest.mark.parametrize("address", ["head", "ray://head:10001", "head:"])
def test_other_addresses_are_told_in_one_line(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", address)
    with pytest.raises(UserError, match=r"write host:6379 .* http://host:8265"), connected():
        pass


def test_a_driver_is_not_connected_through_a_job_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "http://127.0.0.1:1")
    with pytest.raises(UserError, match="is a job server"), connected():
        pass


def test_loopback_is_this_machine_alone() -> None:
    assert is_loopback("127.0.0.1")
    assert is_loopback("127.0.0.2")
    assert is_loopback("::1")
    assert is_loopback("localhost")
    assert not is_loopback("192.0.2.7")
    assert not is_loopback("0.0.0.0")
    assert not is_loopback("no-such-host.invalid")


def test_tokens_are_looked_for_where_ray_does(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert token() is None
    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray/auth_token").write_text("of the home folder\n")
    assert token() == "of the home folder"
    (tmp_path / "file").write_text("of a file\n")
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "file"))
    assert token() == "of a file"
    monkeypatch.setenv("RAY_AUTH_TOKEN", "itself")
    assert token() == "itself"
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    assert token() is None


def test_an_empty_token_file_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "file"))
    with pytest.raises(UserError, match="is empty"):
        token()


@pytest.fixture
def silent_port() -> int:
    """On which nothing listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def test_nothing_that_answers_is_told_at_once(monkeypatch: pytest.MonkeyPatch, silent_port: int) -> None:
    monkeypatch.setenv("RAY_ADDRESS", f"127.0.0.1:{silent_port}")
    with pytest.raises(UserError, match=f"no Ray cluster answers at RAY_ADDRESS=127.0.0.1:{silent_port}"), connected():
        pass
    began = time.monotonic()
    with pytest.raises(UserError, match="no Ray cluster answers"):
        wait_for_nodes(1, seconds=1)
    assert time.monotonic() - began >= 1, "it may come yet"
    with pytest.raises(UserError, match="no Ray job server answers"):
        check_job_server(f"http://127.0.0.1:{silent_port}")
