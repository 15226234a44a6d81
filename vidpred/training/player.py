"""A set of weights that moves as one: its AdamW, its learning rate, its limit on gradients, its state on disk.

A model trained at once is one player, a stage of a model another, the discriminators that it is trained against a
third.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn


class Player:
    """Parameters that move together.

    Args:
        named: The parameters, by the names that they are saved under.
        weight_decay: On matrices and kernels only.
        clip_norm: Gradients are scaled down to this norm.
    """

    def __init__(self, named: Iterable[tuple[str, nn.Parameter]], *, weight_decay: float, clip_norm: float) -> None:
        self._named = dict(named)
        self._clip_norm = clip_norm
        parameters = self.parameters
        self._optimizer = torch.optim.AdamW(
            [
                {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": weight_decay},
                {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
            ],
            lr=0.0,  # every move has its own
            fused=True,
        )

    @property
    def parameters(self) -> list[nn.Parameter]:
        return list(self._named.values())

    def still(self) -> None:
        """Forgets the gradients."""
        self._optimizer.zero_grad(set_to_none=True)

    def move(self, rate: float) -> bool:
        """One step at a learning rate; False, and nothing moves, where gradients are not finite."""
        norm = torch.nn.utils.clip_grad_norm_(self.parameters, self._clip_norm)
        if not math.isfinite(norm.item()):
            return False
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        self._optimizer.step()
        return True

    def tensors(self) -> dict[str, Tensor]:
        """The optimiser's moments."""
        states = self._optimizer.state
        return {f"{n}.{k}": v for n, p in self._named.items() for k, v in states.get(p, {}).items()}

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Goes back to moments that `tensors` gave."""
        for key, moment in tensors.items():
            name, _, field = key.rpartition(".")
            parameter = self._named[name]
            # a parameter that never had a gradient has no state
            self._optimizer.state[parameter][field] = _placed(moment, parameter)


def _placed(moment: Tensor, parameter: nn.Parameter) -> Tensor:
    """In the parameter's own memory layout: the fused optimiser walks both as flat memory."""
    like = parameter if moment.shape == parameter.shape else moment.to(parameter.device)
    return torch.empty_like(like, requires_grad=False).copy_(moment)
