"""Classifiers, clips for them, and a few training steps."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from vidpred.errors import UserError
from vidpred.models import zoo
from vidpred.types import Classifier, Scores, Task

TASK = Task(context=8, horizon=0, height=32, width=32, kind="classify", classes=("left", "right", "up"))
NAMES = zoo.names("classify")
SMALL: list[tuple[str, dict[str, object]]] = [
    (name, config)
    for name in NAMES
    for config in [{"variant": one} for one in zoo.variants(name, "classify") if "paper" not in one] or [{}]
]
"""Every classifier in each of its sizes that is trained in seconds; one without variants as it is."""


def made(name: str, config: dict[str, object] | None = None, task: Task = TASK) -> Classifier:
    torch.manual_seed(0)
    return zoo.build(name, config or {}, task, Classifier)


def clips(batch: int = 2, *, length: int = 8, height: int = 32, width: int = 32) -> Tensor:
    generator = torch.Generator().manual_seed(2)
    return torch.rand(batch, length, 3, height, width, generator=generator)


def score(model: Classifier, clip: Tensor) -> Scores:
    """With a flow that depends on the clip alone."""
    if not model.needs_flow:
        return model(clip)
    return model(clip, 8 * (clip[:, 1:, :2] - clip[:, :-1, :2]))


def tried(model: Classifier, clip: Tensor) -> Tensor | str:
    """The logits, or why there are none."""
    try:
        return score(model, clip).logits
    except UserError as error:
        return str(error)


def optimise(model: Classifier, steps: int = 3, rate: float = 3e-3) -> set[str]:
    """Trains a few steps on two clips; names of the parameters with a gradient other than zero at any of them."""
    clip, truth = clips(), torch.tensor([0, 2])
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=rate)
    reached = set()
    for _ in range(steps):
        said = score(model.train(), clip)
        loss = sum(F.cross_entropy(logits, truth) for logits in (said.logits, *said.auxiliary))
        optimizer.zero_grad()
        loss.backward()  # type: ignore[union-attr]
        optimizer.step()
        reached |= {name for name, p in model.named_parameters() if p.grad is not None and bool(p.grad.any())}
    return reached
