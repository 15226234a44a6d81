"""What the models of a task are compared by: PD window by window where frames are predicted, top-1 video by video where
clips are classified.

In: a `Bench`, and another model. Out: the gain over it on the same clips, and figures for tags, receipts and reasons.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from vidpred.evaluation.classes import by_video, score_windows
from vidpred.evaluation.intervals import Gain, as_gain, paired_difference, paired_gain, why_not
from vidpred.evaluation.scoring import score_model
from vidpred.models.files import task_from
from vidpred.training.figures import verdict
from vidpred.types import Classifier, Model, Predictor, Window

if TYPE_CHECKING:
    from vidpred.tracking.gate import Bench

PD, TOP1 = "perceptual_distance", "top1"


class Held(NamedTuple):
    """A candidate held against another model."""

    gain: Gain
    """Of the candidate: a share of the other's PD, or points of top-1."""
    told: str
    """The figures of both, in words."""
    figures: dict[str, float]
    """Of the other."""
    why_not: str
    """What keeps the gain from being a claim; empty where it is one."""


def classifies(info: Mapping[str, Any]) -> bool:
    """Whether the model of a model.json is a classifier."""
    return bool(info["task"].get("kind") == "classify")


def held_against(bench: Bench, other: Model) -> Held:
    """The gain over another model of the same task on the bench's clips.

    Raises:
        UserError: the other's scores are not finite.
    """
    clips = {clip.id: row for row, clip in enumerate(bench.shards.clips)}
    mine = bench.windows
    windows = [Window(clips[clip], int(start)) for clip, start in zip(mine["clip"], mine["start"], strict=True)]
    if isinstance(other, Classifier):
        return _by_video(bench, other, windows)
    assert isinstance(other, Predictor)
    rows = score_model(
        other, bench.shards, windows, task=task_from(bench.info["task"]), flow=bench.flow, crop=bench.crop,
        batch_size=bench.batch_size, device=bench.device,
    )  # fmt: skip
    blocks = mine["block"] if bench.metrics["split"] == "time" else None
    gain = paired_gain(mine[PD], rows[PD], mine["group"], blocks=blocks)
    same = _same(len(mine), "window")
    told = f"PD {mine[PD].mean():.2f} against {rows[PD].mean():.2f} on {same}"
    return Held(gain, told, {PD: float(rows[PD].mean())}, why_not(gain))


def _by_video(bench: Bench, other: Classifier, windows: list[Window]) -> Held:
    task, mine = task_from(bench.info["task"]), bench.windows
    rows = score_windows(
        other, bench.shards, windows, task=task, flow=bench.flow, batch_size=bench.batch_size, device=bench.device
    ).assign(group=mine["group"])
    ours, theirs = by_video(mine, task.classes), by_video(rows, task.classes)
    gain = as_gain(paired_difference(ours[TOP1], theirs[TOP1], ours["group"]))
    told = f"top-1 {_percent(ours[TOP1].mean())} against {_percent(theirs[TOP1].mean())} on {_same(len(ours), 'video')}"
    return Held(gain, told, {TOP1: float(theirs[TOP1].mean())}, why_not(gain, unit="points"))


def figures_of(info: Mapping[str, Any], metrics: Mapping[str, Any]) -> dict[str, float]:
    """What a receipt and a version's tags tell of a model: its figure on test, that of its bar, the gain over it.

    Args:
        info: Its model.json.
        metrics: results/evaluate/metrics.json.
    """
    bar, gain, _ = verdict(metrics)
    figure = TOP1 if classifies(info) else PD
    found = {
        name: float(metrics["test"][key][figure]) for name, key in ((figure, info["name"]), (f"{bar}_{figure}", bar))
    }
    if interval := metrics.get("top1_interval"):
        found |= dict(zip(("top1_low", "top1_high"), map(float, interval), strict=True))
    return found | {"gain_pooled": float(gain["pooled"]), "gain_macro": float(gain["macro"])}


def _same(count: int, what: str) -> str:
    return f"the one test {what}" if count == 1 else f"the same {count} test {what}s"


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"
