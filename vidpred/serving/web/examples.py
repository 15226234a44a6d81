"""The clips to click, made anew: `python -m vidpred.serving.web.examples`. They lie in `static/examples/`, in git.

Moving digits and shapes as in the bundled data, but of another seed, so that no model has seen these clips; and three
discs that bounce, which no model has seen anything like.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from vidpred.data import shapes
from vidpred.data.digits import Recipe, planned, rendered
from vidpred.serving.web.drawing import gif
from vidpred.serving.web.pages import STATIC

_FPS = 10
_SEED = 2026
_COLOURS = ((240, 90, 70), (90, 190, 110), (95, 150, 245))


def discs(count: int = 16, side: int = 64) -> np.ndarray:
    """Three discs that bounce off the borders: uint8 (T, H, W, 3)."""
    rows, columns = np.mgrid[:side, :side] + 0.5
    frames = np.full((count, side, side, 3), 14.0)
    starts = np.array([[16.0, 14.0], [40.0, 44.0], [24.0, 50.0]])
    speeds = np.array([[2.6, 3.4], [-3.1, 2.2], [1.7, -2.9]])
    for frame, t in zip(frames, range(count), strict=True):
        for start, speed, radius, colour in zip(starts, speeds, (9.0, 11.0, 6.0), _COLOURS, strict=True):
            room = side - 2 * radius
            place = radius + np.abs((start + speed * t - radius + room) % (2 * room) - room)  # a triangle wave
            inside = np.clip(radius - np.hypot(rows - place[0], columns - place[1]) + 0.5, 0, 1)[..., None]
            frame[:] = frame * (1 - inside) + np.array(colour) * inside
    return frames.round().astype(np.uint8)


def digits(count: int = 16) -> list[np.ndarray]:
    """Clips of two digits: uint8 (T, H, W, 3) each."""
    from sklearn.datasets import load_digits

    bundled = load_digits()
    recipe = Recipe(recipe="moving_digits", frames=count, groups=3, clips_per_group=1, mp4_share=0, seed=_SEED)
    return [rendered(recipe, plan, bundled.images) for plan in planned(recipe, bundled.target)]


def moving_shapes(count: int = 12) -> dict[str, np.ndarray]:
    """A clip of four of the motions that classifiers tell apart: uint8 (T, H, W, 3) each."""
    recipe = shapes.Recipe.model_validate(
        {
            "recipe": "shapes",
            "label": "motion",
            "size": 64,
            "radius": (7, 20),
            "frames": count,
            "groups": 3,
            "seed": _SEED,
        }
    )
    plans = {plan.label: plan for plan in shapes.planned(recipe)}
    return {label: shapes.rendered(recipe, plans[label]) for label in ("left", "down", "clockwise", "grow")}


def write(folder: Path) -> None:
    """Writes the GIFs, and `list.json` with their titles."""
    clips = {f"digits-{number}.gif": ("Two moving digits", clip) for number, clip in enumerate(digits(), 1)}
    clips["discs.gif"] = ("Three bouncing discs", discs())
    folder.mkdir(parents=True, exist_ok=True)
    for name, (_, frames) in clips.items():
        (folder / name).write_bytes(gif(frames, _FPS))
    listed = [{"file": name, "title": title} for name, (title, _) in clips.items()]
    for label, frames in moving_shapes().items():
        (folder / f"shape-{label}.gif").write_bytes(gif(frames, _FPS))
        listed.append({"file": f"shape-{label}.gif", "title": f"A shape: {label}", "kind": "classify"})
    (folder / "list.json").write_text(json.dumps(listed, indent=1) + "\n")


if __name__ == "__main__":
    write(STATIC / "examples")
