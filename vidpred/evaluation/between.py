"""Pictures of frames made between those of a clip, beside the truth: a filmstrip (PNG) and a moving pair (GIF)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from vidpred.config import Params
from vidpred.data.clips import flow_of, read_windows
from vidpred.data.encode import write_gif
from vidpred.data.shards import Shards
from vidpred.evaluation.pictures import GREEN, GREY, bordered, enlarge, write_rows
from vidpred.models.rollout import rollout
from vidpred.types import Predictor, Task, Window, to_float, to_uint8


def interleaved(known: np.ndarray, made: np.ndarray, *, side: int | None = None) -> np.ndarray:
    """Known frames in grey borders and, after each but the last, the one made between in a green border.

    Args:
        known: uint8 (N + 1, H, W, 3).
        made: uint8 (N, H, W, 3).
        side: Frames are enlarged to about so many pixels; None: not enlarged.

    Returns:
        uint8 (2·N + 1, h, w, 3), in the order of time.
    """
    if side is not None:
        known, made = enlarge(known, side), enlarge(made, side)
    grey, green = bordered(known, GREY), bordered(made, GREEN)
    out = np.empty((len(grey) + len(green), *grey.shape[1:]), np.uint8)
    out[::2], out[1::2] = grey, green
    return out


@torch.no_grad()
def between_pictures(
    folder: Path, model: Predictor, shards: Shards, windows: Sequence[Window], task: Task, steps: int, params: Params,
    device: torch.device,
) -> None:  # fmt: skip
    """Writes `<i>.png`, `<i>.gif` and `pictures.json`: of every second frame what the model makes of its neighbours.

    Args:
        folder: Made; must not exist.
        model: On the device, for frames between two.
        shards: Where the windows are read.
        windows: Each with room for 2·`steps` + 1 frames.
        task: Decides the interval.
        steps: Frames that are made of each window.
        params: How flow is computed.
        device: Where to compute.
    """
    folder.mkdir()
    captions = []
    for i, window in enumerate(windows):
        frames = read_windows(shards, [window], count=2 * steps + 1, interval=task.interval)[0]
        known = to_float(torch.from_numpy(frames[::2].copy()).to(device))
        pairs = torch.stack((known[:-1], known[1:]), dim=1)
        output = rollout(model, pairs, 1, flow=lambda c: flow_of(c, params.flow))
        made = to_uint8(output.frames[:, 0]).movedim(1, -1).cpu().numpy()
        truth = bordered(enlarge(frames, 64), GREY)
        write_rows(folder / f"{i}.png", truth, interleaved(frames[::2], made, side=64))
        clip = shards.clips[window.clip]
        pair = [bordered(enlarge(frames), GREY), interleaved(frames[::2], made, side=128)]
        write_gif(folder / f"{i}.gif", np.concatenate(pair, axis=2), clip.fps / task.interval)
        captions.append({"source": clip.source, "group": clip.group, "start": window.start, "steps": steps})
    (folder / "pictures.json").write_text(json.dumps(captions, indent=2) + "\n")
