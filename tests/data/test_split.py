"""Splits: fixed by hash, no part empty, no frame on two sides."""

from __future__ import annotations

import itertools
import logging
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from vidpred.config import SplitParams
from vidpred.data.selection import choose, classes_told, copies_of, doubts, overruled
from vidpred.data.split import PARTS, counted, figures, make_split, read_split, write_groups, write_split
from vidpred.errors import UserError
from vidpred.records import Clip, Segment


def clip(number: int, group: str, length: int = 20, *, label: str = "", motion: float = 1.0, part: str = "") -> Clip:
    return Clip(
        id=f"{number:016x}-0",
        source=f"{number}.gif",
        sha256=f"{number:064x}",
        group=group,
        label=label,
        shard="frames-0000.npy",
        offset=0,
        length=length,
        fps=10.0,
        motion=motion,
        part=part,
    )


def many(groups: int, each: int = 3) -> list[Clip]:
    return [clip(g * each + i, f"group{g}") for g in range(groups) for i in range(each)]


def groups_of(clips: list[Clip], segments: list[Segment]) -> set[str]:
    return {clips[s.clip].group for s in segments}


def doubted(clips: list[Clip], params: SplitParams) -> str:
    kind, parts = make_split(clips, params, span=6)
    return "\n".join(doubts(clips, parts, [c.group for c in clips], kind))


def test_what_makes_a_split_doubtful_is_said() -> None:
    assert doubted(many(200), SplitParams()) == ""
    assert "test has 1 group; below 20" in doubted(many(3), SplitParams())
    listed = [
        clip(0, "a", part="train"),
        clip(1, "b", part="test"),
        clip(2, "c", part="train"),
        clip(3, "b", part="train"),
    ]
    told = doubted(listed, SplitParams(kind="official"))
    assert "1 group in several parts, such as b" in told
    assert "has no val: 1 group of train" in told
    assert "only split.kind: official follows" in doubted(listed, SplitParams())


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


def test_groups_of_near_duplicates_stay_whole() -> None:
    clips = many(40)
    names = [f"pair{int(c.group.removeprefix('group')) // 2}" for c in clips]
    _, parts = make_split(clips, SplitParams(), span=6, groups=names)
    of = [{names[s.clip] for s in parts[part]} for part in PARTS]
    assert not any(a & b for a, b in itertools.combinations(of, 2))
    told = figures(clips, parts, kind="group", asked="group", groups=names, pairs=20)
    assert told["joined"] == {"pairs": 20, "groups": 40, "into": 20}
    assert sum(told["groups"].values()) == 20
    assert figures(clips, parts, kind="group", asked="group")["joined"] == {"pairs": 0, "groups": 0, "into": 0}


def official(parts: dict[str, int], *, without: int = 0) -> list[Clip]:
    rows = [part for part, count in parts.items() for _ in range(count)] + [""] * without
    return [clip(i, f"g{i}", part=part) for i, part in enumerate(rows)]


def test_the_official_split_is_kept(caplog: pytest.LogCaptureFixture) -> None:
    clips = official({"train": 5, "val": 3, "test": 4})
    kind, parts = make_split(clips, SplitParams(kind="official"), span=6)
    assert kind == "official"
    assert {part: [clips[s.clip].part for s in parts[part]] for part in PARTS} == {
        "train": ["train"] * 5,
        "val": ["val"] * 3,
        "test": ["test"] * 4,
    }
    assert not caplog.records


@pytest.mark.parametrize(("without", "text"), [(1, "1 clip is in no part"), (2, "2 clips are in no part")])
def test_clips_without_an_official_part_train(without: int, text: str, caplog: pytest.LogCaptureFixture) -> None:
    clips = official({"train": 5, "val": 3, "test": 4}, without=without)
    _, parts = make_split(clips, SplitParams(kind="official"), span=6)
    assert len(parts["train"]) == 5 + without
    assert text in caplog.text


def test_where_the_official_split_has_no_val_train_gives_whole_groups() -> None:
    clips = official({"test": 10, "train": 100})
    names = [f"g{i // 2}" for i in range(len(clips))]
    _, parts = make_split(clips, SplitParams(kind="official", val=0.2), span=6, groups=names)
    assert {s.clip for s in parts["test"]} == set(range(10))
    assert 10 <= len(parts["val"]) <= 35
    assert not {names[s.clip] for s in parts["val"]} & {names[s.clip] for s in parts["train"]}
    few = official({"test": 1, "train": 2})
    for seed in range(8):
        _, parts = make_split(few, SplitParams(kind="official", seed=seed), span=6)
        assert [len(parts[part]) for part in PARTS] == [1, 1, 1]


def test_an_official_split_that_cannot_be_made_is_told() -> None:
    with pytest.raises(UserError, match=r"no clip says which part it is of: take split.kind: group"):
        make_split(many(5), SplitParams(kind="official"), span=6)
    with pytest.raises(UserError, match=r"0.gif is of the part 'dev': give train, val or test"):
        make_split(official({"dev": 1, "test": 3}), SplitParams(kind="official"), span=6)
    with pytest.raises(UserError, match=r"for test \(5 of 5 clips hold one, in 5 groups\): take split.kind: group"):
        make_split(official({"train": 5}), SplitParams(kind="official"), span=6)


def classes() -> list[Clip]:
    motions = {"run": [4.0, 6.0], "sit": [0.1, 0.2], "talk": [1.5, 0.1], "": [0.0]}
    labels = [(label, motion) for label, values in motions.items() for motion in values]
    return [clip(i, f"g{i}", label=label, motion=motion) for i, (label, motion) in enumerate(labels)]


def test_classes_that_are_dropped_or_do_not_move_are_left_out() -> None:
    clips = [*classes(), clip(9, "g9", length=4)]
    chosen = choose(clips, SplitParams(drop_labels=["run"], min_class_motion=0.5), span=6)
    assert [clips[row].label for row in chosen.rows] == ["talk", "talk", ""]
    parts = {part: [] for part in PARTS}
    told = figures(clips, parts, kind="group", asked="group", left_out=chosen.left_out)
    assert told["left_out"] == {"class dropped": 2, "class stands still": 2, "short": 1}
    assert told["classes_left_out"] == {"run": 2, "sit": 2}
    assert choose(clips, SplitParams(), span=6).rows == list(range(7))


def test_classes_that_cannot_be_left_out_are_told(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(UserError, match=r"drop_labels: no clip has the label 'jump': there are run, sit, talk$"):
        choose(classes(), SplitParams(drop_labels=["jump"]), span=6)
    with pytest.raises(UserError, match="no clip has the label 'jump': no clip has any"):
        choose(many(3), SplitParams(drop_labels=["jump"]), span=6)
    labelled = [c for c in classes() if c.label]
    with pytest.raises(UserError, match="leave none of 6 clips"):
        choose(labelled, SplitParams(min_class_motion=50), span=6)
    choose(many(3), SplitParams(min_class_motion=50), span=6)
    assert "min_class_motion has no effect: no clip has a label" in caplog.text


def test_of_copies_in_a_split_by_time_the_longest_stays() -> None:
    clips = [clip(0, "a", 30), clip(1, "b", 50), clip(2, "c", 40), clip(3, "d", 60), clip(4, "e", 20)]
    assert copies_of(clips, range(5), [(0, 1), (1, 2)]) == {0: 1, 2: 1}
    # 0 and 2 are each like 4, but not like each other
    assert copies_of(clips, range(5), [(0, 4), (2, 4)]) == {4: 2}
    assert copies_of(clips, [0, 4], []) == {}


def test_what_became_of_each_clip_is_listed(tmp_path: Path) -> None:
    clips = [clip(0, "b"), clip(1, "a"), clip(2, "c", 60), clip(3, "d", 4)]
    parts = {"train": [Segment(0, 0, 20), Segment(2, 0, 20)], "val": [Segment(1, 0, 20)], "test": [Segment(2, 40, 20)]}
    write_groups(tmp_path, clips, parts, groups=["a", "a", "c", "d"], left_out={3: "short"})
    rows = pq.read_table(tmp_path / "groups.parquet").to_pylist()
    assert [(r["source"], r["group"], r["joined"], r["part"], r["reason"]) for r in rows] == [
        ("0.gif", "b", "a", "train", ""),
        ("1.gif", "a", "a", "val", ""),
        ("2.gif", "c", "c", "train test", ""),
        ("3.gif", "d", "d", "", "short"),
    ]


def test_one_is_not_told_as_many() -> None:
    assert [counted(1, "clip"), counted(0, "clip"), counted(1, "class"), counted(3, "class")] == [
        "1 clip",
        "0 clips",
        "1 class",
        "3 classes",
    ]
    with pytest.raises(UserError, match=r"\(1 of 1 clip holds one, in 1 group\)"):
        make_split([clip(0, "a", 10)], SplitParams(), span=6)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    _, parts = make_split(many(12), SplitParams(), span=6)
    write_split(tmp_path, parts)
    assert {part: read_split(tmp_path, part) for part in PARTS} == parts
    with pytest.raises(UserError, match="run `dvc repro split`"):
        read_split(tmp_path / "none", "train")


def labelled(groups: dict[str, int]) -> list[Clip]:
    """Two clips for each group; so many groups of each class."""
    named = [(label, number) for label, count in groups.items() for number in range(count)]
    return [clip(2 * i + j, f"{label}_g{n}", label=label) for i, (label, n) in enumerate(named) for j in range(2)]


def test_every_class_trains_and_is_in_the_other_parts_where_it_has_groups_enough() -> None:
    counts = {"many": 40, "three": 3, "two": 2, "other": 2, "one": 1}
    for seed in range(10):
        clips = labelled(counts)
        kind, parts = make_split(clips, SplitParams(seed=seed), span=6, labelled=True)
        assert kind == "group"
        found = {part: {clips[s.clip].label for s in segments} for part, segments in parts.items()}
        assert found["train"] == set(counts)
        assert {"many", "three"} <= found["val"] & found["test"]
        assert ("two" in found["val"]) != ("two" in found["test"])
        assert "one" not in found["val"] | found["test"]
        across = [groups_of(clips, segments) for segments in parts.values()]
        assert not any(one & other for one, other in itertools.combinations(across, 2))


def test_a_group_of_several_classes_stays_whole() -> None:
    clips = [clip(10 * g + i, f"g{g}", label="ab"[i % 2]) for g in range(30) for i in range(4)]
    _, parts = make_split(clips, SplitParams(), span=6, labelled=True)
    assert {len(groups_of(clips, parts[part])) > 0 for part in PARTS} == {True}
    assert sum(len(groups_of(clips, parts[part])) for part in PARTS) == 30


def test_classes_that_cannot_be_split_are_told() -> None:
    with pytest.raises(UserError, match=r"add clips of every class, or take split\.kind: time"):
        make_split(labelled({"a": 1, "b": 1, "c": 1}), SplitParams(), span=6, labelled=True)
    clips = [clip(0, "a", label="x", part="train"), clip(1, "b", label="y", part="test")]
    clips += [clip(2, "c", label="x", part="val")]
    with pytest.raises(UserError, match=r"no training clip of y: add clips, or name them in split\.drop_labels"):
        make_split(clips, SplitParams(kind="official"), span=6, labelled=True)


def test_clips_without_a_label_are_left_out_where_classes_are_asked_for() -> None:
    clips = [clip(0, "a", label="x"), clip(1, "b"), clip(2, "c", label="y")]
    chosen = choose(clips, SplitParams(), span=6, labelled=True)
    assert (chosen.rows, chosen.left_out) == ([0, 2], {1: "no label"})
    with pytest.raises(UserError, match="no clip has a label: put the clips of each class into a folder of its name"):
        choose(many(3), SplitParams(), span=6, labelled=True)


def test_classes_are_told_with_their_counts() -> None:
    clips = [clip(n, f"g{n}", label="indoor" if n < 3 else "outdoor") for n in range(8)]
    assert classes_told(clips, range(8)) == "2 classes: indoor 3, outdoor 5"
    crowd = [clip(n, f"g{n}", label=f"class{n:02d}") for n in range(30)]
    assert classes_told(crowd, range(30)).endswith("class19 1 and 10 more")


def test_folders_that_say_otherwise_than_names_of_files_are_told() -> None:
    def named(*sources: str) -> str:
        clips = [replace(clip(n, f"g{n}", label="Run"), source=source) for n, source in enumerate(sources)]
        return overruled(clips, range(len(clips)))

    assert named("indoor/v_Run_g01_c01.gif", "outdoor/v_Run_g02_c01.gif").startswith(
        "1 class from UCF-101's way of naming files (Run), not from 2 folders (indoor, outdoor): if the folders are the"
    )
    assert named("Run/v_Run_g01_c01.gif", "run/v_Run_g02_c01.gif") == ""
    assert named("all/v_Run_g01_c01.gif", "all/v_Run_g02_c01.gif") == ""
    assert named("train/v_Run_g01_c01.gif", "test/v_Run_g02_c01.gif") == ""
    assert named("indoor/a.gif", "outdoor/b.gif") == ""
