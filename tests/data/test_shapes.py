"""The bundled shapes: of motion one frame tells nothing, of shape it tells all; the same bytes again."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import yaml

from vidpred.data import launch, media, shapes


def recipe(root: Path, name: str, **changes: object) -> shapes.Recipe:
    return shapes.Recipe.model_validate(yaml.safe_load((root / f"datasets/{name}.yaml").read_text()) | changes)


@pytest.fixture(scope="module")
def moving(root: Path) -> shapes.Recipe:
    return recipe(root, "moving_shapes")


def test_every_group_has_each_class_once(root: Path, moving: shapes.Recipe) -> None:
    for one, classes in ((moving, set(shapes.MOTIONS)), (recipe(root, "still_shapes"), set(shapes.SHAPES))):
        clips = shapes.planned(one)
        assert len({clip.name for clip in clips}) == len(clips) == one.groups * len(classes)
        of_group: dict[str, list[str]] = {}
        for clip in clips:
            of_group.setdefault(clip.group, []).append(clip.label)
        assert all(sorted(labels) == sorted(classes) for labels in of_group.values())


def test_every_clip_has_its_twin_played_backwards(moving: shapes.Recipe) -> None:
    clips = shapes.planned(moving)[:8]
    assert [clip.label for clip in clips] == list(shapes.MOTIONS)
    for clip, twin in zip(clips[::2], clips[1::2], strict=True):
        assert clip.group == twin.group
        frames = shapes.rendered(moving, clip)
        np.testing.assert_array_equal(frames[::-1], shapes.rendered(moving, twin))
        assert not np.array_equal(frames, frames[::-1])


def test_one_frame_tells_nothing_of_the_motion(root: Path) -> None:
    """Whatever the class, a frame shows the same mixture of sizes, places, angles and shapes."""
    many = recipe(root, "moving_shapes", groups=600)
    seen: dict[str, dict[str, list[np.ndarray]]] = {}
    drawn: dict[str, Counter[str]] = {}
    for clip in shapes.planned(many):
        motion = shapes.moved(many, clip)
        of_class = seen.setdefault(clip.label, {"radius": [], "x": [], "y": [], "angle": []})
        of_class["radius"].append(np.log(motion.radius))
        of_class["x"].append(motion.x / many.size)
        of_class["y"].append(motion.y / many.size)
        of_class["angle"].append(motion.angle / (2 * np.pi) % 1)
        drawn.setdefault(clip.label, Counter())[motion.shape] += 1
    for what in ("radius", "x", "y", "angle"):
        quantiles = {
            label: np.quantile(np.concatenate(of_class[what]), [0.1, 0.3, 0.5, 0.7, 0.9])
            for label, of_class in seen.items()
        }
        middle = np.mean(list(quantiles.values()), axis=0)
        spread = np.ptp(np.concatenate(seen["left"][what]))
        for label, found in quantiles.items():
            assert np.abs(found - middle).max() < 0.08 * spread, (what, label, found, middle)
    for counts in drawn.values():
        assert min(counts[shape] for shape in shapes.SHAPES) > 60  # of 100 that are expected


def test_the_class_is_what_moves(moving: shapes.Recipe) -> None:
    def step(values: np.ndarray, period: float) -> np.ndarray:
        return (np.diff(values) + period / 2) % period - period / 2

    for clip in shapes.planned(moving)[:80]:
        motion = shapes.moved(moving, clip)
        right, down = step(motion.x, moving.size), step(motion.y, moving.size)
        turn, growth = step(motion.angle, 2 * np.pi), np.diff(motion.radius)
        signs = {
            "left": -right, "right": right, "up": -down, "down": down, "clockwise": turn, "counter-clockwise": -turn,
            "grow": growth, "shrink": -growth,
        }  # fmt: skip
        moves = {name for name, values in signs.items() if np.abs(values).max() > 1e-9}
        assert clip.label in moves
        assert len(moves) == 2  # itself and its opposite
        assert (signs[clip.label] > 0).all()
        assert motion.radius.min() >= moving.radius[0] - 1e-9
        assert motion.radius.max() <= moving.radius[1] + 1e-9


def test_a_picture_shows_the_shape_where_it_is_and_wraps_at_the_borders(moving: shapes.Recipe) -> None:
    clip = next(clip for clip in shapes.planned(moving) if clip.label == "right")
    motion, frames = shapes.moved(moving, clip), shapes.rendered(moving, clip).astype(int)
    for place in (0, len(frames) - 1):
        away = np.abs(frames[place] - np.median(frames, axis=0)).sum(-1)
        heavy = away > 0.5 * away.max()
        rows, columns = np.nonzero(heavy)
        for found, middle in ((columns, motion.x[place]), (rows, motion.y[place])):
            angles = 2 * np.pi * (found + 0.5) / moving.size
            centre = np.angle(np.exp(1j * angles).mean()) / (2 * np.pi) * moving.size
            assert abs((centre - middle + 32) % 64 - 32) < 6


def test_gifs_are_exact_and_the_same_again(tmp_path: Path, moving: shapes.Recipe) -> None:
    clip = shapes.planned(moving)[5]
    frames = shapes.rendered(moving, clip)
    assert len(np.unique(frames.reshape(-1, 3), axis=0)) <= 240
    for name in ("a.gif", "b.gif"):
        shapes.write_clip(tmp_path / name, frames, moving.fps)
    assert (tmp_path / "a.gif").read_bytes() == (tmp_path / "b.gif").read_bytes()
    read = media.decode(tmp_path / "a.gif", height=64, width=64, fps=10, ffmpeg=launch.ffmpeg_binary())
    np.testing.assert_array_equal(read, frames)


def test_impossible_recipes_are_refused(root: Path) -> None:
    for wrong, message in (
        ({"radius": (7, 40)}, "meets itself at the borders of 64 pixels"),
        ({"speed": (5, 2)}, "speed 5 to 2: the first must be the smaller"),
        ({"growth": (1.05, 1.2)}, "leads beyond the radius 20"),
        ({"growth": (0.9, 1.05)}, "by a factor above 1"),
        ({"turn": (8, 40)}, "may as well turn the other way"),
        ({"label": "colour"}, "label"),
    ):
        with pytest.raises(ValueError, match=message):
            recipe(root, "moving_shapes", **wrong)
