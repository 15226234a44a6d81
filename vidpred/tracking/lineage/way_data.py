"""The end of the way back: the split, the frames, and the files that these were made of, with their licences."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from vidpred import workspace
from vidpred.errors import UserError
from vidpred.tracking.card import CARD
from vidpred.tracking.lineage.hops import Hop, Source, of_record
from vidpred.tracking.lineage.reading import read_rows, read_yaml
from vidpred.tracking.lineage.record import CLIPS, plain, read_sources
from vidpred.tracking.lineage.subject import Subject

_PARTS = ("train", "val", "test")
_AMOUNTS = ("clips", "groups", "frames")


def split(subject: Subject) -> Hop:
    kind, sha256 = subject.tags.get("vidpred.split", ""), subject.tags.get("vidpred.split_sha256", "")
    told = read_yaml(subject.file("split.json"))
    known = (("the version's tag",) if kind else ()) + ((of_record(subject),) if told else ())
    if not kind and not told:
        why = subject.why("record", "no record tells of it")
        if not subject.card:
            return Hop("split", "unknown", unseen=why)
        card = subject.card["split"]
        facts = {part: _amount(*(card[part][of] for of in _AMOUNTS)) for part in _PARTS}
        return Hop("split", f"by {card['kind']}", known_from=(CARD,), facts=facts, unseen=why)
    facts = {part: _amount(*(told.get(of, {}).get(part, 0) for of in _AMOUNTS)) for part in _PARTS} if told else {}
    return Hop("split", f"by {kind or told.get('kind')}", sha256, "segments of all parts, sha256", known, facts)


def _amount(clips: int, groups: int, frames: int) -> str:
    return f"{clips:,} clips of {groups:,} groups, {frames:,} frames"


def data(subject: Subject) -> Hop:
    data_id = str(subject.info.get("data_id") or subject.tags.get("vidpred.data_id", ""))
    told, card = (subject.record or {}).get("data", {}), subject.card.get("data", {})
    folder = here(data_id)
    known = [place for place, there in (
        ("model.json", subject.info.get("data_id") == data_id),
        ("the version's tag", subject.tags.get("vidpred.data_id") == data_id),
        (CARD, card.get("data_id") == data_id),
        ("data/shards of this project", folder is not None),
    ) if data_id and there]  # fmt: skip
    facts = {}
    what = "frames"
    if told.get("clips") is not None:
        what = f"{told['clips']:,} clips, {told['frames']:,} frames of {told['size']}"
    elif card:
        what = f"{card['clips']:,} clips, {card['frames']:,} frames"
    if (subject.record or {}).get("ffmpeg"):
        facts["ffmpeg"] = str((subject.record or {})["ffmpeg"])
    why = "" if folder else "the frames themselves are not in this project's data/shards"
    return Hop("data", what, data_id, "data_id, over the shards", tuple(known), facts, why)


def licences(subject: Subject, sources: list[Source]) -> Hop:
    told = (subject.record or {}).get("data", {})
    if sources:
        counted = Counter(source.licence for source in sources)
        known = of_record(subject) if subject.file(CLIPS) else "data/shards of this project"
        return Hop("sources", f"{len(sources):,} files", known_from=(known,), facts=_counts(counted))
    if told.get("licences"):
        return Hop(
            "sources", f"{told['sources']:,} files", known_from=(of_record(subject),), facts=_counts(told["licences"]),
            unseen="too many to be kept one by one",
        )  # fmt: skip
    why = subject.why("record", "neither the record nor data/shards tells of them")
    if not subject.card:
        return Hop("sources", "unknown", unseen=why)
    counted = Counter({one["licence"]: one["sources"] for one in subject.card["licences"]})
    return Hop(
        "sources", f"{subject.card['data']['sources']:,} files", known_from=(CARD,), facts=_counts(counted), unseen=why
    )


def _counts(counted: Mapping[str, int]) -> dict[str, str]:
    return {name: f"{count:,} file{'s' * (count != 1)}" for name, count in Counter(counted).most_common()}


def sources(subject: Subject) -> list[Source]:
    kept = subject.file(CLIPS)
    rows = read_rows(kept) if kept else _rows_here(str(subject.info.get("data_id", "")))
    found: dict[tuple[str, str], list[Mapping[str, str]]] = {}
    for row in rows:
        found.setdefault((row.get("source", ""), row.get("sha256", "")), []).append(row)
    return [
        Source(
            name, sha256, clips[0].get("licence") or "unknown", len(clips),
            " ".join(sorted({part for clip in clips for part in clip.get("part", "").split()})),
        )
        for (name, sha256), clips in sorted(found.items())
    ]  # fmt: skip


def _rows_here(data_id: str) -> list[dict[str, str]]:
    folder = here(data_id)
    if folder is None:
        return []
    return [
        {"source": plain(str(row["name"])), "sha256": str(row["sha256"]), "licence": str(row["licence"] or "")}
        for row in read_sources(folder)
        if row["status"] == "kept"
        for _ in range(row["clips"] or 1)
    ]


def here(data_id: str) -> Path | None:
    """The project's shards, if they are those; without looking at every byte."""
    try:
        folder = workspace.find_root() / "data/shards"
        told = json.loads((folder / "meta.json").read_bytes())["data_id"]
    except (UserError, OSError, ValueError, KeyError, TypeError):
        return None
    return folder if data_id and told == data_id else None
