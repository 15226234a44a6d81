"""The frames of a video of any length, part by part: no more than one part of it is ever in memory or on disk.

In: a video. Out: its frames at one size and frame rate, the same as `media.decode` gives of the whole. A part is read
by an ffmpeg of its own, while what is done with the one before goes on.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np

from vidpred.data import media
from vidpred.data.complaints import MediaError
from vidpred.data.gifs import is_gif
from vidpred.data.graphs import Fit, Job, Look

PART_SECONDS = 30.0
"""Of a part: starting an ffmpeg for each costs little then."""
_AROUND = 1.0
"""Seconds that are read before a part, for the frame that is still shown when it begins, and after it."""
_GIF_SECONDS = 3600
_TIMEOUT_SECONDS = 600
_MAX_FRAMES = 20_000
"""Of a part's source: 600 frames per second and more."""


class Part(NamedTuple):
    """Frames that follow each other."""

    first: int
    """Number of the first, counted from the video's start."""
    frames: np.ndarray
    """uint8 (T, H, W, 3), RGB."""


class _Read(NamedTuple):
    """What a part of a source gave, in seconds from where the file's clock starts."""

    begin: float
    """When its first frame begins."""
    times: np.ndarray
    """When each of those begins that are ever shown."""
    frames: np.ndarray
    end: float
    """When the last one ends."""


class Source:
    """A GIF or video that is read in parts.

    Args:
        path: The file.
        height: Rows of a frame.
        width: Columns of a frame.
        ffmpeg: From `launch.ffmpeg_binary`.
        fps: Frames per second, sampled by time stamp; None: those that the file says.
        fit: How another shape is brought to this one.
        background: What shows through where the source is transparent.
        part_seconds: Of a part.

    Raises:
        MediaError: it is no GIF or video.
    """

    def __init__(
        self,
        path: Path,
        *,
        height: int,
        width: int,
        ffmpeg: Path,
        fps: float | None = None,
        fit: Fit = "crop",
        background: str = "white",
        part_seconds: float = PART_SECONDS,
    ) -> None:
        self.path, self._ffmpeg = path, ffmpeg
        self.facts = media.facts(path, ffmpeg=ffmpeg)
        self.fps = fps or self.facts.fps
        self._look = Look(
            height, width, fit=fit, background=background, max_seconds=math.inf, max_frames=_MAX_FRAMES,
            untimed_fps=self.fps,
        )  # fmt: skip
        self._count = max(1, round(part_seconds * self.fps))
        self._zero: float | None = None

    @property
    def seconds(self) -> float | None:
        """Length, where the file says it."""
        return self.facts.seconds

    def parts(self, wanted: np.ndarray | None = None) -> Iterator[Part]:
        """All frames, in order; with `wanted` only parts that hold one of these frames are read.

        Args:
            wanted: Numbers of frames, as an earlier call without it gave them.

        Raises:
            MediaError: the file is damaged, or takes too much; gives the reason.
        """
        if is_gif(self.path):
            yield from self._whole()
            return
        # one thread, so that a part is read while the caller is busy with the one before, and never more
        with ThreadPoolExecutor(1, thread_name_prefix="stream") as pool:
            if self._zero is None:
                self._begin(pool.submit(self._read, 0).result())
            yield from self._all(pool) if wanted is None else self._some(pool, wanted)

    def _all(self, pool: ThreadPoolExecutor) -> Iterator[Part]:
        number, coming = 0, pool.submit(self._read, 0)
        held: np.ndarray | None = None
        while True:
            read = coming.result()
            coming = pool.submit(self._read, number + 1)
            end = (number + 1) * self._count
            if read is None or self._end(read) <= end:  # the last part, or the last but for one long still picture
                following = number + 1
                while not (on := self._holds(coming.result(), following)) and self._more(following):
                    following += 1
                    coming = pool.submit(self._read, following)
                if not on:
                    end = end if read is None else self._end(read)
                    yield from self._sampled(number, end, read, held)
                    return
                end = following * self._count
            for part in self._sampled(number, end, read, held):
                held = part.frames[-1]
                yield part
            number = end // self._count

    def _some(self, pool: ThreadPoolExecutor, wanted: np.ndarray) -> Iterator[Part]:
        numbers: list[int] = np.unique(wanted // self._count).tolist()
        if not numbers:
            return
        coming = pool.submit(self._read, numbers[0])
        for number, following in zip(numbers, [*numbers[1:], None], strict=True):
            read = coming.result()
            if following is not None:
                coming = pool.submit(self._read, following)
            if read is not None:
                yield from self._sampled(number, (number + 1) * self._count, read, None)

    def _whole(self) -> Iterator[Part]:
        """A GIF: it has no index to jump by, and is small."""
        frames = media.decode(
            self.path, height=self._look.height, width=self._look.width, ffmpeg=self._ffmpeg, fps=self.fps,
            fit=self._look.fit, background=self._look.background, max_seconds=_GIF_SECONDS,
            timeout_seconds=_TIMEOUT_SECONDS,
        )  # fmt: skip
        for first in range(0, len(frames), self._count):
            yield Part(first, frames[first : first + self._count])

    def _begin(self, read: _Read | None) -> None:
        if read is None:
            raise MediaError("no frames in it")
        self._zero = read.begin

    def _more(self, number: int) -> bool:
        """Whether the file says that it goes on beyond the beginning of a part."""
        return self.seconds is not None and number * self._count / self.fps < self.seconds

    def _holds(self, read: _Read | None, number: int) -> bool:
        """Whether a part has frames of its own, not only of those before."""
        return read is not None and self._end(read) > number * self._count

    def _end(self, read: _Read) -> int:
        """Number of the frame after the last that was read."""
        return max(1, math.floor((read.end - (self._zero or 0)) * self.fps + 0.5))

    def _read(self, number: int) -> _Read | None:
        """The source's frames of a part, and a few before and after; None where there are none."""
        # at a whole second, which ffmpeg need not round where a file counts time in frames
        begin = max(0.0, math.floor((self._zero or 0) + number * self._count / self.fps - _AROUND))
        end = (self._zero or 0) + (number + 1) * self._count / self.fps + _AROUND
        job = Job(self.path, start_seconds=begin if number else None, end_seconds=end)
        with tempfile.TemporaryDirectory(prefix="vidpred-") as folder:
            (found,) = media.decode_to(
                Path(folder), [job], self._look, ffmpeg=self._ffmpeg, timeout_seconds=_TIMEOUT_SECONDS
            )
            if isinstance(found, MediaError):
                if number and str(found).startswith("no frames in it"):
                    return None
                raise found
            start = (begin if number else 0) + found.begin_seconds
            times = found.times + start
            ticks = self._ticks(times, float(times[0]) if self._zero is None else self._zero)
            # of frames that one tick replaces by the next only the last is ever shown
            shown = np.append(ticks[1:] > ticks[:-1], True)
            raw = np.memmap(found.raw, np.uint8, "r").reshape(-1, self._look.height, self._look.width, 3)
            return _Read(float(times[0]), times[shown], raw[: len(times)][shown], found.end_seconds + start)

    def _ticks(self, times: np.ndarray, zero: float) -> np.ndarray:
        return np.floor((times - zero) * self.fps + 0.5).astype(np.int64)

    def _sampled(self, number: int, end: int, read: _Read | None, held: np.ndarray | None) -> Iterator[Part]:
        """The frames from a part's first up to `end`, which may be parts away: the last picture is shown until then."""
        first = number * self._count
        while first < end:
            shown = np.arange(first, min(end, first + self._count))
            if read is None:
                picked = np.full(len(shown), -1)
            else:
                picked = np.searchsorted(self._ticks(read.times, self._zero or 0), shown, side="right") - 1
            frames = np.empty((len(shown), self._look.height, self._look.width, 3), np.uint8)
            known = picked >= 0
            if read is not None:
                frames[known] = read.frames[picked[known]]
            if not known.all():
                if held is None and read is not None:
                    held = read.frames[0]
                frames[~known] = 0 if held is None else held
            yield Part(first, frames)
            first += len(shown)
