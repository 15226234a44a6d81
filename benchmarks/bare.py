"""What the transcoder is compared with: ffmpeg as anybody would call it, without limits, checks or an index.

In: files, a filter, an ffmpeg. Out: raw frames in a folder (or nowhere). The filter is the one that
`vidpred.data.media` runs, taken from the arguments that it would give.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from vidpred.data.graphs import Job, Look, Reading, decoding, input_options


def our_filter(look: Look) -> str:
    """The filter that ours runs, as a chain for `-vf`."""
    job = Job(Path("any.mp4"))
    arguments = decoding(look, input_options(job, look), look.max_seconds, None, Reading.of(job), timed=True)
    graph = arguments[arguments.index("-filter_complex") + 1]
    return re.sub(r"\[[^\]]*\]", "", graph).replace(";", ",")


def run_each(
    files: Sequence[Path],
    folder: Path | None,
    chain: str,
    *,
    ffmpeg: Path | str,
    processes: int,
    batch: int = 1,
    one_thread: bool = False,
) -> None:
    """Raw frames of files by bare ffmpeg processes, several at once.

    Args:
        files: What to read, in order.
        folder: Where `<number>.rgb` goes; None: to /dev/null.
        chain: The filter.
        ffmpeg: Which.
        processes: How many at once.
        batch: Files that share a process.
        one_thread: Whether ffmpeg is told to decode and filter each file on one thread.
    """
    few = ("-threads", "1") if one_thread else ()
    alone = ("-filter_complex_threads", "1", "-filter_threads", "1") if one_thread else ()

    def one(first: int) -> None:
        members = files[first : first + batch]
        command = [str(ffmpeg), "-nostdin", "-v", "error", "-y", *alone]
        for path in members:
            command += [*few, "-i", str(path)]
        for number in range(len(members)):
            target = "/dev/null" if folder is None else str(folder / f"{first + number}.rgb")
            command += ["-map", f"{number}:v:0", "-vf", chain, *few, "-f", "rawvideo", target]
        subprocess.run(command, check=True, stdin=subprocess.DEVNULL)

    with ThreadPoolExecutor(processes) as pool:
        list(pool.map(one, range(0, len(files), batch)))
