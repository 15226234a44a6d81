"""The folder for what is uploaded, private and short-lived: gone with its server, and with the next one after a kill.

A server holds a lock in its folder, the operating system's, which goes with the process. What is found unlocked belongs
to a server that is no more.
"""

from __future__ import annotations

import fcntl
import logging
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

log = logging.getLogger(__name__)

_PREFIX = "vidpred-serve-"
_LOCK = ".lock"
_UNLOCKED_SECONDS = 3600
"""So old is a folder without a lock that nobody is about to lock."""


@contextmanager
def scratch() -> Iterator[Path]:
    """An empty folder that only this user may look into, removed at the end; those of killed servers are removed
    first."""
    _sweep(Path(tempfile.gettempdir()))
    folder = Path(tempfile.mkdtemp(prefix=_PREFIX))
    try:
        with (folder / _LOCK).open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _sweep(parent: Path) -> None:
    for folder in parent.glob(f"{_PREFIX}*"):
        try:
            found = folder.lstat()
            if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
                continue
            if _abandoned(folder / _LOCK, found.st_mtime):
                log.info("removing what a server that was killed left in %s", folder)
                shutil.rmtree(folder, ignore_errors=True)
        except OSError:  # another server removes it at the same time
            continue


def _abandoned(lock: Path, modified: float) -> bool:
    if not lock.is_file():
        return time.time() - modified > _UNLOCKED_SECONDS
    with lock.open("r+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True
