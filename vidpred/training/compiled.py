"""`train.compile`: a model's forward and backward compiled by torch, where that can be done here.

What fails to compile (no C++ compiler, an operation that is not known) is computed as always, and told once.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TypeVar

import torch

from vidpred.types import Model

log = logging.getLogger(__name__)

Found = TypeVar("Found")


class Compiled:
    """Compiles a model in place, weights and their names untouched.

    Args:
        model: Whose calls are compiled, at the first of each kind.
        wanted: False: nothing is compiled.
    """

    def __init__(self, model: Model, *, wanted: bool) -> None:
        self._model = model
        self.on = wanted
        if wanted:
            model.compile(dynamic=False)

    def attempt(self, work: Callable[[], Found]) -> Found:
        """Does what calls the model; if that fails while it is compiled, again without, from the same random state.

        Args:
            work: May be broken off and begun again: moves no weight.
        """
        if not self.on:
            return work()
        random = torch.get_rng_state()
        on_gpu = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []
        buffers = [buffer.clone() for buffer in self._model.buffers()]
        try:
            return work()
        except Exception as error:  # noqa: BLE001 - a compiler fails in many ways; what is no fault of its fails again
            told = (str(error).strip().splitlines() or [""])[0]
            log.warning(
                "train.compile: the model cannot be compiled here (%s: %s); it is trained without",
                type(error).__name__, told,
            )  # fmt: skip
            self.on = False
            self._model._compiled_call_impl = None
            torch.set_rng_state(random)
            torch.cuda.set_rng_state_all(on_gpu)
            for buffer, before in zip(self._model.buffers(), buffers, strict=True):
                buffer.copy_(before)
        return work()
