"""Shapes that rest, tremble and now and then move: what the background is made of, and long videos with their truth."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from vidpred.config import Params
from vidpred.data import launch, media, shapes, untrimmed
from vidpred.data.recipes import planned
from vidpred.errors import UserError


@pytest.fixture(scope="module")
def raw(root: Path) -> dict[str, Any]:
    told: dict[str, Any] = yaml.safe_load((root / "datasets/untrimmed_shapes.yaml").read_text())
    return told


@pytest.fixture(scope="module")
def recipe(raw: dict[str, Any]) -> untrimmed.Recipe:
    return untrimmed.Recipe.model_validate(raw)


def test_the_clips_are_those_of_moving_shapes_and_a_background(
    root: Path, params: Params, raw: dict[str, Any], tmp_path: Path
) -> None:
    moving = yaml.safe_load((root / "datasets/moving_shapes.yaml").read_text())
    clips = planned(raw, root, params.fetch)
    assert [(clip.name, clip.group, clip.label) for clip in planned(moving, root, params.fetch)] == [
        (clip.name, clip.group, clip.label) for clip in clips[:800]
    ]
    assert Counter(clip.label for clip in clips[800:]) == {"background": 300}
    assert len({clip.name for clip in clips}) == 1100
    clips[800].write(tmp_path / "rest.gif")  # frames that repeat are frames, too
    frames = media.decode(tmp_path / "rest.gif", height=64, width=64, ffmpeg=launch.any_ffmpeg(), fps=10)
    assert len(frames) == 12
    assert not np.diff(frames.astype(int), axis=0).any()
    for wrong, said in (
        ({"gap": [9, 8]}, "gap 9 to 8"),
        ({"radius": [14, 20]}, "no room for 8 frames of growth by 1.05"),
    ):
        with pytest.raises(UserError, match=said):
            planned(raw | {"frames": 2} | wrong, root, params.fetch)


def test_background_rests_trembles_or_is_cut(recipe: untrimmed.Recipe) -> None:
    for clip in untrimmed.planned(recipe)[:12]:
        frames = untrimmed.rendered(recipe, clip)
        assert frames.shape == (12, 64, 64, 3)
        change = np.abs(np.diff(frames.astype(int), axis=0)).mean(axis=(1, 2, 3))
        if clip.kind == untrimmed.REST:
            assert not change.any()
        elif clip.kind == untrimmed.TREMBLE:
            assert change.min() > 0
            # it stays where it is: the last frame is about as near to the first as any
            assert np.abs(frames[-1].astype(int) - frames[0]).mean() < 2 * change.max()
        else:
            assert (change > 5 * np.median(change) + 5).sum() == 1
            assert 3 <= change.argmax() <= 8


def test_a_long_video_says_when_what_happens(recipe: untrimmed.Recipe) -> None:
    found: Counter[str] = Counter()
    for number in range(3):
        frames, actions = untrimmed.composed(recipe, number)
        assert len(frames) >= 600
        ends = [0, *(action.end for action in actions)]
        for before, action, after in zip(ends, actions, [*(a.start for a in actions[1:]), len(frames)], strict=False):
            assert recipe.gap[0] <= action.start - before
            assert recipe.gap[0] <= after - action.end
            assert 8 <= action.end - action.start <= recipe.action[1]
            found[action.label] += 1
            moving = np.abs(np.diff(frames[action.start : action.end].astype(int), axis=0)).mean(axis=(1, 2, 3))
            assert moving.min() > 0
        again, same = untrimmed.composed(recipe, number)
        assert same == actions
        np.testing.assert_array_equal(again, frames)
    assert set(found) <= set(shapes.MOTIONS)
    assert len(found) > 5


def test_shapes_grow_within_the_sizes_of_the_recipe(recipe: untrimmed.Recipe) -> None:
    rng = np.random.default_rng(0)
    for _ in range(200):
        label, motion = untrimmed._action(recipe, rng, untrimmed._standing(recipe, rng))
        low, high = recipe.radius
        assert (motion.radius > low - 1e-6).all()
        assert (motion.radius < high + 1e-6).all()
        steps = np.diff(np.log(motion.radius))
        if label in ("grow", "shrink"):
            slow, fast = np.log(recipe.growth)
            assert (np.abs(steps) > slow - 1e-9).all()
            assert (np.abs(steps) < fast + 1e-9).all()
            assert (np.sign(steps) == (1 if label == "grow" else -1)).all()
        else:
            assert not steps.any()
