"""Which clips are split at all, and whether those that judge are worth it.

In: the index of the shards, pairs of near-duplicates (duplicates.py). Out: rows of the index, and why others are left
out: too short, of a class that is not wanted or does not move, or, in a split by time, a copy of another.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath

import numpy as np

from vidpred.config import SplitParams
from vidpred.data.shards import Shards
from vidpred.data.split import Split, counted
from vidpred.errors import UserError
from vidpred.records import Clip, Segment

log = logging.getLogger(__name__)

STILL = 0.5
"""Grey levels, in the mean, by which a frame that stands still differs at most from the one before."""


CLAIM = 20
"""Groups that the test part needs before a gain counts as one: see evaluation."""


@dataclass(frozen=True)
class Chosen:
    """The clips that are split."""

    rows: list[int]
    """Of the index, in its order."""
    left_out: dict[int, str] = field(default_factory=dict)
    """The other rows, and why: `short`, `no label`, `class dropped` or `class stands still`."""


def choose(clips: Sequence[Clip], params: SplitParams, *, span: int, labelled: bool = False) -> Chosen:
    """Which clips are split: long enough, and of a class that is wanted and that moves.

    Args:
        clips: Rows of the index.
        params: Classes to leave out.
        span: Frames of the shard from a window's first to its last.
        labelled: Whether clips without a label are left out.

    Raises:
        UserError: a label to be dropped is of no clip, or nothing is left.
    """
    if labelled and not any(clip.label for clip in clips):
        raise UserError(
            "task.kind is classify, but no clip has a label: put the clips of each class into a folder of its name, or "
            "give a list with a column label (docs/classify.md)"
        )
    labels = {clip.label for clip in clips if clip.label}
    for label in params.drop_labels:
        if label not in labels:
            known = f"there are {_listed(sorted(labels))}" if labels else "no clip has any"
            raise UserError(f"split.drop_labels: no clip has the label {label!r}: {known}")
    left_out = {row: "short" for row, clip in enumerate(clips) if clip.length < span}
    if labelled:
        left_out |= {row: "no label" for row, clip in enumerate(clips) if not clip.label}
    left_out |= {row: "class dropped" for row, clip in enumerate(clips) if clip.label in params.drop_labels}
    if params.min_class_motion > 0:
        still = _still_classes(clips, [r for r in range(len(clips)) if r not in left_out], params.min_class_motion)
        left_out |= {r: "class stands still" for r, c in enumerate(clips) if r not in left_out and c.label in still}
    rows = [row for row in range(len(clips)) if row not in left_out]
    if not rows and set(left_out.values()) - {"short", "no label"}:
        raise UserError(
            f"split.drop_labels and split.min_class_motion leave none of {counted(len(clips), 'clip')}: name fewer "
            "classes, or lower min_class_motion"
        )
    return Chosen(rows, left_out)


def classes_told(clips: Sequence[Clip], rows: Iterable[int]) -> str:
    """What is told apart, and how many clips of each: `2 classes: indoor 10, outdoor 10`."""
    counts = sorted(Counter(clips[row].label for row in rows).items())
    return f"{counted(len(counts), 'class')}: {_listed([f'{name} {count}' for name, count in counts])}"


def overruled(clips: Sequence[Clip], rows: Iterable[int]) -> str:
    """That files named as UCF-101's lie in folders that say otherwise; an empty string where they do not.

    One such folder may hold all clips and be no class; two or more are what somebody has sorted them into.
    """
    classes: set[str] = set()
    folders: set[str] = set()
    for row in rows:
        clip = clips[row]
        folder, name = PurePosixPath(clip.source).parent.name, PurePosixPath(clip.source).name
        if not name.startswith(f"v_{clip.label}_g") or folder.lower() in ("", "train", "val", "valid", "test"):
            continue
        if folder.casefold() != clip.label.casefold():
            classes.add(clip.label)
            folders.add(folder)
    if len(folders) < 2:
        return ""
    return (
        f"{counted(len(classes), 'class')} from UCF-101's way of naming files ({_listed(sorted(classes), 5)}), not "
        f"from {len(folders)} folders ({_listed(sorted(folders), 5)}): if the folders are the classes, rename files "
        "so that none begins with v_, or give a list with a column label (docs/classify.md)"
    )


def _listed(names: Sequence[str], most: int = 20) -> str:
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more} more" if more > 0 else "")


def _still_classes(clips: Sequence[Clip], rows: Sequence[int], least: float) -> set[str]:
    """Labels whose clips move less, in the mean; clips without a label are no class."""
    motions: dict[str, list[float]] = {}
    for row in rows:
        if clips[row].label:
            motions.setdefault(clips[row].label, []).append(clips[row].motion)
    if not motions:
        log.warning("split.min_class_motion has no effect: no clip has a label")
    return {label for label, values in motions.items() if sum(values) / len(values) < least}


def copies_of(clips: Sequence[Clip], rows: Sequence[int], pairs: Iterable[tuple[int, int]]) -> dict[int, int]:
    """Clips that a split by time leaves out: of near-duplicates the longest stays, else the later part of one would be
    in the earlier part of another.

    Args:
        clips: Rows of the index.
        rows: Those to be split.
        pairs: Rows of near-duplicates.

    Returns:
        The row that stays, for each that does not.
    """
    alike: dict[int, set[int]] = {}
    for one, other in pairs:
        alike.setdefault(one, set()).add(other)
        alike.setdefault(other, set()).add(one)
    out: dict[int, int] = {}
    for row in sorted(rows, key=lambda row: (-clips[row].length, clips[row].id)):
        if row not in out:
            out |= {other: row for other in alike.get(row, ()) if other not in out}
    return out


def standing_still(
    shards: Shards, segments: Sequence[Segment], *, span: int, interval: int, most: int = 256
) -> tuple[int, int]:
    """How many windows end in a frame like the one before (`STILL`), of how many looked at, evenly spread.

    Args:
        shards: Where the frames are.
        segments: Of a part.
        span: Frames of the shard from a window's first to its last.
        interval: Distance of two frames of a window.
        most: Windows to look at.
    """
    ends = np.cumsum([max(0, segment.length - span + 1) for segment in segments])
    windows = np.unique(np.linspace(0, ends[-1] - 1, min(most, int(ends[-1]))).round().astype(np.int64))
    still = 0
    for window in windows.tolist():
        number = int(np.searchsorted(ends, window, side="right"))
        segment = segments[number]
        last = segment.start + window - (int(ends[number - 1]) if number else 0) + span - 1
        before, frame = shards.frames(segment.clip, last - interval, 2, interval).astype(np.int16)
        still += bool(np.abs(frame - before).mean() < STILL)
    return still, len(windows)


def doubts(clips: Sequence[Clip], parts: Split, groups: Sequence[str], kind: str) -> list[str]:
    """What somebody should know of a split before believing it, in sentences.

    Args:
        clips: Rows of the index.
        parts: The split.
        groups: Of each clip, once near-duplicates are joined.
        kind: Of the split that was made.
    """
    out = []
    within: dict[str, set[str]] = {part: {groups[s.clip] for s in segments} for part, segments in parts.items()}
    if kind == "official":
        across = sorted(g for g in set().union(*within.values()) if sum(g in own for own in within.values()) > 1)
        if across:
            out.append(
                f"the official split has {counted(len(across), 'group')} in several parts, such as {across[0]}: what "
                "is alike in them is known from training"
            )
        if not any(clip.part == "val" for clip in clips):
            names = ", ".join(sorted(within["val"])[:3])
            out.append(
                f"the official split has no val: {counted(len(within['val']), 'group')} of train ({names}) validate"
            )
    elif any(clip.part for clip in clips):
        out.append(f"the clips have parts of their own, which only split.kind: official follows; this is {kind}")
    if kind == "group" and len(within["test"]) < CLAIM:
        out.append(
            f"test has {counted(len(within['test']), 'group')}; below {CLAIM} no gain counts as one: add clips, or "
            "take split.kind: time"
        )
    return out
