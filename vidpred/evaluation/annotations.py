"""Which stretches of which videos are of which class, as files: a table, or ActivityNet's JSON.

    video,start,end,label                    {"database": {"match": {"annotations": [
    match.mp4,12.5,14.0,goal                    {"segment": [12.5, 14.0], "label": "goal"}]}}}

Times are in seconds. A video is told by its file's name, with or without the suffix. What was found is written as
ActivityNet's results are, so that its own tools can judge it.
"""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vidpred.errors import UserError
from vidpred.evaluation.detections import Span
from vidpred.workspace import atomic

_COLUMNS = ("video", "start", "end", "label")


def read_truth(path: Path) -> dict[str, list[Span]]:
    """What happens in videos, by the name of the video as the file has it.

    Raises:
        UserError: there is no such file, or it is not of this form; says where.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        said = getattr(error, "strerror", None) or "it is no text"
        raise UserError(f"{path} cannot be read: {said}") from None
    return _of_json(path, text) if path.suffix.lower() == ".json" else _of_table(path, text)


def named(truth: Mapping[str, Sequence[Span]], video: Path) -> list[Span] | None:
    """The truth of a video, by its name with or without suffix; None: it is not told."""
    for name in (video.name, video.stem, f"v_{video.stem}", str(video)):
        if name in truth:
            return list(truth[name])
    of_stem = [spans for name, spans in truth.items() if Path(name).stem == video.stem]
    return list(of_stem[0]) if len(of_stem) == 1 else None


def _of_table(path: Path, text: str) -> dict[str, list[Span]]:
    rows = csv.DictReader(text.splitlines())
    missing = [name for name in _COLUMNS if name not in (rows.fieldnames or ())]
    if missing:
        raise UserError(f"{path} has no column {', '.join(missing)}: its first line must be {','.join(_COLUMNS)}")
    truth: dict[str, list[Span]] = {}
    for row in rows:
        spans = truth.setdefault((row["video"] or "").strip(), [])
        if row["label"] or row["start"] or row["end"]:  # a video alone: nothing happens in it
            spans.append(_span(row["start"], row["end"], row["label"], f"{path}, line {rows.line_num}"))
    return truth


def _of_json(path: Path, text: str) -> dict[str, list[Span]]:
    try:
        database = json.loads(text)["database"]
        return {
            name: [
                _span(start, end, one["label"], f"{path}, {name}")
                for one in entry["annotations"]
                for start, end in [one["segment"]]
            ]
            for name, entry in database.items()
        }
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"{path} is not as ActivityNet's annotations are ({type(error).__name__}: {error}): expected "
            '{"database": {VIDEO: {"annotations": [{"segment": [0.0, 1.5], "label": "goal"}]}}}'
        ) from None


def _span(start: Any, end: Any, label: Any, where: str) -> Span:
    try:
        begin, stop = float(start), float(end)
    except (TypeError, ValueError):
        raise UserError(f"{where}: start {start!r} and end {end!r} are to be seconds") from None
    if not (math.isfinite(begin) and math.isfinite(stop) and 0 <= begin < stop):
        raise UserError(f"{where}: from {begin:g} to {stop:g} s is no stretch")
    if not isinstance(label, str) or not label.strip():
        raise UserError(f"{where}: it has no label")
    return Span(begin, stop, label.strip())


def write_truth(path: Path, truth: Mapping[str, Sequence[Span]]) -> None:
    """Writes a table that `read_truth` reads."""
    with atomic(path) as part, part.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(_COLUMNS)
        for video, spans in truth.items():
            rows.writerows([video, f"{span.start:g}", f"{span.end:g}", span.label] for span in spans)
            if not spans:
                rows.writerow([video, "", "", ""])


def write_found(path: Path, found: Mapping[str, Sequence[Span]]) -> None:
    """Writes stretches in the form of ActivityNet's results; folders above the file are made.

    Raises:
        UserError: it cannot be written.
    """
    results = {
        video: [
            {"label": s.label, "score": round(s.score, 4), "segment": [round(s.start, 3), round(s.end, 3)]}
            for s in spans
        ]
        for video, spans in found.items()
    }
    told = {"version": "VERSION 1.3", "results": results, "external_data": {"used": False, "details": ""}}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic(path) as part:
            part.write_text(json.dumps(told, indent=1) + "\n")
    except OSError as error:
        raise UserError(f"{path} could not be written: {error.strerror or error}") from None
