"""The section `tune` of params.yaml: spaces of hyperparameters, and how they are searched."""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import Field, model_validator

from vidpred.config.section import Count, Section, Seed


class UniformSpace(Section):
    """Any number from `low` to `high`; `log` draws evenly on a logarithmic scale."""

    low: float
    """Smallest value."""
    high: float
    """Largest value."""
    log: bool = False
    """Draw evenly between the logarithms."""
    step: Annotated[float, Field(gt=0)] | None = None
    """Only `low` and what is a multiple of this above it; null: any number. Whole numbers stay whole."""

    @model_validator(mode="after")
    def _ordered(self) -> UniformSpace:
        if not self.low < self.high:
            raise ValueError(f"low {self.low} and high {self.high} span nothing")
        if self.log and self.low <= 0:
            raise ValueError(f"low is {self.low:g}, but a logarithm has no 0: give a low above it")
        if self.step is not None and self.step > self.high - self.low:
            raise ValueError(f"step {self.step:g} leads from low {self.low:g} beyond high {self.high:g}")
        return self

    @property
    def values(self) -> list[int | float] | None:
        """All there are, where there is a step."""
        if self.step is None:
            return None
        count = math.floor((self.high - self.low) / self.step + 1e-9) + 1
        found = [round(self.low + i * self.step, 12) for i in range(count)]
        whole = all(number.is_integer() for number in (self.low, self.step))
        return [int(value) for value in found] if whole else list(found)


Space = UniformSpace | Annotated[list[bool | int | float | str], Field(min_length=1)]
"""What one hyperparameter may be: a range, or one of a list."""
TrainField = Literal[
    "learning_rate", "weight_decay", "batch_size", "warmup_steps", "clip_norm", "ema_decay", "auxiliary_weight",
    "label_smoothing", "mixup",
    "discriminator_rate", "unroll_steps", "unroll_share", "motion_share", "loss.l1", "loss.mse", "loss.charbonnier",
    "loss.perceptual", "loss.gdl", "loss.laplacian", "loss.l2_sum", "loss.gdl_sum", "loss.kl", "loss.adversarial",
    "augment.flip", "augment.transpose", "augment.reverse", "augment.colour", "augment.stride", "augment.translate",
]  # fmt: skip
"""Of `train`, what a trial may have otherwise; `loss.gdl` is the weight of that loss, the others stay; 0 leaves it
out."""
Objective = Literal["perceptual_distance", "cross_entropy", "operations", "latency_ms"]
_JUDGED = ("perceptual_distance", "cross_entropy")
"""By which trials are judged: predicted frames, or classes."""


class ModelSpace(Section):
    """What the sweep may vary of one model."""

    config: dict[str, Space] = {}
    """Fields of the model's own config."""
    train: dict[TrainField, Space] = {}
    """Fields of `train`."""


class TuneParams(Section):
    """The search for a model and its hyperparameters. `trials`, `minutes` and `gpu_hours` are its budget: the search
    ends with the first of them that is used up, and goes on where it was when that is raised."""

    models: dict[str, ModelSpace]
    """Models of the zoo and what may vary of each."""
    search: Literal["random", "grid", "optuna"] = "random"
    """Who names the points. `random`: each model's default, then draws, none twice, models taking turns. `grid`: all
    combinations of lists and ranges with a step. `optuna`: the defaults, then a tree-structured Parzen estimator, over
    all models at once, that learns from the trials before."""
    objectives: Annotated[list[Objective], Field(min_length=1)] = ["perceptual_distance"]
    """With `optuna`: several figures to make small at once, which gives a Pareto front; the sweep's best remains the
    one of the smallest perceptual distance. The first is what trials are judged by: with `task.kind: classify` that is
    the cross-entropy on validation, by either name."""
    scheduler: Literal["fifo", "asha", "median", "hyperband", "pbt", "pb2"] = "asha"
    """Which trials end early. `fifo`: none. `asha`: all but one in `reduction_factor`, at steps in that proportion.
    `hyperband`: the same, some trials with more time before. `median`: those whose best is worse than the median of the
    others. `pbt`, `pb2`: none, but the worst go on from the weights of the best with other values of `train`; for one
    model with one config."""
    trials: Count | None = 6
    """Configurations to try; null: until the time is used up, or the grid."""
    minutes: Annotated[float, Field(gt=0)] | None = None
    """Of the whole search; null: no limit."""
    gpu_hours: Annotated[float, Field(gt=0)] | None = None
    """Of all trials together; null: no limit."""
    compare: Literal["steps", "time"] = "steps"
    """Whether all trials have as many `steps`, or as much time (`trial_minutes`), in which a fast model takes more."""
    steps: Count = 100
    """Optimiser steps of a trial that is not stopped early."""
    trial_minutes: Annotated[float, Field(gt=0)] | None = None
    """With `compare: time`: minutes of a trial that is not stopped early. How many steps they are is measured once a
    trial."""
    grace_steps: Count = 30
    """Steps between two validations, and before a trial may be stopped. With `compare: time` a trial validates as
    often, `steps / grace_steps` times."""
    reduction_factor: Annotated[int, Field(ge=2)] = 3
    """asha and hyperband keep one in so many at each rung."""
    warm_start: list[str] = []
    """What is tried first: best.yaml files of earlier sweeps, or their keys."""
    seed: Seed = 0
    """Of the draws."""

    @property
    def population(self) -> bool:
        """Whether trials go on from each other's weights."""
        return self.scheduler in ("pbt", "pb2")

    @model_validator(mode="after")
    def _possible(self) -> TuneParams:
        if not self.models:
            raise ValueError("models is empty: name at least one of `vidpred models`")
        if self.grace_steps > self.steps:
            raise ValueError(f"grace_steps {self.grace_steps} is more than steps {self.steps}")
        if self.search != "grid" and self.trials is None and self.minutes is None and self.gpu_hours is None:
            raise ValueError("the search would never end: set trials, minutes or gpu_hours")
        if (self.compare == "time") != (self.trial_minutes is not None):
            raise ValueError(
                "compare is time, but trial_minutes is empty: say how many minutes a trial has"
                if self.compare == "time"
                else f"trial_minutes is {self.trial_minutes:g}, but compare is steps: set compare to time"
            )
        return self

    @model_validator(mode="after")
    def _finite(self) -> TuneParams:
        for name, space in self.models.items():
            for part, fields in (("config", space.config), ("train", space.train)):
                for field, values in fields.items():
                    if self.search == "grid" and isinstance(values, UniformSpace) and values.step is None:
                        raise ValueError(
                            f"a grid has no end in models.{name}.{part}.{field}: give it a step, or list its values"
                        )
        return self

    @model_validator(mode="after")
    def _one_goal(self) -> TuneParams:
        if len(set(self.objectives)) < len(self.objectives) or self.objectives[0] not in _JUDGED:
            raise ValueError(
                f"objectives is {self.objectives}: give perceptual_distance first (of classifiers cross_entropy), and "
                "each of the others once at most"
            )
        if len(set(_JUDGED) & set(self.objectives)) > 1:
            raise ValueError(
                f"objectives is {self.objectives}: trials are judged by {' or '.join(_JUDGED)}, give one of them"
            )
        if len(self.objectives) > 1 and (self.search, self.scheduler) != ("optuna", "fifo"):
            raise ValueError(
                f"several objectives are for search optuna and scheduler fifo, not {self.search} and {self.scheduler}: "
                "trials that end early would be judged by the first objective alone"
            )
        return self

    @model_validator(mode="after")
    def _one_population(self) -> TuneParams:
        if not self.population:
            return self
        said = f"scheduler {self.scheduler} copies weights from one trial to another"
        if len(self.models) > 1:
            raise ValueError(f"{said}, so all must have one architecture: name one model, not {', '.join(self.models)}")
        [(name, space)] = self.models.items()
        if space.config:
            raise ValueError(
                f"{said}, so all must have one architecture: let nothing vary in models.{name}.config "
                f"(now {', '.join(space.config)})"
            )
        if not space.train:
            raise ValueError(f"{said} and changes what may vary: list fields in models.{name}.train")
        if self.search != "random" or self.compare != "steps" or self.warm_start:
            raise ValueError(f"{said}: it is for search random, compare steps and no warm_start")
        if self.trials is None or self.trials < 2:
            raise ValueError(f"{said}: set trials to the size of the population, 4 or more")
        listed = [field for field, values in space.train.items() if isinstance(values, list)]
        if self.scheduler == "pb2" and listed:
            raise ValueError(
                f"pb2 chooses numbers from ranges, but models.{name}.train.{listed[0]} is a list: give low and high, "
                "or use pbt"
            )
        return self
