"""Optical flow of one rollout, a field a task on several threads: it takes about as long as the network does.

The same fields as of `data.clips.flow_for`, to the bit, since each depends on its own two frames only.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor

from vidpred.config import FlowParams
from vidpred.data.flow import flow_to_previous
from vidpred.types import to_uint8


def following(params: FlowParams, pool: ThreadPoolExecutor) -> Callable[[Tensor], Tensor]:
    """From a context (B, T, C, H, W) to its flow (B, T-1, 2, H, W); of frames that the context before had too it is
    known."""
    known: tuple[Tensor, Tensor] | None = None

    def field(pair: np.ndarray) -> np.ndarray:
        found: np.ndarray = flow_to_previous(pair, method=params.method, preset=params.preset)[0]
        return found

    def follow(context: Tensor) -> Tensor:
        nonlocal known
        batch, length = context.shape[:2]
        new = length - 1
        if known is not None:
            seen = known[0]
            new = next((n for n in range(1, length - 1) if torch.equal(context[:, :-n], seen[:, n:])), new)
        frames = to_uint8(context[:, -new - 1 :]).movedim(-3, -1).cpu().numpy()
        pairs = [frames[window, i : i + 2] for window in range(batch) for i in range(new)]
        fields = torch.from_numpy(np.stack(list(pool.map(field, pairs))))
        found: Tensor = fields.view(batch, new, *fields.shape[1:]).to(context.device)
        if known is not None and new < length - 1:
            found = torch.cat([known[1][:, new:], found], dim=1)
        known = context, found
        return found

    return follow
