"""A real `vidpred serve`: it stops gracefully, takes up new weights while serving, and says what is wrong in a line."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from tests.serving.web.conftest import moving, serving, upload
from tests.serving.web.test_withstands import half_sent, rest_of, until
from vidpred.commands.serve import serve as command
from vidpred.errors import UserError
from vidpred.serving.web import run
from vidpred.serving.web.settings import Settings


def test_a_stop_lets_what_is_under_way_finish_and_leaves_nothing(model: Path, cat: bytes, tmp_path: Path) -> None:
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    with serving(str(model), env={"TMPDIR": str(temporary)}) as server, server.client() as client:
        assert len(list(temporary.glob("vidpred-serve-*"))) == 1
        with half_sent(client, cat) as (connection, rest):
            until(client, "vidpred_uploads_under_way 1.0")
            server.process.send_signal(signal.SIGTERM)
            wait_for(lambda: not answers(server.url))
            connection.sendall(rest)
            assert b" 200 OK" in rest_of(connection)
        assert server.process.wait(30) == 0
    assert list(temporary.iterdir()) == []
    assert "Traceback" not in "".join(server.lines)


def test_a_second_ctrl_c_does_not_wait_and_says_no_more(model: Path, cat: bytes) -> None:
    with serving(str(model)) as server, server.client() as client, half_sent(client, cat):
        until(client, "vidpred_uploads_under_way 1.0")
        server.process.send_signal(signal.SIGINT)
        wait_for(lambda: "Ctrl-C again stops at once" in "".join(server.lines))
        assert server.process.poll() is None
        server.process.send_signal(signal.SIGINT)
        assert server.process.wait(20) == 0
    assert "Traceback" not in "".join(server.lines)


def test_new_weights_are_taken_up_and_broken_ones_are_not(model: Path, cat: bytes, tmp_path: Path) -> None:
    folder = tmp_path / "trained"
    shutil.copytree(model, folder)
    with serving(str(folder), "--poll", "1") as server, server.client() as client:

        def predicted() -> bytes:
            return client.post("/api/predict", files=upload(cat)).content

        first, name = predicted(), client.get("/api/models").json()["models"][0]
        moving(folder, step=0)  # as training writes it: weights, then model.json
        wait_for(lambda: client.get("/api/models").json()["models"][0]["weights"] != name["weights"])
        second = predicted()
        assert second != first
        weights = bytearray((folder / "model.safetensors").read_bytes())
        weights[-1] ^= 1
        (folder / "model.safetensors").write_bytes(weights)
        wait_for(lambda: client.get("/healthz").json()["status"] == "degraded")
        assert predicted() == second
        (told,) = client.get("/healthz").json()["models"].values()
        assert "damaged" in told["problem"]
        assert "damaged" in "".join(server.lines)
        assert 'outcome="refused"} 1.0' in client.get("/metrics").text
        moving(folder)
        wait_for(lambda: client.get("/healthz").json()["status"] == "ok")
        assert predicted() == first


def test_an_address_for_others_gets_a_token_of_its_own(model: Path) -> None:
    with serving(str(model), "--host", "0.0.0.0") as server, server.client() as client:
        assert client.get("/api/models").status_code == 401
        token = "".join(server.lines).rpartition("?token=")[2].split()[0]
        assert client.get("/api/models", headers={"Authorization": f"Bearer {token}"}).status_code == 200
        assert client.get("/", params={"token": token}).status_code == 303


@pytest.mark.parametrize(
    ("host", "told"),
    [("127.0.0.1", "127.0.0.1"), ("localhost", "localhost"), ("::1", "[::1]"), ("127.0.0.2", "127.0.0.2")],
)
def test_the_address_that_is_told_is_the_one_that_it_listens_on(settings: Settings, host: str, told: str) -> None:
    (line,) = run.greeting(replace(settings, host=host, port=8000), made=False)
    assert f"http://{told}:8000/" in line


def test_what_is_wrong_is_told_in_a_line(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "from vidpred.cli import main; main()", "serve", "nowhere", "--port", "0"]
    env = os.environ | {"TMPDIR": str(tmp_path)}
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=tmp_path, env=env)
    assert done.returncode == 1
    assert done.stderr.startswith("error: nowhere is no folder")
    assert len(done.stderr.strip().splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_an_address_that_is_taken_and_a_token_that_is_short(settings: Settings) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match=f"127.0.0.1:{port} cannot be listened on .*: take another --port"):
            run.serve(replace(settings, port=port))
    with pytest.raises(UserError, match="the token is too short"):
        command(token="short")


def answers(url: str) -> bool:
    """Whether a new connection is taken."""
    try:
        return httpx.get(f"{url}/healthz", trust_env=False).is_success
    except httpx.TransportError:
        return False


def wait_for(condition: Callable[[], bool]) -> None:
    """Until it holds."""
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)
