"""Splits: fixed by hash, no part empty, no frame on two sides."""

from __future__ import annotations

import itertools
import logging
from pathlib import Path

import pytest

from vidpred.config import SplitParams
from vidpred.data.split import PARTS, figures, make_split, read_split, write_split
from vidpred.errors import UserError
from vidpred.types import Clip, Segment


def clip(number: int, group: str, length: int = 20) -> Clip:
    return Clip(
        f"{number:016x}-0", f"{number}.gif", f"{number:064x}", group, "", "frames-0000.npy", 0, length, 10.0, 1.0
    )


def many(groups: int, each: int = 3) -> list[Clip]:
    return [clip(g * each + i, f"group{g}") for g in range(groups) for i in range(each)]


def groups_of(clips: list[Clip], segments: list[Segment]) -> set[str]:
    return {clips[s.clip].group for s in segments}


def test_groups_stay_whole_and_shares_are_near() -> None:
    clips = many(1000)
    kind, parts = make_split(clips, SplitParams(val=0.1, test=0.15), span=6)
    assert kind == "group"
    found = {part: groups_of(clips, parts[part]) for part in PARTS}
    assert not any(a & b for a, b in itertools.combinations(found.values(), 2))
    assert sum(map(len, found.values())) == 1000
    assert 120 <= len(found["test"]) <= 180
    assert 75 <= len(found["val"]) <= 125
    assert figures(clips, parts, kind=kind, asked="group")["clips"] == {p: 3 * len(found[p]) for p in PARTS}


def test_new_clips_move_no_old_group_and_a_seed_moves_many() -> None:
    before, after = many(60), many(90)
    first, second = (make_split(clips, SplitParams(), span=6)[1] for clips in (before, after))
    for part in PARTS:
        assert groups_of(before, first[part]) <= groups_of(after, second[part])
    other = make_split(before, SplitParams(seed=1), span=6)[1]
    assert groups_of(before, other["test"]) != groups_of(before, first["test"])


@pytest.mark.parametrize("groups", [3, 4, 7])
def test_no_part_is_empty_with_few_groups(groups: int) -> None:
    for seed in range(10):
        kind, parts = make_split(many(groups), SplitParams(seed=seed), span=6)
        assert kind == "group"
        assert all(parts[part] for part in PARTS)


@pytest.mark.parametrize(("groups", "length"), [(1, 100), (2, 100), (1, 20)])
def test_fewer_than_three_groups_are_split_by_time(groups: int, length: int, caplog: pytest.LogCaptureFixture) -> None:
    clips = [clip(i, f"g{i % groups}", length) for i in range(6)]
    with caplog.at_level(logging.WARNING):
        kind, parts = make_split(clips, SplitParams(), span=6)
    assert kind == "time"
    assert "split by time instead" in caplog.text
    assert figures(clips, parts, kind=kind, asked="group")["asked"] == "group"


def test_by_time_no_frame_is_in_windows_of_two_parts() -> None:
    clips = [clip(i, "g", length) for i, length in enumerate([26, 60, 200, 6, 20])]
    _, parts = make_split(clips, SplitParams(kind="time", test=0.15), span=6)
    for row in range(len(clips)):
        cut = sorted((s.start, s.length, part) for part in PARTS for s in parts[part] if s.clip == row)
        assert cut
        assert all(length >= 6 for _, length, _ in cut)
        if len(cut) > 1:
            assert [part for _, _, part in cut] == ["train", "val", "test"]
            assert cut[-1][0] + cut[-1][1] == clips[row].length
        for (start, length, _), (later, _, _) in itertools.pairwise(cut):
            assert later - (start + length) == 5
    longest = [s for s in parts["test"] if s.clip == 2]
    assert longest[0].length == pytest.approx(0.15 * 200, abs=3)


def test_clips_too_short_for_three_windows_go_whole() -> None:
    clips = [clip(i, "g", 10) for i in range(30)]
    _, parts = make_split(clips, SplitParams(kind="time"), span=6)
    assert all(parts[part] for part in PARTS)
    assert sum(len(parts[part]) for part in PARTS) == 30
    assert all(s.length == 10 for part in PARTS for s in parts[part])


def test_too_few_clips_are_told() -> None:
    with pytest.raises(UserError, match="leaves no window of 6 frames for"):
        make_split([clip(0, "a", 10), clip(1, "b", 4)], SplitParams(), span=6)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    _, parts = make_split(many(12), SplitParams(), span=6)
    write_split(tmp_path, parts)
    assert {part: read_split(tmp_path, part) for part in PARTS} == parts
    with pytest.raises(UserError, match="run `dvc repro split`"):
        read_split(tmp_path / "none", "train")
