"""What a model card tells, put together from what the gate judges by and the tables of `evaluate`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pandas as pd
import pyarrow.parquet as pq

import vidpred
from vidpred.data.card_figures import counted, licences
from vidpred.data.shards import Shards
from vidpred.data.split import read_split
from vidpred.evaluation.intervals import beats, why_not
from vidpred.tracking.card import (
    CLASSES,
    LICENCES,
    LONGEST,
    Amount,
    Card,
    Data,
    Gain,
    Judged,
    Licence,
    OfClass,
    Rollout,
    Split,
    Task,
    Tenth,
)
from vidpred.tracking.card_text import limits_of
from vidpred.training.figures import interval_of, verdict

if TYPE_CHECKING:
    from vidpred.tracking.gate import Bench


def make_card(bench: Bench, evaluation: Path | None = None) -> dict[str, Any]:
    """What card.json is to hold.

    Args:
        bench: The model's scores, frames and split.
        evaluation: Folder of `rollout.parquet` and `deciles.parquet`, as `evaluate` leaves it; None: not told.
    """
    info, metrics = bench.info, bench.metrics
    model = str(info["name"])
    made = metrics.get("model", {})
    card = Card(
        model=model,
        weights_sha256=info["weights_sha256"],
        parameters=made.get("parameters"),
        operations=made.get("operations"),
        vidpred=vidpred.__version__,
        task=Task(
            **{key: info["task"].get(key, "predict") for key in ("kind", "context", "horizon", "height", "width")},
            interval=info["task"].get("interval", 1),
            fps=None if info.get("fps") is None else float(info["fps"]),
            fit=str(info.get("fit", "crop")),
        ),
        data=_data(bench.shards),
        licences=_licences(bench.shards),
        split=_split(bench.shards, bench.split, str(metrics["split"])),
        test=Judged(
            windows=len(bench.windows),
            baseline=verdict(metrics).baseline,
            metrics={name: dict(figures) for name, figures in metrics["test"].items()},
            gains=_gains(metrics),
            videos=metrics.get("videos", 0),
            top1_interval=metrics.get("top1_interval"),
            classes=[
                OfClass(
                    name=name[:LONGEST], **{key: row[key] for key in ("videos", "recall", "precision", "taken_for")}
                )
                for name, row in list(metrics.get("classes_of_test", {}).items())[:CLASSES]
            ],
        ),
        rollout=_rollout(evaluation),
        motion=_motion(evaluation, model),
        limits=[],
    )
    told = card.model_dump()
    return told | {"limits": limits_of(told)}


def _data(shards: Shards) -> Data:
    clips = shards.clips
    return Data(
        data_id=shards.data_id,
        clips=len(clips),
        groups=len({clip.group for clip in clips}),
        frames=sum(clip.length for clip in clips),
        seconds=round(sum(clip.length / clip.fps for clip in clips if clip.fps > 0), 1),
        sources=len({clip.sha256 for clip in clips}),
    )


def _licences(shards: Shards) -> list[Licence]:
    """Of the sources that clips were made of, the commonest first."""
    rows = pq.read_table(shards.folder / "sources.parquet", columns=["status", "licence"]).to_pylist()
    told = licences(row for row in rows if row["status"] == "kept")
    listed, (more, sources) = counted((text[:LONGEST] for text in told), most=LICENCES)
    found = [Licence(licence=name, sources=count) for name, count in listed]
    return found + ([Licence(licence=f"{more} others", sources=sources)] if more else [])


def _split(shards: Shards, folder: Path, kind: str) -> Split:
    def amount(part: Literal["train", "val", "test"]) -> Amount:
        segments = read_split(folder, part)
        clips = {segment.clip for segment in segments}
        groups = {shards.clips[clip].group for clip in clips}
        return Amount(clips=len(clips), groups=len(groups), frames=sum(segment.length for segment in segments))

    return Split(kind=kind, train=amount("train"), val=amount("val"), test=amount("test"))


def _gains(metrics: Mapping[str, Any]) -> dict[str, Gain]:
    found = {}
    for over in dict.fromkeys((verdict(metrics).baseline, "copy_last", "flow_gate")):
        gain = metrics.get(f"over_{over}")
        if gain is None:
            continue
        intervals = [interval_of(gain, kind) for kind in ("pooled", "macro")]
        pooled, macro = (None if interval is None else [float(end) for end in interval] for interval in intervals)
        found[over] = Gain(
            pooled=float(gain["pooled"]),
            macro=float(gain["macro"]),
            pooled_interval=pooled,
            macro_interval=macro,
            units=gain["units"],
            beats=bool(metrics.get(f"beats_{over}", beats(gain))),
            why_not=why_not(gain, unit="points" if metrics.get("kind") == "classify" else "%"),
        )
    return found


def _rollout(evaluation: Path | None) -> Rollout | None:
    path = None if evaluation is None else evaluation / "rollout.parquet"
    if path is None or not path.is_file():
        return None
    rows = pd.read_parquet(path, columns=["model", "step", "perceptual_distance"]).sort_values("step")
    distances = {str(name): [float(v) for v in own["perceptual_distance"]] for name, own in rows.groupby("model")}
    return Rollout(steps=int(rows["step"].max()), distances=distances)


def _motion(evaluation: Path | None, model: str) -> list[Tenth]:
    path = None if evaluation is None else evaluation / "deciles.parquet"
    if path is None or not path.is_file():
        return []
    rows = pd.read_parquet(path)
    mine = rows[rows["model"] == model].sort_values("decile")
    return [
        Tenth(windows=int(windows), motion=float(motion), gain=None if pd.isna(gain) else float(gain))
        for windows, motion, gain in zip(mine["windows"], mine["motion"], mine["gain"], strict=True)
    ]
