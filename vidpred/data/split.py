"""Which clips train, which choose, which judge: fixed by hash, so that new clips move no old ones.

In: shards. Out: `split.parquet` (part, clip, start, length) and the figures of the stage.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from vidpred.config import SplitParams
from vidpred.data.shards import write_table
from vidpred.errors import UserError
from vidpred.types import Clip, Segment

log = logging.getLogger(__name__)

Part = Literal["train", "val", "test"]
PARTS: tuple[Part, ...] = ("train", "val", "test")
Split = Mapping[Part, Sequence[Segment]]

_SCHEMA = pa.schema([("part", pa.string()), ("clip", pa.int64()), ("start", pa.int64()), ("length", pa.int64())])


def position(group: str, seed: int) -> float:
    """Where a group stands in [0, 1); the same for ever."""
    return int.from_bytes(hashlib.sha256(f"{seed}:{group}".encode()).digest()[:8], "big") / 2**64


def make_split(clips: Sequence[Clip], params: SplitParams, *, span: int) -> tuple[str, dict[Part, list[Segment]]]:
    """The parts, and the kind of split that was made: `time` where `group` was asked for but groups are too few.

    Args:
        clips: Rows of the index.
        params: Kind, shares and seed.
        span: Frames of the shard from a window's first to its last; clips that hold no window are left out.

    Raises:
        UserError: a part would hold no window.
    """
    usable = [row for row, clip in enumerate(clips) if clip.length >= span]
    groups = {clips[row].group for row in usable}
    kind: str = params.kind
    if kind == "group" and len(groups) < 3:
        log.warning("split.kind: group needs at least 3 groups, there %s: split by time instead", _count(len(groups)))
        kind = "time"
    if kind == "group":
        parts = _by_group(clips, usable, params)
    else:
        parts = _by_time(clips, usable, params, span)
    for part in PARTS:
        if not parts[part]:
            raise UserError(
                f"the split by {kind} leaves no window of {span} frames for {part} ({len(usable)} of {len(clips)} "
                "clips hold one): add clips or longer ones, or lower task.context"
            )
    return kind, parts


def _count(groups: int) -> str:
    return "is 1" if groups == 1 else f"are {groups}"


def _assigned(names: set[str], params: SplitParams) -> dict[str, Part]:
    """The part of each name; one that would be empty takes the name nearest to its range, where there are others."""
    places = {name: position(name, params.seed) for name in names}
    ranges: dict[Part, tuple[float, float]] = {
        "test": (0.0, params.test),
        "val": (params.test, params.test + params.val),
        "train": (params.test + params.val, 1.0),
    }
    parts: dict[str, Part] = {}
    for name, place in places.items():
        parts[name] = next(part for part, (low, high) in ranges.items() if low <= place < high)
    for part in ("test", "val", "train"):
        if part in parts.values():
            continue
        sizes = {other: sum(taken == other for taken in parts.values()) for other in PARTS}
        spare = [name for name in names if sizes[parts[name]] > 1]
        low, high = ranges[part]
        if spare:
            parts[min(spare, key=lambda name: (max(low - places[name], places[name] - high), name))] = part
    return parts


def _by_group(clips: Sequence[Clip], usable: Sequence[int], params: SplitParams) -> dict[Part, list[Segment]]:
    parts = _assigned({clips[row].group for row in usable}, params)
    return {part: [Segment(r, 0, clips[r].length) for r in usable if parts[clips[r].group] == part] for part in PARTS}


def _by_time(clips: Sequence[Clip], usable: Sequence[int], params: SplitParams, span: int) -> dict[Part, list[Segment]]:
    """Cuts each clip into train, val and test, with a gap so that no frame is in windows of two parts.

    A clip too short for three windows goes to one part as a whole, by the hash of its id.
    """
    out: dict[Part, list[Segment]] = {part: [] for part in PARTS}
    whole: list[int] = []
    gap = span - 1
    for row in usable:
        frames = clips[row].length - 2 * gap
        lengths = {"val": round(frames * params.val), "test": round(frames * params.test)}
        # shares too small for a window get one, as long as training keeps one as well
        val, test = (max(span, lengths["val"]), max(span, lengths["test"]))
        train = frames - val - test
        if train < span:
            whole.append(row)
            continue
        out["train"].append(Segment(row, 0, train))
        out["val"].append(Segment(row, train + gap, val))
        out["test"].append(Segment(row, train + val + 2 * gap, test))
    if whole:
        lacking = not out["train"]
        parts = _assigned({clips[row].id for row in whole}, params) if lacking else None
        for row in whole:
            place = position(clips[row].id, params.seed)
            free: Part = "test" if place < params.test else "val" if place < params.test + params.val else "train"
            out[parts[clips[row].id] if parts else free].append(Segment(row, 0, clips[row].length))
    return {part: sorted(segments, key=lambda s: (s.clip, s.start)) for part, segments in out.items()}


def write_split(folder: Path, split: Split) -> None:
    """Writes `split.parquet`."""
    rows = [{"part": part, "clip": s.clip, "start": s.start, "length": s.length} for part in PARTS for s in split[part]]
    write_table(folder / "split.parquet", rows, _SCHEMA)


def read_split(folder: Path | str, part: Part) -> list[Segment]:
    """The segments of a part, in the order of the index.

    Raises:
        UserError: there is no split.
    """
    path = Path(folder) / "split.parquet"
    if not path.is_file():
        raise UserError(f"{path} not found: run `dvc repro split`")
    rows = pq.read_table(path).to_pylist()
    return [Segment(row["clip"], row["start"], row["length"]) for row in rows if row["part"] == part]


def figures(clips: Sequence[Clip], split: Split, *, kind: str, asked: str) -> dict[str, Any]:
    """Figures of the stage: the kind used and asked for, and clips, groups and frames of each part."""

    def each(count: Callable[[Sequence[Segment]], int]) -> dict[str, int]:
        return {part: count(split[part]) for part in PARTS}

    return {
        "kind": kind,
        "asked": asked,
        "clips": each(lambda segments: len({s.clip for s in segments})),
        "groups": each(lambda segments: len({clips[s.clip].group for s in segments})),
        "frames": each(lambda segments: sum(s.length for s in segments)),
    }
