"""How much GPU memory a trial is likely to need, so that as many share a GPU as fit.

An estimate: weights, gradients, Adam's two moments and the average are counted; activations are what autograd keeps of
one window, times the windows of a batch. Kernels' workspace and the pieces that an allocator cannot use are allowed for
by a factor.
"""

from __future__ import annotations

import torch
from torch.autograd.graph import saved_tensors_hooks

from vidpred.cluster.contract import Point
from vidpred.config import Params
from vidpred.models import zoo
from vidpred.types import Model, Task

_CONTEXT_BYTES = 2**30
"""Of the CUDA context and the kernels, in each process."""
_SLACK = 1.5
_COPIES = 5
"""Of the weights: themselves, gradients, two moments, the average."""


def gpu_bytes(point: Point, params: Params, task: Task) -> int:
    """Estimated peak of a trial.

    Args:
        point: Of the trial.
        params: What it replaces fields of.
        task: What its model is built for.
    """
    train = params.train.changed(point["train"])
    with torch.random.fork_rng(devices=[]):
        model = zoo.build(point["model"], point["config"], task, Model)
    weights = sum(each.numel() * each.element_size() for each in model.parameters())
    unrolled = max(train.unroll_steps) if isinstance(train.unroll_steps, list) else train.unroll_steps
    steps = unrolled if train.unroll_share and task.kind == "predict" else 1  # nothing else is rolled out
    windows = -(-train.batch_size // (train.accumulate * params.resources.workers_per_trial))
    kept = _kept_bytes(model, task) * windows * steps
    return round(_CONTEXT_BYTES + _SLACK * (_COPIES * weights + kept))


def _kept_bytes(model: torch.nn.Module, task: Task) -> int:
    """What autograd keeps of one window for going backward, each storage once."""
    seen: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        seen[storage.data_ptr()] = storage.nbytes()
        return tensor

    context = torch.zeros(1, task.context, task.channels, task.height, task.width)
    flow = torch.zeros(1, task.context - 1, 2, task.height, task.width) if model.needs_flow else None
    own = {each.untyped_storage().data_ptr() for each in model.parameters()}
    alive = []  # so that no storage is counted under another's address

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        alive.append(tensor)
        return keep(tensor)

    with saved_tensors_hooks(pack, lambda tensor: tensor):
        model(context, flow)
    return sum(size for pointer, size in seen.items() if pointer not in own)
