"""Decides which clips train, which choose and which judge."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vidpred.config import Params, load_params
from vidpred.data.duplicates import group_names, near_duplicates
from vidpred.data.leakage import Checked, copies_across, report, source_of, told
from vidpred.data.selection import choose, classes_told, copies_of, doubts, overruled, standing_still
from vidpred.data.shards import Shards
from vidpred.data.split import counted, figures, kind_of, make_split, write_groups, write_split
from vidpred.errors import UserError
from vidpred.records import Segment
from vidpred.workspace import cores, run_stage, write_json

log = logging.getLogger(__name__)
RESULTS = Path("results/split")


def main() -> None:
    """Writes data/split, results/split/summary.json and results/split/leakage.json.

    Raises:
        UserError: no split can be made, or near-duplicates lie in two parts of the one that was.
    """
    params = load_params()
    shards = Shards("data/shards")
    clips, span = shards.clips, params.task.span
    labelled = params.task.kind == "classify"
    chosen = choose(clips, params.split, span=span, labelled=labelled)
    pairs, groups, copies = _near_duplicates(shards, chosen.rows, params)
    left_out = chosen.left_out | {row: f"copy: of {clips[stays].source}" for row, stays in copies.items()}
    rows = [row for row in chosen.rows if row not in copies]
    if labelled:
        log.info("%s", classes_told(clips, rows))
        if doubt := overruled(clips, rows):
            log.warning("%s", doubt)
    kind, split = make_split(clips, params.split, span=span, groups=groups, rows=rows, labelled=labelled)
    write_split(Path("data/split"), split)
    write_groups(Path("data/split"), clips, split, groups=groups, left_out=left_out)
    summary = figures(
        clips, split, kind=kind, asked=params.split.kind, groups=groups, pairs=len(pairs), left_out=left_out
    )
    write_json(RESULTS / "summary.json", summary)
    _tell(summary)
    for doubt in doubts(clips, split, groups, kind):
        log.warning("%s", doubt)
    if not labelled:
        _tell_what_stands_still(shards, split["test"], params)
    checked = copies_across(shards, split)
    write_json(RESULTS / "leakage.json", report(clips, checked, kind=kind))
    # figures on an official split are compared with those in print, which were made with its leaks
    _judge(shards, checked, kind, refuse=kind != "official" and params.split.leaks == "refuse")


def _near_duplicates(
    shards: Shards, rows: Sequence[int], params: Params
) -> tuple[list[tuple[int, int]], list[str], dict[int, int]]:
    """Pairs of near-duplicates, the group of each clip once they are joined, and the copies that are left out."""
    clips, bits = shards.clips, params.split.duplicate_bits
    workers = params.resources.workers or cores()
    groups = [clip.group for clip in clips]
    kind = kind_of(clips, rows, groups, params.split)
    if bits is None:
        return [], groups, {}
    if kind == "official":
        # what the dataset has put apart stays apart; but where it has no val, that is taken from train
        lacks = not any(clips[row].part == "val" for row in rows)
        rows = [row for row in rows if clips[row].part in ("train", "")] if lacks else []
    joined = groups
    if kind != "time":
        pairs = near_duplicates(shards, rows, apart=[groups[row] for row in rows], bits=bits, workers=workers)
        joined = group_names(groups, pairs)
        if kind == "official" or kind_of(clips, rows, joined, params.split) == "group":
            return pairs, joined, {}
    # every clip is cut, so that whole sources must differ, not groups
    apart = [source_of(clips[row].id) for row in rows]
    pairs = near_duplicates(shards, rows, apart=apart, bits=bits, every=True, workers=workers)
    return pairs, joined, copies_of(clips, rows, pairs)


def _tell(summary: Mapping[str, Any]) -> None:
    counts = ", ".join(f"{count} {part}" for part, count in summary["clips"].items())
    log.info("split by %s: clips: %s", summary["kind"], counts)
    joined = summary["joined"]
    if joined["groups"]:
        text = "near-duplicates joined %s to %d: data/split/groups.parquet lists them"
        log.info(text, counted(joined["groups"], "group"), joined["into"])
    if summary["left_out"]:
        log.info("clips left out: %s", ", ".join(f"{count} {why}" for why, count in summary["left_out"].items()))


def _tell_what_stands_still(shards: Shards, test: Sequence[Segment], params: Params) -> None:
    still, windows = standing_still(shards, test, span=params.task.span, interval=params.task.interval)
    if 2 * still > windows:
        log.warning(
            "%d of %s end in a frame like the one before: gains over copy_last will mean little; raise "
            "transcode.min_motion to drop clips that stand still",
            still,
            counted(windows, "test window"),
        )


def _judge(shards: Shards, checked: Checked, kind: str, *, refuse: bool) -> None:
    if not checked.copies:
        return
    text = told(shards.clips, checked, kind=kind, refuse=refuse)
    if refuse:
        raise UserError(text)
    log.warning("%s", text)


if __name__ == "__main__":
    run_stage(main)
