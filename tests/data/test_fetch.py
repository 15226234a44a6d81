"""Inputs from folders, lists and recipes: every one counted, none linked, failures with a reason."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import socket
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from vidpred.config import FetchParams
from vidpred.data.download import DownloadError, download
from vidpred.data.fetch import fetch, grouped
from vidpred.data.media import write_gif
from vidpred.errors import UserError
from vidpred.workspace import locked


def gif(path: Path, seed: int = 0, frames: int = 8) -> bytes:
    grey = np.random.default_rng(seed).integers(0, 8, (frames, 24, 24, 1), dtype=np.uint8) * 30
    path.parent.mkdir(parents=True, exist_ok=True)
    write_gif(path, grey.repeat(3, axis=-1), 10)
    return path.read_bytes()


def fetched(source: Path, tmp_path: Path, **more: Any) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    out = tmp_path / "raw"
    summary = fetch(FetchParams(source=str(source), **more), out, tmp_path / "downloads", workers=2)
    rows = [json.loads(line) for line in (out / "sources.jsonl").read_text().splitlines()]
    assert summary["inputs"] == summary["fetched"] + summary["failed"] == len(rows)
    assert sum(summary["reasons"].values()) == summary["failed"]
    for row in rows:
        assert (row["status"] == "ok") == (row["file"] is not None) == (not row["reason"])
        if row["file"]:
            copy = out / "files" / row["file"]
            assert hashlib.sha256(copy.read_bytes()).hexdigest() == row["sha256"] == copy.stem
            assert not copy.is_symlink()
            assert copy.stat().st_nlink == 1
            assert copy.stat().st_mode & 0o200
    assert {p.name for p in (out / "files").iterdir()} == {row["file"] for row in rows if row["file"]}
    return summary, rows


def test_a_folder(tmp_path: Path) -> None:
    clips = tmp_path / "clips"
    first = gif(clips / "b.gif", 1)
    gif(clips / "deep/er/v_Surfing_g17_c06.GIF".lower().replace("surfing", "Surfing"), 2)
    (clips / "a.gif").write_bytes(first)
    (clips / "big.gif").write_bytes(first + b"\0" * 100_000)
    (clips / "notes.txt").write_text("not a clip")
    (clips / ".hidden.gif").write_bytes(first)
    (clips / ".git").mkdir()
    (clips / ".git" / "x.gif").write_bytes(first)
    (clips / "lost.gif").symlink_to(tmp_path / "nowhere")
    (clips / "b.gif").chmod(0o444)
    summary, rows = fetched(clips, tmp_path, max_bytes=100_000)
    told = {row["name"]: (row["status"], row["reason"]) for row in rows}
    assert list(told) == ["a.gif", "b.gif", "big.gif", "deep/er/v_Surfing_g17_c06.gif", "lost.gif", "notes.txt"]
    assert told["big.gif"] == ("failed", "larger than 100000 bytes")
    assert told["lost.gif"] == ("failed", "cannot be read: it leads nowhere")
    assert told["notes.txt"] == ("failed", "no GIF or video by its name: .txt")
    assert summary["fetched"] == 3
    assert rows[0]["file"] == rows[1]["file"]
    assert (rows[3]["group"], rows[3]["label"]) == ("Surfing_g17", "Surfing")


@pytest.mark.parametrize(
    ("name", "group", "label"),
    [
        ("v_HighJump_g01_c05.gif", "HighJump_g01", "HighJump"),
        ("cats/one.mp4", "cats/one", ""),
        ("https://example.org/a/one.mp4?size=2", "example.org/a/one", ""),
        ("https://example.org/v_Skiing_g23_c01.gif", "Skiing_g23", "Skiing"),
        ("https://example.org", "example.org", ""),
        ("http://[::1", "http://[::1", ""),
    ],
)
def test_groups_come_from_names(name: str, group: str, label: str) -> None:
    assert grouped(name) == (group, label)


def test_sources_that_cannot_be_used_are_one_line(tmp_path: Path) -> None:
    def told(source: Path) -> str:
        with pytest.raises(UserError) as error:
            fetched(source, tmp_path)
        assert "\n" not in str(error.value)
        return str(error.value)

    (tmp_path / "empty").mkdir()
    (tmp_path / "list.txt").write_text("# nothing\n\n")
    (tmp_path / "a.yaml").write_text("recipe: cats\n")
    (tmp_path / "b.yaml").write_text("recipe: moving_digits\nsiez: 3\n")
    (tmp_path / "c.yaml").write_text("{")
    (tmp_path / "x.doc").write_text("")
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "a.doc").write_text("")
    assert "not found: give a folder" in told(tmp_path / "none")
    assert "is an empty folder: put GIFs or videos into it" in told(tmp_path / "empty")
    assert "lists nothing" in told(tmp_path / "list.txt")
    assert "recipe: cats; there is one: moving_digits" in told(tmp_path / "a.yaml")
    assert "siez: Extra inputs" in told(tmp_path / "b.yaml")
    assert "is no recipe" in told(tmp_path / "c.yaml")
    assert "is no folder, list of URLs (.txt) or recipe" in told(tmp_path / "x.doc")
    assert "none of 1 inputs" in told(tmp_path / "texts")


def test_a_recipe_gives_the_same_bytes_again(tmp_path: Path) -> None:
    recipe = tmp_path / "small.yaml"
    recipe.write_text(
        "recipe: moving_digits\nsize: 32\ndigit: 16\nframes: 8\ngroups: 4\nclips_per_group: 2\nmp4_share: 0.25\n"
    )
    summary, rows = fetched(recipe, tmp_path)
    assert summary["fetched"] == 8
    assert Counter(Path(row["file"]).suffix for row in rows) == {".gif": 6, ".mp4": 2}
    assert len({row["group"] for row in rows}) == 4
    assert all(row["licence"].startswith("scikit-learn digits") for row in rows)
    assert fetched(recipe, tmp_path)[1] == rows


def test_a_negative_seed_of_a_recipe_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "small.yaml").write_text("recipe: moving_digits\nseed: -1\n")
    with pytest.raises(UserError, match="seed: Input should be greater than or equal to 0"):
        fetched(tmp_path / "small.yaml", tmp_path)


def test_urls_that_are_none_fail_alone(tmp_path: Path) -> None:
    gif(tmp_path / "mine.gif")
    names = [
        "http://[::1",
        "http://[::1]x/a.gif",
        "https://host:99999999/a.gif",
        "http://xn--a-/a.gif",
        "http:///a.gif",
    ]
    (tmp_path / "list.txt").write_text("\n".join([*names, "mine.gif"]))
    summary, rows = fetched(tmp_path / "list.txt", tmp_path, tries=1)
    assert [row["name"] for row in rows if row["status"] == "failed"] == names
    assert rows[0]["reason"].startswith("no URL: ")
    assert rows[0]["group"] == "http://[::1"
    assert summary["fetched"] == 1


def test_a_second_fetch_waits_for_the_first(tmp_path: Path, root: Path) -> None:
    gif(tmp_path / "clips" / "a.gif")
    text = (root / "params.yaml").read_text().replace("datasets/moving_digits.yaml", "clips")
    (tmp_path / "params.yaml").write_text(text)
    (tmp_path / "dvc.yaml").write_text("stages: {}\n")
    env = os.environ | {"PYTHONPATH": str(root), "VIDPRED_HOME": str(tmp_path / "home")}
    with locked(tmp_path / "home" / "fetch"):
        process = subprocess.Popen(
            [sys.executable, "-m", "stages.fetch"], cwd=tmp_path, env=env, stderr=subprocess.PIPE, text=True
        )
        assert process.stderr is not None
        assert f"is in use by process {os.getpid()}" in process.stderr.readline()
        assert not (tmp_path / "data").exists()
    with process:
        told = process.stderr.read()
    assert process.returncode == 0, told
    assert (tmp_path / "data/raw/sources.jsonl").is_file()


class Handler(BaseHTTPRequestHandler):
    """A server with good files and bad manners."""

    media: ClassVar[bytes] = b""
    asked: ClassVar[Counter[str]] = Counter()

    def do_GET(self) -> None:
        path = self.path.split("?")[0]
        self.asked[path] += 1
        if path == "/missing.gif":
            self.send_error(404)
        elif path == "/shaky.gif" and self.asked[path] < 3:
            self.send_error(503)
        elif path == "/short.gif":
            self.answer(self.media, length=len(self.media) + 50)
        elif path == "/page.gif":
            self.answer(b"<html>hello", kind="text/html; charset=utf-8")
        elif path == "/disguised.gif":
            self.answer(b"\n<!DOCTYPE html><p>hello", kind="image/gif")
        elif path == "/endless.gif":
            self.answer(b"\0" * 300_000, length=None)
        elif path == "/drip.gif":
            self.answer(b"GIF89a", length=1000)
            with contextlib.suppress(OSError):
                while not self.server.stopped.wait(0.05):  # type: ignore[attr-defined]
                    self.wfile.write(b"\0")
        elif path == "/drip.html":
            self.answer(b"<!doc", length=1000)
            with contextlib.suppress(OSError):
                self.wfile.write(b"type html>" + b" " * 985)
        elif path == "/packed.gif":
            self.answer(b"no gzip", encoding="gzip")
        elif path == "/nowhere.gif":
            self.send_response(302)
            self.end_headers()
        elif path == "/slow.gif":
            self.server.stopped.wait(5)  # type: ignore[attr-defined]
        elif path.startswith("/to/"):
            self.send_response(302)
            target = {"file": "http://[::1]:9/x.gif", "good": "../good.gif", "ftp": "ftp://127.0.0.1/x"}
            self.send_header("Location", target.get(path[4:], self.path))
            self.send_header("Content-Length", "0")
            self.end_headers()
        else:
            self.answer(self.media)

    def answer(
        self, body: bytes, *, kind: str = "image/gif", length: int | None = -1, encoding: str | None = None
    ) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        if encoding is not None:
            self.send_header("Content-Encoding", encoding)
        if length is not None:
            self.send_header("Content-Length", str(len(body) if length < 0 else length))
        self.end_headers()
        with contextlib.suppress(OSError):  # the client has seen enough
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Silent."""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """Address of a server on loopback."""
    Handler.media = gif(tmp_path / "made" / "good.gif")
    Handler.asked.clear()
    running = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    running.stopped = threading.Event()  # type: ignore[attr-defined]
    thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield f"http://127.0.0.1:{running.server_address[1]}"
    running.stopped.set()  # type: ignore[attr-defined]
    running.shutdown()
    running.server_close()
    thread.join()


@pytest.fixture
def settings() -> FetchParams:
    return FetchParams(source="list.txt", allow_private=True, tries=3, timeout_seconds=0.5, max_bytes=200_000)


def test_a_list_of_urls_and_paths(tmp_path: Path, server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.sleep", lambda _: None)
    gif(tmp_path / "local" / "mine.gif", 3)
    (tmp_path / "list.txt").write_text(
        f"# clips\n{server}/good.gif\n\n  {server}/name-without-suffix  \nlocal/mine.gif\n{server}/missing.gif\n"
        f"{server}/to/good\n{server}/good.gif\nlocal/none.gif\n{server}/page.gif\n"
    )
    summary, rows = fetched(tmp_path / "list.txt", tmp_path, allow_private=True)
    assert [row["status"] for row in rows] == ["ok", "ok", "ok", "failed", "ok", "ok", "failed", "failed"]
    assert summary["reasons"] == {"HTTP 404": 1, "a web page, not a GIF or video": 1, "no such file": 1}
    assert rows[1]["name"] == f"{server}/name-without-suffix"
    assert Handler.asked["/good.gif"] == 2  # once by name, once by redirect; the second mention costs nothing
    before = Handler.asked.copy()
    assert fetched(tmp_path / "list.txt", tmp_path, allow_private=True)[1] == rows
    again = Handler.asked - before
    assert set(again) == {"/missing.gif", "/page.gif"}


@pytest.mark.parametrize(
    ("path", "reason", "asked"),
    [
        ("/missing.gif", "HTTP 404", 1),
        ("/page.gif", "a web page, not a GIF or video", 1),
        ("/disguised.gif", "a web page, not a GIF or video", 1),
        ("/drip.html", "a web page, not a GIF or video", 1),
        ("/packed.gif", "connection failed: .* \\(3 tries\\)", 3),
        ("/nowhere.gif", "HTTP 302", 1),
        ("/endless.gif", "larger than 200000 bytes", 1),
        ("/short.gif", "connection failed: .* \\(3 tries\\)", 3),
        ("/slow.gif", "nothing came for 0.5 s \\(3 tries\\)", 3),
        ("/to/self", "more than 10 redirects", 11),
        ("/to/ftp", "no http or https URL: ftp", 1),
    ],
)
def test_bad_downloads_have_a_reason(
    tmp_path: Path, server: str, settings: FetchParams, path: str, reason: str, asked: int
) -> None:
    with pytest.raises(DownloadError, match=reason):
        download(server + path, tmp_path / "d", settings, pause_seconds=0.01)
    assert Handler.asked[path] == asked


def test_a_passing_failure_is_tried_again(tmp_path: Path, server: str, settings: FetchParams) -> None:
    done = download(f"{server}/shaky.gif", tmp_path / "d", settings, pause_seconds=0.01)
    assert done.path.read_bytes() == Handler.media
    assert done.suffix == ".gif"
    assert sorted(path.name for path in (tmp_path / "d").iterdir()) == sorted(
        [done.path.name, f"{done.path.name}.json"]
    )


def test_a_download_that_takes_too_long_in_all_has_failed(tmp_path: Path, server: str, settings: FetchParams) -> None:
    hurried = settings.model_copy(update={"total_seconds": 0.4})
    for path, tries in (("/drip.gif", 1), ("/slow.gif", 1)):
        with pytest.raises(DownloadError, match=r"took longer than 0\.4 s$"):
            download(server + path, tmp_path / "d", hurried, pause_seconds=0.01)
        assert Handler.asked[path] == tries


def test_each_address_of_a_host_is_tried(
    tmp_path: Path, server: str, settings: FetchParams, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = socket.getaddrinfo

    def two(host: Any, port: Any, *rest: Any, **more: Any) -> Any:
        if host != "two.example":
            return real(host, port, *rest, **more)
        return real("127.0.0.2", port, *rest, **more) + real("127.0.0.1", port, *rest, **more)

    monkeypatch.setattr(socket, "getaddrinfo", two)
    port = server.rsplit(":", 1)[1]
    done = download(f"http://two.example:{port}/good.gif", tmp_path / "d", settings.model_copy(update={"tries": 1}))
    assert done.path.read_bytes() == Handler.media
    assert Handler.asked["/good.gif"] == 1


def test_private_addresses_are_refused(tmp_path: Path, server: str, settings: FetchParams) -> None:
    closed = settings.model_copy(update={"allow_private": False})
    port = server.rsplit(":", 1)[1]
    hosts = (
        "127.0.0.1",
        "localhost",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "10.0.0.1",
        "169.254.169.254",
        "0.0.0.0",
        "2130706433",
    )
    for host in hosts:
        with pytest.raises(DownloadError, match="private address"):
            download(f"http://{host}:{port}/good.gif", tmp_path / "d", closed, pause_seconds=0.01)
    assert not Handler.asked


def test_a_redirect_to_a_private_address_is_refused(
    tmp_path: Path, server: str, settings: FetchParams, monkeypatch: pytest.MonkeyPatch
) -> None:
    # the server's own loopback address counts as public here, so that only the redirect's target is private
    from vidpred.data import download as module

    public = module._public
    monkeypatch.setattr(module, "_public", lambda address: address == "127.0.0.1" or public(address))
    closed = settings.model_copy(update={"allow_private": False})
    with pytest.raises(DownloadError, match="private address"):
        download(f"{server}/to/file", tmp_path / "d", closed, pause_seconds=0.01)
