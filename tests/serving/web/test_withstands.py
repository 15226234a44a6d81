"""What the server withstands: the hostile files of the ingest, uploads that crawl, more clients than it can serve."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.data.test_hostile import bad as bad
from tests.data.test_hostile import video as video
from tests.serving.web.conftest import Make, clip, upload
from vidpred.serving.web import drawing
from vidpred.serving.web.scratch import scratch as make_scratch


@contextmanager
def half_sent(client: httpx.Client, data: bytes) -> Iterator[tuple[socket.socket, bytes]]:
    """A connection over which half of an upload has gone, and the other half."""
    request = client.build_request("POST", "/api/predict", files=upload(data))
    body = request.read()
    lines = [f"{name}: {value}" for name, value in request.headers.items() if name != "connection"]
    head = "\r\n".join(["POST /api/predict HTTP/1.1", *lines, "Connection: close", "", ""])
    with socket.create_connection((client.base_url.host, client.base_url.port)) as connection:
        connection.settimeout(30)
        connection.sendall(head.encode() + body[: len(body) // 2])
        yield connection, body[len(body) // 2 :]


def rest_of(connection: socket.socket) -> bytes:
    """All that comes until the other side ends it."""
    received = b""
    while piece := connection.recv(1 << 16):
        received += piece
    return received


def until(client: httpx.Client, sign: str) -> None:
    """Waits until /metrics tells it."""
    deadline = time.monotonic() + 20
    while sign not in client.get("/metrics").text:
        assert time.monotonic() < deadline, sign
        time.sleep(0.02)


def test_the_hostile_files_of_the_ingest(client: httpx.Client, bad: dict[str, Path], cat: bytes, scratch: Path) -> None:
    def sent(path: Path) -> httpx.Response:
        return client.post("/api/predict", files=upload(path.read_bytes(), path.name))

    good = [client.post("/api/predict", files=upload(cat)).content]
    files = [path for path in bad.values() if path.is_file()]
    assert len(files) > 30
    with ThreadPoolExecutor(8) as pool:  # so that bad ones share a process with each other and with good ones
        beside = [pool.submit(client.post, "/api/predict", files=upload(cat)) for _ in range(4)]
        answers = dict(zip([path.name for path in files], pool.map(sent, files), strict=True))
        good += [one.result().content for one in beside]
    assert len(set(good)) == 1
    for name, answer in answers.items():
        assert answer.status_code == 422, name
        assert answer.json()["detail"].startswith(f"{name} ")
        assert len(answer.json()["detail"]) < 300
        assert str(scratch) not in answer.text
    assert not (files[0].parent / "ran").exists()
    assert list(scratch.iterdir()) == []


def test_who_is_one_too_many_is_told_to_come_back(make: Make, cat: bytes) -> None:
    client = make(limits={"waiting": 1})
    with half_sent(client, cat) as (connection, rest):
        until(client, "vidpred_uploads_under_way 1.0")
        refused = client.post("/api/predict", files=upload(cat))
        assert (refused.status_code, refused.json()["code"]) == (429, "busy")
        assert int(refused.headers["retry-after"]) >= 1
        assert client.get("/api/models").status_code == 200  # others are served meanwhile
        connection.sendall(rest)
        assert b" 200 OK" in rest_of(connection)
    assert client.post("/api/predict", files=upload(cat)).status_code == 200
    assert 'vidpred_refused_total{reason="busy"} 1.0' in client.get("/metrics").text


def test_the_answer_reaches_who_is_still_sending(make: Make, cat: bytes) -> None:
    client = make(limits={"waiting": 1, "max_bytes": 3_500_000})
    with half_sent(client, cat), half_sent(client, cat + bytes(3_000_000)) as (late, rest):
        time.sleep(0.3)  # by now it has its answer
        late.sendall(rest)
        assert b" 429 " in rest_of(late).splitlines()[0]
    with half_sent(client, bytes(6_000_000)) as (large, rest):
        time.sleep(0.3)
        large.sendall(rest)
        assert b" 413 " in rest_of(large).splitlines()[0]


def test_an_upload_that_crawls_gives_its_place_to_others(make: Make, cat: bytes) -> None:
    client = make(limits={"waiting": 1, "upload_seconds": 0.3})
    with half_sent(client, cat) as (connection, _):
        answer = rest_of(connection)
    assert b" 408 " in answer.splitlines()[0]
    assert b'"slow"' in answer
    assert client.post("/api/predict", files=upload(cat)).status_code == 200


def test_a_client_that_goes_away_leaves_nothing(make: Make, cat: bytes, scratch: Path) -> None:
    client = make(limits={"waiting": 1})
    with half_sent(client, cat):
        until(client, "vidpred_uploads_under_way 1.0")
    until(client, "vidpred_uploads_under_way 0.0")
    assert list(scratch.iterdir()) == []
    assert client.post("/api/predict", files=upload(cat)).status_code == 200


def test_uploads_at_once_do_not_mix(make: Make) -> None:
    client = make()
    clips = [clip(12)[:, ::turn, ::other] for turn in (1, -1) for other in (1, -1)]
    files = [drawing.gif(frames, 10) for frames in clips]
    alone = [client.post("/api/predict", files=upload(data), data={"compare": True}).content for data in files]
    assert len(set(alone)) == len(files)
    with ThreadPoolExecutor(8) as pool:
        turns = [number % len(files) for number in range(24)]
        together = pool.map(
            lambda i: client.post("/api/predict", files=upload(files[i]), data={"compare": True}).content, turns
        )
        assert list(together) == [alone[i] for i in turns]


def test_what_a_killed_server_left_is_removed_and_a_running_ones_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    dead = tmp_path / "vidpred-serve-dead"
    dead.mkdir()
    (dead / ".lock").touch()
    (dead / "upload.gif").write_bytes(b"somebody's")
    stranger = tmp_path / "vidpred-serve-link"
    stranger.symlink_to(tmp_path)
    with make_scratch() as running:
        assert not dead.exists()
        assert stranger.is_symlink()
        assert running.stat().st_mode & 0o777 == 0o700
        with make_scratch() as other:
            assert running.is_dir()
            assert other != running
        assert running.is_dir()
        assert not other.exists()
    assert [path.name for path in tmp_path.iterdir()] == [stranger.name]
