"""Non-local blocks after stages of a 3D network, as its config's `nonlocal_after` names them."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from vidpred.errors import UserError
from vidpred.models.blocks.attention import NonLocal


class NonLocalAfter(nn.ModuleDict):
    """Blocks by the name of the stage that they follow; an identity until they are trained.

    Args:
        model: For what is said.
        wanted: Names of stages.
        widths: Channels of every stage.

    Raises:
        UserError: a stage that the network has not; says which it has.
    """

    def __init__(self, model: str, wanted: Sequence[str], widths: Mapping[str, int]) -> None:
        for stage in wanted:
            if stage not in widths:
                nearest = difflib.get_close_matches(stage, widths, n=1, cutoff=0.5)
                hint = f"did you mean {nearest[0]!r}? " if nearest else ""
                raise UserError(
                    f"{model} has no stage {stage!r} for nonlocal_after: {hint}there are {', '.join(widths)}"
                )
        super().__init__({stage: NonLocal(widths[stage], max(1, widths[stage] // 2)) for stage in wanted})

    def after(self, stage: str, maps: Tensor) -> Tensor:
        """Maps (B, C, T, H, W) of a stage, as the next one is to see them."""
        if stage not in self:
            return maps
        attended: Tensor = self[stage](maps.transpose(1, 2))
        return attended.transpose(1, 2)

    def after_moments(self, stage: str, moments: list[Tensor]) -> list[Tensor]:
        """The same for a list of (B, C, H, W), one for each moment."""
        if stage not in self:
            return moments
        attended: Tensor = self[stage](torch.stack(moments, dim=1))
        return list(attended.unbind(1))
