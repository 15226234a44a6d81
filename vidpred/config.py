"""params.yaml as frozen typed models: unknown, missing or impossible values are errors, named by their place.

What a value means stands under its field. `resources` alone is not tracked by DVC: it says how, not what.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from vidpred.errors import UserError
from vidpred.problems import problems

Count = Annotated[int, Field(ge=1)]
Seed = Annotated[int, Field(ge=0, lt=2**63)]
Share = Annotated[float, Field(ge=0, le=1)]
Scale = Annotated[float, Field(ge=0.25, le=4)]
MetricName = Literal[
    "capped_share", "ms_ssim3", "residual_bpp", "lpips", "pd_moving", "psnr_moving_db", "ssim_moving", "moving_share",
    "ssim_openstl", "mse_sum", "mae_sum", "l2_sum", "total_loss", "perceptual_distance_float", "psnr_db_float",
    "ssim_float", "l1_float", "mse_float", "gdl_float", "sharpness_db_float", "edge_contrast_float",
]  # fmt: skip
LossName = Literal[
    "l1", "mse", "charbonnier", "perceptual", "gdl", "laplacian", "l2_sum", "gdl_sum", "kl", "adversarial"
]


class Section(BaseModel):
    """A section of params.yaml: frozen, and no key that is not read."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class TaskParams(Section):
    """What is asked of a model. Stages from split on depend on it."""

    kind: Literal["predict", "interpolate", "classify"] = "predict"
    """`predict`: the frames that follow the context. `interpolate`: the middle one of three, of which the context is
    the first and the last; `context` is 2 and `horizon` is 1 then. `classify`: which class the context is of; nothing
    that follows is asked for, and `horizon` has no part in it."""
    context: Annotated[int, Field(ge=2)] = 5
    """Frames that the model sees."""
    horizon: Count = 1
    """Frames that it is trained and scored to predict."""
    interval: Count = 1
    """Distance between two frames of a window, in frames of the shard."""

    @property
    def ahead(self) -> int:
        """Frames of a window that the model does not see."""
        return 0 if self.kind == "classify" else self.horizon

    @property
    def span(self) -> int:
        """Frames of the shard from a window's first to its last, both counted."""
        return (self.context + self.ahead - 1) * self.interval + 1

    @property
    def flow_interval(self) -> int:
        """Distance of two neighbours in the context, in frames of the shard: stored flow leads back as far."""
        return 2 * self.interval if self.kind == "interpolate" else self.interval

    @model_validator(mode="after")
    def _three_frames(self) -> TaskParams:
        if self.kind == "interpolate" and (self.context, self.horizon) != (2, 1):
            raise ValueError(
                f"kind interpolate sees the first and the last of three frames, but context is {self.context} and "
                f"horizon {self.horizon}: set context to 2 and horizon to 1"
            )
        return self


class FetchParams(Section):
    """Where the clips come from."""

    source: str
    """A folder of GIFs and videos, one file, an archive, a list of URLs (.txt, .csv, .tsv), a dataset or recipe (.yaml)
    or a NumPy video (.npy); always a path."""
    connect_seconds: Annotated[float, Field(gt=0)] = 20
    """A server that does not accept the connection for so long has failed."""
    timeout_seconds: Annotated[float, Field(gt=0)] = 60
    """A download that sends nothing for so long has failed."""
    total_seconds: Annotated[float, Field(gt=0)] = 3600
    """A download that takes longer in all, tries included, has failed."""
    max_bytes: Count = 2_000_000_000
    """A larger file is set aside; archives are limited by `max_archive_bytes`."""
    tries: Count = 3
    """Attempts at a download before it has failed."""
    at_once: Annotated[int, Field(ge=1, le=256)] = 16
    """Downloads at once."""
    per_host: Annotated[int, Field(ge=1, le=64)] = 4
    """Downloads at once from one host."""
    free_bytes: Annotated[int, Field(ge=0)] = 1_000_000_000
    """Disk space that is left free: a download that would take it has failed."""
    allow_private: bool = False
    """Whether URLs may lead to addresses of this machine or a private network."""
    max_archive_bytes: Count = 200_000_000_000
    """Of an archive, and of all that comes out of it."""
    max_members: Count = 2_000_000
    """Entries of an archive at the most."""
    max_ratio: Annotated[float, Field(gt=1)] = 200
    """A member that unpacks to more than so many times its packed size is a bomb."""


class TranscodeParams(Section):
    """How frames are made from files."""

    height: Annotated[int, Field(ge=8, le=4096)] = 64
    """Rows of a frame."""
    width: Annotated[int, Field(ge=8, le=4096)] = 64
    """Columns of a frame."""
    fit: Literal["crop", "pad", "stretch"] = "crop"
    """How another shape is brought to this one: crop the middle, pad with black, or stretch."""
    fps: Annotated[float, Field(gt=0, le=240)] | None = 10
    """Frames per second, sampled by time stamp; null keeps the source's frames."""
    background: Annotated[str, Field(pattern=r"^(black|white|#[0-9a-fA-F]{6})$")] = "white"
    """What shows through where a source is transparent."""
    crop_bars: bool = False
    """Cut black bars off the source's edges first; not for clips whose own background is black."""
    cut_threshold: Annotated[float, Field(gt=0, lt=255)] | None = 30
    """A cut: a frame that differs from the one before by so many grey levels in the mean, and by far more than its
    neighbours do. Clips end there. null: cuts are not looked for."""
    freeze_threshold: Annotated[float, Field(ge=0, lt=255)] = 0.2
    """A frame of the source that differs by no more grey levels in the mean from the first of a picture repeats it."""
    max_freeze_seconds: Annotated[float, Field(gt=0)] | None = 0.35
    """A picture that stands still for longer ends the clip; the next begins with its last repeat. null: never."""
    drop_repeats: bool = False
    """With `fps: null`: a frame that repeats the one before is left out, so that what moves does not stand still for a
    frame where a video was brought to a higher rate."""
    min_motion: Annotated[float, Field(ge=0, lt=255)] = 0.1
    """A clip whose neighbouring frames differ by fewer grey levels in the mean is dropped."""
    min_frames: Count = 6
    """A clip with fewer frames is dropped."""
    max_seconds: Annotated[float, Field(gt=0)] = 60
    """Only so much of each source is taken, from its start."""
    max_frames: Count = 20_000
    """Only so many frames of each source are read."""
    max_pixels: Count = 40_000_000
    """A source with more pixels a frame is set aside."""
    timeout_seconds: Annotated[float, Field(gt=0)] = 120
    """A source that takes ffmpeg longer is set aside."""
    buckets: Annotated[int, Field(ge=1, le=4096)] = 8
    """Shard files; a source's sha256 decides which one it is in."""
    ffmpeg: str = "bundled"
    """`bundled` (of imageio-ffmpeg), `system` (on the PATH), or a path."""
    engine: Literal["local", "ray"] = "local"
    """Where ffmpeg runs: on this machine, or on every node of the Ray cluster. The bytes are the same."""
    storage: str | None = None
    """With `engine: ray`: a folder or fsspec URL (s3://bucket/prefix) that every node reaches, for sources and frames;
    null: they travel through Ray."""

    @model_validator(mode="after")
    def _repeats_are_the_source_s(self) -> TranscodeParams:
        if self.drop_repeats and self.fps is not None:
            raise ValueError(
                f"drop_repeats leaves out frames of the source, but fps {self.fps:g} samples by time: set fps to null"
            )
        return self


class SplitParams(Section):
    """Which clips train, which choose, which judge."""

    kind: Literal["group", "time", "official"] = "group"
    """`group`: whole groups, by the hash of their name. `time`: the last part of every clip. `official`: as the dataset
    says."""
    val: Annotated[float, Field(gt=0, lt=1)] = 0.1
    """Share of the groups (or of the time) for validation."""
    test: Annotated[float, Field(gt=0, lt=1)] = 0.2
    """Share for the test."""
    seed: Seed = 0
    """Another seed, another split."""
    duplicate_bits: Annotated[int, Field(ge=0, le=16)] | None = 8
    """Clips with frames whose perceptual hashes differ by at most so many of 64 bits, and that move alike, are
    near-duplicates and share a group; null: they are not looked for."""
    leaks: Literal["refuse", "warn"] = "refuse"
    """What near-duplicates in two parts are, which another measure finds in the end: an error, or a warning, for clips
    that are known to be independent and look alike all the same."""
    drop_labels: list[str] = []
    """Classes that are left out; one that no clip has is an error."""
    min_class_motion: Annotated[float, Field(ge=0, lt=255)] = 0
    """Classes whose clips move less, in grey levels in the mean, are left out."""

    @model_validator(mode="after")
    def _leaves_training(self) -> SplitParams:
        if self.val + self.test > 0.9:
            raise ValueError(f"val + test is {self.val + self.test:.2f}: leave at least 0.1 for training")
        return self


class FlowParams(Section):
    """Optical flow, for models that need it."""

    method: Literal["dis", "farneback"] = "dis"
    """`dis`: OpenCV's dense inverse search; `farneback`: its polynomial expansion."""
    preset: Literal["ultrafast", "fast", "medium", "fine"] = "fine"
    """How hard `dis` searches; `fine` to the full resolution, the others to half of it: several times the work, and on
    frames of some hundred pixels a better flow."""


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
        if not self.low < self.high or (self.log and self.low <= 0):
            raise ValueError(f"low {self.low} and high {self.high} span nothing{' on a log scale' * self.log}")
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
    "discriminator_rate", "unroll_steps", "unroll_share", "motion_share", "loss.l1", "loss.mse", "loss.charbonnier",
    "loss.perceptual", "loss.gdl", "loss.laplacian", "loss.l2_sum", "loss.gdl_sum", "loss.kl", "loss.adversarial",
    "augment.flip", "augment.transpose", "augment.reverse", "augment.colour", "augment.stride", "augment.translate",
]  # fmt: skip
"""Of `train`, what a trial may have otherwise; `loss.gdl` is the weight of that loss, the others stay; 0 leaves it
out."""
Objective = Literal["perceptual_distance", "operations", "latency_ms"]


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
    """Who names the points, after each model's default. `random`: draws, models taking turns. `grid`: all
    combinations of lists and ranges with a step. `optuna`: a tree-structured Parzen estimator, over all models at once,
    that learns from the trials before."""
    objectives: Annotated[list[Objective], Field(min_length=1)] = ["perceptual_distance"]
    """With `optuna`: several figures to make small at once, which gives a Pareto front; the sweep's best remains the
    one of the smallest perceptual distance."""
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
        if len(set(self.objectives)) < len(self.objectives) or self.objectives[0] != "perceptual_distance":
            raise ValueError(
                f"objectives is {self.objectives}: give perceptual_distance first, and each of the others once at most"
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


class EvaluateParams(Section):
    """How the model is judged."""

    metrics: list[MetricName] = [
        "pd_moving", "psnr_moving_db", "ssim_moving", "moving_share", "capped_share", "residual_bpp"
    ]  # fmt: skip
    """Further metrics on test, beside those of every table; `docs/evaluation.md` says what each is."""
    protocol: Literal["mathieu2015"] | None = None
    """A published protocol whose figures are computed too. `mathieu2015`: two frames from four, only where something
    moves; wants `task.context: 4`."""
    windows_per_clip: Count = 8
    """Test windows of a clip at the most, evenly spaced."""
    window_step: Count | None = None
    """Frames from the start of one test window to the next of its clip; null: a window's span, so that none overlap."""
    crop: Count | None = None
    """Only the middle square of so many pixels a side is scored: what leaves or enters the frame is left out; null: all
    of it."""
    rollout: Count = 10
    """Steps that models are rolled out, each on its own predictions; of one that interpolates, frames in a picture."""
    rollout_windows: Count = 64
    """Windows of the rollout, from as many clips as there are."""
    pictures: Annotated[int, Field(ge=1, le=32)] = 6
    """Clips shown in the report."""
    batch_size: Count = 32
    """Windows predicted at once."""


class RegisterParams(Section):
    """The MLflow registry."""

    name: Annotated[str, Field(pattern=r"^[\w-]+$")] = "vidpred"
    """Registered name; one a task."""


class ReportParams(Section):
    """The HTML page."""

    title: str = "vidpred"
    """Heading of the page."""


class ResourceParams(Section):
    """With how much, and where, the work is done. DVC does not track it: the results are the same, but for the rounding
    that another device or number of threads brings to training."""

    workers: Annotated[int, Field(ge=1)] | None = None
    """Processes that transcode; null: one a core."""
    threads: Annotated[int, Field(ge=1)] | None = None
    """Threads of train and evaluate; null: one a core."""
    trials_at_once: Annotated[int, Field(ge=1)] | None = None
    """Trials side by side; null: as many as the CPUs (or GPUs) allow."""
    checkpoint_every: Count = 100
    """Steps of train between two checkpoints."""
    cpus_per_trial: Annotated[float, Field(gt=0)] = 1
    """CPUs that Ray sets aside for a trial, or for each of its workers."""
    gpus_per_trial: Annotated[float, Field(ge=0)] | None = None
    """GPUs that Ray sets aside for a trial, or for each of its workers; null: where the cluster has any, the part of
    one whose memory the trial's model and batch are estimated to need."""
    workers_per_trial: Count = 1
    """Processes, on any machines of the cluster, that share out each batch of a trial."""
    storage: str | None = None
    """For a sweep as a job on a cluster elsewhere (`RAY_ADDRESS=http://head:8265`): a folder or fsspec URL
    (s3://bucket/prefix) that this machine and the cluster's head reach, for the inputs and the results; null:
    `transcode.storage`."""
    device: Annotated[str, Field(pattern=r"^(auto|cpu|cuda(:\d+)?)$")] = "auto"
    """Of train and evaluate; `auto`: a GPU where there is one."""


class Params(Section):
    """All of params.yaml."""

    task: TaskParams
    fetch: FetchParams
    transcode: TranscodeParams
    split: SplitParams
    flow: FlowParams
    tune: TuneParams
    train: TrainParams
    evaluate: EvaluateParams
    register_: RegisterParams = Field(alias="register")  # the bare name is a method of ABCs
    report: ReportParams
    resources: ResourceParams = ResourceParams()

    @model_validator(mode="after")
    def _as_printed(self) -> Params:
        if self.task.kind != "classify":
            for name, value in (("label_smoothing", self.train.label_smoothing), ("mixup", self.train.mixup)):
                if value:
                    raise ValueError(f"train.{name} is for task.kind classify, not {self.task.kind}: set it to 0")
        if self.evaluate.protocol == "mathieu2015" and (self.task.kind, self.task.context) != ("predict", 4):
            raise ValueError(
                "evaluate.protocol mathieu2015 is for task.kind predict and task.context 4, "
                f"not {self.task.kind} and {self.task.context}"
            )
        return self

    @model_validator(mode="after")
    def _windows_fit(self) -> Params:
        if self.transcode.min_frames < self.task.span:
            raise ValueError(
                f"transcode.min_frames is {self.transcode.min_frames}, but a window of the task spans "
                f"{self.task.span} frames: set it to at least that"
            )
        side = min(self.transcode.height, self.transcode.width)
        crop = self.train.augment.crop
        if crop is not None and crop > side:
            raise ValueError(f"train.augment.crop is {crop}: give from 16 to the frame's {side} pixels, or null")
        if self.evaluate.crop is not None and not 16 <= self.evaluate.crop <= side:
            raise ValueError(
                f"evaluate.crop is {self.evaluate.crop}: give from 16 to the frame's {side} pixels, or null"
            )
        return self


class _Loader(yaml.SafeLoader):
    """Reads 1e4 as a number, as DVC does: YAML 1.1, which PyYAML reads, has it as text."""


_NUMBER = re.compile(r"[-+]?(\d[\d_]*\.?|\.\d)[\d_]*[eE][-+]?\d+$")
_Loader.add_implicit_resolver("tag:yaml.org,2002:float", _NUMBER, list("-+.0123456789"))


def load_params(path: Path | str = "params.yaml") -> Params:
    """Reads and checks params.yaml.

    Raises:
        UserError: the file is missing, is no YAML, or a value is unknown, missing or impossible; names the place.
    """
    try:
        raw: Any = yaml.load(Path(path).read_text(), _Loader)  # noqa: S506 - a SafeLoader
    except FileNotFoundError:
        raise UserError(f"{path} not found: run this inside a vidpred project") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not YAML: {' '.join(str(error).split())}") from None
    try:
        return Params.model_validate(raw)
    except ValidationError as error:
        raise UserError(f"{path}: {problems(error, Params, raw)}") from None
