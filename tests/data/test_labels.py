"""Classes, and what augmentation makes of them: true to what a window then shows, or refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.shapes import small, write_shapes
from vidpred.config import Augment
from vidpred.data.augment import UNCHANGED
from vidpred.data.clips import TrainSampler
from vidpred.data.labels import classes_of, labels_of, tables_of
from vidpred.data.shapes import MOTIONS, planned
from vidpred.data.shards import Shards
from vidpred.data.split import read_split
from vidpred.errors import UserError

TABLES = {
    "left_right": {"left": "right", "clockwise": "counter-clockwise"},
    "upside_down": {"up": "down", "clockwise": "counter-clockwise"},
    "transpose": {"left": "up", "right": "down", "clockwise": "counter-clockwise"},
    "reverse": {"left": "right", "up": "down", "clockwise": "counter-clockwise", "grow": "shrink"},
}
ALL = {"flip": True, "transpose": True, "reverse": True, "colour": False}


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_shapes(tmp_path_factory.mktemp("shapes"), small(groups=4))


def tables(classes: tuple[str, ...] = MOTIONS, **fields: object) -> dict[str, np.ndarray]:
    return {str(k): v for k, v in tables_of(UNCHANGED.model_validate(UNCHANGED.model_dump() | fields), classes).items()}


def test_a_table_swaps_classes_in_pairs() -> None:
    found = tables(reverse=True, labels=TABLES)["reverse"]
    assert [MOTIONS[i] for i in found] == [
        "right", "left", "down", "up", "counter-clockwise", "clockwise", "shrink", "grow"
    ]  # fmt: skip
    assert set(tables(flip="left_right", labels=TABLES)) == {"left_right"}
    assert tables(labels=TABLES) == {}


@pytest.mark.parametrize(
    ("classes", "fields", "message"),
    [
        (
            ("walk", "run"),
            {"reverse": True},
            "train.augment.reverse plays windows backwards, which may make them of an",
        ),
        (("walk", "run"), {"transpose": True}, "set train.augment.transpose to false, or say in train.augment.labels."),
        (
            ("walk", "run"),
            {"flip": True},
            r"flip \(upside_down\) turns windows upside down.* set train.augment.flip to",
        ),
        (
            ("turn left", "run"),
            {"flip": "left_right"},
            r"flip \(left_right\) mirrors windows, and turn left would then",
        ),
        (("Clockwise", "x"), {"flip": "left_right"}, "and Clockwise would then be another class"),
        (("TurnLeft", "x"), {"flip": "left_right"}, "and TurnLeft would then be another class"),
        (("lefthanded", "x"), {"flip": "left_right"}, "and lefthanded would then be another class"),
        (("red light", "x"), {"colour": True}, "train.augment.colour swaps colours, and red light would then be"),
        (("GreenLight", "x"), {"colour": True}, "set train.augment.colour to false"),
        (("walk", "run"), {"labels": {"reverse": {"wlak": "run"}}}, "no class is called 'wlak': did you mean walk"),
        (
            ("a", "b", "c"),
            {"reverse": True, "labels": {"reverse": {"a": "b", "b": "c"}}},
            "a becomes b, but b becomes c: done twice",
        ),
    ],
)
def test_what_would_change_a_class_unseen_is_refused(
    classes: tuple[str, ...], fields: dict[str, object], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        tables(classes, **fields)


def test_what_changes_no_class_is_done() -> None:
    assert list(tables(("walk", "bright", "cleft"), flip="left_right")["left_right"]) == [0, 1, 2]
    assert tables(("bored", "white", "Redirect", "red"), colour=False) == {}
    assert tables(("bored", "white", "Redirect"), colour=True) == {}
    assert list(tables(("walk", "run"), flip=True, labels={"upside_down": {}})["upside_down"]) == [0, 1]


@pytest.mark.parametrize("only", ["left_right", "upside_down", "transpose", "reverse", "all"])
def test_a_changed_window_is_of_the_class_it_shows(shapes: Path, only: str) -> None:
    """The label of every window agrees with how its shape moves in the frames that training sees."""
    shards = Shards(shapes / "shards")
    asked = {
        "left_right": {"flip": "left_right"},
        "upside_down": {"flip": "upside_down"},
        "transpose": {"transpose": True},
        "reverse": {"reverse": True},
        "all": ALL,
    }[only]
    augment = Augment.model_validate(UNCHANGED.model_dump() | asked | {"labels": TABLES})
    segments = read_split(shapes / "split", "train")
    classes = classes_of(shards, segments)
    assert classes == tuple(sorted(MOTIONS))
    sampler = TrainSampler(
        shards, segments, context=8, horizon=0, batch_size=32, seed=0, augment=augment,
        labels=labels_of(shards, classes, augment),
    )  # fmt: skip
    seen: set[str] = set()
    changed = 0
    for step in range(3):
        sample = sampler.sample(step)
        assert sample.labels is not None
        for frames, number in zip(sample.frames, sample.labels, strict=True):
            shown = movement(frames)
            if shown is not None:
                assert shown == classes[number]
                seen.add(shown)
        drawn = sampler._draw(np.random.Generator(np.random.Philox(key=np.array([0, step], np.uint64))))
        own = [shards.clips[segment.clip].label for segment, _ in drawn]
        changed += sum(a != classes[b] for a, b in zip(own, sample.labels, strict=True))
    assert changed > 10
    assert {"left", "right", "up", "down", "grow", "shrink"} <= seen


def movement(frames: np.ndarray) -> str | None:
    """How the shape moves, by its pixels; None: it turns, or that cannot be told."""
    masks = _masks(frames)
    areas = masks.sum(axis=(1, 2)).astype(float)
    if areas[0] and areas[-1] and not 1 / 1.3 < areas[-1] / areas[0] < 1.3:
        return "grow" if areas[-1] > areas[0] else "shrink"
    side = frames.shape[1]
    waves = np.exp(2j * np.pi * np.arange(side) / side)
    steps = []
    for axis in (1, 2):  # summed along rows: where along x; along columns: where along y
        phase = np.angle((masks.sum(axis=axis) * waves).sum(axis=1))
        steps.append(np.diff(np.unwrap(phase)).mean() * side / (2 * np.pi))
    x, y = steps
    if max(abs(x), abs(y)) < 1:
        return None
    if abs(x) > abs(y):
        return "right" if x > 0 else "left"
    return "down" if y > 0 else "up"


def _masks(frames: np.ndarray) -> np.ndarray:
    """Pixels of the shape: those on the brighter (or darker) side, whichever are fewer."""
    grey = frames.astype(float).mean(-1)
    middle = (grey.max() + grey.min()) / 2
    bright = grey > middle
    return bright if bright.mean() < 0.5 else ~bright


def test_classes_come_from_training(shapes: Path) -> None:
    shards = Shards(shapes / "shards")
    left = [s for s in read_split(shapes / "split", "train") if shards.clips[s.clip].label == "left"]
    with pytest.raises(UserError, match="all training clips are of the class left: put the clips of each class"):
        classes_of(shards, left)
    assert len({clip.label for clip in planned(small(label="shape"))}) == 6
