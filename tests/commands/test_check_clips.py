"""What `vidpred check` knows of clips before they are fetched."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from vidpred.commands.check_clips import classes_known
from vidpred.config import Params
from vidpred.data.split import Split, write_groups
from vidpred.errors import UserError
from vidpred.records import Clip, Segment


def asked(params: Params, **split: object) -> Params:
    raw = params.model_dump(by_alias=True)
    raw["task"] |= {"kind": "classify", "context": 8}
    raw["transcode"]["min_frames"] = 8
    raw["tune"]["models"] = {"single_frame": {}}
    raw["fetch"]["source"] = "clips"
    raw["split"] |= split
    return Params.model_validate(raw)


def laid(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / "clips" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_the_classes_of_a_folder_are_known_by_name(tmp_path: Path, params: Params) -> None:
    laid(
        tmp_path,
        "left/a.gif",
        "right/b.MP4",
        "right/c/1.png",
        "right/c/2.png",
        "x/v_Run_g01_c01.avi",
        ".x/d.gif",
        "n.txt",
    )
    assert classes_known(tmp_path, asked(params)) == ("Run", "left", "right")
    assert classes_known(tmp_path, asked(params, drop_labels=["Run"])) == ("left", "right")
    laid(tmp_path, "more.zip")
    assert classes_known(tmp_path, asked(params)) == ()


@pytest.mark.parametrize(
    ("names", "why"),
    [
        ((), "fetch.source: clips is an empty folder"),
        (("a.gif", "b.gif"), "no clip of clips has a label"),
        (("walk/a.gif", "walk/b.gif"), "all clips of clips are of the class walk"),
    ],
)
def test_a_folder_that_cannot_do_is_told(tmp_path: Path, params: Params, names: tuple[str, ...], why: str) -> None:
    (tmp_path / "clips").mkdir()
    laid(tmp_path, *names)
    with pytest.raises(UserError, match=why):
        classes_known(tmp_path, asked(params))


def test_the_split_tells_where_it_is_of_this_source(tmp_path: Path, params: Params) -> None:
    clips = [
        Clip(f"{n}", f"{n}.gif", f"{n}", f"{n}", label, "frames-0000.npy", 0, 20, 10.0, 1.0)
        for n, label in enumerate(("left", "right", "up"))
    ]
    parts: Split = {"train": [Segment(0, 0, 20), Segment(1, 0, 20)], "val": [], "test": [Segment(2, 0, 20)]}
    (tmp_path / "data/split").mkdir(parents=True)
    write_groups(tmp_path / "data/split", clips, parts, groups=[c.group for c in clips], left_out={})
    (tmp_path / "clips").touch()
    ours = asked(params)
    lock = {
        "stages": {
            "fetch": {"deps": [{"path": "clips"}]},
            "split": {"params": {"params.yaml": {"split": ours.split.model_dump(mode="json")}}},
        }
    }
    assert classes_known(tmp_path, ours) == ()
    (tmp_path / "dvc.lock").write_text(yaml.safe_dump(lock))
    assert classes_known(tmp_path, ours) == ("left", "right")
    assert classes_known(tmp_path, asked(params, seed=7)) == ()
