"""The frames of single sources, kept by what decides them: made once, whatever becomes of the run.

In: files, and a plan (all that decides frames but the file's bytes). Out, in one folder a plan, for each source:

    <key>.rgb    raw uint8 frames of its clips, one after the other
    <key>.json   the note on it, written last: what ffmpeg says of the source, what was found in it, and its clips; or
                 why it gives none. A file that took too long has no note, and is tried again.
"""

from __future__ import annotations

import json
import math
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from vidpred.config import TranscodeParams
from vidpred.data.graphs import UNTIMED
from vidpred.data.launch import ffmpeg_binary, ffmpeg_version
from vidpred.data.media import Decoded, Job, Look, MediaError, Stopped, decode_to, remove_folder
from vidpred.data.scenes import scenes_of
from vidpred.errors import UserError
from vidpred.workspace import atomic, digest

_FORMAT = 4
_PASSING = ("timed out", "killed", "cannot be read")
"""Reasons that another try may not give."""
_BLOCK_BYTES = 16 << 20


@dataclass(frozen=True)
class Unit:
    """A source to be decoded: a file, or a part of one."""

    key: str
    """Its `identity`."""
    file: str
    """Name in the folder of files."""
    start_seconds: float | None
    """Where to begin; None: at the file's start."""
    end_seconds: float | None
    """Where to end; None: at the file's end."""


@dataclass(frozen=True)
class Plan:
    """All that decides a source's frames, but its bytes. It can travel to another machine."""

    look: Look
    """What ffmpeg makes."""
    fps: float | None
    """Frames per second of clips; None: the source's frames."""
    cut_threshold: float | None
    """Of `scenes_of`, as are the next three."""
    freeze_threshold: float
    max_freeze_seconds: float | None
    drop_repeats: bool
    ffmpeg: str
    """`bundled`, `system` or a path; each machine looks for its own."""
    version: str
    """Which that must be."""
    timeout_seconds: float
    """Wall time of a process at the most; decides nothing but who fails."""

    @classmethod
    def of(cls, params: TranscodeParams, version: str) -> Plan:
        """The plan that parameters make."""
        return cls(
            look=Look(
                height=params.height,
                width=params.width,
                fit=params.fit,
                background=params.background,
                crop_bars=params.crop_bars,
                max_seconds=params.max_seconds,
                max_frames=params.max_frames,
                max_pixels=params.max_pixels,
                untimed_fps=params.fps,
            ),
            fps=params.fps,
            cut_threshold=params.cut_threshold,
            freeze_threshold=params.freeze_threshold,
            max_freeze_seconds=params.max_freeze_seconds,
            drop_repeats=params.drop_repeats,
            ffmpeg=params.ffmpeg,
            version=version,
            timeout_seconds=params.timeout_seconds,
        )

    @property
    def key(self) -> str:
        """Names the folder of frames made so: 16 hex digits."""
        decides = {name: value for name, value in asdict(self).items() if name not in ("ffmpeg", "timeout_seconds")}
        return digest({"format": _FORMAT, **decides})[:16]

    def binary(self) -> Path:
        """ffmpeg on this machine.

        Raises:
            UserError: there is none, or one of another version, which would make other frames.
        """
        found = ffmpeg_version(self.ffmpeg)
        if found != self.version:
            raise UserError(
                f"this machine has ffmpeg {found}, the plan is for {self.version}: every machine needs the same "
                "(transcode.ffmpeg: bundled, and the same requirements.lock)"
            )
        return ffmpeg_binary(self.ffmpeg)


Engine = Callable[[Sequence[Sequence[Unit]], Path, Path, Plan], Iterator[dict[str, dict[str, Any]]]]
"""Makes the frames of batches of units: (batches, folder of files, folder of frames, plan) → notes by key, as they
come. When a note is given, its frames lie in the folder."""


def identity(sha256: str, suffix: str, start_seconds: float | None, end_seconds: float | None) -> str:
    """What names a source: its bytes, as what they are read where that is not for them to say, and which part of them.
    64 hex digits."""
    kind = suffix if suffix in UNTIMED else ""
    if start_seconds is None and end_seconds is None and not kind:
        return sha256
    return digest([sha256, kind, start_seconds, end_seconds])


def read_note(store: Path, key: str, plan: Plan) -> dict[str, Any] | None:
    """The note on a source, if it and the frames are there."""
    try:
        note: dict[str, Any] = json.loads((store / f"{key}.json").read_text())
        if "failed" in note:
            return note
        length = sum(clip["length"] for clip in note["clips"])
        size = (store / f"{key}.rgb").stat().st_size if length else 0
        return note if size == length * plan.look.frame_bytes else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def local_engine(workers: int) -> Engine:
    """Does the work on this machine, with so many ffmpeg at once."""

    def engine(
        batches: Sequence[Sequence[Unit]], files: Path, store: Path, plan: Plan
    ) -> Iterator[dict[str, dict[str, Any]]]:
        binary = plan.binary()
        stop = threading.Event()
        waiting = iter(batches)
        running: set[Future[dict[str, dict[str, Any]]]] = set()
        # one more than there are workers: while one looks at its frames, ffmpeg shall not wait
        with ThreadPoolExecutor(workers + 1, thread_name_prefix="transcode") as pool:
            try:
                while True:
                    # few ahead, so that memory does not grow with the number of files
                    while len(running) < 2 * workers + 1 and (batch := next(waiting, None)) is not None:
                        running.add(pool.submit(make_frames, batch, files, store, plan, binary=binary, stop=stop))
                    if not running:
                        return
                    done, running = wait(running, return_when=FIRST_COMPLETED)
                    for job in done:
                        yield job.result()
            except BaseException:  # Ctrl-C too: end the processes that run, start no more
                stop.set()
                pool.shutdown(wait=True, cancel_futures=True)
                raise

    return engine


def make_frames(
    units: Sequence[Unit],
    files: Path,
    store: Path,
    plan: Plan,
    *,
    binary: Path,
    stop: threading.Event | None = None,
) -> dict[str, dict[str, Any]]:
    """Makes the frames of a batch, and gives the notes by key.

    Args:
        units: At most `media.BATCH`; several only where `media.is_tiny`.
        files: Folder of the files.
        store: Folder to write frames and notes into.
        plan: How.
        binary: ffmpeg, of the plan's version.
        stop: Ends the work early.
    """
    if stop is not None and stop.is_set():
        raise Stopped
    store.mkdir(parents=True, exist_ok=True)
    # of its own: an ffmpeg whose stage was killed may still be writing
    folder = Path(tempfile.mkdtemp(prefix=f".{units[0].key}.", suffix=".work", dir=store))
    try:
        jobs = [Job(files / unit.file, unit.start_seconds, unit.end_seconds) for unit in units]
        results = decode_to(folder, jobs, plan.look, ffmpeg=binary, timeout_seconds=plan.timeout_seconds, stop=stop)
        return {unit.key: _keep(unit, result, folder, store, plan) for unit, result in zip(units, results, strict=True)}
    finally:
        remove_folder(folder)


def _keep(unit: Unit, result: Decoded | MediaError, folder: Path, store: Path, plan: Plan) -> dict[str, Any]:
    """Brings what came out for a unit in `folder` to its place; gives the note."""
    if isinstance(result, MediaError):
        note: dict[str, Any] = {"failed": str(result)}
        if not str(result).startswith(_PASSING):
            _place_note(store / f"{unit.key}.json", note, folder)
        return note
    look = plan.look
    frames = _mapped(result.raw, (len(result.times), look.height, look.width, 3))
    found = scenes_of(
        frames,
        result.times,
        result.end_seconds,
        fps=plan.fps,
        cut_threshold=plan.cut_threshold,
        freeze_threshold=plan.freeze_threshold,
        max_freeze_seconds=plan.max_freeze_seconds,
        drop_repeats=plan.drop_repeats,
    )
    clips: list[dict[str, Any]] = []
    kept: list[np.ndarray] = []
    first = 0
    for number, scene in enumerate(found.scenes):
        clips.append(
            {
                "number": number,
                "first": first,
                "length": len(scene.frames),
                "start_seconds": scene.start_seconds,
                "motion": round(motion_of(frames, scene.frames), 6),
            }
        )
        kept.append(scene.frames)
        first += len(scene.frames)
    if kept:
        _place_frames(store / f"{unit.key}.rgb", result.raw, frames, np.concatenate(kept))
    facts = result.facts
    if facts.codec == "gif" and result.end_seconds > 0:
        # it says what its delays are, and players show the shortest of them ten times as long
        fps, seconds = round(len(frames) / result.end_seconds, 6), round(result.end_seconds, 6)
        facts = replace(facts, fps=fps, seconds=seconds)
    note = {
        "height": facts.height,
        "width": facts.width,
        "fps": facts.fps,
        "seconds": facts.seconds,
        "bars": result.bars,
        "clip_fps": plan.fps or facts.fps,
        "source_frames": len(frames),
        "read_seconds": round(result.end_seconds, 6),
        "frozen_frames": found.frozen_frames,
        "freezes": found.freezes,
        "cuts": found.cuts,
        "scenes": len(found.scenes),
        "clips": clips,
    }
    _place_note(store / f"{unit.key}.json", note, folder)
    return note


def _mapped(raw: Path, shape: tuple[int, int, int, int]) -> np.ndarray:
    """Frames of a raw file; large ones as a map, so that memory stays flat."""
    if math.prod(shape) <= _BLOCK_BYTES:
        return np.fromfile(raw, np.uint8).reshape(shape)
    return np.asarray(np.memmap(raw, np.uint8, "r", shape=shape))


def _place_note(path: Path, note: Mapping[str, Any], folder: Path) -> None:
    """Writes a note in the folder of the work, then renames."""
    part = folder / "note.json"
    part.write_text(json.dumps(note, sort_keys=True))
    part.replace(path)


def _place_frames(path: Path, raw: Path, frames: np.ndarray, picked: np.ndarray) -> None:
    """Writes the picked frames; where all are taken as they are, the file is moved."""
    if len(picked) == len(frames) and np.array_equal(picked, np.arange(len(frames))):
        raw.replace(path)
        return
    block = max(1, _BLOCK_BYTES // frames[0].size)
    with atomic(path) as part, part.open("wb") as file:
        for at in range(0, len(picked), block):
            file.write(frames[picked[at : at + block]].data)


def motion_of(frames: np.ndarray, picked: np.ndarray) -> float:
    """Mean absolute difference of neighbouring frames, in grey levels; 0 for a single one.

    Args:
        frames: uint8 (T, H, W, 3).
        picked: int64 (N,): which of them, in order.
    """
    import cv2

    rows = frames.reshape(len(frames), frames.shape[1], -1)
    total = sum(
        cv2.norm(rows[after], rows[before], cv2.NORM_L1) for before, after in pairwise(picked) if before != after
    )
    return float(total) / max(1, (len(picked) - 1) * int(frames[0].size))
