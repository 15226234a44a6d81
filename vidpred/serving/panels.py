"""What came of a clip, as frames of a film: columns beside each other, with captions and heat where they are wanted.

In: a `Result`, which says nothing of files. Out: uint8 frames (T, H, W, 3).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from vidpred.evaluation.pictures import GREEN, GREY, bordered, enlarge
from vidpred.serving import text
from vidpred.serving.heat import coloured, scale_bar, scale_of

SIDE = 192
"""Pixels to which small frames with captions are enlarged: words need room."""
_LINE = 18
_PAD = 6


@dataclass(frozen=True)
class Column:
    """What really happened, or what one model made of a clip."""

    label: str
    frames: np.ndarray
    """uint8 (T, H, W, 3): known frames, and those that were made."""
    figures: str = ""
    """Below the label."""
    errors: np.ndarray | None = None
    """float32 (T, H, W): `heat.error_maps` of frames that were made, 0 elsewhere."""


@dataclass(frozen=True)
class Result:
    """What came of one clip."""

    columns: tuple[Column, ...]
    """Frames of all are of the same moments."""
    made: np.ndarray
    """bool (T,): which of them the models made; in the truth's column they are what happened."""
    frames: np.ndarray
    """uint8 (N, H, W, 3): those that the first model made, without a border."""
    fps: float
    told: str
    """In the log, after the target's name."""
    strip: tuple[int, ...]
    """Which frames stand in a strip."""
    note: str = ""
    """In the log before `told`: what was asked for and is not there, and why."""
    zero: int = 0
    """The frame from which others are counted: the last one known."""
    truth: bool = False
    """Whether the first column is what really happened."""
    plain: bool = False
    """Whether frames have no borders: it is a clip to be used, not one to be looked at."""
    captions: bool = False
    """Whether labels and figures are written above the columns."""
    scores: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """Figures of models and of baselines, by their names, where there is a truth."""

    def made_of(self, column: int) -> np.ndarray:
        """Which frames of a column are made, and get a green border."""
        none: np.ndarray = np.zeros_like(self.made)
        return none if self.truth and column == 0 else self.made


def film(result: Result) -> np.ndarray:
    """The frames of a GIF or MP4: uint8 (T, H, W, 3)."""
    if result.plain:
        return result.columns[0].frames
    if not result.captions:
        return np.concatenate([_framed(c.frames, result.made_of(i)) for i, c in enumerate(result.columns)], axis=2)
    shown = [_framed(enlarge(c.frames, SIDE), result.made_of(i)) for i, c in enumerate(result.columns)]
    width = shown[0].shape[2]
    words = [caption(c.label, c.figures, width) for c in result.columns]
    parts = [np.concatenate([_over(*pair) for pair in zip(words, shown, strict=True)], axis=2)]
    if top := heat_top(result):
        parts.append(np.concatenate([_heat(c, shown[0].shape, top) for c in result.columns], axis=2))
    return np.concatenate(parts, axis=1)


def heat_top(result: Result) -> int:
    """Where the scale of errors ends, for all columns alike; 0: there are no errors to show."""
    maps = [column.errors[result.made] for column in result.columns if column.errors is not None]
    return scale_of(np.concatenate(maps)) if maps else 0


def caption(label: str, figures: str, width: int) -> np.ndarray:
    """Two lines of text, uint8 (h, width, 3)."""
    picture = text.blank(width, 2 * _LINE + _PAD)
    text.write(picture, (_PAD, _PAD // 2), text.fitted(label, width - 2 * _PAD))
    text.write(picture, (_PAD, _PAD // 2 + _LINE), text.fitted(figures, width - 2 * _PAD), soft=True)
    return np.asarray(picture)


def legend(width: int, top: int) -> np.ndarray:
    """The scale of errors with its ends named, uint8 (h, width, 3)."""
    picture = text.blank(width, 4 * _LINE)
    text.write(picture, (_PAD, 2), text.fitted("error of each pixel (PD)", width - 2 * _PAD))
    bar = scale_bar(width - 2 * _PAD, 12)
    out = np.asarray(picture).copy()
    out[_LINE + 6 : _LINE + 18, _PAD:-_PAD] = bar
    picture = text.image(out)
    for share, said in ((0.0, "0"), (0.5, f"{top / 2:g}"), (1.0, f"{top}+")):
        text.write(picture, (_PAD + share * (width - 2 * _PAD), _LINE + 20), said, soft=True, anchor=share)
    text.write(picture, (_PAD, 2 * _LINE + 20), text.fitted("of 765, black for white", width - 2 * _PAD), soft=True)
    return np.asarray(picture)


def _framed(frames: np.ndarray, made: np.ndarray) -> np.ndarray:
    out = bordered(frames, GREY)
    out[made] = bordered(frames[made], GREEN)
    return out


def _over(above: np.ndarray, frames: np.ndarray) -> np.ndarray:
    """The same picture above every frame."""
    return np.concatenate([np.broadcast_to(above, (len(frames), *above.shape)), frames], axis=1)


def _heat(column: Column, shape: tuple[int, ...], top: int) -> np.ndarray:
    """A column's errors below it; the scale where it has none."""
    if column.errors is not None:
        return bordered(enlarge(coloured(column.errors, top), SIDE), GREY)
    length, height, width, _ = shape
    out = np.asarray(text.blank(width, height)).copy()
    words = legend(width, top)[:height]
    out[: len(words)] = words
    return np.broadcast_to(out, (length, *out.shape))
