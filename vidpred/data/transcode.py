"""Files to shards: ffmpeg makes the frames of several files at once, and what cannot be used is set aside.

In: data/raw (files and sources.jsonl, of fetch.py). Out: a folder of shards (shards.py) and the figures of the stage.
The frames of each source are made by clip_cache.py and kept outside, so that an interrupted run goes on where it was
and ten new videos cost ten decodings. The shards' bytes depend on neither workers nor the order in which they finish,
nor on the engine: which machines do the work.
"""

from __future__ import annotations

import json
import logging
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vidpred.config import TranscodeParams
from vidpred.data.clip_cache import Engine, Plan, Unit, identity, read_note
from vidpred.data.media import BATCH, is_tiny, remove_folder
from vidpred.data.progress import progress, tell_set_aside
from vidpred.data.shards import RawClip, write_shards
from vidpred.errors import UserError
from vidpred.workspace import fresh_folder, locked

log = logging.getLogger(__name__)

_DUPLICATE = "duplicate"
_BATCH_BYTES = 8 << 20
_FOUND = ("frozen_frames", "freezes", "cuts", "still_clips", "short_clips")


@dataclass(frozen=True)
class Transcoded:
    """What a run did."""

    summary: dict[str, Any]
    """The stage's figures; the same whenever and wherever it runs."""
    sources: list[dict[str, Any]]
    """Rows of sources.parquet."""
    throughput: dict[str, Any]
    """How fast it went: files decoded now and found in the cache, seconds of work, frames and seconds of video."""


def read_sources(raw: Path) -> list[dict[str, Any]]:
    """Rows of `sources.jsonl`.

    Raises:
        UserError: fetch has not finished.
    """
    try:
        text = (raw / "sources.jsonl").read_text()
    except FileNotFoundError:
        raise UserError(f"{raw} holds no sources.jsonl: run `dvc repro fetch`") from None
    # read as one array, the rows share the names of their fields: half the memory
    rows: list[dict[str, Any]] = json.loads(f"[{','.join(text.splitlines())}]")
    return rows


def transcode(
    raw: Path, out: Path, cache: Path, params: TranscodeParams, *, version: str, engine: Engine, workers: int
) -> Transcoded:
    """Makes a folder of shards.

    Args:
        raw: Folder that fetch wrote.
        out: Folder to write; what stood there goes.
        cache: Folder of the frames of single sources, kept.
        params: How frames are made.
        version: Of ffmpeg.
        engine: Does the work.
        workers: How many jobs it does at once, so that there are enough of them.

    Raises:
        UserError: nothing is left.
    """
    rows = read_sources(raw)
    plan = Plan.of(params, version)
    store = cache / plan.key
    with locked(store):
        for left in store.glob(".*"):  # of a process that was killed; no other one holds the lock
            if left.name.endswith(".part"):
                left.unlink()
            elif left.name.endswith(".work"):
                remove_folder(left)
        units = {unit.key: unit for unit in map(_unit, rows) if unit is not None}
        notes, throughput = _noted(list(units.values()), raw / "files", store, plan, engine, workers)
        clips: list[RawClip] = []
        sources: list[dict[str, Any]] = []
        first_names: dict[str, str] = {}
        for row in rows:
            unit = _unit(row)
            note = notes.get(unit.key) if unit else None
            if unit and note is None:
                raise UserError(f"nothing came of {row['name']}: a source was lost; please report this")
            own, found = _clips(row, unit, note, store, params) if unit and note else ([], {})
            status, reason = _verdict(row, unit, note, found, own, first_names, params)
            if status != "kept":
                own = []
            if reason.startswith(_DUPLICATE):
                found = {}  # it is counted with the first
            clips += own
            sources.append(
                {key: row[key] for key in row if key != "file"}
                | {"status": status, "reason": reason, "clips": len(own), "frames": sum(c.length for c in own)}
                | found
            )
        _report_set_aside([s for s, row in zip(sources, rows, strict=True) if row["status"] == "ok"])
        summary = _summary(sources, clips)
        if not clips:
            raise UserError(
                f"none of {len(rows)} inputs gave a clip of {params.min_frames} frames "
                f"({tally_text(sources) or 'there were none'}): check fetch.source and transcode"
            )
        write_shards(
            fresh_folder(out),
            clips,
            sources,
            height=params.height,
            width=params.width,
            fps=params.fps,
            buckets=params.buckets,
            parameters=params.model_dump(exclude={"timeout_seconds", "ffmpeg", "engine", "storage"}),
            ffmpeg=version,
        )
    return Transcoded(summary, sources, throughput)


def tally(sources: Iterable[Mapping[str, Any]]) -> Counter[str]:
    """How often each reason stands there; what follows its colon belongs to one file only."""
    return Counter(source["reason"].split(":")[0] for source in sources if source["reason"])


def tally_text(sources: Iterable[Mapping[str, Any]]) -> str:
    """The commonest reasons in words."""
    return ", ".join(f"{count} {reason}" for reason, count in tally(sources).most_common(5))


def _unit(row: Mapping[str, Any]) -> Unit | None:
    """What has to be decoded for an input; None where there is nothing."""
    if row["status"] != "ok":
        return None
    start, end = row["start_seconds"], row["end_seconds"]
    return Unit(identity(row["sha256"], Path(row["file"]).suffix, start, end), row["file"], start, end)


def _noted(
    units: Sequence[Unit], files: Path, store: Path, plan: Plan, engine: Engine, workers: int
) -> tuple[dict[str, dict[str, Any]], dict[str, Any]]:
    """The notes on all units, by key, most from the cache in a rerun; and how fast it went."""
    began = time.monotonic()
    notes = {unit.key: note for unit in units if (note := read_note(store, unit.key, plan)) is not None}
    missing = [unit for unit in units if unit.key not in notes]
    made: dict[str, dict[str, Any]] = {}
    if missing:
        with progress("transcode", len(missing)) as advance:
            for done in engine(_batches(missing, files, workers), files, store, plan):
                made |= done
                for _ in done:
                    advance()
    seconds = time.monotonic() - began
    clips = [clip for note in made.values() for clip in note.get("clips", [])]
    return notes | made, {
        "decoded": len(made),
        "cached": len(notes),
        "seconds": round(seconds, 3),
        "frames": sum(clip["length"] for clip in clips),
        "video_seconds": round(sum(note.get("read_seconds", 0.0) for note in made.values()), 3),
    }


def _batches(units: Sequence[Unit], files: Path, workers: int) -> list[list[Unit]]:
    """Tiny files together, the others alone and first, since they take longest."""
    sizes = {unit.key: (files / unit.file).stat().st_size for unit in units}
    tiny = [unit for unit in units if is_tiny(files / unit.file)]
    alone = sorted(set(units) - set(tiny), key=lambda unit: (-sizes[unit.key], unit.key))
    out = [[unit] for unit in alone]
    most = max(1, min(BATCH, -(-len(tiny) // (2 * workers))))
    batch: list[Unit] = []
    for unit in tiny:
        if batch and (len(batch) == most or sum(sizes[u.key] for u in batch) + sizes[unit.key] > _BATCH_BYTES):
            out.append(batch)
            batch = []
        batch.append(unit)
    return [*out, batch] if batch else out


def _clips(
    row: Mapping[str, Any], unit: Unit, note: Mapping[str, Any], store: Path, params: TranscodeParams
) -> tuple[list[RawClip], dict[str, Any]]:
    """The clips of a source that are long enough and move, and what was found in it."""
    if "failed" in note:
        return [], {}
    long = [clip for clip in note["clips"] if clip["length"] >= params.min_frames]
    moving = [clip for clip in long if clip["motion"] >= params.min_motion]
    found = {key: note[key] for key in ("height", "width", "fps", "seconds", "source_frames", "bars")}
    found |= {key: note[key] for key in ("frozen_frames", "freezes", "cuts")}
    found |= {"still_clips": len(long) - len(moving), "short_clips": note["scenes"] - len(long)}
    clips = [
        RawClip(
            source=row["name"],
            sha256=row["sha256"],
            key=unit.key,
            number=clip["number"],
            group=row["group"],
            label=row["label"],
            fps=note["clip_fps"],
            motion=clip["motion"],
            frames=store / f"{unit.key}.rgb",
            first=clip["first"],
            length=clip["length"],
            start_seconds=round((unit.start_seconds or 0.0) + clip["start_seconds"], 6),
            part=row["part"],
        )
        for clip in moving
    ]
    return clips, found


def _verdict(
    row: Mapping[str, Any],
    unit: Unit | None,
    note: Mapping[str, Any] | None,
    found: Mapping[str, Any],
    clips: Sequence[RawClip],
    first_names: dict[str, str],
    params: TranscodeParams,
) -> tuple[str, str]:
    """Status and reason of an input; notes the first name of its bytes."""
    if unit is None or note is None:
        return "failed", row["reason"]
    if "failed" in note:
        return "failed", note["failed"]
    if unit.key in first_names:
        return "dropped", f"{_DUPLICATE}: same bytes as {first_names[unit.key]}"
    first_names[unit.key] = row["name"]
    if clips:
        return "kept", ""
    return "dropped", _why_no_clip(note, found, params)


def _why_no_clip(note: Mapping[str, Any], found: Mapping[str, Any], params: TranscodeParams) -> str:
    """The reason, with the parameter that decides it."""
    left = f"no clip of {params.min_frames} frames is left"
    if found["still_clips"]:
        most = max(clip["motion"] for clip in note["clips"])
        needed = f"{params.min_motion:g} needed (transcode.min_motion)"
        return f"too little motion: {most:.3g} grey levels a frame, {needed}"
    if found["freezes"]:
        repeats = f"{found['frozen_frames']} of {note['source_frames']} frames repeat"
        return f"frozen: {repeats}; {left} (transcode.max_freeze_seconds)"
    if found["cuts"]:
        return f"cut up: {_times(found['cuts'], 'cut')}; {left} (transcode.cut_threshold)"
    length = max((clip["length"] for clip in note["clips"]), default=1)
    rate = f" at {params.fps:g} fps" if params.fps else ""
    return f"too short: {_times(length, 'frame')}{rate}, {params.min_frames} needed (transcode.min_frames)"


def _times(count: int, what: str) -> str:
    return f"{count} {what}{'s' * (count != 1)}"


def _summary(sources: Sequence[Mapping[str, Any]], clips: Sequence[RawClip]) -> dict[str, Any]:
    counts = Counter(source["status"] for source in sources)
    found = {key: sum(source.get(key) or 0 for source in sources) for key in _FOUND}
    return {
        "inputs": len(sources),
        "kept": counts["kept"],
        "dropped": counts["dropped"],
        "failed": counts["failed"],
        "clips": len(clips),
        "frames": sum(clip.length for clip in clips),
        "seconds": round(sum(clip.length / clip.fps for clip in clips), 3),
        "bars": sum(bool(source.get("bars")) for source in sources),
        **found,
        "reasons": dict(sorted(tally(sources).items())),
    }


def _report_set_aside(sources: Sequence[Mapping[str, Any]]) -> None:
    aside = [source for source in sources if source["status"] != "kept"]
    tell_set_aside(
        ((source["name"], source["reason"]) for source in aside),
        tally(aside),
        more="results/transcode/card.html tells of them all, data/shards/sources.parquet lists them",
    )
