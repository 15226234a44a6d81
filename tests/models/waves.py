"""Clips that move evenly, with their true flow, and models that see and learn them."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from vidpred.types import Predictor, Task

TASK = Task(context=5, horizon=1, height=32, width=32)


def moving(frames: int, *, batch: int = 2, size: int = 32, speed: tuple[float, float] = (1.5, -0.75)) -> Tensor:
    """(B, frames, 3, size, size): waves that move by `speed` pixels (x, y) a frame, computed, so without resampling."""
    generator = torch.Generator().manual_seed(1)
    waves = 12
    direction, phase, strength = (torch.randn(batch, 3, waves, k, generator=generator) for k in (2, 1, 1))
    y, x = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    shots = []
    for t in range(frames):
        places = torch.stack((x - speed[0] * t, y - speed[1] * t), dim=-1).flatten(0, 1)  # (H·W, 2)
        waved = torch.sin(0.3 * direction @ places.T.float() + 6 * phase)
        shots.append((0.5 + 0.08 * (strength * waved).sum(dim=2)).clamp(0, 1).reshape(batch, 3, size, size))
    return torch.stack(shots, dim=1)


def flow_of(context: Tensor, speed: tuple[float, float] = (1.5, -0.75)) -> Tensor:
    """The true flow of `moving`, from every frame back to the one before."""
    batch, length, _, height, width = context.shape
    back = -torch.tensor(speed)[:, None, None].expand(2, height, width)
    return back.expand(batch, length - 1, 2, height, width)


def predict(model: Predictor, context: Tensor) -> Tensor:
    return model(context, flow_of(context) if model.needs_flow else None).frames


def optimise(model: Predictor, steps: int = 3) -> set[str]:
    """Trains for a few steps; the names of the parameters that had a gradient other than zero at any of them."""
    clip = moving(TASK.context + model.steps)
    context, target = clip[:, : TASK.context], clip[:, TASK.context :]
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    reached = set()
    for _ in range(steps):
        output = model.train()(context, flow_of(context) if model.needs_flow else None)
        loss = F.l1_loss(output.frames, target) + sum(F.l1_loss(a, target) for a in output.auxiliary)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        reached |= {name for name, p in model.named_parameters() if p.grad is not None and bool(p.grad.any())}
    return reached
