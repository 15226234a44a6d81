"""Files to frames: the only place that reads media, by running ffmpeg; encode.py writes, launch.py sets the limits.

Media files are untrusted. ffmpeg reads them in a process of its own, never in ours, from a list of formats (a playlist
named .gif is still a playlist) and protocols, with limits on pixels, frames, seconds, memory and time; its graph is
made by ffmpeg-python. One thread and bit-exact scaling, so that one version of ffmpeg always gives the same frames.

Small files share a process, since starting one takes longer than reading them. Nothing of that may show: a file's
frames and the verdict on it come from its own output and its own errors, never from the exit code alone, and whatever
is in doubt in a batch is done again alone.
"""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from vidpred.data.complaints import Facts as Facts  # part of what this file offers
from vidpred.data.complaints import MediaError as MediaError
from vidpred.data.complaints import errors_told, facts_told, input_told, inputs_told, no_room_told, reason_told
from vidpred.data.gifs import Blocks, blocks, pixels
from vidpred.data.graphs import SUFFIXES as SUFFIXES
from vidpred.data.graphs import Box, Reading, decoding, filled, input_options, looking_for_bars, merged, seconds_of
from vidpred.data.graphs import Fit as Fit
from vidpred.data.graphs import Job as Job
from vidpred.data.graphs import Look as Look
from vidpred.data.launch import Stopped as Stopped
from vidpred.data.launch import run
from vidpred.data.scenes import nearest_ticks
from vidpred.errors import UserError

BATCH = 32
"""Files that share a process at the most; more bring no further speed."""

_TINY_GIF_BYTES, _TINY_GIF_PIXELS, _TINY_BYTES = 1 << 20, 1 << 20, 1 << 17
_BARS_LEAVE = 0.25
"""Share of the frame that must remain: a picture that is mostly black has no bars."""
_ROOM_BYTES, _TRIES = 1 << 20, 3
_LATE = 1.05
"""By so many frames a part may begin late, since it may begin between two; by more where the jump to it led too far."""
_SHORTEST_DELAY, _GIF_DELAY = 20_000, 100_000
"""Microseconds: a GIF's frame that is to be shown for less than the first is shown for the second, in all browsers."""


@dataclass(frozen=True)
class Decoded:
    """The frames of a file: every one of the source's, at its own time."""

    raw: Path
    """File of raw uint8 (T, H, W, 3), RGB."""
    times: np.ndarray
    """float64 (T,): when each frame begins, in seconds, never falling."""
    end_seconds: float
    """When the last one ends."""
    facts: Facts
    """What the file says of itself."""
    bars: bool
    """Whether black bars were cut off."""
    begin_seconds: float = 0.0
    """When the first frame begins, from where reading began: a part may begin between two frames."""


def is_tiny(path: Path) -> bool:
    """Whether a file is small enough to share a process: less to read than a process takes to start."""
    size = path.stat().st_size
    if path.suffix == ".gif":
        return size <= _TINY_GIF_BYTES and pixels(path) <= _TINY_GIF_PIXELS
    return size <= _TINY_BYTES


def decode_to(
    folder: Path,
    jobs: Sequence[Job],
    look: Look,
    *,
    ffmpeg: Path,
    timeout_seconds: float = 120,
    stop: threading.Event | None = None,
) -> list[Decoded | MediaError]:
    """Writes the frames of files into `folder`; gives for each what came out, or why nothing did.

    What comes out for a file does not depend on the others.

    Args:
        folder: An empty folder; the raw files stay in it.
        jobs: Files, at most `BATCH`; more than one only where `is_tiny`.
        look: What frames are made.
        ffmpeg: From `launch.ffmpeg_binary`.
        timeout_seconds: Wall time of a process at the most.
        stop: Ends the work early.

    Raises:
        Stopped: `stop` was set.
        UserError: nothing more can be written into `folder`.
    """
    runner = _Runner(folder, look, ffmpeg, timeout_seconds, stop)
    results: dict[int, Decoded | MediaError] = {}
    waiting: list[list[int]] = []
    readable = []
    for number, job in enumerate(jobs):
        try:
            runner.check(number, job)
            readable.append(number)
        except MediaError as error:
            results[number] = error
    waiting.append(readable)
    while waiting:
        members = waiting.pop()
        if len(members) > 1:
            try:
                found = runner.together(members, [jobs[number] for number in members])
                void = not found  # by one bad file: halve them
            except MediaError:  # it took too long: a half may take as long
                found, void = {}, False
            results |= found
            doubtful = [number for number in members if number not in found]
            half = len(doubtful) // 2 if void else 0
            waiting += [doubtful[:half], doubtful[half:]] if half else [[number] for number in doubtful]
        elif members:
            try:
                results[members[0]] = runner.alone(members[0], jobs[members[0]])
            except MediaError as error:
                results[members[0]] = error
    return [results[number] for number in range(len(jobs))]


class _Runner:
    """Runs ffmpeg on jobs, by number, with all that they share."""

    def __init__(
        self, folder: Path, look: Look, ffmpeg: Path, timeout_seconds: float, stop: threading.Event | None
    ) -> None:
        self._folder = folder.resolve()
        self._look = look
        self._ffmpeg = ffmpeg
        self._timeout_seconds = timeout_seconds
        self._stop = stop
        self._delays: dict[int, tuple[int, ...]] = {}  # where the file's blocks tell them, and nothing cuts them off

    def check(self, number: int, job: Job) -> None:
        """Looks at a file before ffmpeg does; MediaError if that is needless."""
        delays = _checked(job.path).delays
        is_gif = ("format", "gif") in input_options(job, self._look)
        if delays and is_gif and job == Job(job.path) and self._holds(delays):
            self._delays[number] = delays

    def _holds(self, delays: Sequence[int]) -> bool:
        return len(delays) <= self._look.max_frames and sum(delays) <= 1000 * self._look.max_seconds

    def together(self, numbers: Sequence[int], jobs: Sequence[Job]) -> dict[int, Decoded | MediaError]:
        """What is beyond doubt after one process for all of the jobs.

        Raises:
            MediaError: they took too long, or said too much.
        """
        boxes = self._boxes(numbers, jobs) if self._look.crop_bars else dict.fromkeys(numbers)
        if boxes is None:
            return {}
        status, told = self._run(
            [
                self._arguments(number, job, boxes[number], Reading.of(job), timed=number not in self._delays)
                for number, job in zip(numbers, jobs, strict=True)
            ]
        )
        described = inputs_told(told, len(jobs))
        if status != 0 or errors_told(told) or described is None:
            return {}
        found: dict[int, Decoded | MediaError] = {}
        for number, job, text in zip(numbers, jobs, described, strict=True):
            try:
                facts = facts_told(text)
                if Reading.of(job) == Reading.of(job, facts) and not self._missed(number, job, facts):
                    found[number] = self._read(number, job, facts, boxes[number] is not None)
            except MediaError:
                continue
        return found

    def alone(self, number: int, job: Job) -> Decoded:
        """What one file gives; MediaError with the reason if it is nothing."""
        reading = Reading.of(job)
        facts, box = self._verdict(number, job, reading)
        needed = Reading.of(job, facts)
        if needed != reading:  # only now it is known that it may be transparent
            facts, box = self._verdict(number, job, needed)
        if self._missed(number, job, facts):
            facts, box = self._verdict(number, job, replace(needed, jump=False))
        return self._read(number, job, facts, box is not None)

    def _verdict(self, number: int, job: Job, reading: Reading) -> tuple[Facts, Box | None]:
        boxes = self._boxes([number], [job], reading) if self._look.crop_bars else None
        box = boxes[number] if boxes else None
        status, told = self._run([self._arguments(number, job, box, reading, timed=True)])
        reason = reason_told(told, max_pixels=self._look.max_pixels)
        if reason:
            raise MediaError(reason)
        facts = facts_told(input_told(told), max_pixels=self._look.max_pixels)
        if status != 0:
            raise MediaError(f"ffmpeg ended with status {status}")
        return facts, box

    def _missed(self, number: int, job: Job, facts: Facts) -> bool:
        """Whether the jump to where a part begins led too far, as it may where a format has no index."""
        if not job.start_seconds:
            return False
        begins, _ = _times(self._folder / f"{number}.crc")
        return not len(begins) or begins[0] / 1e6 > _LATE / facts.fps

    def _run(self, jobs: Sequence[Sequence[str]]) -> tuple[int, str]:
        status, told = self._run_once(jobs)
        for _ in range(_TRIES):
            complaint = no_room_told(told)
            if not complaint:
                break
            if _full(self._folder):
                raise UserError(f"{self._folder} cannot be written ({complaint}): free some space, then run it again")
            status, told = self._run_once(jobs)  # there is room again, or a file only says so
        return status, told

    def _run_once(self, jobs: Sequence[Sequence[str]]) -> tuple[int, str]:
        return run(
            ["-v", "level+info", *merged(jobs), "-y"],
            ffmpeg=self._ffmpeg,
            timeout_seconds=self._timeout_seconds,
            inputs=len(jobs),
            folder=self._folder,
            stop=self._stop,
        )

    def _arguments(self, number: int, job: Job, box: Box | None, reading: Reading, *, timed: bool) -> list[str]:
        """ffmpeg's arguments for one job: raw frames, and beside them a line a frame with its time."""
        options, seconds = input_options(job, self._look), seconds_of(job, self._look)
        return filled(decoding(self._look, options, seconds, box, reading, timed), job, number)

    def _boxes(
        self, numbers: Sequence[int], jobs: Sequence[Job], reading: Reading | None = None
    ) -> dict[int, Box | None] | None:
        """What lies between the black bars of each file, over all its frames; None: in doubt."""
        look = self._look
        status, told = self._run(
            [
                filled(
                    looking_for_bars(look, input_options(job, look), seconds_of(job, look), reading or Reading.of(job)),
                    job,
                    number,
                )
                for number, job in zip(numbers, jobs, strict=True)
            ]
        )
        described = inputs_told(told, len(jobs))
        if len(jobs) > 1 and (status != 0 or errors_told(told) or described is None):
            return None
        boxes: dict[int, Box | None] = {}
        for number, text in zip(numbers, described or [""] * len(jobs), strict=True):
            try:
                boxes[number] = _box(self._folder / f"{number}.bars", facts_told(text))
            except MediaError:  # the decoding itself says what is wrong with it
                boxes[number] = None
        return boxes

    def _read(self, number: int, job: Job, facts: Facts, bars: bool) -> Decoded:
        """The verdict on an output: as many frames as times, and at least one."""
        raw = self._folder / f"{number}.rgb"
        size = raw.stat().st_size if raw.is_file() else 0
        delays = self._delays.get(number)
        if delays is not None and size == len(delays) * self._look.frame_bytes:
            ends = np.cumsum(delays)
            return Decoded(raw, (ends - delays) / 1e3, float(ends[-1] / 1e3), facts, bars)
        begins, end = _times(self._folder / f"{number}.crc")
        if size == 0:
            late = f": none from {job.start_seconds:g} s on" if job.start_seconds else ""
            raise MediaError(f"no frames in it{late}")
        if size != len(begins) * self._look.frame_bytes:
            raise MediaError("damaged: it ends in the middle of a frame")
        most = round(seconds_of(job, self._look) * 1e6)
        if facts.codec == "gif":
            begins, end = _as_shown(begins, end)
            begins = begins[: max(1, int(np.searchsorted(begins, most)))]
            os.truncate(raw, len(begins) * self._look.frame_bytes)
        end = max(min(end, most), int(begins[-1]) + 1) - int(begins[0])
        times = np.maximum.accumulate(begins - begins[0]) / 1e6
        begin = float(begins[0]) / 1e6
        return Decoded(raw=raw, times=times, end_seconds=end / 1e6, facts=facts, bars=bars, begin_seconds=begin)


def _full(folder: Path) -> bool:
    """Whether the largest of the files that ffmpeg wrote into a folder cannot grow any more."""
    sizes = {path: path.stat().st_size for path in folder.glob("*.rgb")}
    largest = max(sizes, key=lambda path: sizes[path], default=folder / "0.rgb")
    try:
        with largest.open("ab") as file:
            file.write(bytes(_ROOM_BYTES))
    except OSError as error:
        return error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    finally:
        if largest in sizes:
            os.truncate(largest, sizes[largest])
        else:
            largest.unlink(missing_ok=True)
    return False


def _box(notes: Path, facts: Facts) -> Box | None:
    """What cropdetect found after the last frame; None where there are no bars, or nothing but."""
    last: dict[str, int] = {}
    if notes.is_file():
        for line in notes.read_text().splitlines():
            name, _, value = line.removeprefix("lavfi.cropdetect.").partition("=")
            if name in "whxy" and value.lstrip("-").isdigit():
                last[name] = int(value)
    if set(last) != set("whxy") or last["w"] <= 0 or last["h"] <= 0:
        return None
    whole = facts.width * facts.height
    found = last["w"] * last["h"]
    # cropdetect rounds to even numbers: one row or column is no bar
    if found < _BARS_LEAVE * whole or (facts.width - last["w"] < 2 and facts.height - last["h"] < 2):
        return None
    return last["w"], last["h"], last["x"], last["y"]


def _times(notes: Path) -> tuple[np.ndarray, int]:
    """When each frame begins, int64 (T,), and when the last one ends; in microseconds from where reading began."""
    rows = []
    if notes.is_file():
        rows = [line.split(",") for line in notes.read_text().splitlines() if line and not line.startswith("#")]
    # stream, dts, pts, duration, size, checksum, in millionths of a second
    try:
        begins = np.array([int(row[2]) for row in rows], np.int64)
        last = int(rows[-1][3]) if rows else 0
    except (ValueError, IndexError, OverflowError):
        raise MediaError("damaged: a frame without a time") from None
    if last <= 0 and len(begins) > 1:
        last = int(begins[-1] - begins[-2])
    return begins, int(begins[-1]) + max(0, last) if len(begins) else 0


def _as_shown(begins: np.ndarray, end: int) -> tuple[np.ndarray, int]:
    """A GIF's times as its viewers have them; ffmpeg from version 6 on takes the shortest delays by the word."""
    delays = np.diff(np.append(begins, end))
    delays[delays < _SHORTEST_DELAY] = _GIF_DELAY
    ends = begins[0] + np.cumsum(delays)
    return np.append(begins[:1], ends[:-1]), int(ends[-1])


def _checked(path: Path) -> Blocks:
    try:
        if not path.is_file():
            raise MediaError("no such file" if not path.exists() else "not a file")
        if path.stat().st_size == 0:
            raise MediaError("empty file")
        told = blocks(path)
        if told.cut_short:
            raise MediaError("damaged: cut short")
        return told
    except OSError as error:
        raise MediaError(f"cannot be read: {error.strerror}") from None


def decode(
    path: Path,
    *,
    height: int,
    width: int,
    ffmpeg: Path,
    fps: float | None = None,
    fit: Fit = "crop",
    background: str = "white",
    crop_bars: bool = False,
    max_seconds: float = 60,
    max_pixels: int = 40_000_000,
    timeout_seconds: float = 120,
) -> np.ndarray:
    """The frames of a GIF or video in memory: uint8 (T, H, W, 3), RGB; neither cuts nor freezes are looked for.

    Args:
        path: The GIF or video.
        height: Rows of a frame.
        width: Columns of a frame.
        ffmpeg: From `launch.ffmpeg_binary`.
        fps: Frames per second, sampled by time stamp; None takes every frame of the source.
        fit: How another shape is brought to this one.
        background: What shows through where a source is transparent.
        crop_bars: Whether black bars are cut off first.
        max_seconds: Only so much from the start.
        max_pixels: Pixels of a source frame at the most.
        timeout_seconds: Wall time at the most.

    Raises:
        MediaError: it is no GIF or video, is damaged, or takes too much; gives the reason.
    """
    look = Look(
        height, width, fit=fit, background=background, crop_bars=crop_bars, max_seconds=max_seconds,
        max_pixels=max_pixels, untimed_fps=fps,
    )  # fmt: skip
    with tempfile.TemporaryDirectory(prefix="vidpred-") as folder:
        (result,) = decode_to(Path(folder), [Job(path)], look, ffmpeg=ffmpeg, timeout_seconds=timeout_seconds)
        if isinstance(result, MediaError):
            raise result
        frames = np.fromfile(result.raw, np.uint8).reshape(-1, height, width, 3)
    if fps is None:
        return frames
    sampled: np.ndarray = frames[nearest_ticks(result.times, min(result.end_seconds, max_seconds), fps)]
    return sampled


def facts(path: Path, *, ffmpeg: Path, max_pixels: int = 40_000_000, timeout_seconds: float = 30) -> Facts:
    """Size, rate and length of a GIF or video, without decoding it.

    Raises:
        MediaError: it is no GIF or video, or says no frame rate.
    """
    import ffmpeg as graph

    _checked(path)
    look = Look(8, 8, max_pixels=max_pixels)
    # with nothing to write ffmpeg describes its input and ends; a graph takes no names that are not UTF-8
    source = graph.input("INPUT", **dict(input_options(Job(path), look)))
    asked = graph.get_args(graph.output(source, "unused"))[:-1]
    arguments = [f"file:{path.resolve()}" if one == "INPUT" else one for one in asked]
    _, told = run(["-v", "level+info", *arguments], ffmpeg=ffmpeg, timeout_seconds=timeout_seconds)
    return facts_told(input_told(told), max_pixels=max_pixels)


def remove_folder(folder: Path) -> None:
    """Removes what `decode_to` left, even while an ffmpeg that nobody waits for any more writes into it."""
    for _ in range(20):
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            return
        time.sleep(0.05)
