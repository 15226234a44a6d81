"""Shards of clips with a class, made without ffmpeg: the bundled shapes, and colours that are easily told apart."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from vidpred.config import SplitParams
from vidpred.data.shapes import Recipe, planned, rendered
from vidpred.data.shards import RawClip, Shards, write_shards
from vidpred.data.split import make_split, write_split


def small(**changes: object) -> Recipe:
    """Of 24 groups of 8 clips, 8 frames of 32x32 each."""
    fields: dict[str, object] = {
        "recipe": "shapes", "label": "motion", "size": 32, "radius": (5, 10), "frames": 8, "growth": (1.06, 1.09),
        "groups": 24,
    }  # fmt: skip
    return Recipe.model_validate(fields | changes)


COLOURS = {"blue": 4, "cyan": 6, "green": 2, "purple": 5, "red": 1, "yellow": 3}
"""Classes that are easily told apart, each with a number whose bits say which channels are bright."""


def write_shapes(folder: Path, recipe: Recipe) -> Path:
    """`shards/` and `split/` of the clips of a recipe."""
    return _written(folder, [(plan.group, plan.label, rendered(recipe, plan)) for plan in planned(recipe)])


def write_colours(folder: Path, *, groups: int = 12, frames: int = 8) -> Path:
    """`shards/` and `split/` of clips of noise, 32x32, whose colour is their class."""
    rng = np.random.default_rng(0)
    clips = []
    for group in range(groups):
        for label, bits in COLOURS.items():
            noise = rng.integers(0, 90, (frames, 32, 32, 3), dtype=np.uint8)
            noise += np.array([120 * (bits >> channel & 1) for channel in range(3)], np.uint8)
            clips.append((f"g{group}", label, noise))
    return _written(folder, clips)


def _written(folder: Path, clips: list[tuple[str, str, np.ndarray]]) -> Path:
    rows = []
    for number, (group, label, frames) in enumerate(clips):
        path = folder / f"{number}.rgb"
        path.write_bytes(frames.tobytes())
        sha256 = hashlib.sha256(frames.tobytes()).hexdigest()
        rows.append(
            RawClip(
                source=f"{group}-{number}.gif",
                sha256=sha256,
                key=sha256,
                number=0,
                group=group,
                label=label,
                fps=10.0,
                motion=float(np.abs(np.diff(frames.astype(int), axis=0)).mean()),
                frames=path,
                length=len(frames),
            )
        )
    length, height, width, _ = clips[0][2].shape
    write_shards(
        folder / "shards", rows, [], height=height, width=width, fps=10.0, buckets=2, parameters={"fit": "crop"},
        ffmpeg="none",
    )  # fmt: skip
    _, parts = make_split(Shards(folder / "shards").clips, SplitParams(val=0.15, test=0.25), span=length, labelled=True)
    write_split(folder / "split", parts)
    return folder
