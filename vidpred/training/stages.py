"""Which stages a run has, and which parameters move in each.

A model is trained at once, by the loss on frames: one stage, `joint`. Or it declares stages, each with a loss and
parameters of its own, as an autoencoder that must restore frames before anything predicts in its latent. A stage has
an optimiser, a warm-up and a cosine to zero of its own: what it trained is finished when the next one begins.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import nn

from vidpred.errors import UserError
from vidpred.types import Model, Predictor

JOINT = "joint"
"""All parameters by `train.loss`: the one stage of a model without any, and a further one that others may end with."""


@dataclass(frozen=True)
class Stage:
    """A stretch of a run."""

    name: str
    first: int
    """Its first step."""
    last: int
    """The step that it ends before."""

    @property
    def steps(self) -> int:
        return self.last - self.first


def planned(model: Model, steps: int, shares: Mapping[str, float] | None) -> tuple[Stage, ...]:
    """The stages of a run, in order.

    Args:
        model: Trained at once, whatever the shares, where it declares no stages.
        steps: Of the whole run.
        shares: Of the steps, by the stages' names; divided by their sum. None: equal ones. A stage that is not named is
            left out.

    Raises:
        UserError: a name is not a stage of the model, or there are fewer steps than stages.
    """
    if not isinstance(model, Predictor) or not model.stages:
        return (Stage(JOINT, 0, steps),)
    known = (*model.stages, JOINT)
    given = dict.fromkeys(model.stages, 1.0) if shares is None else shares
    if unknown := [name for name in given if name not in known]:
        raise UserError(f"train.stage_shares names {', '.join(unknown)}: this model's stages are {', '.join(known)}")
    names = [name for name in known if name in given]
    if steps < len(names):
        raise UserError(f"{steps} steps are too few for {len(names)} stages ({', '.join(names)}): raise train.steps")
    whole = sum(given.values())
    found, first, upto = [], 0, 0.0
    for place, name in enumerate(names):
        upto += given[name]
        left = len(names) - 1 - place  # stages that want a step at the least
        last = steps if not left else min(max(round(steps * upto / whole), first + 1), steps - left)
        found.append(Stage(name, first, last))
        first = last
    return tuple(found)


def moving(model: Model, stage: Stage) -> list[tuple[str, nn.Parameter]]:
    """The parameters that move in a stage, by name, in the model's order; all others of a staged model are frozen."""
    if not isinstance(model, Predictor) or not model.stages:
        return [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    wanted = model.parameters() if stage.name == JOINT else model.stage_parameters(stage.name)
    mine = {id(parameter) for parameter in wanted}
    named = [(name, p) for name, p in model.named_parameters() if id(p) in mine]
    for parameter in model.parameters():
        parameter.requires_grad_(id(parameter) in mine)
    return named
