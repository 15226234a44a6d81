"""What was found in a video, for people: a table, subtitles (SRT), and a timeline as one picture.

In: a `Found`, and the truth where it is known. Out: lines of text, or a file by the name's suffix.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from vidpred.errors import UserError
from vidpred.evaluation.annotations import write_found
from vidpred.evaluation.detections import Span
from vidpred.evaluation.pictures import enlarge
from vidpred.records import BACKGROUND
from vidpred.serving import text
from vidpred.serving.localise import Found
from vidpred.serving.threshold import THRESHOLD
from vidpred.workspace import atomic

SUFFIXES = (".png", ".srt", ".json")
"""Of files: the timeline, subtitles, and all stretches in the form of ActivityNet's results."""
_WIDTH, _LEFT, _PAD = 1280, 170, 10
_LANE, _BAR, _TRUTH = 34, 16, 6
_LANES = 12
"""Classes that have a lane at the most: those that are found most."""
_STEPS = (0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600)
"""Seconds between two marks of the axis."""
_COLOURS = (
    (31, 119, 180), (214, 95, 14), (44, 140, 60), (178, 40, 60), (128, 90, 170), (140, 86, 75),
    (200, 90, 160), (90, 95, 100), (150, 150, 20), (20, 150, 165), (60, 60, 150), (190, 130, 30),
)  # fmt: skip


def clock(seconds: float, *, digits: int = 1) -> str:
    """`0:07.5`, `12:07.5` or `1:12:07.5`."""
    units = 10**digits
    whole = round(seconds * units)
    minutes, rest = divmod(whole, 60 * units)
    hours, minutes = divmod(minutes, 60)
    second = f"{rest / units:0{3 + digits if digits else 2}.{digits}f}"
    return f"{hours}:{minutes:02d}:{second}" if hours else f"{minutes}:{second}"


def table(found: Found, threshold: float = THRESHOLD, *, name: str | None = None) -> list[str]:
    """Lines: the video, by its path or a name, then start, end, class and how sure it is."""
    told = found.told(threshold)
    many = f"{len(told)} segment{'s' * (len(told) != 1)}"
    lines = [f"{name or found.path}: {clock(found.seconds)} long, {many}"]
    if not told:
        surest = max((span.score for span in found.spans), default=0.0)
        hint = f"; the surest has {100 * surest:.0f} %: lower --threshold to see it" if surest else ""
        return [*lines, f"  nothing that is at least {100 * threshold:.0f} % sure{hint}"]
    rows = [(clock(s.start), clock(s.end), s.label, f"{100 * s.score:.0f} %") for s in told]
    wide = [max(len(row[i]) for row in [("start", "end", "class", "sure"), *rows]) for i in range(4)]
    for begin, end, label, sure in [("start", "end", "class", "sure"), *rows]:
        lines.append(f"  {begin:>{wide[0]}}  {end:>{wide[1]}}  {label:<{wide[2]}}  {sure:>{wide[3]}}")
    return lines


def subtitles(spans: Sequence[Span]) -> str:
    """SubRip: what happens, while it does."""
    cues = []
    for number, span in enumerate(spans, 1):
        words = " ".join(span.label.split()).replace("-->", "->")
        cues.append(f"{number}\n{_stamp(span.start)} --> {_stamp(span.end)}\n{words} ({100 * span.score:.0f} %)\n")
    return "\n".join(cues)


def _stamp(seconds: float) -> str:
    whole, thousandths = divmod(round(1000 * seconds), 1000)
    return f"{whole // 3600:02d}:{whole // 60 % 60:02d}:{whole % 60:02d},{thousandths:03d}"


def write(target: Path, found: Found, *, threshold: float = THRESHOLD, truth: Sequence[Span] | None = None) -> None:
    """Writes a timeline, subtitles or all stretches, by the suffix; folders above it are made.

    Raises:
        UserError: the suffix is another, or it cannot be written.
    """
    check_target(target)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        match target.suffix.lower():
            case ".json":
                write_found(target, {found.path.stem: found.spans})
            case ".srt":
                with atomic(target) as part:
                    part.write_text(subtitles(found.told(threshold)), encoding="utf-8")
            case _:
                with atomic(target) as part:
                    Image.fromarray(timeline(found, threshold=threshold, truth=truth)).save(part, "PNG")
    except OSError as error:
        raise UserError(f"{target} could not be written: {error.strerror or error}") from None


def check_target(target: Path) -> None:
    """Makes sure that a file of this name can be written.

    Raises:
        UserError: it cannot.
    """
    if target.suffix.lower() not in SUFFIXES:
        raise UserError(
            f"-o {target}: a timeline is written as .png, subtitles as .srt, all segments as .json, a table of all "
            f"as .csv; a folder, such as {target.with_suffix('')}/, gets the first three"
        )


def timeline(found: Found, *, threshold: float = THRESHOLD, truth: Sequence[Span] | None = None) -> np.ndarray:
    """The picture: frames of the video, and below them a lane for each class that is told or true.

    In a lane the curve is what is believed of the class, the bar what is told, the line beneath it the truth.

    Returns:
        uint8 (H, 1280, 3).
    """
    told = found.told(threshold)
    lanes = _lanes(found, told, truth or ())
    film = _film(found)
    lane = _LANE + (_TRUTH + 2 if truth is not None else 0)
    head = 2 * _PAD + text.SIZE + 6
    top = head + len(film) + _PAD
    bottom = top + max(1, len(lanes)) * lane
    picture = text.blank(_WIDTH, bottom + 46)
    draw = ImageDraw.Draw(picture)
    wide = _WIDTH - _LEFT - _PAD
    known = "" if truth is None else "; below each bar the truth"
    title = (
        f"{found.path.name}: {clock(found.seconds)}, {len(told)} segment{'s' * (len(told) != 1)}, {found.way}{known}"
    )
    text.write(picture, (_LEFT, _PAD), text.fitted(title, wide))
    picture.paste(Image.fromarray(film), (_LEFT, head))
    if not lanes:
        text.write(picture, (_LEFT, top + 8), f"nothing that is at least {100 * threshold:.0f} % sure", soft=True)

    def x(seconds: float) -> float:
        return _LEFT + wide * min(1.0, seconds / found.seconds)

    step = next((s for s in _STEPS if found.seconds / s <= 16), 3600 * math.ceil(found.seconds / 16 / 3600))
    for mark in np.arange(0, found.seconds + 1e-9, step):
        draw.line([(x(mark), top), (x(mark), bottom + 6)], fill=(225, 225, 220))
        anchor = 0.0 if mark == 0 else 0.5 if x(mark) < _WIDTH - 40 else 1.0
        text.write(picture, (x(mark), bottom + 10), clock(mark, digits=int(step < 1)), soft=True, anchor=anchor)
    for row, label in enumerate(lanes):
        colour = _COLOURS[row % len(_COLOURS)]
        y = top + row * lane
        text.write(picture, (_LEFT - _PAD, y + 9), text.fitted(label, _LEFT - 2 * _PAD), anchor=1.0)
        if label in found.classes:
            _curve(draw, found.curves[:, found.classes.index(label)], colour, y, wide)
        for span in (s for s in told if s.label == label):
            box = [x(span.start), y + _LANE - _BAR - 2, max(x(span.start) + 2, x(span.end)), y + _LANE - 4]
            draw.rounded_rectangle(box, 3, fill=colour)
            sure = f"{100 * span.score:.0f} %"
            if box[2] - box[0] > text.width_of(sure) + 4:
                draw.text(((box[0] + box[2]) / 2, (box[1] + box[3]) / 2), sure, fill=text.PAPER, font_size=11,
                          anchor="mm")  # fmt: skip
        for span in (s for s in truth or () if s.label == label):
            draw.rectangle([x(span.start), y + _LANE, max(x(span.start) + 1, x(span.end)), y + _LANE + _TRUTH - 2],
                           fill=text.INK)  # fmt: skip
        draw.line([(_LEFT, y + lane - 1), (_WIDTH - _PAD, y + lane - 1)], fill=(235, 235, 230))
    return np.asarray(picture)


def _lanes(found: Found, told: Sequence[Span], truth: Sequence[Span]) -> list[str]:
    """Classes that have a lane, in the model's order; those last that the model does not know."""
    length: dict[str, float] = {}
    for span in (*told, *truth):
        length[span.label] = length.get(span.label, 0) + span.end - span.start
    most = sorted(length, key=lambda label: -length[label])[:_LANES]
    order = {label: i for i, label in enumerate(found.classes)}
    return sorted(
        (label for label in most if label != BACKGROUND), key=lambda label: (order.get(label, len(order)), label)
    )


def _film(found: Found) -> np.ndarray:
    """Frames side by side, each where its time is."""
    wide = _WIDTH - _LEFT - _PAD
    height, width = found.pictures[0][1].shape[:2]
    scale = 72 / height
    shown = max(1, round(wide / (width * scale)))
    tile = wide / shown
    out = np.full((72, wide, 3), text.PAPER, np.uint8)
    numbers = np.array([number for number, _ in found.pictures])
    for i in range(shown):
        nearest = int(np.abs(numbers - (i + 0.5) / shown * found.frames).argmin())
        size = (max(1, int(tile) - 1), 72)
        frame = Image.fromarray(enlarge(found.pictures[nearest][1], 64)).resize(size, Image.Resampling.BILINEAR)
        left = round(i * tile)
        out[:, left : left + size[0]] = np.asarray(frame)[:, : wide - left]
    return out


def _curve(draw: ImageDraw.ImageDraw, curve: np.ndarray, colour: tuple[int, int, int], y: int, wide: int) -> None:
    """What is believed of a class, as a pale area; of several frames in one column of pixels the highest."""
    edges = np.linspace(0, len(curve), wide + 1).astype(int)
    pale = tuple(round(255 - (255 - c) * 0.35) for c in colour)
    for column in range(wide):
        part = curve[edges[column] : max(edges[column] + 1, edges[column + 1])]
        high = float(part.max())
        if high > 0.01:
            foot = y + _LANE - 2
            draw.line([(_LEFT + column, foot - high * (_LANE - 6)), (_LEFT + column, foot)], fill=pale)
