"""For the tests of fetch: small clips, archives of them, a server of a folder, and a fetch whose counts add up."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
import threading
import zipfile
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from vidpred.config import FetchParams
from vidpred.data.encode import write_gif
from vidpred.data.fetch import fetch

Rows = list[dict[str, Any]]


def gif(path: Path, seed: int = 0, frames: int = 8) -> bytes:
    """Writes a GIF of 24x24; its bytes."""
    grey = np.random.default_rng(seed).integers(0, 8, (frames, 24, 24, 1), dtype=np.uint8) * 30
    path.parent.mkdir(parents=True, exist_ok=True)
    write_gif(path, grey.repeat(3, axis=-1), 10)
    return path.read_bytes()


def image(seed: int = 0, kind: str = "jpeg") -> bytes:
    """A picture of 16x16."""
    pixels = np.random.default_rng(seed).integers(0, 255, (16, 16, 3), dtype=np.uint8)
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, kind)
    return out.getvalue()


def cats(*, folders: Collection[str] = ("train/7", "train/12", "test/3")) -> dict[str, bytes]:
    """The cat GIFs as they are published: six images a folder."""
    names = ["cat_0.jpg", "cat_1.jpg", "cat_2.jpg", "cat_3.jpg", "cat_4.jpg", "cat_result.jpg"]
    return {
        f"catz/{folder}/{name}": image(100 * number + frame)
        for number, folder in enumerate(folders)
        for frame, name in enumerate(names)
    }


def zipped(path: Path, files: Mapping[str, bytes]) -> Path:
    """A zip of these members, in this order."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(zipfile.ZipInfo(name), data)
    return path


def tarred(path: Path, files: Mapping[str, bytes]) -> Path:
    """A tar of these members, in this order, packed with gzip where the name says so."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w:gz" if path.name.endswith("gz") else "w") as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def put(folder: Path, files: Mapping[str, bytes]) -> Path:
    """These files, in a folder."""
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


def fetched(
    source: Path | str, tmp_path: Path, *, downloads: str = "downloads", retry: Collection[str] = (), **more: Any
) -> tuple[dict[str, Any], Rows]:
    """Summary and rows of a fetch; loopback is allowed, and the counts add up."""
    out = tmp_path / "raw"
    params = FetchParams(source=str(source), **({"allow_private": True, "tries": 1} | more))
    summary = fetch(params, out, tmp_path / downloads, workers=2, retry=retry)
    rows = [json.loads(line) for line in (out / "sources.jsonl").read_text().splitlines()]
    assert summary["inputs"] == summary["fetched"] + summary["failed"] == len(rows)
    assert sum(summary["reasons"].values()) == summary["failed"]
    assert sorted(path.name for path in out.iterdir()) == ["files", "sources.jsonl"]
    for row in rows:
        assert row["origin"] == str(source)
        assert (row["status"] == "ok") == (row["file"] is not None) == (not row["reason"])
        if row["file"]:
            copy = out / "files" / row["file"]
            assert hashlib.sha256(copy.read_bytes()).hexdigest() == row["sha256"] == copy.stem
            assert copy.stat().st_size == row["bytes"]
            assert not copy.is_symlink()
            assert copy.stat().st_nlink == 1
            assert copy.stat().st_mode & 0o200
    assert {path.name for path in (out / "files").iterdir()} == {row["file"] for row in rows if row["file"]}
    return summary, rows


def told(rows: Rows, *keys: str) -> list[Any]:
    """Of each row the name and what is asked for."""
    return [(row["name"], *(row[key] for key in keys)) for row in rows]


@contextmanager
def served(folder: Path) -> Iterator[tuple[str, Counter[str]]]:
    """A folder on loopback: its URL, and how often each path was asked for."""
    asked: Counter[str] = Counter()

    class Handler(SimpleHTTPRequestHandler):
        def do_GET(self) -> None:
            asked[self.path] += 1
            super().do_GET()

        def log_message(self, *_: object) -> None:
            """Silent."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), lambda *args: Handler(*args, directory=str(folder)))
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", asked
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
