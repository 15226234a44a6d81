"""Ingest that is killed, runs out of room or grows: the same bytes as if nothing had been, and nothing left over."""

from __future__ import annotations

import hashlib
import http.server
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.data.odd_files import gif_of
from tests.e2e.conftest import Project, clone
from vidpred.config import FetchParams, TranscodeParams
from vidpred.data import encode, launch
from vidpred.data.clip_cache import local_engine
from vidpred.data.fetch import fetch
from vidpred.data.shards import Shards
from vidpred.data.transcode import Transcoded, transcode

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

KILLS = 30


def movie(seed: int, count: int, side: int = 32) -> np.ndarray:
    grey = np.random.default_rng(seed).integers(0, 8, (count, side, side, 1), dtype=np.uint8) * 30
    return grey.repeat(3, axis=-1)


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder: many small files, some that have a process of their own, bad ones, one twice."""
    folder = tmp_path_factory.mktemp("clips")
    for seed in range(60):
        encode.write_gif(folder / f"small{seed:02d}.gif", movie(seed, 7 + seed % 6), 10)
    for seed in range(4):
        encode.write_mp4(folder / f"long{seed}.mp4", movie(100 + seed, 120, 80), 25)
    whole = (folder / "small05.gif").read_bytes()
    (folder / "cut.gif").write_bytes(whole[: len(whole) // 2])
    (folder / "text.gif").write_text("hello")
    (folder / "half.mp4").write_bytes((folder / "long0.mp4").read_bytes()[:20_000])
    shutil.copy(folder / "small00.gif", folder / "twin.gif")
    return folder


@pytest.fixture(scope="module")
def ingest(root: Path, tmp_path_factory: pytest.TempPathFactory, clips: Path) -> Project:
    """A project whose source is that folder; its home is `home` beside it."""
    if shutil.which("git") is None:
        pytest.skip("git is not installed")
    project = clone(root, tmp_path_factory.mktemp("project"))
    project.env["VIDPRED_HOME"] = str(project.folder.parent / f"{project.folder.name}-home")
    project.edit("params.yaml", {"fetch": {"source": str(clips)}, "transcode": {"buckets": 5}})
    project.run(sys.executable, "-m", "stages.ffmpeg")
    return project


def home(project: Project) -> Path:
    return Path(project.env["VIDPRED_HOME"])


def stage(name: str) -> tuple[str, str, str]:
    return sys.executable, "-m", f"stages.{name}"


def hashes(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def leftovers(project: Project) -> list[str]:
    """What no finished run leaves: hidden files and folders, but for locks."""
    folders = (project.folder / "data", project.folder / "results", home(project))
    return [
        str(path)
        for folder in folders
        for path in folder.rglob("*")
        if (path.name.startswith(".") and path.name not in (".lock", ".gitignore")) or path.name.endswith(".part")
    ]


def killed_on_the_way(project: Project, name: str, rng: random.Random, seconds: float) -> bool:
    """Starts a stage and kills it after some part of `seconds`; False where it was done by then."""
    running = project.start(*stage(name))
    try:
        running.wait(rng.uniform(0.25 * seconds, seconds))  # before, Python only starts
    except subprocess.TimeoutExpired:
        os.kill(running.pid, signal.SIGKILL)  # it alone: what it had started goes on, as when the kernel does this
    told = running.communicate(timeout=120)[0]
    assert running.returncode in (0, -signal.SIGKILL), told
    return running.returncode != 0


def drill(project: Project, name: str, output: Path, kept: Path, rng: random.Random) -> None:
    """Kills a stage many times, going on each time; each time that it ends, all is as in an unbroken run.

    Args:
        project: What comes before the stage is done.
        name: Of the stage.
        output: Folder that it writes.
        kept: Folder of its resumable work, which goes before it is begun anew.
        rng: Chooses the moments.
    """
    shutil.rmtree(kept, ignore_errors=True)
    began = time.monotonic()
    project.run(*stage(name))
    seconds = time.monotonic() - began
    expected = hashes(output)
    figures = hashes(project.folder / "results" / name).get("summary.json")
    assert len(expected) > 3
    assert not leftovers(project)
    kills = rounds = 0
    while kills < KILLS or not rounds:
        shutil.rmtree(kept)
        shutil.rmtree(output)
        in_a_row = 0
        while kills < KILLS and in_a_row < 6 and killed_on_the_way(project, name, rng, 1.2 * seconds):
            kills += 1
            in_a_row += 1
            if rng.random() < 0.5:  # as DVC does before it runs a stage again
                shutil.rmtree(output, ignore_errors=True)
        project.run(*stage(name))
        rounds += 1
        assert hashes(output) == expected
        assert hashes(project.folder / "results" / name).get("summary.json") == figures
        assert not leftovers(project)


def test_transcode_killed_at_any_moment_goes_on_to_the_same_bytes(ingest: Project) -> None:
    ingest.run(*stage("fetch"))
    shards = ingest.folder / "data" / "shards"
    drill(ingest, "transcode", shards, home(ingest) / "clips", random.Random(1))
    Shards(shards).verify()


# fetch


class Slow(http.server.BaseHTTPRequestHandler):
    """Sends files by and by, whole or from where it is asked to."""

    protocol_version = "HTTP/1.1"
    folder: Path
    asked: Counter[str]
    sent: Counter[str]

    def do_GET(self) -> None:
        path = self.folder / self.path.lstrip("/")
        if not path.is_file():
            self.send_error(404)
            return
        data = path.read_bytes()
        tag = f'"{hashlib.sha256(data).hexdigest()[:16]}"'
        first = 0
        wanted = self.headers.get("Range", "")
        if wanted.startswith("bytes=") and self.headers.get("If-Range", tag) == tag:
            first = int(wanted.removeprefix("bytes=").split("-")[0])
        self.asked[path.name] += 1
        self.send_response(206 if first else 200)
        if first:
            self.send_header("Content-Range", f"bytes {first}-{len(data) - 1}/{len(data)}")
        self.send_header("ETag", tag)
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Type", "image/gif" if path.suffix == ".gif" else "video/mp4")
        self.send_header("Content-Length", str(len(data) - first))
        self.end_headers()
        for at in range(first, len(data), 4096):
            try:
                self.wfile.write(data[at : at + 4096])
            except OSError:  # who asked was killed
                return
            self.sent[path.name] += len(data[at : at + 4096])
            time.sleep(0.003)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the interface's name
        """Says nothing."""


@pytest.fixture(scope="module")
def server(clips: Path) -> Iterator[tuple[str, type[Slow]]]:
    """A slow server of the clips: its address, and what it has counted."""
    handler = type("Handler", (Slow,), {"folder": clips, "asked": Counter(), "sent": Counter()})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as serving:
        thread = threading.Thread(target=serving.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{serving.server_port}", handler
        serving.shutdown()
        thread.join()


def test_fetch_killed_at_any_moment_goes_on_to_the_same_bytes(
    ingest: Project, clips: Path, server: tuple[str, type[Slow]]
) -> None:
    address, _ = server
    names = sorted(path.name for path in clips.iterdir())
    lines = [f"{address}/{name}" if number % 4 else str(clips / name) for number, name in enumerate(names)]
    lines.insert(7, f"{address}/missing.gif")
    (ingest.folder / "list.txt").write_text("\n".join(lines) + "\n")
    before = {"source": str(clips), "allow_private": False}
    ingest.edit("params.yaml", {"fetch": {"source": "list.txt", "allow_private": True, "free_bytes": 0}})
    try:
        drill(ingest, "fetch", ingest.folder / "data" / "raw", home(ingest) / "downloads", random.Random(2))
    finally:
        ingest.edit("params.yaml", {"fetch": before})


def test_what_was_downloaded_before_a_kill_is_not_downloaded_again(
    ingest: Project, clips: Path, server: tuple[str, type[Slow]]
) -> None:
    address, handler = server
    names = sorted(path.name for path in clips.iterdir() if path.name != "twin.gif")
    (ingest.folder / "list.txt").write_text("\n".join(f"{address}/{name}" for name in names) + "\n")
    ingest.edit("params.yaml", {"fetch": {"source": "list.txt", "allow_private": True, "free_bytes": 0}})
    shutil.rmtree(home(ingest) / "downloads", ignore_errors=True)
    handler.asked.clear()
    handler.sent.clear()
    try:
        running = ingest.start(*stage("fetch"))
        while sum(handler.sent.values()) < sum((clips / name).stat().st_size for name in names) // 2:
            assert running.poll() is None, running.communicate()[0]
            time.sleep(0.01)
        os.kill(running.pid, signal.SIGKILL)
        running.communicate()
        ingest.run(*stage("fetch"))
        twice = [name for name in names if handler.asked[name] > 1]
        assert len(twice) <= 16  # at most those that were on their way
        ingest.run(*stage("fetch"))
        assert [name for name in names if handler.asked[name] > 1] == twice
    finally:
        ingest.edit("params.yaml", {"fetch": {"source": str(clips), "allow_private": False}})


# no room


def refused(project: Project, name: str, *before: str) -> str:
    """Runs a stage that must fail, in one line for people; gives that line."""
    told = project.run(*before, *stage(name), ok=False)
    errors = [line for line in told.splitlines() if line.startswith("error: ")]
    assert "Traceback" not in told, told
    assert len(errors) == 1, told
    assert told.splitlines()[-1] == errors[0]
    return errors[0]


@pytest.mark.parametrize("kib", [1, 16, 64, 500])
def test_files_that_may_not_grow_are_told_and_the_rerun_goes_on(ingest: Project, kib: int) -> None:
    """`ulimit -f` stands for a full disk: first ffmpeg meets it, then the cache, then the shards."""
    ingest.run(*stage("fetch"))
    ingest.run(*stage("transcode"))
    shards = ingest.folder / "data" / "shards"
    expected = hashes(shards)
    assert max(path.stat().st_size for path in shards.iterdir()) > 500 * 1024
    shutil.rmtree(home(ingest) / "clips")
    error = refused(ingest, "transcode", "bash", "-c", f'ulimit -f {kib}; exec "$@"', "bash")
    assert "free some space" in error
    notes = [path.read_text() for path in (home(ingest) / "clips").rglob("*.json")]
    assert sum("failed" in note for note in notes) <= 3  # no file is blamed for it
    ingest.run(*stage("transcode"))
    assert hashes(shards) == expected
    assert not leftovers(ingest)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of half a MiB, which `mount -o remount,size=…` enlarges."""
    folder = tmp_path / "small"
    folder.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=500k", "tmpfs", folder], capture_output=True, check=False
    )
    if made.returncode != 0:
        pytest.skip("may not mount a file system here")
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_a_full_disk_is_told_and_the_rerun_goes_on(ingest: Project, small_disk: Path) -> None:
    ingest.run(*stage("fetch"))
    ingest.run(*stage("transcode"))
    shards = ingest.folder / "data" / "shards"
    expected = hashes(shards)
    before = ingest.env["VIDPRED_HOME"]
    ingest.env |= {"VIDPRED_HOME": str(small_disk / "home"), "TMPDIR": str(small_disk)}
    try:
        made = set()
        for size in ("500k", "1m", "2m"):
            subprocess.run(["mount", "-o", f"remount,size={size}", small_disk], check=True)
            assert "free some space" in refused(ingest, "transcode")
            notes = set((small_disk / "home" / "clips").rglob("*.json"))
            assert notes >= made
            made = notes
        assert made  # of what was done before there was no room
        stamps = {path: path.stat().st_mtime_ns for path in made}
        subprocess.run(["mount", "-o", "remount,size=200m", small_disk], check=True)
        ingest.run(*stage("transcode"))
        assert hashes(shards) == expected
        assert stamps == {path: path.stat().st_mtime_ns for path in made}
        assert not leftovers(ingest)
    finally:
        ingest.env["VIDPRED_HOME"] = before
        del ingest.env["TMPDIR"]


def test_files_that_may_not_grow_stop_fetch_in_one_line_too(ingest: Project) -> None:
    ingest.run(*stage("fetch"))
    raw = ingest.folder / "data" / "raw"
    expected = hashes(raw)
    shutil.rmtree(raw)
    limited = ("bash", "-c", 'ulimit -f 100; exec "$@"', "bash")
    assert "free some space" in refused(ingest, "fetch", *limited)
    ingest.run(*stage("fetch"))
    assert hashes(raw) == expected


def test_ctrl_c_leaves_no_false_verdict(ingest: Project) -> None:
    """Ctrl-C reaches every process of a terminal; an ffmpeg that it ended has found no fault in its file."""
    ingest.run(*stage("fetch"))
    ingest.run(*stage("transcode"))
    shards = ingest.folder / "data" / "shards"
    expected = hashes(shards)
    rng = random.Random(3)
    for _ in range(4):
        shutil.rmtree(home(ingest) / "clips")
        running = ingest.start(*stage("transcode"))
        while not list((home(ingest) / "clips").rglob("*.json")) and running.poll() is None:
            time.sleep(0.01)
        time.sleep(rng.uniform(0, 0.5))
        os.killpg(running.pid, rng.choice([signal.SIGINT, signal.SIGTERM]))
        told = running.communicate(timeout=60)[0]
        assert running.returncode in (0, 130, 143)
        assert "Traceback" not in told
        ingest.run(*stage("transcode"))
        assert hashes(shards) == expected
        assert not leftovers(ingest)


# growing


class Growing:
    """A folder of clips that grows, and what transcode makes of it each time; ffmpeg writes down what it reads."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "clips").mkdir()
        self.count = 0
        self._log = folder / "read.txt"
        logged = folder / "ffmpeg"
        logged.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" >> {self._log}\nexec {launch.ffmpeg_binary()} "$@"\n')
        logged.chmod(0o755)
        self._params = TranscodeParams(height=24, width=24, buckets=64, ffmpeg=str(logged))

    def grow(self, count: int) -> None:
        for number in range(self.count, self.count + count):
            greys = sorted(np.random.default_rng(number).choice(250, 8, replace=False).tolist())
            (self.folder / "clips" / f"{number:04d}.gif").write_bytes(gif_of(greys, [10] * 8, size=(32, 24)))
        self.count += count

    def run(self, cache: str = "cache") -> Transcoded:
        fetch(FetchParams(source=str(self.folder / "clips")), self.folder / "raw", self.folder / "downloads", workers=2)
        self._log.write_text("")
        return transcode(
            self.folder / "raw",
            self.folder / "shards",
            self.folder / cache,
            self._params,
            version=launch.ffmpeg_version(self._params.ffmpeg),
            engine=local_engine(2),
            workers=2,
        )

    def read(self) -> int:
        """Files that ffmpeg has read in the last run."""
        return sum(line.startswith("file:") for line in self._log.read_text().splitlines())

    def shards(self) -> dict[str, str]:
        return {name: sha256 for name, sha256 in hashes(self.folder / "shards").items() if name.startswith("frames-")}


def test_ten_new_files_cost_ten_decodings_and_change_ten_shards_at_most(tmp_path: Path) -> None:
    growing = Growing(tmp_path)
    growing.grow(200)
    first = growing.run()
    assert (first.throughput["decoded"], growing.read()) == (200, 200)
    before = growing.shards()
    again = growing.run()
    assert (again.throughput["decoded"], again.throughput["cached"], growing.read()) == (0, 200, 0)
    assert growing.shards() == before
    for new in (10, 1, 3):
        growing.grow(new)
        more = growing.run()
        assert (more.throughput["decoded"], growing.read()) == (new, new)
        after = growing.shards()
        assert set(before) <= set(after)
        assert 1 <= sum(before.get(name) != sha256 for name, sha256 in after.items()) <= new
        before = after
    everything = hashes(tmp_path / "shards")
    growing.run("another cache")
    assert growing.read() == 214
    assert hashes(tmp_path / "shards") == everything


def test_a_part_of_a_source_already_there_is_a_source_of_its_own(tmp_path: Path) -> None:
    """The same file in three parts: three decodings, and the whole file stays as it was."""
    growing = Growing(tmp_path)
    growing.grow(3)
    growing.run()
    path = tmp_path / "clips" / "0000.gif"
    rows = ["url,start_seconds,end_seconds", f"{path},,", f"{path},0,0.6", f"{path},0.1,0.8", f"{path},0,0.6"]
    (tmp_path / "parts.csv").write_text("\n".join(rows) + "\n")
    fetch(FetchParams(source=str(tmp_path / "parts.csv")), tmp_path / "raw", tmp_path / "downloads", workers=2)
    done = transcode(
        tmp_path / "raw", tmp_path / "parts", tmp_path / "cache", TranscodeParams(height=24, width=24),
        version=launch.ffmpeg_version(), engine=local_engine(2), workers=2,
    )  # fmt: skip
    lengths = sorted(clip.length for clip in Shards(tmp_path / "parts").clips)
    assert lengths == [6, 7, 8]
    assert done.summary["reasons"] == {"duplicate": 1}
