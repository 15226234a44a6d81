"""The bundled data: deterministic, few colours, disjoint digits, and as hard as promised."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml
from sklearn.datasets import load_digits

from vidpred.config import Params
from vidpred.data import digits, launch, media
from vidpred.data.split import make_split
from vidpred.types import Clip


@pytest.fixture(scope="module")
def recipe(root: Path) -> digits.Recipe:
    return digits.Recipe.model_validate(yaml.safe_load((root / "datasets/moving_digits.yaml").read_text()))


@pytest.fixture(scope="module")
def images() -> tuple[np.ndarray, np.ndarray]:
    found = load_digits()
    return found.images, found.target


def test_groups_share_no_digit(recipe: digits.Recipe, images: tuple[np.ndarray, np.ndarray]) -> None:
    clips = digits.planned(recipe, images[1])
    of_digit: dict[int, set[str]] = {}
    for clip in clips:
        for row in clip.digits:
            of_digit.setdefault(row, set()).add(clip.group)
    assert all(len(groups) == 1 for groups in of_digit.values())
    assert len({clip.group for clip in clips}) == recipe.groups
    assert len({clip.name for clip in clips}) == recipe.groups * recipe.clips_per_group
    mp4 = sum(clip.name.endswith(".mp4") for clip in clips)
    assert mp4 == round(len(clips) * recipe.mp4_share)


def test_a_clip_moves_as_promised_and_always_the_same(
    recipe: digits.Recipe, images: tuple[np.ndarray, np.ndarray]
) -> None:
    for clip in digits.planned(recipe, images[1])[:5]:
        frames = digits.rendered(recipe, clip, images[0])
        np.testing.assert_array_equal(frames, digits.rendered(recipe, clip, images[0]))
        assert frames.shape == (recipe.frames, recipe.size, recipe.size, 3)
        assert len(np.unique(frames.reshape(-1, 3), axis=0)) <= 255
        assert (np.abs(np.diff(frames.astype(int), axis=0)).mean(axis=(1, 2, 3)) > 0.5).all()


def test_its_gif_is_exact(tmp_path: Path, recipe: digits.Recipe, images: tuple[np.ndarray, np.ndarray]) -> None:
    frames = digits.rendered(recipe, digits.planned(recipe, images[1])[0], images[0])
    digits.write_clip(tmp_path / "a.gif", frames, recipe.fps)
    read = media.decode(
        tmp_path / "a.gif", height=recipe.size, width=recipe.size, fps=recipe.fps, ffmpeg=launch.ffmpeg_binary()
    )
    np.testing.assert_array_equal(read, frames)


def test_repeating_the_last_frame_is_30_to_36_off_on_test(
    recipe: digits.Recipe, images: tuple[np.ndarray, np.ndarray], params: Params
) -> None:
    plans = digits.planned(recipe, images[1])
    clips = [Clip(p.name, p.name, "", p.group, "", "", 0, recipe.frames, recipe.fps, 0.0) for p in plans]
    _, split = make_split(clips, params.split, span=params.task.span)
    distances = []
    for segment in split["test"]:
        frames = digits.rendered(recipe, plans[segment.clip], images[0]).astype(float)
        context = params.task.context
        # redmean, as metrics.md defines it, between each window's target and the frame before
        y, p = frames[context :: context + 1], frames[context - 1 : -1 : context + 1]
        red, (dr, dg, db) = (y[..., 0] + p[..., 0]) / 2, np.moveaxis((y - p) ** 2, -1, 0)
        distances.append(np.sqrt((512 + red) * dr / 256 + 4 * dg + (767 - red) * db / 256).mean())
    assert 30 <= np.mean(distances) <= 36


def test_impossible_recipes_are_refused() -> None:
    with pytest.raises(ValueError, match="cannot move in a frame of 24"):
        digits.Recipe(recipe="moving_digits", size=24, digit=24)
    with pytest.raises(ValueError, match="first must be the smaller"):
        digits.Recipe(recipe="moving_digits", speed=(5, 2))
