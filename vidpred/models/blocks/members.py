"""Several networks of one kind whose predictions are averaged: each errs in its own way, and some of it cancels out.

What they learn of few clips by chance differs from one to the next (deep ensembles: Lakshminarayanan et al. 2017, arXiv
1612.01474). Trained together they cost no more than one: each sees its own share of every batch.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from vidpred.types import Output, Predictor


class Members(Predictor):
    """Networks that are trained on parts of a batch and asked all together.

    Args:
        build: Makes one; called once for each, so that they start from different weights.
        count: How many.
    """

    def __init__(self, build: Callable[[], Predictor], count: int) -> None:
        super().__init__()
        self.members = nn.ModuleList(build() for _ in range(count))
        self.needs_flow = bool(self.members[0].needs_flow)

    def forward(self, context: Tensor, flow: Tensor | None = None) -> Output:
        """As `Predictor.forward`: the mean of all. While training each window is predicted by one member only.

        Which member that is changes from step to step, so that none is left out where windows are fewer than members.
        """
        if not self.training:
            return Output(torch.stack([member(context, flow).frames for member in self.members]).mean(dim=0))
        shares = torch.arange(len(context)).tensor_split(len(self.members))
        first = int(torch.randint(len(self.members), ()))  # of torch's generator: a resumed run draws the same
        outputs = [
            self.members[(first + i) % len(self.members)](context[share], None if flow is None else flow[share])
            for i, share in enumerate(shares)
            if len(share)
        ]
        others = zip(*(output.auxiliary for output in outputs), strict=True)
        return Output(torch.cat([output.frames for output in outputs]), tuple(torch.cat(parts) for parts in others))
