"""Frames on disk: a few large files that are opened as memory maps, and an index of the clips in them.

In: clips as raw frames, one file each (transcode.py). Out, in one folder:

    frames-<bucket>.npy   uint8 (F, H, W, 3); a source's sha256 decides the bucket, and the order within it, so that the
                          bytes depend neither on the order of the work nor on what was there before
    index.parquet         a row a clip: the fields of `vidpred.records.Clip`
    sources.parquet       a row an input: kept, dropped or failed, with the reason
    meta.json             sizes, parameters, ffmpeg's version, `data_id`; written last
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from vidpred.errors import UserError, restore
from vidpred.records import Clip
from vidpred.workspace import atomic, cores, digest, write_json

FORMAT = 2
"""Of the folder; another one is not read."""

_BLOCK_BYTES = 1 << 20
"""Read, written and hashed at once: few enough to stay in the processor's cache meanwhile."""

_INDEX = pa.schema(
    [
        ("id", pa.string()),
        ("source", pa.string()),
        ("sha256", pa.string()),
        ("group", pa.string()),
        ("label", pa.string()),
        ("shard", pa.string()),
        ("offset", pa.int64()),
        ("length", pa.int64()),
        ("fps", pa.float64()),
        ("motion", pa.float64()),
        ("start_seconds", pa.float64()),
        ("part", pa.string()),
    ]
)

SOURCES = pa.schema(
    [
        ("name", pa.string()),
        ("origin", pa.string()),
        ("sha256", pa.string()),
        ("bytes", pa.int64()),
        ("group", pa.string()),
        ("label", pa.string()),
        ("licence", pa.string()),
        ("part", pa.string()),
        ("start_seconds", pa.float64()),
        ("end_seconds", pa.float64()),
        ("status", pa.string()),
        ("reason", pa.string()),
        ("clips", pa.int64()),
        ("frames", pa.int64()),
        ("height", pa.int64()),
        ("width", pa.int64()),
        ("fps", pa.float64()),
        ("seconds", pa.float64()),
        ("source_frames", pa.int64()),
        ("frozen_frames", pa.int64()),
        ("freezes", pa.int64()),
        ("cuts", pa.int64()),
        ("still_clips", pa.int64()),
        ("short_clips", pa.int64()),
        ("bars", pa.bool_()),
    ]
)
"""Columns of sources.parquet. From `height` on: what ffmpeg says of the source (null where it could not be read), and
what was found in it: frames read, repeats among them, freezes and cuts that ended a clip, clips dropped because they
hold too little motion or too few frames, and whether black bars were cut off."""


@dataclass(frozen=True)
class RawClip:
    """A clip that waits for its place in a shard."""

    source: str
    """The file as the user named it."""
    sha256: str
    """Of the source's bytes."""
    key: str
    """Of the source: its bytes and which part of them; 64 hex digits."""
    number: int
    """Of the clip in its source, from 0."""
    group: str
    """Clips of one group never straddle a split."""
    label: str
    """The class, or an empty string."""
    fps: float
    """Frames per second."""
    motion: float
    """Mean absolute difference of neighbouring frames, in grey levels."""
    frames: Path
    """File of raw uint8 (T, H, W, 3) that holds the clip."""
    length: int
    """Frames of the clip."""
    first: int = 0
    """Its first frame in the file."""
    start_seconds: float = 0.0
    """Where it begins in its source."""
    part: str = ""
    """Of the dataset's official split, or an empty string."""


def bucket_of(sha256: str, buckets: int) -> int:
    """Which of `buckets` shards a source belongs to."""
    return int(sha256[:12], 16) % buckets


def write_table(path: Path, rows: Sequence[Mapping[str, Any]], schema: pa.Schema) -> None:
    """Writes rows as Parquet to a temporary name, then renames."""
    table = pa.Table.from_pylist(list(rows), schema=schema)
    with atomic(path) as part:
        pq.write_table(table, part, compression="zstd")


def write_shards(
    folder: Path,
    clips: Sequence[RawClip],
    sources: Sequence[Mapping[str, Any]],
    *,
    height: int,
    width: int,
    fps: float | None,
    buckets: int,
    parameters: Mapping[str, Any],
    ffmpeg: str,
) -> str:
    """Writes a folder of shards into an empty or new folder and gives its `data_id`.

    The same clips and sources give the same bytes, in whatever order the clips come.

    Args:
        folder: Where to.
        clips: What to keep; their files are read, and stay.
        sources: Rows of `sources.parquet`, in the order of the inputs.
        height: Rows of a frame.
        width: Columns of a frame.
        fps: Frames per second of every clip; None where each has its own.
        buckets: Shards at the most.
        parameters: What the frames were made with, for `meta.json`.
        ffmpeg: Version that made them.
    """
    folder.mkdir(parents=True, exist_ok=True)
    placed = sorted(clips, key=lambda clip: (bucket_of(clip.sha256, buckets), clip.sha256, clip.key, clip.number))
    members = {
        f"frames-{bucket:04d}.npy": list(own)
        for bucket, own in groupby(placed, lambda clip: bucket_of(clip.sha256, buckets))
    }
    shards = _write_all(folder, members, height, width)
    index: list[Clip] = []
    for name, own in members.items():
        offsets = np.cumsum([0, *(clip.length for clip in own)]).tolist()
        for clip, offset in zip(own, offsets, strict=False):
            index.append(
                Clip(
                    id=f"{clip.key[:16]}-{clip.number}",
                    source=clip.source,
                    sha256=clip.sha256,
                    group=clip.group,
                    label=clip.label,
                    shard=name,
                    offset=offset,
                    length=clip.length,
                    fps=clip.fps,
                    motion=clip.motion,
                    start_seconds=clip.start_seconds,
                    part=clip.part,
                )
            )
    rows = [dict(vars(clip)) for clip in index]
    data_id = digest({"format": FORMAT, "shards": shards, "index": rows})
    write_table(folder / "sources.parquet", sources, SOURCES)
    write_table(folder / "index.parquet", rows, _INDEX)
    write_json(
        folder / "meta.json",
        {
            "format": FORMAT,
            "data_id": data_id,
            "height": height,
            "width": width,
            "fps": fps,
            "parameters": dict(parameters),
            "ffmpeg": ffmpeg,
            "clips": len(index),
            "frames": sum(clip.length for clip in index),
            "shards": shards,
        },
    )
    return data_id


def _write_all(
    folder: Path, members: Mapping[str, Sequence[RawClip]], height: int, width: int
) -> dict[str, dict[str, Any]]:
    """Writes the shards side by side; gives sha256 and frames of each, by name, in order."""
    stop = threading.Event()

    def one(name: str) -> dict[str, Any]:
        frames = sum(clip.length for clip in members[name])
        sha256 = _write_frames(folder / name, members[name], (frames, height, width, 3), stop)
        return {"sha256": sha256, "frames": frames}

    with ThreadPoolExecutor(cores(), thread_name_prefix="shards") as pool:
        try:
            return dict(zip(members, pool.map(one, members), strict=True))
        except BaseException:  # Ctrl-C too: a shard may take minutes
            stop.set()
            raise


def _write_frames(path: Path, clips: Sequence[RawClip], shape: tuple[int, int, int, int], stop: threading.Event) -> str:
    """Strings raw clips together behind a .npy header; gives the file's sha256."""
    header = io.BytesIO()
    described = {"descr": np.lib.format.dtype_to_descr(np.dtype(np.uint8)), "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(header, described)
    seen = hashlib.sha256(header.getbuffer())
    room = memoryview(bytearray(_BLOCK_BYTES))
    with atomic(path) as part, part.open("wb") as file:
        file.write(header.getbuffer())
        for clip in clips:
            for block in _blocks(clip, math.prod(shape[1:]), room):
                if stop.is_set():
                    raise CancelledError
                file.write(block)
                seen.update(block)  # while the bytes are at hand
    return seen.hexdigest()


def _blocks(clip: RawClip, frame_bytes: int, room: memoryview) -> Iterator[memoryview]:
    """A clip's frames, block by block, each read into `room`."""
    left = clip.length * frame_bytes
    with clip.frames.open("rb", buffering=0) as raw:
        raw.seek(clip.first * frame_bytes)
        while left and (count := raw.readinto(room[: min(left, len(room))])):
            yield room[:count]
            left -= count
    if left:
        raise UserError(f"{clip.frames} ends {left} bytes too early: delete it, then run the stage again")


class Shards:
    """A folder of shards, opened: memory maps and the index, with sizes verified.

    Attributes:
        folder: Where it is.
        meta: Contents of `meta.json`.
        clips: Rows of the index.
        data_id: Hash over frames and index.
        height: Rows of a frame.
        width: Columns of a frame.
        fps: Frames per second of all clips; the median where each has its own.
    """

    def __init__(self, folder: Path | str) -> None:
        """Opens the folder.

        Raises:
            UserError: it is missing, unfinished, of another version, or a shard is cut short.
        """
        self.folder = Path(folder)
        try:
            self.meta: dict[str, Any] = json.loads((self.folder / "meta.json").read_text())
        except FileNotFoundError:
            raise UserError(f"{self.folder} holds no finished shards: run `dvc repro transcode`") from None
        if self.meta.get("format") != FORMAT:
            raise UserError(
                f"{self.folder} has format {self.meta.get('format')}, this vidpred reads {FORMAT}: "
                "run `dvc repro --force --single-item transcode`"
            )
        self.data_id: str = self.meta["data_id"]
        self.height: int = self.meta["height"]
        self.width: int = self.meta["width"]
        table = pq.read_table(self.folder / "index.parquet", columns=_INDEX.names)
        self.clips: list[Clip] = [Clip(**row) for row in table.to_pylist()]
        rates = [clip.fps for clip in self.clips]
        self.fps: float = self.meta["fps"] or (float(np.median(rates)) if rates else 0.0)
        self._maps = {name: self._open(name, shard["frames"]) for name, shard in self.meta["shards"].items()}
        for clip in self.clips:
            if clip.shard not in self._maps or clip.offset + clip.length > len(self._maps[clip.shard]):
                raise UserError(f"{self.folder}: clip {clip.id} lies outside its shard: {self._again}")

    def _open(self, name: str, frames: int) -> np.ndarray:
        try:
            # a plain array over the map: np.memmap's own indexing costs several times as much a window
            opened = np.asarray(np.load(self.folder / name, mmap_mode="r", allow_pickle=False))
        except (OSError, ValueError) as error:
            raise UserError(f"{self.folder / name} is missing or cut short ({error}): {self._again}") from None
        if opened.dtype != np.uint8 or opened.shape != (frames, self.height, self.width, 3):
            raise UserError(
                f"{self.folder / name} is {opened.dtype} {opened.shape}, expected uint8 "
                f"{(frames, self.height, self.width, 3)}: {self._again}"
            )
        return opened

    @property
    def _again(self) -> str:
        return restore(self.folder, "transcode")

    def frames(self, clip: int, start: int, count: int, interval: int = 1) -> np.ndarray:
        """Frames of a clip, as a read-only view of the map.

        Args:
            clip: Row of the clip in the index.
            start: First frame, counted from the clip's first.
            count: How many.
            interval: Distance between two of them.

        Returns:
            uint8 (count, H, W, 3).

        Raises:
            IndexError: the clip has no such frames.
        """
        row = self.clips[clip]
        span = (count - 1) * interval + 1
        if start < 0 or count < 1 or start + span > row.length:
            raise IndexError(f"clip {row.id} has {row.length} frames, not {start} to {start + span - 1}")
        first = row.offset + start
        return self._maps[row.shard][first : first + span : interval]

    def verify(self) -> None:
        """Hashes every shard.

        Raises:
            UserError: one differs from what was written.
        """
        for name, shard in self.meta["shards"].items():
            with (self.folder / name).open("rb") as file:
                if hashlib.file_digest(file, "sha256").hexdigest() != shard["sha256"]:
                    raise UserError(f"{self.folder / name} has changed since it was written: {self._again}")
