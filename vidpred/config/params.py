"""All of params.yaml, and how it is read. In: the file. Out: `Params`, checked, or one line that says what is wrong."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import Field, ValidationError, model_validator

from vidpred.config.data import FetchParams, FlowParams, SplitParams, TaskParams, TranscodeParams
from vidpred.config.section import Count, Section
from vidpred.config.train import TrainParams
from vidpred.config.tune import TuneParams
from vidpred.errors import UserError
from vidpred.problems import problems

MetricName = Literal[
    "capped_share", "ms_ssim3", "residual_bpp", "lpips", "pd_moving", "psnr_moving_db", "ssim_moving", "moving_share",
    "ssim_openstl", "mse_sum", "mae_sum", "l2_sum", "total_loss", "perceptual_distance_float", "psnr_db_float",
    "ssim_float", "l1_float", "mse_float", "gdl_float", "sharpness_db_float", "edge_contrast_float",
]  # fmt: skip


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

    name: Annotated[str, Field(pattern=r"^[\w-]+$")] | None = None
    """Registered name; null: one a task, that is `vidpred` where frames are predicted, else `vidpred-classify` or
    `vidpred-interpolate`."""


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

    @property
    def registered(self) -> str:
        """What models of the task are registered under."""
        return self.register_.name or ("vidpred" if self.task.kind == "predict" else f"vidpred-{self.task.kind}")

    @model_validator(mode="after")
    def _as_printed(self) -> Params:
        if self.task.kind != "classify":
            for name, value in (("label_smoothing", self.train.label_smoothing), ("mixup", self.train.mixup)):
                if value:
                    raise ValueError(f"train.{name} is for task.kind classify, not {self.task.kind}: set it to 0")
                for model, space in self.tune.models.items():
                    if name in space.train:
                        raise ValueError(
                            f"tune.models.{model}.train.{name} is for task.kind classify, not {self.task.kind}: leave "
                            "it out"
                        )
            if "cross_entropy" in self.tune.objectives:
                raise ValueError(
                    f"tune.objectives has cross_entropy, which is for task.kind classify, not {self.task.kind}"
                )
        if self.evaluate.protocol == "mathieu2015" and (self.task.kind, self.task.context) != ("predict", 4):
            raise ValueError(
                "evaluate.protocol mathieu2015 is for task.kind predict and task.context 4, "
                f"not {self.task.kind} and {self.task.context}"
            )
        return self

    @model_validator(mode="after")
    def _population_of_one_worker(self) -> Params:
        if self.tune.population and self.resources.workers_per_trial > 1:
            raise ValueError(
                f"tune.scheduler {self.tune.scheduler} is for trials of one worker, but resources.workers_per_trial is "
                f"{self.resources.workers_per_trial}: set it to 1"
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
