"""The section `train` of params.yaml: optimisation, losses and what is done to training windows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from vidpred.config.section import Count, Section, Seed, Share

Scale = Annotated[float, Field(ge=0.25, le=4)]
LossName = Literal[
    "l1", "mse", "charbonnier", "perceptual", "gdl", "laplacian", "l2_sum", "gdl_sum", "kl", "adversarial"
]
Turn = Literal["left_right", "upside_down", "transpose", "reverse"]
"""A change that may make a window one of another class."""


class Augment(Section):
    """What is done to training windows at random; the same to all frames of a window. Validation and test see none."""

    flip: bool | Literal["left_right", "upside_down"] = True
    """Mirror left-right and up-down, or only one of them."""
    transpose: bool = True
    """Swap rows and columns, where frames are square."""
    reverse: bool = True
    """Play backwards."""
    colour: bool = True
    """Permute the colour channels."""
    stride: Count = 1
    """Largest distance between two frames, in units of `task.interval`; each window has its own, as its clip allows.
    1: always `task.interval`."""
    scale: tuple[Scale, Scale] | None = None
    """Enlarge by a factor from this range, evenly in its logarithm: above 1 a part of the frame is seen, below 1 the
    frame goes on as its mirror image. null: off."""
    crop: Annotated[int, Field(ge=16)] | None = None
    """Train on a square part of so many pixels a side, anywhere in the frame: a step costs less. null: on all of it."""
    translate: Annotated[int, Field(ge=0, le=4096)] = 0
    """Largest shift along x and y, in pixels; the frame goes on as its mirror image. 0: off."""
    labels: dict[Turn, dict[str, str]] = {}
    """With `task.kind: classify`, what becomes of a class: `{left_right: {left: right}}` says that a mirrored left is a
    right, and the other way round; classes that are not named keep theirs, so `{}` says that all do. What is asked for
    above, may change a class and is not told here is refused."""

    @property
    def turns(self) -> tuple[Turn, ...]:
        """Those that are asked for."""
        wanted: dict[Turn, bool] = {
            "left_right": self.flip in (True, "left_right"),
            "upside_down": self.flip in (True, "upside_down"),
            "transpose": self.transpose,
            "reverse": self.reverse,
        }
        return tuple(name for name, asked in wanted.items() if asked)

    @property
    def scales(self) -> tuple[float, float]:
        """Smallest and largest factor."""
        return self.scale or (1.0, 1.0)

    @model_validator(mode="after")
    def _in_order(self) -> Augment:
        if self.scales[0] > self.scales[1]:
            raise ValueError(f"scale is [{self.scales[0]:g}, {self.scales[1]:g}]: give the smaller factor first")
        return self


class TrainParams(Section):
    """How the chosen model is trained; trials of `tune` share all but the budget."""

    model: str | None = None
    """A model of the zoo; null takes the best of `tune`."""
    config: dict[str, bool | int | float | str | list[str]] = {}
    """Fields of its config, where `model` is named."""
    init: str | None = None
    """A trained model whose weights training begins with, where names and shapes are the same: `models:/NAME/3` or a
    model folder, of any kind of task; trials of `tune` begin with them too. null: at random."""
    steps: Count = 1000
    """Optimiser steps."""
    minutes: Annotated[float, Field(gt=0)] | None = None
    """Minutes instead of `steps`: the first steps are timed, and their number is decided once; null: `steps` holds."""
    batch_size: Count = 16
    """Windows in a step."""
    learning_rate: Annotated[float, Field(gt=0)] = 1e-3
    """At the end of warm-up; replaced by the sweep's where that varies it and `model` is null."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.05
    """AdamW's, on matrices and kernels only."""
    warmup_steps: Annotated[int, Field(ge=0)] = 50
    """Steps of linear warm-up; a cosine to zero follows."""
    clip_norm: Annotated[float, Field(gt=0)] = 1.0
    """Gradients are scaled down to this norm."""
    ema_decay: Annotated[float, Field(ge=0, lt=1)] = 0.99
    """Of the averaged weights, which are the ones scored and kept."""
    loss: dict[LossName, Annotated[float, Field(gt=0)]] = {"perceptual": 1.0, "gdl": 0.25}
    """Weighted sum of losses; with `task.kind: classify` the loss is the cross-entropy instead."""
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """With `task.kind: classify`: so much of a label is shared out evenly among all classes."""
    mixup: Annotated[float, Field(ge=0)] = 0.0
    """With `task.kind: classify`: each window is mixed with another of its batch, in shares drawn from Beta(mixup,
    mixup), and so are their labels. 0: off."""
    auxiliary_weight: Annotated[float, Field(ge=0)] = 0.1
    """Weight of the loss on a model's auxiliary outputs."""
    accumulate: Count = 1
    """Goes that a batch is computed in, for batches that do not fit into memory at once; noise and batch norm aside the
    step is the same."""
    stage_shares: dict[str, Annotated[float, Field(gt=0)]] | None = None
    """Shares of the steps of a model that is trained in stages, by stage; null: equal ones. A stage left out is
    skipped; `joint`, all parameters by `loss`, may follow the others or replace them. Has no effect on other models."""
    discriminator_rate: Annotated[float, Field(gt=0)] = 1.0
    """With the loss `adversarial`: the discriminators' learning rate, in multiples of the model's."""
    unroll_steps: Count | Annotated[list[Count], Field(min_length=1)] = 2
    """Frames that the model predicts, each from its own before, in the last part of the run: what it makes of its own
    mistakes is trained too. Several: one after the other, each for an equal part of it. Has no effect up to
    `task.horizon`, nor where `task.kind` is `interpolate`."""
    unroll_share: Share = 0.3
    """Share of the steps, at the end of the run, that are unrolled so; 0: none."""
    motion_share: Share = 0.5
    """Share of the windows drawn in proportion to their clip's motion; the others are drawn evenly."""
    augment: Augment = Augment()
    """Random changes to training windows."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """`auto`: bfloat16 autocast where the processor computes in it."""
    compile: bool = False
    """Let torch compile the model, which takes minutes before the first step; where it cannot, training goes on
    without."""
    evaluate_every: Count = 200
    """Steps between two validations."""
    val_windows: Count = 128
    """Validation windows, evenly spaced over the part."""
    patience: Count | None = None
    """Validations in a row without a better one after which the run ends; null: it goes on to the last step."""
    seed: Seed = 0
    """Of weights, batches and augmentation."""

    def changed(self, changes: Mapping[str, Any]) -> TrainParams:
        """With other values, as a point of a sweep names them: fields, and `loss.gdl` for the weight of a loss.

        Raises:
            ValidationError: a value is impossible.
        """
        return TrainParams.model_validate(self.replaced(changes))

    def replaced(self, changes: Mapping[str, Any]) -> dict[str, Any]:
        """What `changed` checks."""
        values = self.model_dump()
        for field, value in changes.items():
            section, _, name = field.partition(".")
            values[section] = values[section] | {name: value} if name else value
        values["loss"] = {name: weight for name, weight in values["loss"].items() if weight != 0}
        return values

    @model_validator(mode="after")
    def _loss_given(self) -> TrainParams:
        if not self.loss:
            raise ValueError("loss is empty: name at least one, such as {perceptual: 1.0}")
        if set(self.loss) <= {"kl", "adversarial"}:
            raise ValueError(f"loss has only {' and '.join(self.loss)}: name one of frames beside, such as perceptual")
        if self.config and self.model is None:
            raise ValueError("config is given but model is null: name the model that it is for")
        return self
