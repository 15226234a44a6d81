"""Transcodes a folder in a process of its own and prints the most memory that it held, in bytes; run by data.py."""

from __future__ import annotations

import resource
import sys
from pathlib import Path

from rich.console import Console

from vidpred.config import TranscodeParams
from vidpred.data.clip_cache import local_engine
from vidpred.data.launch import ffmpeg_version
from vidpred.data.transcode import transcode
from vidpred.workspace import cores


def most_held() -> int:
    """Bytes of memory that this process held at the most."""
    try:
        # not ru_maxrss, which begins with what the process that started this one held
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) << 10 for line in lines if line.startswith("VmHWM:"))
    except (OSError, StopIteration):
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak << 10


def main() -> None:
    """Arguments: the folder that `fetch` wrote, a folder to write into."""
    raw, out = map(Path, sys.argv[1:])
    done = transcode(
        raw,
        out / "shards",
        out / "cache",
        TranscodeParams(height=16, width=16),
        version=ffmpeg_version(),
        engine=local_engine(cores()),
        workers=cores(),
    )
    Console().print(f"{most_held()} {done.summary['kept']}", highlight=False)


if __name__ == "__main__":
    main()
