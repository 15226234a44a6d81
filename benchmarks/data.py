"""How fast the data layer is, each part beside what it is compared with: `make bench-data`.

In: GIFs and videos made from a seed (or real GIFs), in a temporary folder. Out: a table on stdout, and the same as
JSON. Contestants take turns (A B A B), and what counts is the ratio of neighbouring turns.
"""

from __future__ import annotations

import argparse
import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import material
from benchmarks.bare import our_filter, run_each
from benchmarks.contest import Row, Turn, take_turns, versus
from benchmarks.runner import at_least, command, options, publish, workplace
from vidpred.config import TranscodeParams
from vidpred.data.clip_cache import Engine, Plan, Unit, local_engine
from vidpred.data.launch import ffmpeg_binary, ffmpeg_version
from vidpred.data.transcode import Transcoded, transcode
from vidpred.errors import UserError
from vidpred.workspace import cores

log = logging.getLogger(__name__)

SIZE = 96
"""Rows and columns of the frames that are made."""
ROW_KIB = 8
"""Memory that a file may cost: its rows of sources.jsonl, sources.parquet and index.parquet, and the note on it, as
Python holds them."""
_MEMORY_SHARE = 20
"""So many times fewer files is the run that memory is compared with."""
_TRIED = 256
"""Files on which the best way to call bare ffmpeg is found."""
_BATCHES = (8, 16, 32, 64, 128)
_LARGE, _SMALL = (720, 1280, 20), (360, 640, 40)
"""Rows, columns and seconds of a video."""
_BY_HAND = f"fps=10,scale={SIZE}:{SIZE}:force_original_aspect_ratio=increase,crop={SIZE}:{SIZE},format=rgb24"
"""What a user would write for the same clips: fewer frames are scaled, and nobody looks at those left out."""


@dataclass(frozen=True)
class Setting:
    """How much of everything."""

    folder: Path
    """An empty one, on the disk that is measured."""
    share: float = 1.0
    """Of the full sizes."""
    repeats: int = 3
    workers: int = 1
    """What ours is told."""
    files: int = 20_000
    """Of the memory benchmark."""
    real: Path | None = None
    """Folder of real GIFs, in place of those made."""

    @property
    def processes(self) -> int:
        """ffmpeg at once, theirs as well as ours, which has one more than workers: on a busy machine who has more
        processes gets more of it."""
        return self.workers + 1

    def sized(self, full: int, least: int) -> int:
        """So many of something."""
        return max(least, round(full * self.share))


def ours(
    raw: Path, params: TranscodeParams, workers: int, engine: Engine | None = None
) -> Callable[[Path], Transcoded]:
    """All of `vidpred transcode`, until the shards are written; nothing is in its cache, unless the folder is used
    again."""
    version = ffmpeg_version()
    return lambda folder: transcode(
        raw,
        folder / "shards",
        folder / "cache",
        params,
        version=version,
        engine=engine or local_engine(workers),
        workers=workers,
    )


def _files(raw: Path) -> list[Path]:
    """Largest first, as ours takes them: so the last process is a short one."""
    return sorted((raw / "files").iterdir(), key=lambda path: (-path.stat().st_size, path.name))


def _seeds(count: int) -> int:
    """How many different GIFs stand for so many: the others are copies, made different by a comment."""
    return min(30, max(2, count // 10))


def _fastest(candidates: dict[str, Turn], folder: Path) -> str:
    """The name of the fastest, by the better of two turns."""
    times = take_turns(candidates, 2, folder)
    shutil.rmtree(folder)
    return min(times, key=lambda name: min(times[name]))


def _warm_up(files: Sequence[Path], params: TranscodeParams, folder: Path) -> None:
    """Lets ours load its libraries before its first turn: a process does that once, however many files there are."""
    material.raw_folder(folder / "warm-up", files)
    ours(folder / "warm-up", params, 1)(folder / "warm")


def gifs(setting: Setting) -> list[Row]:
    """Tiny GIFs to shards, against one process a file and against bare batches."""
    count = setting.sized(1000, 20)
    work = setting.folder / "gifs"
    if setting.real:
        seeds, kind = material.real_gifs(setting.real), f"{count:,} copies of real GIFs"
        # real ones freeze; what is compared is the work, so none of it is dropped
        params = TranscodeParams(height=SIZE, width=SIZE, min_frames=2, min_motion=0, max_freeze_seconds=None)
    else:
        seeds = material.gifs(work / "seeds", _seeds(count), frames=8, height=160, width=210)
        kind, params = f"{count:,} GIFs of 8 frames, 210x160", TranscodeParams(height=SIZE, width=SIZE)
    raw = work / "raw"
    material.raw_folder(raw, seeds, count)
    files, binary = _files(raw), ffmpeg_binary()
    chain = our_filter(Plan.of(params, ffmpeg_version()).look)

    def bare(files: Sequence[Path], ffmpeg: Path | str, batch: int, one_thread: bool) -> Turn:
        return lambda folder: run_each(
            files, folder, chain, ffmpeg=ffmpeg, processes=setting.processes, batch=batch, one_thread=one_thread
        )

    ways = {f"{batch} a process{', one thread' * one}": (batch, one) for batch in _BATCHES for one in (True, False)}
    log.info("the best way to call bare ffmpeg:")
    tried = files[: min(_TRIED, count)]
    best = _fastest({name: bare(tried, binary, *way) for name, way in ways.items()}, work / "tried")
    contestants: dict[str, Turn] = {
        "ours": ours(raw, params, setting.workers),
        "batches": bare(files, binary, *ways[best]),
        "one a file": bare(files, binary, 1, False),
    }
    system = shutil.which("ffmpeg")
    if system:
        contestants["one a file, system"] = bare(files, system, 1, False)
    log.info("%s:", kind)
    _warm_up(seeds[:2], params, work)
    times = take_turns(contestants, setting.repeats, work / "turns")
    shutil.rmtree(work)
    what = f"{kind} → {SIZE}x{SIZE} in shards, against"
    rows = [
        versus("gifs", f"{what} one process a file, same ffmpeg", times, "ours", "one a file", limit=3),
        versus("gifs", f"{what} bare batches of raw frames", times, "ours", "batches", limit=0.6, note=best),
    ]
    against_system = f"{what} one process a file, the system's ffmpeg"
    if system is None:
        return [*rows, Row("gifs", against_system, limit=8, note="no system ffmpeg")]
    version = ffmpeg_version("system")
    return [
        *rows,
        versus("gifs", against_system, times, "ours", "one a file, system", limit=8, note=f"ffmpeg {version}"),
    ]


def long_videos(setting: Setting, folder: Path, sizes: Sequence[tuple[int, int, int]]) -> list[Path]:
    """Writes videos of so many rows, columns and seconds."""
    log.info("making videos:")
    out = []
    for number, (height, width, seconds) in enumerate(sizes):
        path = folder / f"{number}.mp4"
        out.append(material.video(path, seed=number, seconds=setting.sized(seconds, 1), height=height, width=width))
        log.info("  %s: %dx%d, %d kB", path.name, width, height, path.stat().st_size >> 10)
    return out


def videos(setting: Setting) -> list[Row]:
    """Long videos to shards, against bare ffmpeg that throws its frames away."""
    work = setting.folder / "videos"
    # two of each, so that two workers have the same to do
    paths = long_videos(setting, work / "made", [_LARGE, _LARGE, _SMALL, _SMALL])
    raw = work / "raw"
    material.raw_folder(raw, paths)
    files, binary = _files(raw), ffmpeg_binary()
    params = TranscodeParams(height=SIZE, width=SIZE)
    same = our_filter(Plan.of(params, ffmpeg_version()).look)

    def bare(chain: str, one_thread: bool) -> Turn:
        return lambda _: run_each(files, None, chain, ffmpeg=binary, processes=setting.processes, one_thread=one_thread)

    threads = {"one thread each": True, "ffmpeg's own number of threads": False}
    log.info("the best way to call bare ffmpeg:")
    best = {
        chain: _fastest({name: bare(chain, one) for name, one in threads.items()}, work / "tried")
        for chain in (same, _BY_HAND)
    }
    log.info("videos:")
    _warm_up(material.gifs(work / "seeds", 2, frames=8, height=160, width=210), params, work)
    times = take_turns(
        {
            "ours": ours(raw, params, setting.workers),
            "same filter": bare(same, threads[best[same]]),
            "by hand": bare(_BY_HAND, threads[best[_BY_HAND]]),
        },
        setting.repeats,
        work / "turns",
    )
    shutil.rmtree(work)
    what = (
        f"{len(files)} videos, 30 fps, 640x360 and 1280x720 → {SIZE}x{SIZE} in shards, against bare ffmpeg to /dev/null"
    )
    return [
        versus(
            "videos",
            f"{what}, same filter (every frame is scaled)",
            times,
            "ours",
            "same filter",
            limit=0.9,
            note=best[same],
        ),
        versus("videos", f"{what}, fps=10,scale=… as by hand", times, "ours", "by hand", note=best[_BY_HAND]),
    ]


def random_windows(setting: Setting) -> list[Row]:
    """Windows from shards, against random access into mp4 and a bare memory map."""
    from benchmarks.windows import windows  # needs torch, which the other benchmarks do without

    work = setting.folder / "windows"
    paths = long_videos(setting, work / "made", [_LARGE, _SMALL])
    raw = work / "raw"
    material.raw_folder(raw, paths)
    ours(raw, TranscodeParams(height=SIZE, width=SIZE), setting.workers)(work)
    rows = windows(work / "shards", raw / "files", work, share=setting.share, repeats=setting.repeats)
    shutil.rmtree(work)
    return rows


def incremental(setting: Setting) -> list[Row]:
    """What is decoded when files come in, and when none does."""
    count, more = setting.sized(1000, 20), 10
    work = setting.folder / "incremental"
    seeds = material.gifs(work / "seeds", _seeds(count), frames=8, height=40, width=52)
    raw = work / "raw"
    material.raw_folder(raw, seeds, count)
    asked: list[str] = []

    def counting(
        batches: Sequence[Sequence[Unit]], files: Path, store: Path, plan: Plan
    ) -> Iterator[dict[str, dict[str, Any]]]:
        asked.extend(unit.key for batch in batches for unit in batch)
        return local_engine(setting.workers)(batches, files, store, plan)

    run = ours(raw, TranscodeParams(height=SIZE, width=SIZE), setting.workers, counting)
    _warm_up(seeds[:2], TranscodeParams(height=SIZE, width=SIZE), work)
    whole: Turn = lambda _: run(work)  # noqa: E731 - the same folder each time: its cache is what is measured
    log.info("%s files, then %d more, then none:", f"{count:,}", more)
    first = take_turns({"all": whole}, 1, work / "turns")["all"][0]
    added: list[int] = []
    again: list[int] = []
    seconds_added: list[float] = []
    seconds_again: list[float] = []
    for repeat in range(setting.repeats):
        material.raw_folder(raw, seeds, more, first=count + repeat * more)
        for decodes, seconds, name in ((added, seconds_added, "10 more"), (again, seconds_again, "none")):
            asked.clear()
            seconds += take_turns({name: whole}, 1, work / f"turns-{repeat}-{name}")[name]
            decodes.append(len(asked))
    shutil.rmtree(work)

    def row(what: str, decodes: Sequence[int], limit: int, seconds: Sequence[float]) -> Row:
        return Row(
            "incremental",
            what,
            value=max(decodes),
            unit="decodes",
            limit=limit,
            at_least=False,
            low=min(decodes),
            high=max(decodes),
            repeats=len(decodes),
            note=f"{np.median(seconds):.3g} s, shards written anew; all {count:,} took {first:.3g} s",
        )

    return [
        row(f"{more} files added to {count:,}", added, more, seconds_added),
        row("a rerun with nothing new", again, 0, seconds_again),
    ]


def memory(setting: Setting) -> list[Row]:
    """The most memory that a process holds which transcodes many files, against one that transcodes few."""
    many = setting.files
    few = max(1, many // _MEMORY_SHARE)
    work = setting.folder / "memory"
    seeds = material.gifs(work / "seeds", _seeds(many), frames=6, height=20, width=24)
    held: dict[int, int] = {}
    for count in (few, many):
        log.info("memory with %s files", f"{count:,}")
        raw = work / f"raw-{count}"
        material.raw_folder(raw, seeds, count)
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.memory", str(raw), str(work / f"out-{count}")],
            stdout=subprocess.PIPE,
            text=True,
            check=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[1]), *sys.path])},
        )
        peak, kept = map(int, done.stdout.split())
        if kept != count:
            raise UserError(f"{kept} of {count} GIFs gave a clip: the memory benchmark is void")
        held[count] = peak
    shutil.rmtree(work)
    growth = (held[many] - held[few]) / max(1, many - few) / 1024
    return [
        Row(
            "memory",
            f"most memory of the process with {many:,} files, against {few:,}: growth a file",
            value=growth,
            unit="KiB",
            limit=ROW_KIB,
            at_least=False,
            note=f"{held[many] >> 20} MiB and {held[few] >> 20} MiB; {ROW_KIB} KiB are allowed for a file's rows",
        )
    ]


BENCHMARKS: dict[str, Callable[[Setting], list[Row]]] = {
    "gifs": gifs,
    "videos": videos,
    "windows": random_windows,
    "incremental": incremental,
    "memory": memory,
}


def measure(setting: Setting, names: Sequence[str] = tuple(BENCHMARKS)) -> list[Row]:
    """The rows of some benchmarks."""
    return [row for name in names for row in BENCHMARKS[name](setting)]


def main() -> None:
    """Reads the options, measures, prints the table."""
    parser = options("data", __doc__, quick="a tenth of the sizes: whether it runs, not how fast", only=BENCHMARKS)
    parser.add_argument("--repeats", type=int, default=3, help="turns of each contestant")
    parser.add_argument("--files", type=int, help="files of the memory benchmark (20,000; 2,000 with --quick)")
    parser.add_argument("--real", type=Path, help="a folder of real GIFs, copied in place of those made")
    parser.add_argument(
        "--folder", type=Path, help="where to work: its disk is measured (the system's temporary folder)"
    )
    command(parser, _run)


def _run(chosen: argparse.Namespace) -> None:
    at_least(chosen, repeats=1, files=2)
    with workplace(chosen.folder) as folder:
        share = 0.1 if chosen.quick else 1.0
        setting = Setting(
            folder=folder,
            share=share,
            repeats=chosen.repeats,
            workers=cores(),
            files=chosen.files or round(20_000 * share),
            real=chosen.real,
        )
        facts = {
            "workers": setting.workers,
            "ffmpeg": ffmpeg_version(),
            "sizes": "a tenth" if chosen.quick else "full",
        }
        names = chosen.only or tuple(BENCHMARKS)
        publish(lambda: measure(setting, names), folder, out=chosen.out, facts=facts, title="data layer")


if __name__ == "__main__":
    main()
