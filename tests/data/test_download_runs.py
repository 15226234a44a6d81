"""Many downloads, and run after run: slots, what is not asked for again, what is gone on with, what is remembered."""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.data.bad_server import MEDIA, OTHER, SAME_LENGTH, STEP, BadServer, serving
from vidpred.config import FetchParams
from vidpred.data.download import Download, DownloadError, Item, download, download_all
from vidpred.errors import UserError


@pytest.fixture
def server() -> Iterator[BadServer]:
    with serving() as running:
        yield running


@pytest.fixture
def settings() -> FetchParams:
    return FetchParams(
        source="list.txt", allow_private=True, tries=2, timeout_seconds=30, max_bytes=1_000_000, free_bytes=0
    )


@pytest.fixture
def named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every name below .example is this machine."""
    real = socket.getaddrinfo

    def lookup(host: Any, port: Any, *rest: Any, **more: Any) -> Any:
        return real("127.0.0.1" if str(host).endswith(".example") else host, port, *rest, **more)

    monkeypatch.setattr(socket, "getaddrinfo", lookup)


def changed(settings: FetchParams, **values: object) -> FetchParams:
    return settings.model_copy(update=values)


def told(items: list[Item], folder: Path, settings: FetchParams, **more: Any) -> list[str]:
    """`ok` or the failure, of each item."""
    outcomes = download_all(items, folder, settings, pause_seconds=0.01, **more)
    return ["ok" if isinstance(outcome, Download) else str(outcome) for outcome in outcomes]


# many at once


@pytest.mark.usefixtures("named")
def test_many_files_of_several_hosts(tmp_path: Path, server: BadServer, settings: FetchParams) -> None:
    items = [Item(f"http://h{i % 10}.example:{server.port}/slow/{i}.gif") for i in range(200)]
    patient = changed(settings, at_once=24, per_host=3)
    begun = time.monotonic()
    outcomes = download_all(items, tmp_path, patient)
    seconds = time.monotonic() - begun
    assert all(isinstance(outcome, Download) for outcome in outcomes)
    assert len({outcome.path for outcome in outcomes if isinstance(outcome, Download)}) == 200
    assert seconds < 200 * 0.1 / 2
    assert 12 <= server.most["all"] <= 24
    assert all(1 < server.most[f"h{i}.example"] <= 3 for i in range(10))
    assert server.connections <= 40  # used again


@pytest.mark.usefixtures("named")
def test_a_slow_host_leaves_the_others_their_slots(tmp_path: Path, server: BadServer, settings: FetchParams) -> None:
    slow = [Item(f"http://slow.example:{server.port}/silent/{i}.gif") for i in range(6)]
    fast = [Item(f"http://fast.example:{server.port}/good/{i}.gif") for i in range(30)]
    limits = changed(settings, at_once=4, per_host=2, timeout_seconds=1, tries=1)
    assert told([*slow, *fast], tmp_path, limits)[6:] == ["ok"] * 30
    last_fast = max(at for at, host in enumerate(server.hosts) if host == "fast.example")
    assert server.hosts[:last_fast].count("slow.example") <= 4  # of 6


@pytest.mark.usefixtures("named")
def test_the_limit_holds_where_redirects_lead(tmp_path: Path, server: BadServer, settings: FetchParams) -> None:
    items = [Item(f"http://h{i}.example:{server.port}/to/slow?{i}") for i in range(12)]
    assert told(items, tmp_path, changed(settings, at_once=12, per_host=2)) == ["ok"] * 12
    assert server.most["one.example"] == 2


def test_a_busy_host_is_left_alone_by_all(tmp_path: Path, server: BadServer, settings: FetchParams) -> None:
    items = [Item(f"{server.url}/busy/1.gif"), *(Item(f"{server.url}/good/{i}.gif") for i in range(5))]
    begun = time.monotonic()
    assert told(items, tmp_path, changed(settings, per_host=1)) == ["ok"] * 6
    assert time.monotonic() - begun >= 1
    assert [path for path, _ in server.asked][:2] == ["/busy/1.gif", "/busy/1.gif"]


def test_items_that_repeat_themselves(tmp_path: Path, server: BadServer, settings: FetchParams) -> None:
    url, right, wrong = f"{server.url}/good.gif", hashlib.sha256(MEDIA).hexdigest(), hashlib.sha256(OTHER).hexdigest()
    items = [Item(url), Item(url, sha256=wrong), Item(url), Item(url, sha256=right), Item(url, max_bytes=10)]
    outcomes = told(items, tmp_path, settings)
    assert outcomes == ["ok", f"checksum: {right}, not {wrong}", "ok", "ok", "too large: more than 10 bytes"]
    assert server.count("/good.gif") == 2


# run after run


def test_what_is_there_is_not_asked_for_again(tmp_path: Path, server: BadServer, settings: FetchParams) -> None:
    items = [Item(f"{server.url}/good/{i}.gif", sha256=hashlib.sha256(MEDIA).hexdigest()) for i in range(5)]
    first = download_all(items, tmp_path, settings)
    server.asked.clear()
    assert download_all(items, tmp_path, settings) == first
    assert not server.asked


def test_failures_for_good_are_remembered_and_others_tried_again(
    tmp_path: Path, server: BadServer, settings: FetchParams
) -> None:
    settings = changed(settings, timeout_seconds=1, tries=1)
    good = ("status/404", "status/410", "page", "endless", "empty", "to/file", "brotli")
    passing = ("status/503", "silent", "short")
    items = [Item(f"{server.url}/{name}.gif" if "/to" not in name else name) for name in (*good, *passing)]
    items[good.index("to/file")] = Item(f"{server.url}/to/file")
    first = told(items, tmp_path, settings)
    codes = ["http 404", "http 410", "web page", "too large", "empty", "redirects", "encoding"]
    assert [outcome.split(":")[0] for outcome in first] == [*codes, "http 503", "timeout", "length"]
    server.asked.clear()
    assert told(items, tmp_path, settings) == first
    assert {path.strip("/").removesuffix(".gif") for path, _ in server.asked} == set(passing)


def test_a_failure_does_not_outlive_the_parameter_that_decided_it(
    tmp_path: Path, server: BadServer, settings: FetchParams
) -> None:
    url = f"{server.url}/good.gif"
    assert told([Item(url)], tmp_path, changed(settings, allow_private=False))[0].startswith("private address")
    assert told([Item(url, max_bytes=10)], tmp_path, settings) == ["too large: more than 10 bytes"]
    assert told([Item(url, max_bytes=10)], tmp_path, settings) == ["too large: more than 10 bytes"]
    assert server.count("/good.gif") == 1
    assert told([Item(url, sha256="0" * 64)], tmp_path, settings)[0].startswith("checksum")
    assert told([Item(url, sha256="0" * 64)], tmp_path, settings)[0].startswith("checksum")
    assert server.count("/good.gif") == 2
    assert told([Item(url)], tmp_path, settings) == ["ok"]


def test_retry_names_what_is_tried_again(tmp_path: Path, server: BadServer, settings: FetchParams) -> None:
    settings = changed(settings, timeout_seconds=1, tries=1)
    names = ("silent.gif", "status/404.gif", "status/503.gif", "page.gif", "good.gif")
    items = [Item(f"{server.url}/{name}") for name in names]
    first = told(items[:4], tmp_path, settings)

    def asked(*retry: str) -> set[str]:
        server.asked.clear()
        assert told(items[:4], tmp_path, settings, retry=retry) == first
        return {path.removeprefix("/") for path, _ in server.asked}

    assert asked("timeout") == {"silent.gif"}
    assert asked("404", "web page") == {"status/404.gif", "page.gif"}
    assert asked("http 503") == {"status/503.gif"}
    assert asked("all") == set(names[:4])
    server.asked.clear()
    assert told(items, tmp_path, settings, retry=["checksum"]) == [*first, "ok"]  # what was never asked for is
    assert [path for path, _ in server.asked] == ["/good.gif"]


def test_a_reason_that_does_not_exist(tmp_path: Path, settings: FetchParams) -> None:
    with pytest.raises(
        UserError, match=r"--retry timout: no such reason \(did you mean timeout\?\): give all, a status"
    ):
        download_all([], tmp_path, settings, retry=["timout"])


def test_a_change_is_an_error_until_it_is_accepted(tmp_path: Path, server: BadServer, settings: FetchParams) -> None:
    item = Item(f"{server.url}/good.gif")
    done = download(item.url, tmp_path, settings)
    done.path.unlink()
    assert told([item], tmp_path, settings) == ["ok"]  # the same bytes
    server.body = OTHER
    done.path.unlink()
    (outcome,) = told([item], tmp_path, settings)
    was, now = hashlib.sha256(MEDIA).hexdigest()[:12], hashlib.sha256(OTHER).hexdigest()[:12]
    assert outcome.startswith(f"changed: sha256 was {was}… and is {now}…: vidpred fetch --retry changed")
    server.asked.clear()
    assert told([item], tmp_path, settings) == [outcome]
    assert not server.asked
    assert told([item], tmp_path, settings, retry=["all"]) == [outcome]
    assert told([item], tmp_path, settings, retry=["changed"]) == ["ok"]
    assert done.path.read_bytes() == OTHER
    assert told([item], tmp_path, settings) == ["ok"]


def test_a_file_that_was_cut_is_fetched_again(tmp_path: Path, server: BadServer, settings: FetchParams) -> None:
    done = download(f"{server.url}/good.gif", tmp_path, settings)
    done.path.write_bytes(MEDIA[:100])
    assert download(f"{server.url}/good.gif", tmp_path, settings).path.read_bytes() == MEDIA


@pytest.mark.parametrize("text", ["", "{", "[]", '{"done": 3}', '{"failed": {"code": 1}}', '{"partial": {}}', "\x00"])
def test_a_note_that_cannot_be_read_is_none(
    tmp_path: Path, server: BadServer, settings: FetchParams, text: str
) -> None:
    done = download(f"{server.url}/good.gif", tmp_path, settings)
    (note,) = tmp_path.glob("*.json")
    note.write_text(text)
    assert download(f"{server.url}/good.gif", tmp_path, settings) == done
    assert server.count("/good.gif") == 2


# broken off

PROGRAM = """
import json, resource, sys
from pathlib import Path
from vidpred.config import FetchParams
from vidpred.data.download import Item, download_all
url, folder, limit = sys.argv[1:]
if int(limit):
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit), int(limit)))
params = FetchParams(source="x", allow_private=True, tries=1, timeout_seconds=30, free_bytes=0)
print(*download_all([Item(url)], Path(folder), params), flush=True)
"""


def started(url: str, folder: Path, root: Path, *, limit: int = 0) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, url, str(folder), str(limit)],
        env=os.environ | {"PYTHONPATH": str(root)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def until_it_has(folder: Path, size: int) -> None:
    for _ in range(600):
        if any(part.stat().st_size >= size for part in folder.glob(".*.part")):
            return
        time.sleep(0.02)
    pytest.fail("the download did not begin")


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_a_killed_run_is_gone_on_with(
    tmp_path: Path, server: BadServer, settings: FetchParams, root: Path, how: signal.Signals
) -> None:
    url = f"{server.url}/steady.gif"
    with started(url, tmp_path, root) as process:
        until_it_has(tmp_path, 50_000)
        begun = time.monotonic()
        process.send_signal(how)
        process.wait()
        assert time.monotonic() - begun < 5
    (part,) = tmp_path.glob(".*.part")
    have = part.stat().st_size
    assert 50_000 <= have < len(MEDIA)
    done = download(url, tmp_path, settings)
    assert done.path.read_bytes() == MEDIA
    assert done.sha256 == hashlib.sha256(MEDIA).hexdigest()
    assert server.ranges("/steady.gif") == [None, f"bytes={have}-"]


@pytest.mark.slow
def test_killed_again_and_again(tmp_path: Path, server: BadServer, settings: FetchParams, root: Path) -> None:
    names = ("steady", "drops", "dated", "ignores", "rude", "gzip", "chunks", "416", "unmarked", "status/404", "page")
    items = [Item(f"{server.url}/{name}/{i}.gif") for i in range(6) for name in names if "/" not in name]
    items += [Item(f"{server.url}/status/404.gif")]
    program = PROGRAM.replace("tries=1", "tries=4").replace("[Item(url)]", "[Item(one) for one in url.split()]")
    chance = random.Random(0)
    for _ in range(12):
        process = subprocess.Popen(
            [sys.executable, "-c", program, " ".join(item.url for item in items), str(tmp_path / "d"), "0"],
            env=os.environ | {"PYTHONPATH": str(root)},
            stdout=subprocess.DEVNULL,
        )
        time.sleep(chance.uniform(0.4, 2.5))
        process.kill()
        process.wait()
    server.asked.clear()
    outcomes = download_all(items, tmp_path / "d", changed(settings, tries=4), pause_seconds=0.01)
    for item, outcome in zip(items, outcomes, strict=True):
        if "/404" in item.url or "/page" in item.url:
            assert str(outcome).split(":")[0] in ("http 404", "web page")
            continue
        assert isinstance(outcome, Download), f"{item.url}: {outcome}"
        body = outcome.path.read_bytes()
        assert body in ((MEDIA, SAME_LENGTH) if "/rude" in item.url else (MEDIA,)), item.url
        assert hashlib.sha256(body).hexdigest() == outcome.sha256


def test_ctrl_c_does_not_wait_for_a_server(tmp_path: Path, server: BadServer, root: Path) -> None:
    with started(f"{server.url}/stalls.gif", tmp_path, root) as process:
        until_it_has(tmp_path, STEP)
        begun = time.monotonic()
        process.send_signal(signal.SIGINT)
        process.wait()
    assert time.monotonic() - begun < 5


def test_a_full_disk_is_one_line_and_the_next_run_goes_on(
    tmp_path: Path, server: BadServer, settings: FetchParams, root: Path
) -> None:
    url = f"{server.url}/good.gif"
    with started(url, tmp_path, root, limit=100_000) as process:
        out, err = process.communicate()
    assert out == f"disk: File too large at {tmp_path}: make room and run again\n"
    assert not err
    assert download(url, tmp_path, settings).path.read_bytes() == MEDIA
    assert server.ranges("/good.gif") == [None, "bytes=100000-"]


def test_room_is_looked_at_first(tmp_path: Path, server: BadServer, settings: FetchParams) -> None:
    roomy = changed(settings, max_bytes=10**17)
    with pytest.raises(DownloadError, match=r"^disk: 10000000000000000 bytes to come, \d+ free at "):
        download(f"{server.url}/huge.gif", tmp_path, roomy)
    with pytest.raises(DownloadError, match=r"^disk: 0 bytes to come, \d+ free at .*make room and run again$"):
        download(f"{server.url}/good.gif", tmp_path, changed(roomy, free_bytes=10**16))
    assert not server.count("/good.gif")
    assert download(f"{server.url}/good.gif", tmp_path, roomy).bytes == len(MEDIA)


def test_a_note_says_what_it_is_about(tmp_path: Path, server: BadServer, settings: FetchParams) -> None:
    url = f"{server.url}/status/404.gif"
    told([Item(url)], tmp_path, settings)
    (note,) = tmp_path.glob("*.json")
    known = json.loads(note.read_text())
    assert known == {"url": url, "failed": {"code": "http 404", "detail": "", "passing": False, "decided_by": {}}}
