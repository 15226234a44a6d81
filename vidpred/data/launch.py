"""ffmpeg's binary, and the launcher that runs it within limits.

In: arguments and a folder to work in. Out: the exit status and what ffmpeg said. Every run is a process of its own with
limits on address space, processor time and wall time, an almost empty environment and nothing on its standard input.
"""

from __future__ import annotations

import math
import os
import re
import selectors
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from vidpred.data.complaints import MEMORY_GIB, MediaError
from vidpred.errors import UserError

_MIB_PER_INPUT = 128
"""Address space that an ffmpeg gets for each file but the first, for which it gets `MEMORY_GIB`."""

# sh sets the limits and becomes ffmpeg, within a thousandth of a second; a launcher in Python takes as long as a small
# GIF. macOS has no limit on memory: there the command goes on without.
# A file that may not grow any more is a complaint like others, not the end.
_LAUNCHER = 'trap "" XFSZ; ulimit -v "$1" 2>/dev/null; ulimit -t "$2" 2>/dev/null; shift 2; exec "$@"'

_ALWAYS = ("-nostdin", "-hide_banner", "-nostats", "-filter_complex_threads", "1")
"""Small frames filter fastest on one thread, and several files at once keep the cores busy."""

# glibc reserves 64 MiB of address space for each thread's arena
_ENVIRONMENT = {"PATH": os.defpath, "LC_ALL": "C", "MALLOC_ARENA_MAX": "2"}
_THREADS = 4
"""That ffmpeg keeps busy at the most; the limit on processor time is for one that nobody waits for any more."""
_TICK_SECONDS, _GATHERED_SECONDS = 0.05, 0.005
_PIECE_BYTES = 1 << 16
_ENDED = re.compile(r"^\[info\] Exiting normally, received signal \d+", re.MULTILINE)
_TOLD_BYTES = 16 << 20
"""That ffmpeg may say: more than any file has given cause for that was worth its frames."""


class Stopped(Exception):
    """The caller's `stop` was set while ffmpeg ran."""


def ffmpeg_binary(choice: str = "bundled") -> Path:
    """The ffmpeg to run.

    Args:
        choice: `bundled` (of imageio-ffmpeg), `system` (on the PATH), or a path.

    Raises:
        UserError: there is none.
    """
    if choice == "bundled":
        bundled = _bundled()
        if bundled is None:
            raise UserError(
                "imageio-ffmpeg carries no ffmpeg for this machine: install one and set transcode.ffmpeg: system"
            )
        return bundled
    if choice == "system":
        found = shutil.which("ffmpeg")
        if found is None:
            raise UserError("no ffmpeg on the PATH: install one, or set transcode.ffmpeg: bundled")
        return Path(found)
    path = Path(choice).expanduser()
    if not path.is_file():
        raise UserError(f"transcode.ffmpeg: {choice} is no file: give bundled, system or the path of an ffmpeg")
    return path.resolve()


def _bundled() -> Path | None:
    import imageio_ffmpeg

    try:
        found = Path(imageio_ffmpeg.get_ffmpeg_exe())
    except RuntimeError:
        return None
    # where it carries none it gives the system's, without a word
    carried = found.is_relative_to(Path(imageio_ffmpeg.__file__).parent)
    return found if carried or os.environ.get("IMAGEIO_FFMPEG_EXE") else None


def any_ffmpeg() -> Path:
    """An ffmpeg for work whose frames no stage depends on: the bundled one, else the one on the PATH.

    Raises:
        UserError: there is neither.
    """
    found = _bundled() or shutil.which("ffmpeg")
    if found is None:
        raise UserError("no ffmpeg: imageio-ffmpeg carries none for this machine and none is on the PATH: install one")
    return Path(found)


def ffmpeg_version(choice: str = "bundled") -> str:
    """The version of an ffmpeg, such as `7.0.2-static`.

    Raises:
        UserError: there is no such ffmpeg, or it does not run.
    """
    binary = ffmpeg_binary(choice)
    try:
        told = subprocess.run([str(binary), "-version"], capture_output=True, text=True, timeout=60, check=True).stdout
    except (OSError, subprocess.SubprocessError) as error:
        raise UserError(f"{binary} does not run ({error}): set transcode.ffmpeg to another") from None
    match = re.match(r"ffmpeg version (\S+)", told)
    if match is None:
        raise UserError(f"{binary} is no ffmpeg: set transcode.ffmpeg to another")
    return match[1]


def run(
    arguments: Sequence[str],
    *,
    ffmpeg: Path,
    timeout_seconds: float,
    inputs: int = 1,
    folder: Path | None = None,
    stop: threading.Event | None = None,
) -> tuple[int, str]:
    """Runs ffmpeg within limits; gives its exit status and what it said.

    Args:
        arguments: Of ffmpeg, input and output included.
        ffmpeg: From `ffmpeg_binary`.
        timeout_seconds: Wall time at the most.
        inputs: Files that it reads; memory is granted by them.
        folder: Where it works, so that outputs can be named without their path.
        stop: Ends the work early.

    Raises:
        MediaError: it took too long, said too much, or was ended by others.
        Stopped: `stop` was set.
        UserError: ffmpeg does not run at all.
    """
    memory_kib = (MEMORY_GIB << 20) + (inputs - 1) * (_MIB_PER_INPUT << 10)
    limits = [str(memory_kib), str(math.ceil(timeout_seconds * _THREADS) + 1)]
    command = ["/bin/sh", "-c", _LAUNCHER, "sh", *limits, str(ffmpeg), *_ALWAYS, *arguments]
    deadline = time.monotonic() + timeout_seconds
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,  # not into a file: what is said of a full disk must still arrive
        cwd=folder,
        env=_ENVIRONMENT,
        start_new_session=True,  # Ctrl-C is for us: an ffmpeg that it ended would seem to have failed
    )
    with process:
        try:
            told = _heard(process, deadline, timeout_seconds, stop)
        finally:
            if process.poll() is None:
                process.kill()
    if process.returncode in (126, 127):  # sh's own: nothing ran
        raise UserError(f"{ffmpeg} does not run ({told.strip()[:200]}): set transcode.ffmpeg to another")
    if process.returncode < 0 and "[info] Input #" not in told and "[error]" not in told:
        raise MediaError(f"killed: ffmpeg ended by signal {-process.returncode} before it read anything")
    if process.returncode == -signal.SIGKILL or _ENDED.search(told):
        raise MediaError("killed: it took too much memory or processor time, or somebody ended it")
    return process.returncode, told


def _heard(
    process: subprocess.Popen[bytes], deadline: float, timeout_seconds: float, stop: threading.Event | None
) -> str:
    """All that a process says until it ends."""
    assert process.stderr is not None
    told = bytearray()
    with selectors.DefaultSelector() as selector:
        selector.register(process.stderr, selectors.EVENT_READ)
        while True:
            if stop is not None and stop.is_set():
                raise Stopped
            left = deadline - time.monotonic()
            if left <= 0:
                raise MediaError(f"timed out after {timeout_seconds:g} s")
            if not selector.select(min(left, _TICK_SECONDS)):
                continue
            piece = os.read(process.stderr.fileno(), _PIECE_BYTES)
            if not piece:
                process.wait()
                return told.decode(errors="replace")
            told += piece
            # ffmpeg writes word by word: a thousand times for a batch of files, and each would wake us
            time.sleep(_GATHERED_SECONDS)
            if len(told) > _TOLD_BYTES:
                raise MediaError(f"damaged: ffmpeg has more than {_TOLD_BYTES >> 20} MiB to say about it")
