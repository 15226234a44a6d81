"""Whether footage leaked across the split: near-duplicates between its parts, counted by a measure of its own.

In: shards and their split. Out: pairs of clips. What joins near-duplicates before the split (duplicates.py) goes by
perceptual hashes; this looks at pixels. The nearest thumbnails give the candidates. A candidate is laid over the other
clip, in time, scale and place; then the distance of what moves in both, in grey levels over their contrast, decides.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from vidpred.data.progress import progress
from vidpred.data.shards import Shards
from vidpred.data.shifts import Shifts, sampled, ticks
from vidpred.data.split import Split
from vidpred.records import Clip, Segment

DISTANCE = 0.25
"""Squared distance of what moves, over the energy of both, up to which two clips show the same footage: 0 is the same
movement, 1 has nothing in common."""
PICTURES = 0.8
"""Correlation that their frames must have as well."""
STILL = 2.0
"""Grey levels (root mean square) up to which nothing moves; then the frames alone are compared."""
SAME_PICTURE = 0.95
"""Correlation of frames from which clips that stand still are the same."""
OVERLAP = 0.6
"""Share of the shorter clip that must lie in both."""
LIKE = 0.8
"""Correlation of thumbnails from which clips are looked at more closely."""
NEAREST = 16
"""Clips that each is compared with at the most, the nearest first."""

_ASKED, _AGREE, _FLAT = 6, 3, 4.0
_THUMB, _SIDE, _INNER = 8, 32, 26
_SCALES = (0.9, 0.95, 1.0, 1.05, 1.11)
_MOVES_ALIKE = 0.4
_QUERIES, _FRAMES = 512, 1 << 15


class Copy(NamedTuple):
    """Two clips in two parts that show the same footage."""

    one: int
    """Row of the clip in the index."""
    part: str
    """Where it is."""
    other: int
    """Row of the other."""
    other_part: str
    """Where that is."""
    distance: float
    """Of their pixels after alignment; 0: the same."""
    mirrored: bool
    """Whether one is the mirror image of the other."""


class Checked(NamedTuple):
    """What was found, and how much was looked at."""

    copies: list[Copy]
    """Each pair of clips and parts once."""
    pairs: int
    """Pairs of clips of two parts and two sources."""
    aligned: int
    """Of those the ones whose thumbnails are near, laid over each other."""


class _Piece(NamedTuple):
    segment: Segment
    source: str


def copies_across(shards: Shards, split: Split) -> Checked:
    """Looks for near-duplicates between the parts of a split.

    Clips of one source are not compared: only the split by time has them in two parts, by design.

    Args:
        shards: Where the frames are.
        split: The segments of each part.
    """
    pieces = {part: [_Piece(s, source_of(shards.clips[s.clip].id)) for s in split[part]] for part in split}
    parts = sorted((part for part in pieces if pieces[part]), key=lambda part: (len(pieces[part]), part))
    total = sum(map(len, pieces.values()))
    with progress("thumbnails", total) as advance:
        thumbs = {part: [_thumbnails(shards, piece.segment, advance) for piece in pieces[part]] for part in parts}
    small = _Small(shards)
    copies, pairs, aligned = [], 0, 0
    for number, part in enumerate(parts):
        for other in parts[number + 1 :]:
            pairs += _apart(pieces[part], pieces[other])
            near = list(_candidates(pieces[part], thumbs[part], pieces[other], thumbs[other]))
            aligned += len(near)
            with progress(f"{part} against {other}", len(near)) as advance:
                for one, two, mirrored in near:
                    a, b = pieces[part][one].segment, pieces[other][two].segment
                    distance = _distance(small.of(a, mirrored), small.of(b, False))
                    if distance is not None:
                        copies.append(Copy(a.clip, part, b.clip, other, round(distance, 3), mirrored))
                    advance()
    return Checked(sorted(copies), pairs, aligned)


def source_of(clip: str) -> str:
    """The source of a clip, from its id."""
    return clip.rpartition("-")[0]


def report(clips: Sequence[Clip], checked: Checked, *, kind: str, named: int = 20) -> dict[str, Any]:
    """What results/split/leakage.json says: counts, how they were made, and the first pairs by name."""
    between = Counter(" and ".join(sorted((copy.part, copy.other_part))) for copy in checked.copies)
    return {
        "near_duplicates": len(checked.copies),
        "between": dict(sorted(between.items())),
        "kind": kind,
        "pairs": checked.pairs,
        "aligned": checked.aligned,
        "checked": _checked(kind),
        "examples": [
            {
                "one": clips[copy.one].source,
                "part": copy.part,
                "other": clips[copy.other].source,
                "other_part": copy.other_part,
                "distance": copy.distance,
                "mirrored": copy.mirrored,
            }
            for copy in checked.copies[:named]
        ],
    }


def _checked(kind: str) -> list[str]:
    """What the figures mean: a list, which DVC does not take for figures."""
    return [
        "pairs: of clips (by time: of stretches of clips) in different parts and of different sources"
        + ("; stretches of one source are in several parts by design" if kind == "time" else ""),
        f"aligned: those of like thumbnails, up to {NEAREST} a clip, laid over each other in time, scale and place",
        f"near_duplicates: then the distance of what moves in them, in pixels over contrast, is at most {DISTANCE}",
    ]


def told(clips: Sequence[Clip], checked: Checked, *, kind: str, refuse: bool = True, named: int = 5) -> str:
    """One line for people: how many pairs there are, the first of them, and what to do; where it is no reason to stop,
    what that means."""
    pairs = [
        f"{clips[copy.one].source} ({copy.part}) and {clips[copy.other].source} ({copy.other_part})"
        for copy in checked.copies[:named]
    ]
    count = len(checked.copies)
    more = f"; and {count - named} more" if count > named else ""
    what = (
        "pair of clips shows the same footage in two parts"
        if count == 1
        else "pairs of clips show the same footage in two parts"
    )
    do = {
        "official": "the official split is kept as it is; say so where you give its figures",
        "time": "take one of each pair out of fetch.source, or set split.duplicate_bits",
    }.get(
        kind,
        "set or raise split.duplicate_bits, give both one group in a list of sources, take one of them out, or, if you "
        "know that they are no copies, set split.leaks to warn"
        if refuse
        else "split.leaks is warn, so it goes on; if they are copies, the test is easier than it looks: set or raise "
        "split.duplicate_bits, give both one group in a list of sources, or take one of them out",
    )
    return f"{count} {what}: {'; '.join(pairs)}{more}: {do} (results/split/leakage.json)"


def _apart(ones: Sequence[_Piece], others: Sequence[_Piece]) -> int:
    """Pairs of two sources."""
    of: dict[str, int] = {}
    for piece in others:
        of[piece.source] = of.get(piece.source, 0) + 1
    return len(ones) * len(others) - sum(of.get(piece.source, 0) for piece in ones)


def _grey(frames: np.ndarray) -> np.ndarray:
    """uint8 (n, 32, 32), each pixel the mean of those below it."""
    import cv2

    grey = [cv2.cvtColor(np.ascontiguousarray(frame), cv2.COLOR_RGB2GRAY) for frame in frames]
    return np.stack([cv2.resize(picture, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA) for picture in grey])


def _thumbnails(shards: Shards, segment: Segment, advance: Callable[[], None]) -> np.ndarray:
    """float16 (n, 64) of mean 0 and length 1; zeros for flat frames, which are like nothing."""
    grey = _grey(sampled(shards, segment)[0])
    thumbs = _shrunk(grey).reshape(len(grey), -1)
    thumbs = _centred(thumbs)
    thumbs[grey.std((1, 2)) < _FLAT] = 0
    advance()
    return thumbs.astype(np.float16)


def _shrunk(grey: np.ndarray) -> np.ndarray:
    """float32 (n, 8, 8)."""
    blocks = grey.reshape(len(grey), _THUMB, grey.shape[1] // _THUMB, _THUMB, grey.shape[2] // _THUMB)
    shrunk: np.ndarray = blocks.mean((2, 4), dtype=np.float32)
    return shrunk


def _centred(pictures: np.ndarray) -> np.ndarray:
    """(n, p) without their means, of length 1."""
    pictures = pictures - pictures.mean(1, keepdims=True)
    scaled: np.ndarray = pictures / np.maximum(np.linalg.norm(pictures, axis=1, keepdims=True), 1e-3)
    return scaled


def _candidates(
    ones: Sequence[_Piece], thumbs: Sequence[np.ndarray], others: Sequence[_Piece], other_thumbs: Sequence[np.ndarray]
) -> Iterator[tuple[int, int, bool]]:
    """Pairs of which several thumbnails are near: for each of `ones` the nearest, and whether it is mirrored."""
    sources = {name: number for number, name in enumerate(sorted({p.source for p in (*ones, *others)}))}
    theirs = np.array([sources[piece.source] for piece in others])
    step = max(1, _QUERIES // (2 * _ASKED))
    for first in range(0, len(ones), step):
        chunk = range(first, min(first + step, len(ones)))
        asked = np.stack([_asked(thumbs[number]) for number in chunk])  # (c, asked, 64)
        mirrored = asked.reshape(*asked.shape[:2], _THUMB, _THUMB)[..., ::-1].reshape(asked.shape)
        nearest = _nearest(np.stack([asked, mirrored], axis=1).reshape(-1, asked.shape[-1]), other_thumbs)
        # (c, 2, others): as alike as the third of the frames that are most alike
        score = np.sort(nearest.reshape(len(chunk), 2, _ASKED, -1), axis=2)[:, :, -_AGREE]
        for number, entry in zip(chunk, score, strict=True):
            best = entry.max(0)
            best[theirs == sources[ones[number].source]] = 0
            for two in np.argsort(-best, kind="stable")[:NEAREST]:
                if best[two] < LIKE:
                    break
                yield number, int(two), bool(entry[1, two] > entry[0, two])


def _asked(thumbs: np.ndarray) -> np.ndarray:
    """Some of them, evenly spaced: (_ASKED, 64)."""
    asked: np.ndarray = thumbs[np.linspace(0, len(thumbs) - 1, _ASKED + 2)[1:-1].round().astype(int)]
    return asked


def _nearest(queries: np.ndarray, thumbs: Sequence[np.ndarray]) -> np.ndarray:
    """float32 (q, len(thumbs)): how alike a query and the nearest frame of each clip are."""
    out = np.empty((len(queries), len(thumbs)), np.float32)
    asked = queries.astype(np.float32)
    first = 0
    while first < len(thumbs):
        end, frames = first, 0
        while end < len(thumbs) and (frames == 0 or frames + len(thumbs[end]) <= _FRAMES):
            frames += len(thumbs[end])
            end += 1
        block = np.concatenate(thumbs[first:end]).astype(np.float32)
        starts = np.cumsum([0, *(len(thumbs[number]) for number in range(first, end - 1))])
        out[:, first:end] = np.maximum.reduceat(asked @ block.T, starts, axis=1)
        first = end
    return out


class _Small:
    """Segments as grey pictures of 32x32, read when they are asked for and kept for a while."""

    def __init__(self, shards: Shards) -> None:
        self._shards = shards
        self.of = lru_cache(1024)(self._of)

    def _of(self, segment: Segment, mirrored: bool) -> tuple[np.ndarray, float]:
        frames, rate = sampled(self._shards, segment)
        grey = _grey(frames)
        return (np.ascontiguousarray(grey[:, :, ::-1]) if mirrored else grey), rate


def _distance(one: tuple[np.ndarray, float], other: tuple[np.ndarray, float]) -> float | None:
    """How far apart two clips are once they lie over each other; None where they show different footage."""
    rate = min(one[1], other[1])
    a, b = (grey[ticks(len(grey), had, rate)] for grey, had in (one, other))
    shifts = Shifts(len(a), len(b))
    possible = shifts.overlap >= max(_AGREE, OVERLAP * min(len(a), len(b)))
    if not possible.any():
        return None
    rough, moves = _movement(_shrunk(a).reshape(len(a), -1), _shrunk(b).reshape(len(b), -1), shifts)
    if not (possible & (~moves | (rough >= _MOVES_ALIKE))).any():
        return None
    shift = int(shifts.by(np.arange(len(rough)))[np.where(possible, np.where(moves, rough, 1), -2).argmax()])
    a, b = _laid_over(a, b, shift)
    alike, moves = _movement(a, b, shifts)
    frames = shifts.summed(_centred(a) @ _centred(b).T) / np.maximum(shifts.overlap, 1)
    distances = np.where(moves, 1 - alike, np.where(frames >= SAME_PICTURE, 1 - frames, 1))
    best = float(distances[possible & (frames >= PICTURES)].min(initial=1))
    return max(0.0, best) if best <= DISTANCE else None


def _movement(a: np.ndarray, b: np.ndarray, shifts: Shifts) -> tuple[np.ndarray, np.ndarray]:
    """For each shift: how alike the pictures, less their mean over time, are; and whether anything moves at all.

    Args:
        a: float32 (n, p), grey levels.
        b: float32 (m, p).
        shifts: Of the two.
    """
    # around a common level: sums of squares of what differs little from it keep their digits
    level = a.mean(0)
    a, b = (a - level).astype(np.float64), (b - level).astype(np.float64)
    count = np.maximum(shifts.overlap, 1)
    sum_a, sum_b = shifts.meeting(a, b)
    squares_a, squares_b = shifts.meeting((a**2).sum(1), (b**2).sum(1))
    both = shifts.summed(a @ b.T) - (sum_a * sum_b).sum(1) / count
    energy_a = np.maximum(squares_a - (sum_a**2).sum(1) / count, 0)
    energy_b = np.maximum(squares_b - (sum_b**2).sum(1) / count, 0)
    moves = np.maximum(energy_a, energy_b) >= STILL**2 * a.shape[1] * count
    return both / np.sqrt(np.maximum(energy_a * energy_b, 1e-6)), moves


def _laid_over(a: np.ndarray, b: np.ndarray, shift: int) -> tuple[np.ndarray, np.ndarray]:
    """What both show of the scene, at one scale and place, found on a few frames that meet: float32 (n, p), (m, p)."""
    import cv2

    meet = np.arange(max(0, -shift), min(len(a), len(b) - shift))
    meet = meet[np.unique(np.linspace(0, len(meet) - 1, 4).round().astype(int))]
    edge = (_SIDE - _INNER) // 2
    inner = b[:, edge : edge + _INNER, edge : edge + _INNER]
    best, place = -np.inf, (0, 0, _SIDE, _SIDE)
    for height in (round(_SIDE * scale) for scale in _SCALES):
        for width in (round(_SIDE * scale) for scale in _SCALES):
            found = np.zeros((height - _INNER + 1, width - _INNER + 1))
            for at in meet:
                scaled = cv2.resize(a[at], (width, height), interpolation=cv2.INTER_LINEAR)
                found += cv2.matchTemplate(scaled, inner[at + shift], cv2.TM_CCOEFF_NORMED)
            if found.max() > best:
                best = found.max()
                place = (*divmod(int(found.argmax()), found.shape[1]), height, width)
    top, left, height, width = place
    scaled = [cv2.resize(frame, (width, height), interpolation=cv2.INTER_LINEAR) for frame in a]
    shown = np.stack([frame[top : top + _INNER, left : left + _INNER] for frame in scaled])
    return shown.reshape(len(a), -1).astype(np.float32), inner.reshape(len(b), -1).astype(np.float32)
