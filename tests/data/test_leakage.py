"""Leaks across the split are counted by what the pixels show, and the stage stops at them."""

from __future__ import annotations

import itertools
import json
import shutil
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml

from stages import split as stage
from tests.data.planted import CHANGES, Made, digits, gif_frames, rows_of, scene, shards_of, takes
from vidpred.data.leakage import Checked, Copy, copies_across, told
from vidpred.data.selection import standing_still
from vidpred.data.shards import Shards
from vidpred.data.split import read_split
from vidpred.errors import UserError
from vidpred.records import Segment


def whole(shards: Shards, sources: Iterable[str]) -> list[Segment]:
    rows = rows_of(shards)
    return sorted((Segment(rows[s], 0, shards.clips[rows[s]].length) for s in sources), key=lambda s: s.clip)


def leaks(shards: Shards, train: Iterable[str], test: Iterable[str], val: Iterable[str] = ()) -> set[frozenset[str]]:
    parts = {"train": whole(shards, train), "val": whole(shards, val), "test": whole(shards, test)}
    found = copies_across(shards, parts).copies
    return {frozenset((shards.clips[c.one].source, shards.clips[c.other].source)) for c in found}


@pytest.mark.parametrize("size", [64, 96])
def test_copies_planted_in_another_part_are_counted(tmp_path: Path, size: int) -> None:
    originals = [Made(f"{n}", scene(n)) for n in range(len(CHANGES) - 4)] + digits(4, 1)
    copies = [
        Made(f"{clip.name} copy", CHANGES[change](clip.frames)) for clip, change in zip(originals, CHANGES, strict=True)
    ]
    others = [Made(f"other {n}", scene(100 + n)) for n in range(10)]
    shards = shards_of(tmp_path, originals + copies + others, size=size)
    planted = {frozenset((clip.name, f"{clip.name} copy")) for clip in originals}
    names = [clip.name for clip in originals]
    assert leaks(shards, names, [*(c.name for c in copies), *(o.name for o in others)]) == planted
    assert leaks(shards, names[:3], [o.name for o in others], [c.name for c in copies]) == {
        pair for pair in planted if pair & set(names[:3])
    }


def test_what_is_merely_alike_is_no_leak(tmp_path: Path) -> None:
    clips = digits(40, 2)
    rooms = [Made(f"take {n}", frames) for n, frames in zip(range(16), takes(1), strict=False)]
    black = [Made(f"black {n}", np.full((20, 64, 64, 3), 2 + n, np.uint8)) for n in range(2)]
    scenes = [Made(f"scene {n}", scene(n)) for n in range(16)]
    shards = shards_of(tmp_path, clips + rooms + black + scenes)
    names = [clip.name for clip in clips]
    train, test = ([*names[k::2], *(c.name for made in (rooms, black, scenes) for c in made[k::2])] for k in (0, 1))
    # clips of one group hold the same digits, on other ways
    assert leaks(shards, train, test) == set()


@pytest.mark.slow
@pytest.mark.parametrize("size", [64, 96])
def test_all_bundled_digits_are_clean(tmp_path: Path, size: int) -> None:
    clips = digits(140, 3, size=size)
    shards = shards_of(tmp_path, clips, size=size)
    assert leaks(shards, [c.name for c in clips[0::2]], [c.name for c in clips[1::2]]) == set()


@pytest.mark.parametrize("size", [64, 96])
def test_real_gifs_are_clean_and_copies_are_counted(tmp_path: Path, shared_data: Path, size: int) -> None:
    clips = [Made(p.stem, gif_frames(p)) for p in sorted((shared_data / "gifs").glob("v_*.gif"))]
    copies = [
        Made(f"{clip.name} copy", CHANGES[change](clip.frames))
        for clip, change in zip(clips, itertools.cycle(list(CHANGES)[:-1]), strict=False)
    ]
    shards = shards_of(tmp_path, clips + copies, size=size)
    names = [clip.name for clip in clips]
    assert leaks(shards, names[0::2], names[1::2]) == set()
    got = leaks(shards, names, [c.name for c in copies])
    assert got <= {frozenset((name, f"{name} copy")) for name in names}
    assert len(got) >= 32


def test_a_split_by_time_compares_stretches_of_other_sources(tmp_path: Path) -> None:
    long = scene(1, frames=90)
    late = CHANGES["jpeg"](long[30:])
    shards = shards_of(tmp_path, [Made("a", long), Made("b", late), Made("c", scene(2, frames=90))])
    rows = rows_of(shards)

    def cut(name: str, *, test: int) -> tuple[Segment, Segment]:
        length = shards.clips[rows[name]].length
        return Segment(rows[name], 0, test - 5), Segment(rows[name], test, length - test)

    def found(test_of_b: int) -> set[frozenset[int]]:
        cuts = [cut("a", test=60), cut("b", test=test_of_b), cut("c", test=60)]
        checked = copies_across(shards, {"train": [c[0] for c in cuts], "val": [], "test": [c[1] for c in cuts]})
        assert checked.pairs == 6
        return {frozenset((copy.one, copy.other)) for copy in checked.copies}

    # b begins with the 30th frame of a: the two tests are of the same frames, then b's training has most of a's test
    assert found(30) == set()
    assert found(58) == {frozenset((rows["a"], rows["b"]))}


def test_pairs_are_named_and_counted(tmp_path: Path) -> None:
    clips = shards_of(tmp_path, [Made(f"{n}.gif", scene(n, frames=8)) for n in range(9)]).clips
    copies = [Copy(0, "test", n, "train", 0.1, False) for n in range(1, 8)]
    one = told(clips, Checked(copies[:1], 10, 3), kind="group")
    assert one.startswith(
        f"1 pair of clips shows the same footage in two parts: {clips[0].source} (test) and {clips[1].source}"
    )
    many = told(clips, Checked(copies, 10, 3), kind="group")
    assert many.startswith("7 pairs of clips show")
    assert many.count("(test) and") == 5
    assert "; and 2 more: set or raise split.duplicate_bits" in many
    going_on = told(clips, Checked(copies, 10, 3), kind="group", refuse=False)
    assert "split.leaks is warn, so it goes on" in going_on
    assert "set split.leaks to warn" not in going_on
    assert "the official split is kept" in told(clips, Checked(copies, 10, 3), kind="official")


def test_windows_that_stand_still_are_counted(tmp_path: Path) -> None:
    moving = scene(1, frames=20)
    frozen = np.concatenate([moving[:10], np.repeat(moving[9:10], 10, axis=0)])
    shards = shards_of(tmp_path, [Made("moving", moving), Made("frozen", frozen), Made("still", frozen[10:])])
    assert standing_still(shards, whole(shards, ["moving"]), span=6, interval=1) == (0, 15)
    assert standing_still(shards, whole(shards, ["frozen"]), span=6, interval=1) == (10, 15)
    assert standing_still(shards, whole(shards, ["moving", "still"]), span=6, interval=1) == (5, 20)
    still, looked = standing_still(shards, whole(shards, ["moving", "frozen", "still"]), span=6, interval=1, most=7)
    assert looked == 7
    assert 2 <= still <= 4


class Ran(NamedTuple):
    """What the stage left behind."""

    summary: dict[str, Any]
    leakage: dict[str, Any]
    groups: dict[str, dict[str, Any]]
    """Row of groups.parquet of each source."""
    error: str


@pytest.fixture
def run(tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Ran]:
    """Runs the stage on clips, in a project of its own."""

    def go(clips: Sequence[Made], *, workers: int = 2, **split: object) -> Ran:
        params = yaml.safe_load((root / "params.yaml").read_text())
        params["split"] |= split
        params["resources"]["workers"] = workers
        for folder in ("data", "results"):
            shutil.rmtree(tmp_path / folder, ignore_errors=True)
        (tmp_path / "params.yaml").write_text(yaml.safe_dump(params))
        shards_of(tmp_path / "data", clips)
        monkeypatch.chdir(tmp_path)
        error = ""
        try:
            stage.main()
        except UserError as told:
            error = str(told)
        summary, leakage = (
            json.loads(Path(f"results/split/{name}.json").read_text()) for name in ("summary", "leakage")
        )
        rows = pq.read_table("data/split/groups.parquet").to_pylist()
        return Ran(summary, leakage, {row["source"]: row for row in rows}, error)

    return go


ORIGINALS = [Made(f"{n}.gif", scene(n)) for n in range(10)]
COPIES = [
    Made(f"{n} again.gif", CHANGES[change](scene(n)))
    for n, change in enumerate(("rescaled", "gif", "jpeg", "cropped all round", "trimmed", "all of it"))
]


def test_a_copy_never_lands_in_another_part(run: Callable[..., Ran]) -> None:
    for seed in range(3):
        ran = run(ORIGINALS + COPIES, seed=seed)
        assert ran.error == ""
        assert (ran.leakage["near_duplicates"], ran.leakage["examples"]) == (0, [])
        assert ran.leakage["pairs"] > 50
        for n in range(len(COPIES)):
            one, other = ran.groups[f"{n}.gif"], ran.groups[f"{n} again.gif"]
            assert (one["part"], one["joined"]) == (other["part"], other["joined"])
            assert other["group"] == other["source"]
        assert ran.summary["joined"] == {"pairs": 6, "groups": 12, "into": 6}
        assert sum(ran.summary["clips"].values()) == 16


def test_the_stage_stops_at_copies_that_were_not_joined(run: Callable[..., Ran]) -> None:
    ran = run(ORIGINALS + COPIES, duplicate_bits=None, test=0.4)
    apart = {n for n in range(len(COPIES)) if ran.groups[f"{n}.gif"]["part"] != ran.groups[f"{n} again.gif"]["part"]}
    assert len(apart) > 1
    assert ran.leakage["near_duplicates"] == len(apart) == sum(ran.leakage["between"].values())
    assert {example["one"].split(".")[0].split()[0] for example in ran.leakage["examples"]} == {str(n) for n in apart}
    assert ran.error.startswith(f"{len(apart)} pairs of clips show the same footage in two parts: ")
    assert "split.duplicate_bits" in ran.error
    assert "results/split/leakage.json" in ran.error
    assert len(read_split("data/split", "test")) == ran.summary["clips"]["test"]


def test_who_knows_better_is_told_and_goes_on(run: Callable[..., Ran], caplog: pytest.LogCaptureFixture) -> None:
    ran = run(ORIGINALS + COPIES, duplicate_bits=None, test=0.4, leaks="warn")
    assert (ran.error, ran.leakage["near_duplicates"] > 1) == ("", True)
    assert "pairs of clips show the same footage in two parts" in caplog.text


def test_leaks_of_an_official_split_are_told_and_kept(
    run: Callable[..., Ran], caplog: pytest.LogCaptureFixture
) -> None:
    originals = [clip._replace(part="train") for clip in ORIGINALS]
    copies = [clip._replace(part="test") for clip in COPIES[:2]]
    ran = run(originals + copies, kind="official")
    assert ran.error == ""
    assert ran.leakage["near_duplicates"] == 2
    assert "2 pairs of clips show the same footage in two parts" in caplog.text
    assert "the official split is kept" in caplog.text
    assert {ran.groups[copy.name]["part"] for copy in copies} == {"test"}
    assert ran.summary["clips"]["val"] >= 1


def test_near_duplicates_stay_together_where_train_gives_val(run: Callable[..., Ran]) -> None:
    test = [Made(f"test {n}.gif", scene(50 + n), part="test") for n in range(2)]
    train = [clip._replace(part="train") for clip in ORIGINALS[: len(COPIES)] + COPIES]
    ran = run(test + train, kind="official", val=0.5)
    assert ran.leakage["near_duplicates"] == 0
    parts = [(ran.groups[f"{n}.gif"]["part"], ran.groups[f"{n} again.gif"]["part"]) for n in range(len(COPIES))]
    assert set(parts) == {("train", "train"), ("val", "val")}


def test_a_split_by_time_leaves_copies_out(run: Callable[..., Ran], caplog: pytest.LogCaptureFixture) -> None:
    clips = [Made(f"{n}.gif", scene(n, frames=60), "all of them") for n in range(3)]
    copy = Made("again.gif", CHANGES["jpeg"](clips[0].frames[4:]), "all of them")
    ran = run([*clips, copy], kind="time")
    assert ran.groups["again.gif"]["reason"] == "copy: of 0.gif"
    assert ran.groups["again.gif"]["part"] == ""
    assert ran.groups["0.gif"]["part"] == "train val test"
    assert ran.summary["left_out"] == {"copy": 1}
    assert (ran.error, ran.leakage["kind"], ran.leakage["near_duplicates"]) == ("", "time", 0)
    # three groups, of which two show the same: too few
    ran = run([*(clip._replace(group="") for clip in clips[:2]), copy._replace(group="")])
    assert (ran.summary["asked"], ran.summary["kind"]) == ("group", "time")
    assert "needs at least 3 groups, there are 2: split by time instead" in caplog.text
    assert ran.groups["again.gif"]["reason"] == "copy: of 0.gif"


def test_windows_that_stand_still_are_warned_of(run: Callable[..., Ran], caplog: pytest.LogCaptureFixture) -> None:
    frozen = [Made(c.name, np.concatenate([c.frames[:3], np.repeat(c.frames[2:3], 14, axis=0)])) for c in ORIGINALS]
    run(ORIGINALS)
    assert "gains over copy_last" not in caplog.text
    ran = run(frozen)
    windows = 12 * ran.summary["clips"]["test"]
    assert f"of {windows} test windows end in a frame like the one before" in caplog.text
    assert "transcode.min_motion" in caplog.text


def test_any_number_of_workers_writes_the_same(run: Callable[..., Ran], tmp_path: Path) -> None:
    written = []
    for workers in (1, 3):
        run(ORIGINALS[:6] + COPIES, workers=workers)
        files = [*(tmp_path / "data/split").iterdir(), *(tmp_path / "results/split").iterdir()]
        written.append({path.name: path.read_bytes() for path in files})
    assert set(written[0]) == {"split.parquet", "groups.parquet", "summary.json", "leakage.json"}
    assert written[0] == written[1]
