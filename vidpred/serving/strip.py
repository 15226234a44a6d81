"""What came of a clip as one picture: a row for what happened and for each model, a column for each moment.

In: a `Result`. Out: uint8 (H, W, 3).
"""

from __future__ import annotations

import numpy as np

from vidpred.evaluation.pictures import GAP, GREEN, GREY, bordered, enlarge
from vidpred.serving import text
from vidpred.serving.heat import coloured
from vidpred.serving.panels import Result, caption, heat_top, legend

_TILE = 96
"""Pixels to which small frames are enlarged."""
_MARGIN = 220
"""For the labels on the left, at the most."""
_PAD, _LINE = 6, 18


def strip(result: Result) -> np.ndarray:
    """The strip: what is known in grey borders, what was made in green ones; numbers count from the last known."""
    picked = list(result.strip)
    words = [line for column in result.columns for line in (column.label, column.figures)]
    left = min(_MARGIN, max(text.width_of(line) for line in [*words, "error"]) + 2 * _PAD)
    tiles = [enlarge(column.frames[picked], _TILE) for column in result.columns]
    height, width = (side + 2 * GAP for side in tiles[0].shape[1:3])
    top = heat_top(result)
    rows = [_numbers([place - result.zero for place in picked], left, width)]
    for i, column in enumerate(result.columns):
        made = result.made_of(i)[picked]
        shown = [bordered(tile, GREEN if own else GREY) for tile, own in zip(tiles[i], made, strict=True)]
        rows.append(np.concatenate([_beside(caption(column.label, column.figures, left), height), *shown], axis=1))
        if column.errors is not None:
            heat = bordered(enlarge(coloured(column.errors[picked], top), _TILE), GREY)
            rows.append(np.concatenate([_beside(caption("error", "", left), height), *heat], axis=1))
    if top:
        below = np.asarray(text.blank(rows[0].shape[1], 4 * _LINE)).copy()
        scale = legend(min(260, rows[0].shape[1] - left), top)
        below[: len(scale), left : left + scale.shape[1]] = scale
        rows.append(below)
    return np.concatenate(rows)


def _numbers(places: list[int], left: int, width: int) -> np.ndarray:
    picture = text.blank(left + width * len(places), _LINE + _PAD)
    for i, place in enumerate(places):
        said = f"+{place}" if place > 0 else f"{place}".replace("-", "−")
        text.write(picture, (left + (i + 0.5) * width, _PAD // 2), said, soft=True, anchor=0.5)
    return np.asarray(picture)


def _beside(words: np.ndarray, height: int) -> np.ndarray:
    """A label with paper above and below, as high as a row."""
    out = np.asarray(text.blank(words.shape[1], height)).copy()
    room = min(height, len(words))
    at = (height - room) // 2
    out[at : at + room] = words[:room]
    return out
