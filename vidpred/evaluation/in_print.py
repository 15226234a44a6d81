"""Our models by a published protocol: what stands beside the figures of a paper.

In: models, the test part. Out: figures for `results/evaluate/metrics.json`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from vidpred.config import FlowParams, TaskParams
from vidpred.data.clips import evaluation_windows, flow_for, make_batch, read_windows
from vidpred.data.shards import Shards
from vidpred.errors import UserError
from vidpred.evaluation.mathieu2015 import CONTEXT, STEPS, UNITS, means, score_clips
from vidpred.models.rollout import rollout
from vidpred.types import Predictor, Segment


@torch.no_grad()
def by_mathieu2015(
    models: Mapping[str, Predictor],
    shards: Shards,
    test: Sequence[Segment],
    *,
    task: TaskParams,
    flow: FlowParams,
    batch_size: int,
    device: torch.device,
) -> dict[str, Any]:
    """Scores models as Mathieu et al. 2015 do: one window a clip, four frames in, two out, the second from the first.

    What moves is told by our own flow, of frames of the shards' size: only with the paper's videos at 240x320 are the
    figures near those in print, and even then not the same.

    Args:
        models: By name, in eval mode; each sees four frames.
        shards: Where the windows are read.
        test: The test part.
        task: Decides the interval.
        flow: How optical flow is computed, for models that need it.
        batch_size: Windows predicted at once.
        device: Where to compute.

    Returns:
        `name`; `clips`, how many were scored; `steps`: for each model a list of what is printed of each step, None for
        what no clip has.

    Raises:
        UserError: no test clip has six frames.
    """
    windows = evaluation_windows(test, task=task, per_clip=1, frames=CONTEXT + STEPS)
    if not windows:
        raise UserError(f"no test clip has the {CONTEXT + STEPS} frames of mathieu2015: set evaluate.protocol to null")
    found: dict[str, list[dict[str, torch.Tensor]]] = {name: [] for name in models}
    for first in range(0, len(windows), batch_size):
        some = windows[first : first + batch_size]
        frames = read_windows(shards, some, count=CONTEXT + STEPS, interval=task.interval)
        batch = make_batch(frames, context=CONTEXT, device=device)
        for name, model in models.items():
            predicted = rollout(model.to(device), batch.context, STEPS, flow=flow_for(batch, flow), clamp=True)
            found[name].append(score_clips(batch.context, predicted.frames, batch.target))
    steps = {
        name: [
            {key: None if isinstance(value, float) and math.isnan(value) else value for key, value in of_step.items()}
            for of_step in means({metric: torch.cat([part[metric] for part in parts]) for metric in UNITS})
        ]
        for name, parts in found.items()
    }
    return {"name": "mathieu2015", "clips": len(windows), "steps": steps}
