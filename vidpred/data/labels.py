"""The classes of a data set, and what becomes of a window's class when the window is mirrored or played backwards.

In: the index of the shards, the training part, `train.augment`. Out: classes by number, and for each change a table
from class to class; where a change is asked for that would make a window one of another class, and nobody says of
which, it is refused.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from vidpred.config import Augment, Turn
from vidpred.data.augment import Change
from vidpred.data.shards import Shards
from vidpred.errors import UserError
from vidpred.records import Segment

_DIRECTIONS = re.compile(
    r"(?<![a-z])(left|right|clockwise|counter-?clockwise|anti-?clockwise|west|east|port|starboard)"
    r"(ward|wards|hand|handed)?(?![a-z])"
)
"""Words in a class's name by which its mirror image is another class."""
_COLOURS = re.compile(
    r"(?<![a-z])(red|orange|yellow|green|blue|purple|violet|pink|brown|cyan|magenta|turquoise)(?![a-z])"
)
"""Words by which it is another class in other colours."""
_OFF: dict[Turn, str] = {
    "left_right": "set train.augment.flip to false",
    "upside_down": "set train.augment.flip to left_right or false",
    "transpose": "set train.augment.transpose to false",
    "reverse": "set train.augment.reverse to false",
}
_DOES: dict[Turn, str] = {
    "left_right": "mirrors windows",
    "upside_down": "turns windows upside down",
    "transpose": "swaps rows and columns of windows",
    "reverse": "plays windows backwards",
}


def classes_of(shards: Shards, segments: Sequence[Segment]) -> tuple[str, ...]:
    """The labels of clips, sorted: the classes, by number.

    Args:
        shards: Whose index has the labels.
        segments: Of the training part.

    Raises:
        UserError: a clip has no label, or there are fewer than two classes.
    """
    without = [shards.clips[s.clip].source for s in segments if not shards.clips[s.clip].label]
    if without:
        raise UserError(
            f"task.kind is classify, but {len(without)} of {len(segments)} training clips have no label, such as "
            f"{without[0]}: run `dvc repro split`, which leaves them out"
        )
    found = sorted({shards.clips[s.clip].label for s in segments})
    if len(found) < 2:
        raise UserError(
            f"task.kind is classify, but all training clips are of the class {found[0] if found else 'none'}: put the "
            "clips of each class into a folder of its name (docs/classify.md)"
        )
    return tuple(found)


@dataclass(frozen=True)
class Labels:
    """Classes and their numbers."""

    classes: tuple[str, ...]
    of_clip: np.ndarray
    """int64, for each row of the index: the number of its class; -1 where it is none of them."""
    tables: Mapping[Turn, np.ndarray]
    """int64 (classes,): the class that each becomes. Only of changes that are asked for."""

    def after(self, clip: int, change: Change) -> int:
        """The class of a window, once it is changed."""
        found = int(self.of_clip[clip])
        done: dict[Turn, bool] = {  # in the order of `change_frames`
            "reverse": change.reverse,
            "transpose": change.transpose,
            "upside_down": change.upside_down,
            "left_right": change.left_right,
        }
        for name, is_done in done.items():
            if is_done:
                found = int(self.tables[name][found])
        return found


def labels_of(shards: Shards, classes: Sequence[str], augment: Augment) -> Labels:
    """Numbers and tables for training.

    Raises:
        UserError: a change is asked for that would make a window one of another class, or a table is impossible.
    """
    number = {name: i for i, name in enumerate(classes)}
    of_clip = np.array([number.get(clip.label, -1) for clip in shards.clips], np.int64)
    return Labels(tuple(classes), of_clip, tables_of(augment, classes))


def tables_of(augment: Augment, classes: Sequence[str]) -> dict[Turn, np.ndarray]:
    """What becomes of each class, for each change that is asked for.

    Done twice each of these changes undoes itself: so a table swaps classes in pairs, and one side of a pair tells the
    other.

    Raises:
        UserError: as `labels_of`.
    """
    for turn, told in augment.labels.items():
        for name in (*told, *told.values()):
            if name not in classes:
                near = difflib.get_close_matches(name, classes, n=1, cutoff=0.5)
                meant = f"did you mean {near[0]}?" if near else f"there are {_listed(classes)}"
                raise UserError(f"train.augment.labels.{turn}: no class is called {name!r}: {meant}")
    if augment.colour and (coloured := _first_with(_COLOURS, classes)):
        raise UserError(
            f"train.augment.colour swaps colours, and {coloured} would then be another class: set train.augment.colour "
            "to false"
        )
    return {turn: _table(turn, augment, classes) for turn in augment.turns}


def _first_with(words: re.Pattern[str], classes: Sequence[str]) -> str | None:
    """The first class with one of the words in its name, also where that is written LikeThis."""
    return next((name for name in classes if words.search(re.sub("(?<=[a-z0-9])(?=[A-Z])", " ", name).lower())), None)


def _table(turn: Turn, augment: Augment, classes: Sequence[str]) -> np.ndarray:
    told = augment.labels.get(turn)
    if told is None:
        if turn != "left_right":
            mirrored = "left_right" in augment.labels or not _first_with(_DIRECTIONS, classes)
            off = _OFF[turn] if turn != "upside_down" or mirrored else _OFF["left_right"]
            _refuse(turn, f"{_DOES[turn]}, which may make them of another class", off)
        if turned := _first_with(_DIRECTIONS, classes):
            _refuse(turn, f"{_DOES[turn]}, and {turned} would then be another class", _OFF[turn])
        told = {}
    becomes = dict(told)
    for one, other in told.items():
        if becomes.setdefault(other, one) != one:
            raise UserError(
                f"train.augment.labels.{turn}: {one} becomes {other}, but {other} becomes {becomes[other]}: done twice "
                "a change undoes itself, so classes are swapped in pairs"
            )
    return np.array([classes.index(becomes.get(name, name)) for name in classes], np.int64)


def _refuse(turn: Turn, why: str, off: str) -> None:
    asked = f"flip ({turn})" if turn in ("left_right", "upside_down") else turn
    raise UserError(
        f"train.augment.{asked} {why}: {off}, or say in train.augment.labels.{turn} what each class becomes, "
        "such as {left: right}; {} if all stay what they are"
    )


def _listed(names: Sequence[str], most: int = 12) -> str:
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more} more" if more > 0 else "")
