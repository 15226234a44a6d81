"""Files to shards: ffmpeg makes the frames of several files at once, and what cannot be read is set aside.

In: data/raw (files and sources.jsonl, of fetch.py). Out: a folder of shards (shards.py) and the figures of the stage.
Frames of a source are kept in a cache outside, by what decides them, so that an interrupted run goes on where it was
and ten new videos cost ten decodings. The shards' bytes depend on neither workers nor the order in which they finish.
"""

from __future__ import annotations

import json
import logging
import threading
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from vidpred.config import TranscodeParams
from vidpred.data.media import MediaError, Stopped, decode_to, facts
from vidpred.data.progress import progress
from vidpred.data.shards import RawClip, write_shards
from vidpred.errors import UserError
from vidpred.workspace import atomic, digest, fresh_folder, locked, write_json

log = logging.getLogger(__name__)

_CACHE_FORMAT = 1
_LISTED = 20


@dataclass(frozen=True)
class _Frames:
    """A source's frames in the cache."""

    path: Path
    length: int
    fps: float
    motion: float


def read_sources(raw: Path) -> list[dict[str, Any]]:
    """Rows of `sources.jsonl`.

    Raises:
        UserError: fetch has not finished.
    """
    try:
        lines = (raw / "sources.jsonl").read_text().splitlines()
    except FileNotFoundError:
        raise UserError(f"{raw} holds no sources.jsonl: run `dvc repro fetch`") from None
    return [json.loads(line) for line in lines]


def motion_of(frames: np.ndarray) -> float:
    """Mean absolute difference of neighbouring frames, in grey levels; 0 for a single one.

    Args:
        frames: uint8 (T, H, W, 3).
    """
    total = 0
    for before, after in pairwise(frames):
        total += int(np.abs(after.astype(np.int16) - before).sum(dtype=np.int64))
    return total / max(1, (len(frames) - 1) * int(frames[0].size))


def cache_key(params: TranscodeParams, version: str) -> str:
    """Names the cache's folder of frames made so: 16 hex digits over all that decides frames but the source's bytes."""
    made_with = params.model_dump(include={"height", "width", "fit", "fps", "max_seconds", "max_pixels"})
    return digest({"format": _CACHE_FORMAT, "ffmpeg": version, **made_with})[:16]


def transcode(
    raw: Path, out: Path, cache: Path, params: TranscodeParams, *, ffmpeg: Path, version: str, workers: int
) -> dict[str, Any]:
    """Makes a folder of shards, and gives the stage's figures.

    Args:
        raw: Folder that fetch wrote.
        out: Folder to write; what stood there goes.
        cache: Folder of the frames of single sources, kept.
        params: How frames are made.
        ffmpeg: Binary.
        version: Its version.
        workers: ffmpeg processes at once.

    Returns:
        Inputs (the sum of the next three), kept, dropped, failed, clips, frames, seconds (of video), reasons.

    Raises:
        UserError: nothing is left.
    """
    rows = read_sources(raw)
    store = cache / cache_key(params, version)
    with locked(store):
        for left in store.glob(".*.part"):  # of a process that was killed; no other one holds the lock
            left.unlink()
        results = _all_frames(_unique(rows), raw, store, params, ffmpeg, workers)
        clips: list[RawClip] = []
        sources: list[dict[str, Any]] = []
        first_names: dict[str, str] = {}
        for row in rows:
            status, reason, frames = _verdict(row, results, first_names, params.min_frames)
            if frames is not None:
                clips.append(_clip(row, frames))
            sources.append(
                {**row, "status": status, "reason": reason}
                | {"clips": int(frames is not None), "frames": frames.length if frames else 0}
            )
        _report_set_aside(sources)
        counts = Counter(source["status"] for source in sources)
        if not clips:
            raise UserError(
                f"none of {len(rows)} inputs gave at least {params.min_frames} frames "
                f"({tally_text(sources) or 'there were none'}): check fetch.source and transcode"
            )
        write_shards(
            fresh_folder(out),
            clips,
            [{key: source[key] for key in source if key != "file"} for source in sources],
            height=params.height,
            width=params.width,
            fps=params.fps,
            buckets=params.buckets,
            parameters=params.model_dump(exclude={"timeout_seconds", "ffmpeg"}),
            ffmpeg=version,
        )
    if counts["kept"] + counts["dropped"] + counts["failed"] != len(rows):
        raise UserError(f"{len(rows)} inputs, but {dict(counts)}: a source was lost; please report this")
    return {
        "inputs": len(rows),
        "kept": counts["kept"],
        "dropped": counts["dropped"],
        "failed": counts["failed"],
        "clips": len(clips),
        "frames": sum(clip.length for clip in clips),
        "seconds": round(sum(clip.length / clip.fps for clip in clips), 3),
        "reasons": dict(sorted(tally(sources).items())),
    }


def tally(sources: Iterable[Mapping[str, Any]]) -> Counter[str]:
    """How often each reason stands there; what follows its colon belongs to one file only."""
    return Counter(source["reason"].split(":")[0] for source in sources if source["reason"])


def tally_text(sources: Iterable[Mapping[str, Any]]) -> str:
    """The commonest reasons in words."""
    return ", ".join(f"{count} {reason}" for reason, count in tally(sources).most_common(5))


def _unique(rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The fetched rows, the same bytes only once."""
    return list({row["sha256"]: row for row in reversed(rows) if row["status"] == "ok"}.values())[::-1]


def _all_frames(
    rows: Sequence[Mapping[str, Any]], raw: Path, store: Path, params: TranscodeParams, ffmpeg: Path, workers: int
) -> dict[str, _Frames | str]:
    """The frames of each source, or why there are none; by sha256."""
    stop = threading.Event()
    results: dict[str, _Frames | str] = {}
    with ThreadPoolExecutor(workers, thread_name_prefix="transcode") as pool:
        try:
            jobs: dict[Future[_Frames], str] = {
                pool.submit(_frames, raw / "files" / row["file"], row["sha256"], store, params, ffmpeg, stop): row[
                    "sha256"
                ]
                for row in rows
            }
            with progress("transcode", len(jobs)) as advance:
                for job in as_completed(jobs):
                    try:
                        results[jobs[job]] = job.result()
                    except MediaError as error:
                        results[jobs[job]] = str(error)
                    advance()
        except BaseException:  # Ctrl-C too: end the processes that run, start no more
            stop.set()
            pool.shutdown(wait=True, cancel_futures=True)
            raise
    return results


def _frames(
    path: Path, sha256: str, store: Path, params: TranscodeParams, ffmpeg: Path, stop: threading.Event
) -> _Frames:
    """One source's frames, from the cache or made now."""
    if stop.is_set():
        raise Stopped
    frames_path, note_path = store / f"{sha256}.rgb", store / f"{sha256}.json"
    size = params.height * params.width * 3
    try:
        note = json.loads(note_path.read_text())
        if frames_path.stat().st_size == note["length"] * size:
            return _Frames(frames_path, note["length"], note["fps"], note["motion"])
    except (OSError, ValueError, KeyError):
        pass
    fps = params.fps or facts(path, ffmpeg=ffmpeg, max_pixels=params.max_pixels).fps
    with atomic(frames_path) as part:
        length = decode_to(
            part,
            path,
            height=params.height,
            width=params.width,
            ffmpeg=ffmpeg,
            fps=params.fps,
            fit=params.fit,
            max_seconds=params.max_seconds,
            max_pixels=params.max_pixels,
            timeout_seconds=params.timeout_seconds,
            stop=stop,
        )
        shape = (length, params.height, params.width, 3)
        motion = round(motion_of(np.asarray(np.memmap(part, np.uint8, "r", shape=shape))), 6)
    write_json(note_path, {"length": length, "fps": fps, "motion": motion})
    return _Frames(frames_path, length, fps, motion)


def _verdict(
    row: Mapping[str, Any], results: Mapping[str, _Frames | str], first_names: dict[str, str], min_frames: int
) -> tuple[str, str, _Frames | None]:
    """Status, reason and frames of an input; notes the first name of its bytes."""
    if row["status"] != "ok":
        return "failed", row["reason"], None
    result = results[row["sha256"]]
    if isinstance(result, str):
        return "failed", result, None
    first = first_names.setdefault(row["sha256"], row["name"])
    if first != row["name"]:
        return "dropped", f"duplicate: same bytes as {first}", None
    if result.length < min_frames:
        return "dropped", f"only {result.length} frame{'s' * (result.length > 1)}, {min_frames} needed", None
    return "kept", "", result


def _clip(row: Mapping[str, Any], frames: _Frames) -> RawClip:
    return RawClip(
        source=row["name"],
        sha256=row["sha256"],
        number=0,
        group=row["group"],
        label=row["label"],
        fps=frames.fps,
        motion=frames.motion,
        frames=frames.path,
        length=frames.length,
    )


def _report_set_aside(sources: Sequence[Mapping[str, Any]]) -> None:
    aside = [source for source in sources if source["status"] != "kept"]
    for source in aside[:_LISTED]:
        log.warning("set aside %s: %s", source["name"], source["reason"])
    if len(aside) > _LISTED:
        log.warning("and %d more: sources.parquet beside the shards lists them", len(aside) - _LISTED)
