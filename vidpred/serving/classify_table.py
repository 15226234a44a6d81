"""Classes of clips and segments of videos as lines for people or programs, and as one table for all.

In: what was found of a clip. Out: text; a CSV file.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path

from vidpred.errors import UserError
from vidpred.evaluation.detections import Span
from vidpred.serving.classify import Classified
from vidpred.serving.localise import Found
from vidpred.serving.timeline import table
from vidpred.workspace import atomic

_COLUMNS = ("clip", "start", "end", "class", "score")


class Lines:
    """What is told of each clip, as it comes.

    Args:
        names: Of several clips, for columns of one width below a heading; empty: a single one.
        classes: Of the model.
        top: Classes that are told of each.
        as_json: Whether a line is JSON.
    """

    def __init__(self, names: Sequence[str], classes: Sequence[str], *, top: int, as_json: bool) -> None:
        self._top, self._as_json = min(top, len(classes)), as_json
        self._name = max(map(len, (*names, "clip"))) if names else 0
        self._class = max(map(len, (*classes, "class")))
        self._begun = False

    def of_clip(self, name: str, said: Classified) -> str:
        """The classes of a clip, likeliest first."""
        if self._as_json:
            return json.dumps({"clip": name, "class": said.name, "scores": said.probabilities})
        top = said.top(self._top)
        if not self._name:
            return f"{name}: {', '.join(f'{label} {100 * share:.1f} %' for label, share in top.items())}"
        cells = "".join(f"  {label:<{self._class}} {100 * share:>5.1f} %" for label, share in top.items())
        line = f"{name:<{self._name}}{cells}"
        if self._begun:
            return line
        self._begun = True
        return f"{'clip':<{self._name}}  {'class':<{self._class}} {'sure':>7}\n{line}"

    def of_video(self, name: str, found: Found, threshold: float) -> str:
        """The segments of a video, in order of time."""
        if not self._as_json:
            self._begun = False  # clips that follow get their heading again
            return "\n".join(table(found, threshold, name=name))
        segments = [
            {"start": round(s.start, 3), "end": round(s.end, 3), "class": s.label, "score": round(s.score, 4)}
            for s in found.told(threshold)
        ]
        return json.dumps({"clip": name, "seconds": round(found.seconds, 3), "segments": segments})


def write_table(path: Path, rows: Sequence[tuple[str, Classified | Sequence[Span]]], classes: Sequence[str]) -> None:
    """Writes a row a clip with what is believed of each class, and a row a segment of videos that were looked
    through; of one without segments the name alone.

    Args:
        path: Of the CSV file; folders above it are made.
        rows: Names of clips, each with its classes or segments.
        classes: In the order of the columns.

    Raises:
        UserError: it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic(path) as part, part.open("w", newline="", encoding="utf-8", errors="surrogateescape") as file:
            table = csv.writer(file)
            table.writerow([*_COLUMNS, *classes])
            for name, told in rows:
                if isinstance(told, Classified):
                    shares = [f"{told.probabilities[label]:.6f}" for label in classes]
                    table.writerow([name, "", "", told.name, f"{told.probability:.6f}", *shares])
                else:
                    if not told:  # a video in which nothing was found is in the table too
                        table.writerow([name, *[""] * (len(_COLUMNS) - 1 + len(classes))])
                    for span in told:
                        known = [name, f"{span.start:.3f}", f"{span.end:.3f}", span.label, f"{span.score:.6f}"]
                        table.writerow([*known, *[""] * len(classes)])
    except OSError as error:
        raise UserError(f"{path} could not be written: {error.strerror or error}") from None
