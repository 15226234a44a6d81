"""Which clips train, which choose, which judge: fixed by hash, so that new clips move no old ones.

In: the index of the shards, and the groups that near-duplicates were joined to (duplicates.py). Out: `split.parquet`
(part, clip, start, length), `groups.parquet` (what became of each clip, and why) and the figures of the stage.
"""

from __future__ import annotations

import hashlib
import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from vidpred.config import SplitParams
from vidpred.data.shards import write_table
from vidpred.errors import UserError
from vidpred.records import Clip, Segment

log = logging.getLogger(__name__)

Part = Literal["train", "val", "test"]
PARTS: tuple[Part, ...] = ("train", "val", "test")
Kind = Literal["group", "time", "official"]
Split = Mapping[Part, Sequence[Segment]]

_FEWEST_GROUPS = 3
_SCHEMA = pa.schema([("part", pa.string()), ("clip", pa.int64()), ("start", pa.int64()), ("length", pa.int64())])
_GROUPS = pa.schema(
    [
        ("clip", pa.int64()),
        ("id", pa.string()),
        ("source", pa.string()),
        ("label", pa.string()),
        ("group", pa.string()),
        ("joined", pa.string()),
        ("part", pa.string()),
        ("reason", pa.string()),
    ]
)
"""Columns of groups.parquet: `joined` is the group that near-duplicates were joined to, `part` the part (or `train val
test` where the clip was cut), and `reason` says why a clip is in none."""


def position(group: str, seed: int) -> float:
    """Where a group stands in [0, 1); the same for ever."""
    return int.from_bytes(hashlib.sha256(f"{seed}:{group}".encode()).digest()[:8], "big") / 2**64


def counted(number: int, what: str) -> str:
    """`1 clip`, `2 clips`, `1 class`, `2 classes`."""
    return f"{number} {what}{'' if number == 1 else 'es' if what.endswith('s') else 's'}"


def kind_of(clips: Sequence[Clip], rows: Sequence[int], groups: Sequence[str], params: SplitParams) -> Kind:
    """The kind of split that can be made: `time` where `group` is asked for but groups are too few.

    Raises:
        UserError: the official split is asked for and there is none.
    """
    if params.kind == "group" and len({groups[row] for row in rows}) < _FEWEST_GROUPS:
        return "time"
    if params.kind == "official":
        for row in rows:
            if clips[row].part not in (*PARTS, ""):
                raise UserError(
                    f"{clips[row].source} is of the part {clips[row].part!r}: give train, val or test, or take "
                    "split.kind: group"
                )
        if not any(clips[row].part for row in rows):
            raise UserError(
                "split.kind: official, but no clip says which part it is of: take split.kind: group, or a dataset with "
                "an official split"
            )
    return params.kind


def make_split(
    clips: Sequence[Clip],
    params: SplitParams,
    *,
    span: int,
    groups: Sequence[str] | None = None,
    rows: Sequence[int] | None = None,
    labelled: bool = False,
) -> tuple[Kind, dict[Part, list[Segment]]]:
    """The parts, and the kind of split that was made (see `kind_of`).

    Args:
        clips: Rows of the index.
        params: Kind, shares and seed.
        span: Frames of the shard from a window's first to its last; clips that hold no window are left out.
        groups: Of each clip, once near-duplicates are joined; by default the clips' own.
        rows: The clips to split; by default all.
        labelled: Whether every class is to be in training and, where it has groups enough, in the other parts too.

    Raises:
        UserError: a part would hold no window, the official split is asked for and there is none, or it has a class
            that does not train.
    """
    names = [clip.group for clip in clips] if groups is None else list(groups)
    usable = [row for row in (range(len(clips)) if rows is None else rows) if clips[row].length >= span]
    of_usable = {names[row] for row in usable}
    kind = kind_of(clips, usable, names, params)
    if kind != params.kind:
        there = "there is 1" if len(of_usable) == 1 else f"there are {len(of_usable)}"
        log.warning("split.kind: group needs at least 3 groups, %s: split by time instead", there)
    if kind == "time":
        parts = _by_time(clips, usable, params, span)
    elif kind == "group":
        part_of = (
            _by_class(clips, usable, names, params) if labelled else _assigned(of_usable, params.seed, _ranges(params))
        )
        parts = _whole(clips, {row: part_of[names[row]] for row in usable})
    else:
        parts = _whole(clips, _official(clips, usable, names, params))
    for part in PARTS:
        if not parts[part]:
            hold = "holds" if len(usable) == 1 else "hold"
            official = kind == "official" and not any(clip.part == part for clip in clips)
            remedy = "take split.kind: group" if official else "add clips or longer ones, or lower task.context"
            if labelled and kind == "group":
                remedy = "add clips of every class, or take split.kind: time, for which one of each is enough"
            raise UserError(
                f"the split by {kind} leaves no window of {span} frames for {part} ({len(usable)} of "
                f"{counted(len(clips), 'clip')} {hold} one, in {counted(len(of_usable), 'group')}): {remedy}"
            )
    if labelled:
        known = {clips[segment.clip].label for segment in parts["train"]}
        if unknown := sorted({clips[row].label for row in usable} - known):
            raise UserError(
                f"the split by {kind} leaves no training clip of {', '.join(unknown[:5])}"
                f"{f' and {len(unknown) - 5} more classes' if len(unknown) > 5 else ''}: add clips, or name them in "
                "split.drop_labels"
            )
    return kind, parts


def _ranges(params: SplitParams) -> dict[Part, tuple[float, float]]:
    return {
        "test": (0.0, params.test),
        "val": (params.test, params.test + params.val),
        "train": (params.test + params.val, 1.0),
    }


def _assigned(names: set[str], seed: int, ranges: Mapping[Part, tuple[float, float]]) -> dict[str, Part]:
    """The part of each name; one that would be empty takes the name nearest to its range, where there are others."""
    places = {name: position(name, seed) for name in names}
    parts: dict[str, Part] = {}
    for name, place in places.items():
        parts[name] = next(part for part, (low, high) in ranges.items() if low <= place < high)
    for part, (low, high) in ranges.items():
        if part in parts.values():
            continue
        sizes = {other: sum(taken == other for taken in parts.values()) for other in ranges}
        spare = [name for name in names if sizes[parts[name]] > 1]
        if spare:
            parts[min(spare, key=lambda name: (max(low - places[name], places[name] - high), name))] = part
    return parts


def _by_class(
    clips: Sequence[Clip], usable: Sequence[int], names: Sequence[str], params: SplitParams
) -> dict[str, Part]:
    """The part of each group: those of the same classes are shared out among themselves, by the hash of their name.

    So a class of three groups or more is in all parts. One of two trains and is, by the hash of its name, either in val
    or in test; one of a single group trains only.
    """
    labels: dict[str, set[str]] = {}
    for row in usable:
        labels.setdefault(names[row], set()).add(clips[row].label)
    alike: dict[tuple[str, ...], set[str]] = {}
    for name, own in labels.items():
        alike.setdefault(tuple(sorted(own)), set()).add(name)
    parts: dict[str, Part] = {}
    for classes, own in sorted(alike.items()):
        if len(own) >= _FEWEST_GROUPS:
            parts |= _assigned(own, params.seed, _ranges(params))
            continue
        last, *others = sorted(own, key=lambda name: (-position(name, params.seed), name))
        parts[last] = "train"
        place = position("+".join(classes), params.seed) * (params.test + params.val)
        parts |= dict.fromkeys(others, "test" if place < params.test else "val")
    return parts


def _whole(clips: Sequence[Clip], part_of: Mapping[int, Part]) -> dict[Part, list[Segment]]:
    """Each clip as a whole, in the part of its row."""
    return {
        part: [Segment(row, 0, clips[row].length) for row, taken in part_of.items() if taken == part] for part in PARTS
    }


def _official(
    clips: Sequence[Clip], usable: Sequence[int], names: Sequence[str], params: SplitParams
) -> dict[int, Part]:
    """The part that the dataset gives each clip; where it has no val, some of train's groups, by their hash."""
    part_of: dict[int, Part] = {row: next((p for p in PARTS if p == clips[row].part), "train") for row in usable}
    without = sum(not clips[row].part for row in usable)
    if without:
        they = "1 clip is in no part of the official split and goes" if without == 1 else ""
        log.warning("%s to training", they or f"{without} clips are in no part of the official split and go")
    if "val" not in part_of.values():
        training = {names[row] for row in usable if part_of[row] == "train"}
        taken = _assigned(training, params.seed, {"val": (0.0, params.val), "train": (params.val, 1.0)})
        part_of |= {row: taken[names[row]] for row in usable if part_of[row] == "train"}
    return part_of


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
        parts = _assigned({clips[row].id for row in whole}, params.seed, _ranges(params)) if lacking else None
        for row in whole:
            place = position(clips[row].id, params.seed)
            free: Part = "test" if place < params.test else "val" if place < params.test + params.val else "train"
            out[parts[clips[row].id] if parts else free].append(Segment(row, 0, clips[row].length))
    return {part: sorted(segments, key=lambda s: (s.clip, s.start)) for part, segments in out.items()}


def leave_out(
    clips: Sequence[Clip], groups: Mapping[str, Sequence[int]], out: str, params: SplitParams, *, span: int
) -> dict[Part, list[Segment]]:
    """A split whose test part is one group; the clips of the others are cut by time into train and val, a gap between.

    Clips too short to be cut train as a whole. Where all are, some groups validate, by the hash of their name.

    Args:
        clips: Rows of the index.
        groups: The rows to be split, by group.
        out: The group that is left out of training.
        params: `val` is the share of each clip's end, or of the groups; `seed` that of the hash.
        span: Frames of the shard from a window's first to its last; clips that hold no window are in no part.

    Raises:
        UserError: a part would hold no window.
    """
    parts: dict[Part, list[Segment]] = {part: [] for part in PARTS}
    gap = span - 1
    usable = {row: group for group, rows in groups.items() for row in rows if clips[row].length >= span}
    for row, group in sorted(usable.items()):
        length = clips[row].length
        val = max(span, round((length - gap) * params.val))
        if group == out:
            parts["test"].append(Segment(row, 0, length))
        elif length - gap - val < span:
            parts["train"].append(Segment(row, 0, length))
        else:
            parts["train"].append(Segment(row, 0, length - gap - val))
            parts["val"].append(Segment(row, length - val, val))
    if not parts["val"]:
        ranges: dict[Part, tuple[float, float]] = {"val": (0.0, params.val), "train": (params.val, 1.0)}
        part_of = _assigned({usable[s.clip] for s in parts["train"]}, params.seed, ranges)
        parts["val"] = [s for s in parts["train"] if part_of[usable[s.clip]] == "val"]
        parts["train"] = [s for s in parts["train"] if part_of[usable[s.clip]] == "train"]
    for part in PARTS:
        if not parts[part]:
            raise UserError(
                f"without {out} no window of {span} frames is left for {part}: add clips or longer ones"
                if part != "test"
                else f"{out} holds no window of {span} frames: it cannot be judged by"
            )
    return parts


def write_split(folder: Path, split: Split) -> None:
    """Writes `split.parquet`."""
    rows = [{"part": part, "clip": s.clip, "start": s.start, "length": s.length} for part in PARTS for s in split[part]]
    write_table(folder / "split.parquet", rows, _SCHEMA)


def write_groups(
    folder: Path, clips: Sequence[Clip], split: Split, *, groups: Sequence[str], left_out: Mapping[int, str]
) -> None:
    """Writes `groups.parquet`: for each clip its group, the one it was joined to, its part, or why it is in none."""
    parts: dict[int, list[str]] = {}
    for part in PARTS:
        for segment in split[part]:
            parts.setdefault(segment.clip, []).append(part)
    rows = [
        {
            "clip": row,
            "id": clip.id,
            "source": clip.source,
            "label": clip.label,
            "group": clip.group,
            "joined": groups[row],
            "part": " ".join(parts.get(row, ())),
            "reason": left_out.get(row, ""),
        }
        for row, clip in enumerate(clips)
    ]
    write_table(folder / "groups.parquet", rows, _GROUPS)


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


def read_groups(folder: Path | str) -> list[str] | None:
    """The group of each clip of the index, once near-duplicates are joined; None where no `groups.parquet` says so."""
    path = Path(folder) / "groups.parquet"
    if not path.is_file():
        return None
    return [str(row["joined"]) for row in pq.read_table(path, columns=["joined"]).to_pylist()]


def figures(
    clips: Sequence[Clip],
    split: Split,
    *,
    kind: str,
    asked: str,
    groups: Sequence[str] | None = None,
    pairs: int = 0,
    left_out: Mapping[int, str] | None = None,
) -> dict[str, Any]:
    """Figures of the stage.

    Args:
        clips: Rows of the index.
        split: The segments of each part.
        kind: Of the split that was made.
        asked: Of the one asked for.
        groups: Of each clip, once near-duplicates are joined; by default the clips' own.
        pairs: Pairs of near-duplicates that were found.
        left_out: Rows that are in no part, and why.

    Returns:
        The kinds; clips, groups and frames of each part; how many groups were joined to how many, and how many pairs
        did it; clips left out by reason (what stands before a colon), and by class where it was the class.
    """
    names = [clip.group for clip in clips] if groups is None else list(groups)
    out = {} if left_out is None else left_out

    def each(count: Callable[[Sequence[Segment]], int]) -> dict[str, int]:
        return {part: count(split[part]) for part in PARTS}

    members: dict[str, set[str]] = {}
    for clip, name in zip(clips, names, strict=True):
        members.setdefault(name, set()).add(clip.group)
    joined = [len(own) for own in members.values() if len(own) > 1]
    return {
        "kind": kind,
        "asked": asked,
        "clips": each(lambda segments: len({s.clip for s in segments})),
        "groups": each(lambda segments: len({names[s.clip] for s in segments})),
        "frames": each(lambda segments: sum(s.length for s in segments)),
        "joined": {"pairs": pairs, "groups": sum(joined), "into": len(joined)},
        "left_out": dict(sorted(Counter(why.partition(":")[0] for why in out.values()).items())),
        "classes_left_out": dict(
            sorted(Counter(clips[row].label for row, why in out.items() if "class" in why).items())
        ),
    }
