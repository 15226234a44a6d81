"""Two models side by side: parameters, data, figures on test, pictures.

In: two `Subject`s. Out: only what differs of the parameters; clips that only one of them knows; each figure with its
difference, and, on the test windows that both were judged on, the interval of that difference.
"""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from vidpred.evaluation.intervals import MIN_UNITS, paired_difference
from vidpred.tracking import store
from vidpred.tracking.entries import flat
from vidpred.tracking.lineage.reading import read_rows, read_yaml
from vidpred.tracking.lineage.record import CLIPS, WINDOWS
from vidpred.tracking.lineage.subject import Subject, identity_of
from vidpred.training.figures import FURTHER_HIGHER_IS_BETTER, FURTHER_UNITS, HIGHER_IS_BETTER, UNITS

_UNITS = UNITS | FURTHER_UNITS | {"top1": "", "top5": "", "cross_entropy": ""}
_UP = HIGHER_IS_BETTER | FURTHER_HIGHER_IS_BETTER | {"top1": True, "top5": True, "cross_entropy": False}

Pair = tuple[str, str]
_Rows = tuple[Mapping[Any, Any], Mapping[Any, Any]]
"""Of both models, on the same window or video."""
_PICTURES, _LARGEST_PICTURE = 12, 4_000_000


@dataclass(frozen=True)
class Figure:
    """A metric of both on test."""

    name: str
    unit: str
    one: float
    other: float
    better: str
    """`one`, `other`, or nothing where they are equal or neither way is better."""
    interval: tuple[float, float] | None = None
    """Of the second's minus the first's, 95 %, on the windows that both were judged on; None: not known."""
    clear: bool = False
    """Whether the interval, pooled and macro, lies on one side of zero, and rests on enough units."""


@dataclass(frozen=True)
class Picture:
    """One test clip, predicted or classified by both."""

    source: str
    start: int
    one: bytes
    """GIF."""
    other: bytes
    said: Pair = ("", "")
    """What a classifier says of it, and what it is; nothing of one that predicts."""


@dataclass
class Comparison:
    """Of two models."""

    models: Pair
    same: bool = False
    """Whether both are one model: weights, name, config and task."""
    identity: dict[str, Pair] = field(default_factory=dict)
    """Weights, commit, data and the like, where they differ."""
    params: dict[str, Pair] = field(default_factory=dict)
    """Fields of params.yaml that differ; `–` where one has none."""
    config: dict[str, Pair] = field(default_factory=dict)
    """Fields of the models and of what they were asked for that differ."""
    clips: dict[str, int] | None = None
    """How many are in both, only in the first, only in the second; None: not known."""
    added: list[str] = field(default_factory=list)
    """Sources of clips that only the second has."""
    removed: list[str] = field(default_factory=list)
    """Sources of clips that only the first has."""
    moved: int = 0
    """Clips that are in another part of the split."""
    figures: list[Figure] = field(default_factory=list)
    windows: str = ""
    """On what the figures rest."""
    pictures: list[Picture] = field(default_factory=list)
    unseen: list[str] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """In plain values, without the pictures."""
        told = asdict(self)
        told["pictures"] = [{"source": one.source, "start": one.start, "said": one.said} for one in self.pictures]
        return told


def compare(one: Subject, other: Subject, *, pictures: bool) -> Comparison:
    """Holds two models against each other.

    Args:
        one: The first.
        other: The second: differences are its minus the first's.
        pictures: Whether to fetch them.
    """
    found = Comparison((one.uri, other.uri), same=_same(one, other))
    _identity(found, one, other)
    sides = [read_yaml(subject.file("params.yaml")) for subject in (one, other)]
    if all(sides):
        found.params = _differ(*(flat(side) for side in sides))
    else:
        found.unseen.append("params.yaml: not on record of both")
    found.config = _differ(*(_model(subject) for subject in (one, other)))
    _clips(found, one, other)
    _figures(found, one, other)
    if pictures:
        _pictures(found, one, other)
    return found


def _same(one: Subject, other: Subject) -> bool:
    identities = [identity_of(subject.info) if subject.info else "" for subject in (one, other)]
    return identities[0] == identities[1] != ""


def _differ(one: Mapping[str, str], other: Mapping[str, str]) -> dict[str, Pair]:
    return {
        name: (one.get(name, "–"), other.get(name, "–"))
        for name in sorted({*one, *other})
        if one.get(name) != other.get(name)
    }


def _model(subject: Subject) -> dict[str, str]:
    info = subject.info
    parts = {"name": info.get("name", ""), "config": info.get("config", {}), "task": info.get("task", {})}
    return flat(parts | {"fps": info.get("fps", ""), "fit": info.get("fit", "")})


def _identity(found: Comparison, one: Subject, other: Subject) -> None:
    def told(subject: Subject) -> dict[str, str]:
        record, tags = subject.record or {}, subject.tags
        code = record.get("git") or {}
        return {
            "weights": str(subject.info.get("weights_sha256", ""))[:16],
            "commit": str(code.get("commit") or tags.get("vidpred.git_commit", ""))[:16],
            "changed code": (record.get("files") or {}).get("code.patch", "")[:16] or "none",
            "experiment": str((record.get("dvc") or {}).get("experiment", "")) or "none",
            "data": str(subject.info.get("data_id", ""))[:16],
            "split": tags.get("vidpred.split_sha256", "")[:16],
            "sweep": (record.get("keys") or {}).get("tune", "") or "none",
            "requirements": (record.get("files") or {}).get("requirements.lock", "")[:16],
        }

    found.identity = _differ(told(one), told(other))


def _clips(found: Comparison, one: Subject, other: Subject) -> None:
    sides = [read_rows(kept) if (kept := subject.file(CLIPS)) else [] for subject in (one, other)]
    if not all(sides):
        if one.info.get("data_id") != other.info.get("data_id"):
            found.unseen.append("clips added and removed: not on record of both")
        return
    first, second = ({row.get("id", ""): row for row in side} for side in sides)
    both = first.keys() & second.keys()
    found.clips = {
        "both": len(both),
        "only the first": len(first) - len(both),
        "only the second": len(second) - len(both),
    }
    found.removed = sorted({first[name].get("source", "") for name in first.keys() - both})
    found.added = sorted({second[name].get("source", "") for name in second.keys() - both})
    found.moved = sum(first[name].get("part") != second[name].get("part") for name in both)


def _figures(found: Comparison, one: Subject, other: Subject) -> None:
    sides = [_test(subject) for subject in (one, other)]
    shared = [name for name in _UNITS if all(name in side for side in sides)]
    if not shared:
        found.unseen.append("figures on test: not on record of both")
        return
    rows = _shared_windows(one, other)
    if rows:
        counts = {len(read_rows(path)) for subject in (one, other) if (path := subject.file(WINDOWS))}
        whole = counts == {len(rows)}
        found.windows = f"{len(rows):,} test windows" + (
            "" if whole else " that both were judged on, for the intervals"
        )
    else:
        found.windows = "different test windows, or not on record: the figures cannot be compared strictly"
    blocks = "time" in {subject.tags.get("vidpred.split") for subject in (one, other)}
    if rows and all(subject.info.get("task", {}).get("kind") == "classify" for subject in (one, other)):
        rows, blocks = _videos(rows, one, other), False
        found.windows = f"{len(rows):,} test videos, {found.windows}" if rows else "test windows of other classes"
    for name in shared:
        first, second = sides[0][name], sides[1][name]
        up = _UP.get(name)
        better = "" if up is None or first == second else ("other" if (second > first) == up else "one")
        interval, clear = _interval(rows, name, blocks=blocks)
        found.figures.append(Figure(name, _UNITS[name], first, second, better, interval, clear))


def _test(subject: Subject) -> dict[str, float]:
    """Figures on test: of the record, else of the run."""
    told = read_yaml(subject.file("metrics.json")).get("test")
    name = str(subject.info.get("name", ""))
    if isinstance(told, Mapping) and isinstance(told.get(name), Mapping):
        values: Mapping[str, Any] = told[name]
    elif subject.run is not None:
        values = {
            key.removeprefix("test_"): value for key, value in subject.run.data.metrics.items() if key[:5] == "test_"
        }
    else:
        values = {}
    return {
        key: float(value) for key, value in values.items() if isinstance(value, int | float) and math.isfinite(value)
    }


def _shared_windows(one: Subject, other: Subject) -> list[_Rows]:
    sides = [read_rows(kept) if (kept := subject.file(WINDOWS)) else [] for subject in (one, other)]
    theirs = {(row.get("clip"), row.get("start")): row for row in sides[1]}
    return [(row, theirs[at]) for row in sides[0] if (at := (row.get("clip"), row.get("start"))) in theirs]


def _videos(rows: Sequence[_Rows], one: Subject, other: Subject) -> list[_Rows]:
    """What two classifiers of the same classes say of each video, by the windows that both have judged; else none."""
    import pandas as pd

    from vidpred.evaluation.classes import by_video

    classes, theirs = (list(subject.info["task"].get("classes", ())) for subject in (one, other))
    scores = {f"p{i}": float for i in range(len(classes))}
    if classes != theirs:
        return []
    try:
        first, second = (
            by_video(pd.DataFrame([pair[side] for pair in rows]).astype(scores), classes).to_dict("records")
            for side in (0, 1)
        )
    except (KeyError, ValueError):  # a record of another form
        return []
    return list(zip(first, second, strict=True))


def _interval(rows: Sequence[_Rows], name: str, *, blocks: bool) -> tuple[tuple[float, float] | None, bool]:
    if len(rows) < 2:
        return None, False
    try:
        second, first = ([float(pair[side][name]) for pair in rows] for side in (1, 0))
        told = paired_difference(
            second,
            first,
            [pair[0]["group"] for pair in rows],
            blocks=[pair[0]["block"] for pair in rows] if blocks else None,
        )
    except (KeyError, ValueError):
        return None, False
    if told["units"] < 2:
        return None, False
    low, high = told["pooled_interval"]
    ends = [*told["pooled_interval"], *told["macro_interval"]]
    clear = told["units"] >= MIN_UNITS and (min(ends) > 0 or max(ends) < 0)
    return (low, high), clear


def _pictures(found: Comparison, one: Subject, other: Subject) -> None:
    sides = [_of_run(subject) for subject in (one, other)]
    for at in sides[0]:
        if at in sides[1] and len(found.pictures) < _PICTURES:
            (first, one_says), (second, other_says) = sides[0][at], sides[1][at]
            found.pictures.append(Picture(*at, first, second, (one_says, other_says)))
    if not found.pictures:
        found.unseen.append("pictures: none of the same test clip on both runs")


def _of_run(subject: Subject) -> dict[tuple[str, int], tuple[bytes, str]]:
    """GIFs of test clips that a run has, and what a classifier says of them, by source and first frame."""
    if subject.run is None:
        return {}
    from mlflow.artifacts import download_artifacts

    client, run_id, uri = store.connect(), str(subject.run.info.run_id), store.tracking_uri()
    found: dict[tuple[str, int], tuple[bytes, str]] = {}
    try:
        with tempfile.TemporaryDirectory(prefix="vidpred-") as temporary, store.explained("pictures cannot be fetched"):
            there = {PurePosixPath(f.path).name: f.file_size or 0 for f in client.list_artifacts(run_id, "pictures")}

            def get(name: str) -> bytes:
                if not 0 < there.get(name, 0) <= _LARGEST_PICTURE:
                    return b""
                return Path(
                    download_artifacts(
                        run_id=run_id, artifact_path=f"pictures/{name}", dst_path=temporary, tracking_uri=uri
                    )
                ).read_bytes()

            captions = json.loads(get("pictures.json") or b"[]")
            for number, caption in enumerate(captions[:_PICTURES] if isinstance(captions, list) else []):
                content = get(f"{number}.gif")
                if content.startswith((b"GIF87a", b"GIF89a")):
                    found[str(caption["source"]), int(caption["start"])] = content, _said(caption)
    except (store.StoreError, ValueError, KeyError, TypeError):
        return found
    return found


def _said(caption: Mapping[str, Any]) -> str:
    """`left, taken for up (93 %)`, `left (98 %)`."""
    if "predicted" not in caption:
        return ""
    label, predicted, sure = str(caption["label"]), str(caption["predicted"]), f"({100 * caption['believed']:.0f} %)"
    return f"{label} {sure}" if label == predicted else f"{label}, taken for {predicted} {sure}"
