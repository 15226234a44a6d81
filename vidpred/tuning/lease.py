"""Who runs a sweep: one process at a time, also where its folder is on a disk that many machines share.

On one machine the operating system's lock says so, and goes with the process. Between machines it cannot be relied on;
so who holds the sweep writes a beat to `driver-<n>.json` every few seconds. One that stops beating is followed by
`driver-<n + 1>.json`, which only one process can make; a driver that finds that it has been followed (it was asleep,
or cut off) writes nothing more.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import logging
import os
import re
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from vidpred.errors import UserError
from vidpred.workspace import write_json

log = logging.getLogger(__name__)

BEAT_SECONDS = 5.0
GONE_SECONDS = 45.0
"""Without a beat of a driver on another machine, and it is taken for gone."""
_NAME = re.compile(r"driver-(\d+)\.json")


class Refused(UserError):
    """Another process runs the sweep."""

    def __init__(self, folder: Path, holder: dict[str, Any]) -> None:
        self.who = _who(holder)
        super().__init__(
            f"the sweep {folder.name} is being run by {self.who}: wait for it, or end it there; nothing is changed here"
        )


class Lease:
    """Held by this process; made by `held`."""

    def __init__(self, folder: Path, number: int) -> None:
        self._folder, self._number = folder, number
        self._since = time.strftime("%Y-%m-%d %H:%M:%S")
        self._beats = 0
        self._over = threading.Event()

    def check(self) -> None:
        """Raises:
        UserError: another process has taken the sweep over.
        """
        if (follower := _path(self._folder, self._number + 1)).exists():
            raise UserError(
                f"{_who(_read(follower))} has taken this sweep over, since nothing was heard of this process for "
                f"{GONE_SECONDS:.0f} s: nothing more is written here"
            )

    def _beat(self, *, released: bool = False) -> None:
        self._beats += 1
        note = {"host": socket.gethostname(), "machine": _machine(), "pid": os.getpid(), "since": self._since}
        write_json(_path(self._folder, self._number), note | {"beats": self._beats, "released": released})

    def _keep_beating(self) -> None:
        while not self._over.wait(BEAT_SECONDS):
            with contextlib.suppress(OSError):  # a disk that hangs or is full: others will think us gone
                self.check()
                self._beat()


@contextmanager
def held(folder: Path, *, wait: bool = False) -> Iterator[Lease]:
    """Inside, no other process runs this sweep.

    Args:
        folder: Of the sweep.
        wait: For one that does, instead of being refused.

    Raises:
        Refused: one does.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("a+") as lock:
        lease = _had(folder, lock, wait=wait)
        thread = threading.Thread(target=lease._keep_beating, name="lease", daemon=True)
        thread.start()
        try:
            yield lease
        finally:
            lease._over.set()
            thread.join()
            with contextlib.suppress(UserError):
                lease.check()
                lease._beat(released=True)


def _had(folder: Path, lock: IO[str], *, wait: bool) -> Lease:
    told = False
    while True:
        try:
            _lock(folder, lock)
            return _take(folder)
        except Refused as error:
            with contextlib.suppress(OSError):
                fcntl.flock(lock, fcntl.LOCK_UN)
            if not wait:
                raise
            if not told:
                log.warning("the sweep %s is in use by %s: waiting for it to finish", folder.name, error.who)
            told = True
            time.sleep(BEAT_SECONDS)


def _lock(folder: Path, lock: IO[str]) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise Refused(folder, _read(_latest(folder)[1])) from None
    except OSError as error:  # a disk that knows no locks: the beats decide
        if error.errno not in (errno.ENOLCK, errno.ENOTSUP):
            raise


def _take(folder: Path) -> Lease:
    """Follows the last driver, which is gone.

    Raises:
        Refused: it is not.
    """
    while True:
        number, path = _latest(folder)
        last = _read(path)
        if last and not last["released"] and last["machine"] != _machine():
            _await_end(folder, path, last)
        mine = _path(folder, number + 1)
        try:
            mine.touch(exist_ok=False)
        except FileExistsError:
            continue  # another process was first: is it alive?
        if _latest(folder)[0] > number + 1:  # files of the past are removed: this number was one of them
            mine.unlink(missing_ok=True)
            continue
        lease = Lease(folder, number + 1)
        lease._beat()
        for old in folder.glob("driver-*.json"):
            if _number(old) <= number:
                old.unlink(missing_ok=True)
        return lease


def _await_end(folder: Path, path: Path, last: dict[str, Any]) -> None:
    """Watches for a beat by our own clock: those of two machines need not agree.

    Raises:
        Refused: there is one.
    """
    log.warning("the sweep was run by %s; watching for %.0f s whether it still is", _who(last), GONE_SECONDS)
    deadline = time.monotonic() + GONE_SECONDS
    while time.monotonic() < deadline:
        time.sleep(min(1.0, GONE_SECONDS / 5))
        now = _read(path)
        if now.get("released") or not path.exists():
            return
        if now and now["beats"] != last["beats"]:  # half a file, as some shared disks show one, tells nothing
            raise Refused(folder, now)
    log.warning("%s is gone: taking the sweep over", _who(last))


def _who(note: dict[str, Any]) -> str:
    return f"process {note['pid']} on {note['host']} (since {note['since']})" if note else "another process"


def _latest(folder: Path) -> tuple[int, Path]:
    number = max(map(_number, folder.glob("driver-*.json")), default=0)
    return number, _path(folder, number)


def _path(folder: Path, number: int) -> Path:
    return folder / f"driver-{number}.json"


def _number(path: Path) -> int:
    match = _NAME.fullmatch(path.name)
    return int(match[1]) if match else 0


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError):  # gone, or just made
        return {}
    return found if isinstance(found, dict) else {}


def _machine() -> str:
    """This machine since it was started, or this container."""
    boot = Path("/proc/sys/kernel/random/boot_id")
    return f"{socket.gethostname()} {boot.read_text().strip() if boot.is_file() else ''}".strip()
