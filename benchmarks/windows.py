"""Random windows from shards, against random access into mp4 files and against a bare memory map.

In: shards, and the mp4 files that they were made from. Out: rows. All is in the page cache, files stay open, and nobody
pays for opening them: what is compared is the reading.
"""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from benchmarks.contest import Row, Turn, take_turns, versus
from vidpred.data.clips import read_windows
from vidpred.data.encode import write_mp4
from vidpred.data.shards import Shards
from vidpred.records import Window

log = logging.getLogger(__name__)

BATCH = 32
COUNT = 6
"""Frames of a window."""

Reader = Callable[[Path, np.ndarray], np.ndarray]
"""Frames of a file at some times, in seconds: uint8 (N, H, W, 3)."""


def windows(folder: Path, files: Path, work: Path, *, share: float, repeats: int) -> list[Row]:
    """Measures.

    Args:
        folder: Of the shards.
        files: The mp4 files by the names that fetch gave them.
        work: Folder to write into.
        share: Of the full sizes.
        repeats: Turns of each.
    """
    shards = Shards(folder)
    usable = [number for number, clip in enumerate(shards.clips) if clip.length >= COUNT]
    batches = max(10, round(500 * share))
    rng = np.random.default_rng(0)

    def drawn(count: int) -> list[Window]:
        clips = rng.choice(usable, count)
        return [Window(int(c), int(rng.integers(shards.clips[c].length - COUNT + 1))) for c in clips]

    many = [drawn(BATCH) for _ in range(batches)]
    few = drawn(max(4, round(BATCH * share)))

    def from_shards(_: Path) -> None:
        for batch in many:
            read_windows(shards, batch, count=COUNT)

    maps = {name: np.asarray(np.load(folder / name, mmap_mode="r")) for name in shards.meta["shards"]}
    places = [
        [(maps[clip.shard], clip.offset + window.start) for window in batch for clip in (shards.clips[window.clip],)]
        for batch in many
    ]

    def gather(batch: Sequence[tuple[np.ndarray, int]]) -> np.ndarray:
        out = np.empty((BATCH, COUNT, shards.height, shards.width, 3), np.uint8)
        for number, (frames, first) in enumerate(batch):
            out[number] = frames[first : first + COUNT]
        return out

    def gathered(_: Path) -> None:
        for batch in places:
            gather(batch)

    contestants: dict[str, Turn] = {"ours": from_shards, "gather": gathered}
    readers = _readers(shards.width, shards.height)
    sources = {number: files / f"{shards.clips[number].sha256}.mp4" for number in usable}
    small = _small(shards, usable, work / "small")
    for name, reader in readers.items():
        contestants[name] = _random_access(reader, few, sources, shards, from_source=True)
        contestants[f"{name}, small"] = _random_access(reader, few, small, shards, from_source=False)
    log.info("windows:")
    times = take_turns(contestants, repeats, work / "turns")
    what = f"random windows of {COUNT} frames, {shards.width}x{shards.height}, in batches of {BATCH}"
    scale = batches * BATCH / len(few)
    rows = [versus("windows", f"{what}, against a bare memory map", times, "ours", "gather", limit=0.3)]
    for name in ("PyAV", "decord"):
        if name not in readers:
            rows.append(Row("windows", f"{what}, against {name}", limit=1000, note=f"{name} is not installed"))
            continue
        many_times = {"ours": times["ours"], "other": times[name], "small": times[f"{name}, small"]}
        of = f"{what}, against {name} in the mp4 files"
        notes = f"{batches * BATCH:,} windows and {len(few)}"
        for what_for, files_of in (("other", "they are from"), ("small", "of the clips themselves, as small")):
            told = f"{of} {files_of}"
            rows.append(versus("windows", told, many_times, "ours", what_for, limit=1000, scale=scale, note=notes))
    return rows


def _random_access(
    reader: Reader, chosen: Sequence[Window], paths: dict[int, Path], shards: Shards, *, from_source: bool
) -> Turn:
    ticks = np.arange(COUNT) / shards.fps

    def turn(_: Path) -> None:
        for window in chosen:
            begin = window.start / shards.fps + (shards.clips[window.clip].start_seconds if from_source else 0)
            frames = reader(paths[window.clip], begin + ticks)
            assert frames.shape == (COUNT, shards.height, shards.width, 3)

    return turn


def _small(shards: Shards, clips: Sequence[int], folder: Path) -> dict[int, Path]:
    """An mp4 for each clip, of the same frames at the same size."""
    folder.mkdir(parents=True)
    out = {}
    for number in clips:
        clip = shards.clips[number]
        out[number] = folder / f"{number}.mp4"
        write_mp4(out[number], shards.frames(number, 0, clip.length), shards.fps)
    return out


def _readers(width: int, height: int) -> dict[str, Reader]:
    """Those that are installed."""
    readers: dict[str, Reader] = {}
    if importlib.util.find_spec("av"):
        readers["PyAV"] = _pyav(width, height)
    if importlib.util.find_spec("decord"):
        readers["decord"] = _decord(width, height)
    return readers


def _pyav(width: int, height: int) -> Reader:
    import av

    opened: dict[Path, av.container.InputContainer] = {}

    def read(path: Path, times: np.ndarray) -> np.ndarray:
        container = opened.get(path) or opened.setdefault(path, av.open(str(path)))
        stream = container.streams.video[0]
        half = 0.5 / float(stream.average_rate or 30)
        out: list[np.ndarray] = []
        container.seek(int(times[0] / stream.time_base), stream=stream)  # to the key frame before
        for frame in container.decode(stream):
            while len(out) < len(times) and frame.time >= times[len(out)] - half:
                out.append(frame.to_ndarray(format="rgb24", width=width, height=height))
            if len(out) == len(times):
                break
        return np.stack(out + out[-1:] * (len(times) - len(out)))  # the last one is shown until the end

    return read


def _decord(width: int, height: int) -> Reader:
    from decord import VideoReader, cpu

    opened: dict[Path, VideoReader] = {}

    def read(path: Path, times: np.ndarray) -> np.ndarray:
        video = opened.get(path) or opened.setdefault(path, VideoReader(str(path), cpu(0), width, height))
        wanted = np.minimum(np.round(times * video.get_avg_fps()).astype(int), len(video) - 1)
        frames: np.ndarray = video.get_batch(wanted.tolist()).asnumpy()
        return frames

    return read
