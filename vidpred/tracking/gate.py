"""Which alias a new version gets: `champion` is earned on the test clips, never by arrival.

In: the candidate's scores, what it was made from, and the present champion as a local folder. Out: the alias and the
reason in words.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pandas as pd
import torch

from vidpred import workspace
from vidpred.config import FlowParams
from vidpred.data.shards import Shards
from vidpred.data.split import read_split
from vidpred.errors import UserError
from vidpred.evaluation.intervals import beats
from vidpred.models.files import load_model
from vidpred.tracking.aliases import CHALLENGER, CHAMPION
from vidpred.tracking.measure import held_against
from vidpred.tracking.package import SEEN
from vidpred.training.figures import verdict
from vidpred.types import Model


@dataclass(frozen=True)
class Decision:
    """The verdict."""

    alias: Literal["champion", "challenger"] | None
    """`challenger`: it beats copying, but not the champion, or could not be compared with it. None: it does not beat
    copying, so that there is nothing to use it for."""
    reason: str
    """In words."""
    champion: dict[str, Any] = field(default_factory=dict)
    """`weights_sha256` of the champion that it was held against, and the gain over it where it was compared."""


@dataclass(frozen=True)
class Bench:
    """What versions are compared on."""

    info: Mapping[str, Any]
    """The candidate's model.json."""
    metrics: Mapping[str, Any]
    """results/evaluate/metrics.json."""
    windows: pd.DataFrame
    """The candidate's rows of windows.parquet."""
    shards: Shards
    """The frames."""
    split: Path
    """Folder of the split."""
    flow: FlowParams
    """How flow is computed."""
    batch_size: int
    """Windows predicted at once."""
    crop: int | None
    """Side of the middle square that is scored; None: all of the frame."""
    device: torch.device
    """Where to compute."""


def seen_by(shards: Shards, split: Path) -> dict[str, Any]:
    """What a model trained on this split has seen: groups and sources of train and val, and which split it was."""
    clips = [shards.clips[s.clip] for part in ("train", "val") for s in read_split(split, part)]
    segments = {
        part: [(s.clip, s.start, s.length) for s in read_split(split, part)] for part in ("train", "val", "test")
    }
    return {
        "data_id": shards.data_id,
        "groups": sorted({clip.group for clip in clips}),
        "sources": sorted({clip.sha256 for clip in clips}),
        "split_sha256": workspace.digest({"data_id": shards.data_id, "segments": segments}),
    }


def read_seen(folder: Path) -> dict[str, Any]:
    """What a model was trained and chosen on, as `seen_by` gave it.

    Raises:
        UserError: it does not tell.
    """
    try:
        seen = json.loads((folder / SEEN).read_bytes())
        lists = [seen[key] for key in ("groups", "sources")]
        if not all(isinstance(name, str) for names in lists for name in names):
            raise TypeError
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        raise UserError(f"{folder / SEEN} does not tell what it was trained on, which may be these clips") from None
    whole: dict[str, Any] = seen
    return whole


def decide(bench: Bench, champion: Path | None, *, called: str = "the champion") -> Decision:
    """The alias of a candidate that is not the champion itself.

    Args:
        bench: What it is compared on.
        champion: The present champion's folder; None: there is none.
        called: The champion, in the reason.
    """
    bar, _, ahead = verdict(bench.metrics)
    if not ahead:
        why = bench.metrics.get("why_not") or "the interval of its gain holds zero"
        return Decision(None, f"it does not beat {bar}: {why}")
    if champion is None:
        return Decision(CHAMPION, f"it beats {bar}, and there was no champion")
    try:
        model, info = load_model(champion, Model)
        seen = read_seen(champion)
    except UserError as error:
        # its folder is a temporary one: its name says nothing, and is another one each time
        why = str(error).replace(f"{champion}/", "").replace(str(champion), "it")
        return Decision(CHALLENGER, f"not compared: {called} cannot be loaded here ({why})")
    against = {"weights_sha256": info["weights_sha256"]}
    other = other_task(info, bench.info)
    if other:
        return Decision(CHALLENGER, f"not compared: {called} is for another task, {other}", against)
    known = has_seen(seen, bench)
    if known:
        return Decision(CHALLENGER, f"not compared: {called} was trained on {known}", against)
    held = held_against(bench, model)
    against |= held.figures | {"gain": dict(held.gain)}
    if beats(held.gain):
        return Decision(CHAMPION, f"it beats {bar} and {called}: {held.told}", against)
    return Decision(CHALLENGER, f"it does not beat {called}: {held.told}; {held.why_not}", against)


def other_task(champion: Mapping[str, Any], candidate: Mapping[str, Any]) -> str:
    """How what two models were made for differs, by their model.json, in words; empty where they agree."""
    # at another frame rate things move further from frame to frame; fitted otherwise they have another size and form
    theirs, ours = (
        {"fps": "unknown", "fit": "unknown"} | {key: info[key] for key in ("fps", "fit") if key in info} | info["task"]
        for info in (champion, candidate)
    )
    differs = {
        name: f"{name} {theirs.get(name)} instead of {ours.get(name)}"
        for name in sorted({*theirs, *ours})
        if theirs.get(name) != ours.get(name)
    }
    if "kind" in differs:
        return differs["kind"]  # the rest follows from it
    if "classes" in differs:
        differs["classes"] = _other_classes(theirs.get("classes", ()), ours.get("classes", ()))
    return ", ".join(differs.values())


def _other_classes(theirs: Sequence[str], ours: Sequence[str]) -> str:
    """What is other about classes; those of a data set would fill a page."""
    unknown, missing = sorted({*theirs} - {*ours}), sorted({*ours} - {*theirs})
    told = [
        f"{word} {', '.join(names[:3])}" + (f" and {len(names) - 3} more" if len(names) > 3 else "")
        for word, names in (("with", unknown), ("without", missing))
        if names
    ]
    return f"classes {' and '.join(told)}" if told else "classes in another order"


def has_seen(seen: Mapping[str, Any], bench: Bench) -> str:
    """Which of the test clips a model knows, in words; empty where none."""
    if seen.get("split_sha256") == seen_by(bench.shards, bench.split)["split_sha256"]:
        return ""  # the very same split; by time its groups are in every part, the frames are not
    test = [bench.shards.clips[s.clip] for s in read_split(bench.split, "test")]
    groups = {clip.group for clip in test} & set(seen.get("groups", ()))
    sources = {clip.source for clip in test if clip.sha256 in set(seen.get("sources", ()))}
    known = sorted(groups or sources)
    if not known:
        return ""
    more = f" and {len(known) - 3} more" if len(known) > 3 else ""
    return f"{len(known)} of the {'groups' if groups else 'files'} in this test part ({', '.join(known[:3])}{more})"
