"""One process at a time runs a sweep, on one machine and on a disk that many share."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from vidpred.errors import UserError
from vidpred.tuning import lease
from vidpred.tuning.lease import held

HOLD = """
import sys, time
from pathlib import Path
from vidpred.tuning.lease import held
with held(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "BEAT_SECONDS", 0.1)
    monkeypatch.setattr(lease, "GONE_SECONDS", 2.0)


def elsewhere(folder: Path, number: int = 1, **changes: object) -> Path:
    """The note of a driver on another machine."""
    folder.mkdir(parents=True, exist_ok=True)
    note = {"host": "node7", "machine": "node7 x", "pid": 12, "since": "12:01", "beats": 3, "released": False}
    path = folder / f"driver-{number}.json"
    path.write_text(json.dumps(note | changes))
    return path


def test_a_second_process_is_refused_and_told_who_has_it(tmp_path: Path) -> None:
    first = subprocess.Popen([sys.executable, "-c", HOLD, tmp_path / "abc"], stdout=subprocess.PIPE, text=True)
    try:
        assert first.stdout is not None
        assert first.stdout.readline() == "held\n"
        with (
            pytest.raises(UserError, match=rf"the sweep abc is being run by process {first.pid} on "),
            held(tmp_path / "abc"),
        ):
            pass
        os.kill(first.pid, signal.SIGKILL)
        first.wait()
        with held(tmp_path / "abc") as mine:  # at once: the lock went with the process
            mine.check()
    finally:
        first.kill()
        first.communicate()


def test_who_waits_has_it_next(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    first = subprocess.Popen([sys.executable, "-c", HOLD, tmp_path / "abc"], stdout=subprocess.PIPE, text=True)
    assert first.stdout is not None
    assert first.stdout.readline() == "held\n"
    threading.Timer(1, first.kill).start()
    with held(tmp_path / "abc", wait=True):
        assert first.wait() != 0
    first.communicate()
    assert caplog.text.count(f"the sweep abc is in use by process {first.pid} on ") == 1


def test_it_can_be_had_again_and_again(tmp_path: Path) -> None:
    for _ in range(3):
        with held(tmp_path):
            pass
    assert len(list(tmp_path.glob("driver-*.json"))) == 1


def test_a_driver_on_another_machine_that_beats_is_left_alone(tmp_path: Path) -> None:
    path = elsewhere(tmp_path)
    over = threading.Event()

    def beat() -> None:
        beats = 3
        while not over.wait(0.1):
            beats += 1
            elsewhere(tmp_path, beats=beats)

    thread = threading.Thread(target=beat)
    thread.start()
    try:
        with pytest.raises(UserError, match=r"is being run by process 12 on node7"), held(tmp_path):
            pass
    finally:
        over.set()
        thread.join()
    assert path.exists()


def test_half_a_note_is_no_beat(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = elsewhere(tmp_path)
    whole = path.read_text()
    over = threading.Event()

    def spoil() -> None:
        while not over.wait(0.05):
            path.write_text(whole[: len(whole) // 2])

    thread = threading.Thread(target=spoil)
    thread.start()
    try:
        with held(tmp_path) as mine:
            mine.check()
    finally:
        over.set()
        thread.join()
    assert "process 12 on node7 (since 12:01) is gone" in caplog.text


def test_one_that_has_gone_silent_is_followed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    elsewhere(tmp_path)
    with held(tmp_path) as mine:
        mine.check()
    assert "process 12 on node7 (since 12:01) is gone" in caplog.text


def test_one_that_has_let_go_is_followed_at_once(tmp_path: Path) -> None:
    elsewhere(tmp_path, released=True)
    start = time.monotonic()
    with held(tmp_path):
        pass
    assert time.monotonic() - start < 1.5


def test_who_was_followed_writes_nothing_more(tmp_path: Path) -> None:
    with held(tmp_path) as mine:
        follower = elsewhere(tmp_path, 2)
        with pytest.raises(UserError, match=r"process 12 on node7 .*has taken this sweep over"):
            mine.check()
        note = follower.read_bytes()
    assert follower.read_bytes() == note
    assert json.loads((tmp_path / "driver-1.json").read_text())["released"] is False
