"""The benchmarks of what classifiers learn run, tell what they should, and go on where they were broken off."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks import classifiers, few_labels
from benchmarks.classifiers import ENTRIES, Entry, learn, params_of
from benchmarks.lessons import write
from tests.shapes import COLOURS, write_colours
from tests.training.test_classes import of_classes
from vidpred.config import Params
from vidpred.data.labels import tables_of
from vidpred.data.shapes import MOTIONS, SHAPES
from vidpred.models import zoo
from vidpred.training.loop import Stopped

NEVER = lambda: False  # noqa: E731


@pytest.fixture(scope="module")
def colours(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_colours(tmp_path_factory.mktemp("colours"))


@pytest.fixture
def short(params: Params) -> Params:
    """Ten steps of four windows."""
    whole = of_classes(params)
    changes = {"steps": 10, "batch_size": 4, "evaluate_every": 5, "val_windows": 6, "motion_share": 0.0}
    return whole.model_copy(update={"train": whole.train.changed(changes)})


def test_every_classifier_has_its_line() -> None:
    assert {entry.model for entry in ENTRIES} == set(zoo.names("classify"))
    assert any("nonlocal_after" in entry.config for entry in ENTRIES)
    for entry in ENTRIES:
        zoo.config_of(entry.model, entry.config, "classify")


@pytest.mark.parametrize(("data", "classes"), [("moving_shapes", MOTIONS), ("still_shapes", tuple(SHAPES))])
def test_the_preset_fits_both_sets(data: Any, classes: tuple[str, ...], root: Path) -> None:
    params = params_of(data, root)
    assert params.fetch.source.endswith(f"datasets/{data}.yaml")
    assert set(tables_of(params.train.augment, classes)) == {"left_right", "upside_down", "transpose", "reverse"}


def test_what_is_asked_for() -> None:
    assert Entry("a", "c3d").met(0.95, [0.9, 0.99])
    assert not Entry("a", "c3d").met(0.9, [0.85, 0.95])
    assert Entry("a", "single_frame", least=None).met(0.1, [0.06, 0.14])
    assert not Entry("a", "single_frame", least=None).met(0.2, [0.14, 0.26])


def test_a_line_is_learned_once_and_gone_on_with(colours: Path, short: Params, tmp_path: Path) -> None:
    entry = Entry("late", "late_fusion", {"head": "pool"})
    whole = learn(entry, short, colours, tmp_path / "whole", threads=1, should_stop=NEVER)
    assert (whole["name"], whole["steps"], whole["videos"]) == ("late", 10, 24)
    assert whole["interval"][0] <= whole["top1"] <= whole["interval"][1]
    with pytest.raises(Stopped):
        learn(entry, short, colours, tmp_path / "broken", threads=1, should_stop=lambda: True)
    again = learn(entry, short, colours, tmp_path / "broken", threads=1, should_stop=NEVER)
    told = {key: value for key, value in again.items() if "minutes" not in key}
    assert told == {key: value for key, value in whole.items() if "minutes" not in key}
    assert learn(entry, short, colours, tmp_path / "broken", threads=1, should_stop=NEVER) == again
    write(tmp_path / "table.json", [whole], {"threads": 1}, classifiers.COLUMNS)
    assert json.loads((tmp_path / "table.json").read_text())["rows"] == [whole]
    lines = (tmp_path / "table.md").read_text().splitlines()
    assert [line.count("|") for line in lines] == [9, 9, 9]
    assert lines[2].startswith("| late | ")


def test_few_labels_are_compared_from_both_beginnings(colours: Path, short: Params, tmp_path: Path) -> None:
    setting = few_labels.Setting(short, colours, tmp_path, groups=2, pretrain=3, steps=4, seeds=1, threads=1)
    row = few_labels.compare("late_fusion", setting)
    assert row["clips"] == 2 * len(COLOURS)
    assert 0 < row["taken"] < row["tensors"]
    assert len(row["scratch"]) == len(row["pretrained"]) == 1
    assert row["difference"] == pytest.approx(row["pretrained"][0] - row["scratch"][0])
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.safetensors")}
    assert few_labels.compare("late_fusion", setting) == row
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.safetensors")} == before
