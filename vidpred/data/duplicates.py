"""Near-duplicates: which clips show the same footage, so that they share a group before the split.

In: shards. Out: pairs of clips, and the names of the groups that they make. A copy that was rescaled, recompressed,
trimmed, mirrored or cropped by up to 10 % is found; another take of the same scene is none.

Two measures have to agree. Perceptual hashes (imagehash's phash, 64 bits) find the candidates: a few frames of each
clip, whole, cropped and mirrored, against all frames of the others; several must agree. Then what moves must move
alike: scenes of one camera, or blobs over black, have hashes alike and move in other ways.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import numpy as np

from vidpred.data.hamming import Neighbours
from vidpred.data.progress import progress
from vidpred.data.shards import Shards
from vidpred.data.shifts import Shifts, sampled, ticks
from vidpred.records import Segment

if TYPE_CHECKING:
    from PIL import Image

ASKED = 8
"""Frames of a clip that are hashed in all views, evenly spaced."""
LEAST = 3
"""Frames that must agree."""
SHARE = 0.6
"""And this share of those that lie in both clips."""
OVERLAP = 0.6
"""Share of the shorter clip that must lie in both."""
DETAIL = 4.0
"""Grey levels (standard deviation) below which a frame is flat: its hash says nothing."""
STILL = 2.0
"""Grey levels (root mean square) below which 16x16 pictures a fifth of a second apart do not differ."""
ALIKE = 0.65
"""Correlation of those differences from which two clips move alike."""
SAME_PICTURE = 0.9
"""Correlation of the mean pictures from which clips that stand still show the same."""

_SMALL = 16
_LAG_SECONDS = 0.2
_TRIED = 4
_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


class View(NamedTuple):
    """A part of the frame, as shares of its size, and whether it is mirrored."""

    left: float
    top: float
    right: float
    bottom: float
    mirrored: bool = False


def _views() -> tuple[View, ...]:
    margin = 0.05
    inner = 1 - margin
    sides = [
        (margin, 0, 1, 1),
        (0, 0, inner, 1),
        (0, margin, 1, 1),
        (0, 0, 1, inner),
        (margin, margin, 1, 1),
        (0, margin, inner, 1),
        (margin, 0, 1, inner),
        (0, 0, inner, inner),
        # a side cut off a frame that is then cropped to its old shape
        (margin, margin / 2, 1, 1 - margin / 2),
        (0, margin / 2, inner, 1 - margin / 2),
        (margin / 2, margin, 1 - margin / 2, 1),
        (margin / 2, 0, 1 - margin / 2, inner),
    ]
    centres = [(m / 2, m / 2, 1 - m / 2, 1 - m / 2) for m in (0.0, margin, 2 * margin)]
    return (*(View(*v) for v in centres), *(View(*v) for v in sides), *(View(*v, mirrored=True) for v in centres))


VIEWS = _views()
"""What a copy may show of the frame; the first is all of it."""


class Hashed(NamedTuple):
    """Hashes of one clip."""

    whole: np.ndarray
    """uint64 (n,), of the frames sampled."""
    detailed: np.ndarray
    """bool (n,), whether the frame is other than flat."""
    asked: np.ndarray
    """int64 (q,), positions of some of them."""
    views: np.ndarray
    """uint64 (len(VIEWS), q), hashes of those in every view."""


def hashed(frames: np.ndarray) -> Hashed:
    """The hashes of a clip's frames, uint8 (n, H, W, 3)."""
    from imagehash import phash
    from PIL import Image

    def bits(image: Image.Image) -> np.uint64:
        found: np.uint64 = np.packbits(phash(image).hash.ravel()).view(np.uint64)[0]
        return found

    pictures = [Image.fromarray(frame).convert("L") for frame in frames]
    detailed = np.array([np.asarray(picture).std() >= DETAIL for picture in pictures])
    asked = np.unique(np.linspace(0, len(frames) - 1, ASKED + 2)[1:-1].round().astype(np.int64))
    if len(frames) <= ASKED:
        asked = np.arange(len(frames))
    asked = asked[detailed[asked]]
    whole = np.array([bits(picture) for picture in pictures], np.uint64)
    views = np.empty((len(VIEWS), len(asked)), np.uint64)
    for number, view in enumerate(VIEWS):
        views[number] = [bits(_seen(pictures[at], view, 32)) for at in asked] if number else whole[asked]
    return Hashed(whole, detailed, asked, views)


def _seen(picture: Image.Image, view: View, size: int) -> Image.Image:
    """What a view shows of a grey picture, at `size` x `size`; cut between pixels where need be."""
    from PIL import Image

    box = (
        view.left * picture.width,
        view.top * picture.height,
        view.right * picture.width,
        view.bottom * picture.height,
    )
    part = picture.resize((size, size), Image.Resampling.LANCZOS, box=box)
    return part.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if view.mirrored else part


def near_duplicates(
    shards: Shards, rows: Sequence[int], *, apart: Sequence[str], bits: int, every: bool = False, workers: int = 1
) -> list[tuple[int, int]]:
    """Pairs of clips that show the same footage, the same for any number of workers.

    Args:
        shards: Where the frames are.
        rows: Clips to look at, by their rows in the index.
        apart: A name for each of `rows`; clips of one name are not compared.
        bits: Hashes of frames that differ in so many of 64 bits agree.
        every: Look for every pair; else for as many as join the names that belong together.
        workers: Threads that hash and search.

    Returns:
        Rows of the index, the smaller first, sorted.
    """
    names = np.unique(np.array(apart, dtype=object), return_inverse=True)[1]
    if len(np.unique(names)) < 2:
        return []
    clips = _all_hashed(shards, rows, workers)
    table = _Table(clips, bits)
    small = _Small(shards, rows)
    pairs: set[tuple[int, int]] = set()
    chunks = [range(first, min(first + table.chunk, len(rows))) for first in range(0, len(rows), table.chunk)]

    def candidates(asking: range) -> tuple[range, list[tuple[int, int]]]:
        return asking, list(table.candidates(asking, names))

    with progress("near-duplicates", len(rows)) as advance, _in_order(candidates, chunks, workers) as results:
        for asking, found in results:
            for one, other in found:
                pair = (min(rows[one], rows[other]), max(rows[one], rows[other]))
                # those joined meanwhile have one name
                if names[one] == names[other] or pair in pairs or not _same_footage(clips, small, one, other, bits):
                    continue
                pairs.add(pair)
                if not every:
                    names[names == names[one]] = names[other]
            for _ in asking:
                advance()
    return sorted(pairs)


def group_names(groups: Sequence[str], pairs: Iterable[tuple[int, int]]) -> list[str]:
    """The group of each clip once near-duplicates share one; of the names that are joined the first by alphabet stays.

    Args:
        groups: Of each row of the index.
        pairs: Rows of near-duplicates.
    """
    first = {name: name for name in groups}

    def found(name: str) -> str:
        while first[name] != name:
            name = first[name]
        return name

    for one, other in pairs:
        low, high = sorted((found(groups[one]), found(groups[other])))
        first[high] = low
    return [found(name) for name in groups]


class _Table:
    """The hashes of all clips, to be searched."""

    def __init__(self, clips: Sequence[Hashed], bits: int) -> None:
        self._clips = clips
        self._clip = np.repeat(np.arange(len(clips)), [int(clip.detailed.sum()) for clip in clips])
        self._neighbours = Neighbours(np.concatenate([clip.whole[clip.detailed] for clip in clips]), bits)

    @property
    def chunk(self) -> int:
        """Clips to ask for at once: as many as 64 MiB hold the answers of."""
        return max(1, min(64, (1 << 26) // (len(VIEWS) * ASKED * len(self._clips))))

    def candidates(self, asking: range, groups: np.ndarray) -> Iterator[tuple[int, int]]:
        """Pairs of clips of two groups of which `LEAST` frames agree in one view."""
        parts = [(number, view) for number in asking for view in range(len(VIEWS))]
        queries = np.concatenate([self._clips[number].views[view] for number, view in parts])
        sizes = [len(self._clips[number].asked) for number, _ in parts]
        row = np.concatenate([np.arange(size) + part * ASKED for part, size in enumerate(sizes)])
        agree = np.zeros((len(parts) * ASKED, len(self._clips)), bool)
        for query, neighbour, _ in self._neighbours.of(queries):
            agree[row[query], self._clip[neighbour]] = True
        frames = agree.reshape(len(asking), len(VIEWS), ASKED, len(self._clips)).sum(2, dtype=np.uint8)
        for one, other in np.argwhere(frames.max(1) >= LEAST):
            if groups[asking[one]] != groups[other]:
                yield asking[one], int(other)


class _Small:
    """Clips in small, read when they are asked for and kept for a while."""

    def __init__(self, shards: Shards, rows: Sequence[int]) -> None:
        self._shards, self._rows = shards, rows
        self.of = lru_cache(1024)(self._of)

    def _of(self, number: int, view: int) -> tuple[np.ndarray, float]:
        """Grey levels, float32 (n, 256), of a clip in a view, and how many pictures a second."""
        from PIL import Image

        row = self._rows[number]
        frames, rate = sampled(self._shards, Segment(row, 0, self._shards.clips[row].length))
        small = [np.asarray(_seen(Image.fromarray(frame).convert("L"), VIEWS[view], _SMALL)) for frame in frames]
        return np.stack(small).reshape(len(small), -1).astype(np.float32), rate


def _same_footage(clips: Sequence[Hashed], small: _Small, one: int, other: int, bits: int) -> bool:
    """Whether some view of a clip, at some shift in time, has hashes like the other's and moves like it."""
    asking, asked = clips[one], clips[other]
    distance = np.bitwise_count(asking.views[:, :, None] ^ asked.whole).astype(np.int64)
    distance[:, :, ~asked.detailed] = 64
    closest = distance.min(2)
    frames = (closest <= bits).sum(1)
    ranked = sorted(range(len(VIEWS)), key=lambda view: (-frames[view], closest[view].sum(), view))
    for view in ranked[:_TRIED]:
        if frames[view] < LEAST:
            break
        if _aligned(small.of(one, view), small.of(other, 0), asking.asked, distance[view] <= bits):
            return True
    return False


def _aligned(
    one: tuple[np.ndarray, float], other: tuple[np.ndarray, float], asked: np.ndarray, agree: np.ndarray
) -> bool:
    """Whether there is a shift in time at which the frames agree and move alike.

    Args:
        one: Pictures of a clip in small, and how many a second.
        other: Those of the other.
        asked: (q,), positions of pictures of the first clip.
        agree: (q, n), whether they agree with each picture of the other, by their hashes.
    """
    rate = min(one[1], other[1])
    at_a, at_b = (ticks(len(pictures), had, rate) for pictures, had in (one, other))
    a, b, asked = one[0][at_a], other[0][at_b], np.searchsorted(at_a, asked, side="right") - 1
    shifts = Shifts(len(a), len(b))
    # a frame more or less: where a copy was cut, its frames lie between the first clip's
    padded = np.pad(agree[:, at_b], ((0, 0), (1, 1)))
    agree = padded[:, :-2] | padded[:, 1:-1] | padded[:, 2:]
    meeting = np.zeros((2, len(a), len(b)))
    meeting[0, asked], meeting[1, asked] = 1, agree
    inside, seen = shifts.summed(meeting[0]), shifts.summed(meeting[1])
    possible = shifts.overlap >= OVERLAP * min(len(a), len(b))
    possible &= seen >= np.maximum(LEAST, SHARE * inside)
    if not possible.any():
        return False

    lag = max(1, min(round(rate * _LAG_SECONDS), min(len(a), len(b)) // 3))
    da, db = a[lag:] - a[:-lag], b[lag:] - b[:-lag]
    both = shifts.summed(da @ db.T)
    energy_a = shifts.summed(np.broadcast_to((da**2).sum(1)[:, None], (len(da), len(db))))
    energy_b = shifts.summed(np.broadcast_to((db**2).sum(1), (len(da), len(db))))
    moves = np.maximum(energy_a, energy_b) >= STILL**2 * a.shape[1] * np.maximum(shifts.overlap - lag, 1)
    alike = moves & (both >= ALIKE * np.sqrt(energy_a * energy_b))
    if (possible & alike).any():
        return True
    same_picture = np.corrcoef(a.mean(0), b.mean(0))[0, 1] >= SAME_PICTURE
    return bool(same_picture and (possible & ~moves).any())


def _all_hashed(shards: Shards, rows: Sequence[int], workers: int) -> list[Hashed]:
    """The hashes of many clips, in their order."""

    def one(row: int) -> Hashed:
        return hashed(sampled(shards, Segment(row, 0, shards.clips[row].length))[0])

    with progress("hashing frames", len(rows)) as advance, _in_order(one, rows, workers) as results:
        clips = []
        for clip in results:
            clips.append(clip)
            advance()
    return clips


@contextmanager
def _in_order(work: Callable[[_Item], _Result], items: Iterable[_Item], workers: int) -> Iterator[Iterator[_Result]]:
    """Work on items in threads, a few ahead of what is taken; the results in the order of the items."""
    pool = ThreadPoolExecutor(workers)
    waiting: deque[Future[_Result]] = deque()

    def results() -> Iterator[_Result]:
        for item in items:
            waiting.append(pool.submit(work, item))
            if len(waiting) > 4 * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()

    try:
        yield results()
    finally:
        pool.shutdown(cancel_futures=True)
