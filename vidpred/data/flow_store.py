"""Optical flow on disk, beside the shards that it is of: computed once, read at random.

In: shards. Out, in one folder:

    flow-<bucket>.npy   int8 (F, 2, H, W), row for row with `frames-<bucket>.npy`: row i leads from frame i back to
                        frame i - interval of the same clip, x then y; zeros for a clip's first `interval` frames
    flow.parquet        a row a frame: shard, frame, scale; pixels are int8 times scale
    flow.json           what it was made from and with, hashes; written last

A frame's largest component is 127, so nothing is clipped and a value is off by at most half its frame's scale. The
bytes depend neither on the number of workers nor on interruptions.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from vidpred.config import FlowParams
from vidpred.data.flow import flow_to_previous, opencv_version
from vidpred.data.progress import progress
from vidpred.data.shards import Shards
from vidpred.errors import UserError, restore
from vidpred.workspace import atomic, digest, file_sha256, fresh_folder, locked, write_json

FORMAT = 1
"""Of the folder; another one is not read."""
NOTE = "flow.json"

_LEVELS = 127
_PIECE_FRAMES, _PIECE_BYTES = 64, 1 << 23
"""One piece of work: so many frames at the most, and so many bytes of float32 fields (but at least one frame)."""
_SCHEMA = pa.schema([("shard", pa.string()), ("frame", pa.int64()), ("scale", pa.float32())])
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class Quantised(NamedTuple):
    """Flow as it is stored; in pixels it is `values` times `scales`."""

    values: np.ndarray
    """int8 (..., 2, H, W), from -127 to 127."""
    scales: np.ndarray
    """float32 (...): pixels that one step stands for; 0 where nothing moves."""


def quantised(flow: np.ndarray) -> Quantised:
    """Rounds fields to 8 bits, each with a scale of its own; off by at most half of it.

    Args:
        flow: float32 (..., 2, H, W) in pixels.
    """
    scales = (np.abs(flow).max(axis=(-3, -2, -1)) / _LEVELS).astype(np.float32)
    steps = np.where(scales > 0, scales, 1)[..., None, None, None]
    return Quantised(np.rint(flow / steps).clip(-_LEVELS, _LEVELS).astype(np.int8), scales)


def write_flow(
    shards: Shards, out: Path, cache: Path, params: FlowParams, *, interval: int, models: Sequence[str], workers: int
) -> dict[str, Any]:
    """Computes the flow of all shards, and gives what it wrote to flow.json.

    Args:
        shards: Their frames.
        out: Folder to write; what stood there goes.
        cache: Folder where finished shards wait for the others, so that an interrupted run goes on; emptied at the end.
        params: Method and preset.
        interval: How many frames back flow leads.
        models: Who asks for it, for flow.json.
        workers: Threads; OpenCV gets one in each.

    Raises:
        UserError: the disk is full.
    """
    made_with: dict[str, Any] = {
        "format": FORMAT,
        "data_id": shards.data_id,
        "interval": interval,
        "opencv": opencv_version(),
        **params.model_dump(),
    }
    store = cache / digest(made_with)[:16]
    try:
        with locked(store):
            for left in store.glob(".*.part"):  # of a process that was killed; no other one holds the lock
                left.unlink()
            parts = _all_shards(shards, store, params, interval, workers)
            fresh_folder(out)
            for name in parts:
                _placed(store / name, out / name)
            _write_scales(out / "flow.parquet", store, parts)
            note = made_with | {
                "needed": True,
                "stored": True,
                "models": list(models),
                "flow_id": digest(made_with | {"shards": parts}),
                "frames": sum(part["frames"] for part in parts.values()),
                "largest_error_pixels": round(max((part["scale"] for part in parts.values()), default=0.0) / 2, 6),
                "shards": parts,
            }
            write_json(out / NOTE, note)
            for path in store.iterdir():
                if path.name != ".lock":  # whoever waits for it holds it next
                    path.unlink()
    except OSError as error:
        if error.errno not in _NO_ROOM:
            raise
        raise UserError(
            f"flow: {error.filename or store}: {error.strerror}: free some space and run `dvc repro flow`, "
            "which goes on from here"
        ) from None
    return note


def _all_shards(
    shards: Shards, store: Path, params: FlowParams, interval: int, workers: int
) -> dict[str, dict[str, Any]]:
    """Each flow file by its name, made now or by a run before: what flow.json says of it."""
    length = max(1, min(_PIECE_FRAMES, _PIECE_BYTES // (8 * shards.height * shards.width)))
    work = {name: _pieces(shards, name, interval, length) for name in shards.meta["shards"]}
    parts: dict[str, dict[str, Any]] = {}
    with (
        progress("flow", sum(map(len, work.values()))) as advance,
        ThreadPoolExecutor(workers, thread_name_prefix="flow") as pool,
    ):
        try:
            for shard, pieces in work.items():
                name = flow_name(shard)
                known = _finished(store, name)
                if known is None:
                    known = _one_shard(shards, shard, store / name, pieces, params, interval, pool, advance)
                else:
                    for _ in pieces:
                        advance()
                parts[name] = known
        except BaseException:  # Ctrl-C too: what waits is not begun
            pool.shutdown(wait=True, cancel_futures=True)
            raise
    return parts


def flow_name(shard: str) -> str:
    """The flow file of a shard: `flow-0003.npy` of `frames-0003.npy`."""
    return f"flow-{shard.removeprefix('frames-')}"


class _Piece(NamedTuple):
    """Frames of a clip whose flow is computed at once."""

    clip: int
    first: int
    """Counted from the clip's first; at least `interval`."""
    frames: int
    """With a flow each."""


def _pieces(shards: Shards, shard: str, interval: int, length: int) -> list[_Piece]:
    return [
        _Piece(row, first, min(length, clip.length - first))
        for row, clip in enumerate(shards.clips)
        if clip.shard == shard
        for first in range(interval, clip.length, length)
    ]


def _finished(store: Path, name: str) -> dict[str, Any] | None:
    """What an interrupted run noted of a shard's flow; None where it did not come so far."""
    try:
        known: dict[str, Any] = json.loads((store / f"{name}.json").read_text())
        whole = file_sha256(store / name) == known["sha256"]
        return known if whole and file_sha256(_scales_of(store, name)) == known["scales_sha256"] else None
    except (OSError, ValueError, KeyError):
        return None


def _scales_of(store: Path, name: str) -> Path:
    return store / f"{name}.scales"


def _one_shard(
    shards: Shards, shard: str, path: Path, pieces: Sequence[_Piece], params: FlowParams, interval: int,
    pool: ThreadPoolExecutor, advance: Callable[[], None],
) -> dict[str, Any]:  # fmt: skip
    """Writes the flow of one shard, then its scales, then the note that both are whole."""
    frames = int(shards.meta["shards"][shard]["frames"])
    shape = (frames, 2, shards.height, shards.width)
    scales = np.zeros(frames, np.float32)
    read = _reader(shards, shard)
    with atomic(path) as part:
        with part.open("wb") as file:
            header = {"descr": np.lib.format.dtype_to_descr(np.dtype(np.int8)), "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(file, header)
            file.flush()
            begin, size = file.tell(), 2 * shards.height * shards.width
            os.truncate(file.fileno(), begin + frames * size)  # zeros, until a frame's flow is written

            def work(piece: _Piece) -> tuple[int, np.ndarray]:
                row = shards.clips[piece.clip].offset + piece.first
                seen = read(row - interval, piece.frames + interval)
                flow = flow_to_previous(seen, method=params.method, preset=params.preset, interval=interval)
                values, steps = quantised(flow)
                _write_at(file.fileno(), values.tobytes(), begin + row * size)
                return row, steps

            for row, steps in pool.map(work, pieces):
                scales[row : row + len(steps)] = steps
                advance()
        sha256 = file_sha256(part)
    with atomic(_scales_of(path.parent, path.name)) as part:
        part.write_bytes(scales.tobytes())
    known = {
        "sha256": sha256,
        "scales_sha256": hashlib.sha256(scales.tobytes()).hexdigest(),
        "frames": frames,
        "scale": float(scales.max(initial=0)),
    }
    write_json(path.with_name(f"{path.name}.json"), known)
    return known


def _reader(shards: Shards, shard: str) -> Callable[[int, int], np.ndarray]:
    """Reads so many frames from a row of a shard on; not through its memory map, which would fill memory as it goes."""
    path = shards.folder / shard
    with path.open("rb") as file:
        np.lib.format.read_magic(file)
        np.lib.format.read_array_header_1_0(file)
        begin = file.tell()
    shape = (-1, shards.height, shards.width, 3)
    size = shards.height * shards.width * 3
    return lambda row, frames: np.fromfile(path, np.uint8, frames * size, offset=begin + row * size).reshape(shape)


def _write_at(file: int, data: bytes, offset: int) -> None:
    """Writes all of it; not through a memory map, where a full disk would kill the process."""
    while data:
        written = os.pwrite(file, data, offset)
        data, offset = data[written:], offset + written


def _placed(source: Path, target: Path) -> None:
    """The same file under another name; a copy where that is on another disk."""
    with atomic(target) as part:
        try:
            part.hardlink_to(source)
        except OSError:
            shutil.copyfile(source, part)


def _write_scales(path: Path, store: Path, parts: dict[str, dict[str, Any]]) -> None:
    """flow.parquet, a row group a shard."""
    with atomic(path) as part, pq.ParquetWriter(part, _SCHEMA, compression="zstd") as file:
        for name in parts:
            scales = np.frombuffer(_scales_of(store, name).read_bytes(), np.float32)
            columns = [pa.array([name] * len(scales)), pa.array(np.arange(len(scales))), pa.array(scales)]
            file.write_table(pa.table(columns, schema=_SCHEMA), row_group_size=max(1, len(scales)))


class StoredFlow:
    """A folder of flow, opened: memory maps and scales, with sizes verified.

    Attributes:
        folder: Where it is.
        note: Contents of `flow.json`.
        interval: How many frames back flow leads.
    """

    def __init__(self, folder: Path | str, shards: Shards, params: FlowParams, *, interval: int) -> None:
        """Opens the folder.

        Args:
            folder: Where it is.
            shards: The frames that the flow is of.
            params: Method and preset that are asked for.
            interval: The stride that is asked for.

        Raises:
            UserError: it is of other frames, made otherwise, or a file is missing or cut short.
        """
        self.folder, self.interval = Path(folder), interval
        self.note: dict[str, Any] = json.loads((self.folder / NOTE).read_text())
        asked = {"format": FORMAT, "data_id": shards.data_id, "interval": interval, **params.model_dump()}
        other = [f"{name} {self.note.get(name)}, not {value}" for name, value in asked.items()
                 if self.note.get(name) != value]  # fmt: skip
        if other:
            raise UserError(f"{self.folder} holds other flow ({'; '.join(other)}): run `dvc repro flow`")
        self._shards = shards
        self._values = {shard: self._open(shard) for shard in shards.meta["shards"]}
        try:
            table = pq.read_table(self.folder / "flow.parquet", columns=["scale"])
        except (OSError, pa.ArrowInvalid) as error:
            raise UserError(f"{self.folder / 'flow.parquet'} cannot be read ({error}): {self._again}") from None
        scales, counts = table["scale"].to_numpy(), [len(values) for values in self._values.values()]
        if len(scales) != sum(counts):
            raise UserError(f"{self.folder / 'flow.parquet'} has {len(scales)} rows, expected {sum(counts)}: "
                            f"{self._again}")  # fmt: skip
        self._scales = dict(zip(self._values, np.split(scales, np.cumsum(counts)[:-1]), strict=True))

    def _open(self, shard: str) -> np.ndarray:
        path = self.folder / flow_name(shard)
        shape = (self._shards.meta["shards"][shard]["frames"], 2, self._shards.height, self._shards.width)
        try:
            opened = np.asarray(np.load(path, mmap_mode="r", allow_pickle=False))
        except (OSError, ValueError) as error:
            raise UserError(f"{path} is missing or cut short ({error}): {self._again}") from None
        if opened.dtype != np.int8 or opened.shape != shape:
            raise UserError(f"{path} is {opened.dtype} {opened.shape}, expected int8 {shape}: {self._again}")
        return opened

    @property
    def _again(self) -> str:
        return restore(self.folder, "flow")

    def fields(self, clip: int, start: int, frames: int) -> Quantised:
        """Flow between the frames of a window, as read-only views: `frames` - 1 fields.

        Args:
            clip: Row of the clip in the index.
            start: First frame of the window, counted from the clip's first.
            frames: Frames of the window, `interval` apart.

        Raises:
            IndexError: the clip has no such frames.
        """
        row = self._shards.clips[clip]
        last = start + (frames - 1) * self.interval
        if start < 0 or frames < 2 or last >= row.length:
            raise IndexError(f"clip {row.id} has {row.length} frames: no flow from {start} to {last}")
        rows = slice(row.offset + start + self.interval, row.offset + last + 1, self.interval)
        return Quantised(self._values[row.shard][rows], self._scales[row.shard][rows])

    def verify(self) -> None:
        """Hashes every file of flow.

        Raises:
            UserError: one differs from what was written.
        """
        for shard, scales in self._scales.items():
            name = flow_name(shard)
            known = self.note["shards"][name]
            found = file_sha256(self.folder / name), hashlib.sha256(scales.tobytes()).hexdigest()
            if found != (known["sha256"], known["scales_sha256"]):
                raise UserError(f"{self.folder / name} has changed since it was written: {self._again}")


def stored_flow(folder: Path | str, shards: Shards, params: FlowParams, *, interval: int) -> StoredFlow | None:
    """The flow in a folder; None where none is stored.

    Raises:
        UserError: as `StoredFlow`; or the note is damaged.
    """
    note = Path(folder) / NOTE
    try:
        stored = json.loads(note.read_text()).get("stored", False)
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise UserError(f"{note} is damaged ({error}): {restore(folder, 'flow')}") from None
    return StoredFlow(folder, shards, params, interval=interval) if stored else None
