"""From coarse to fine, a network per scale (Mathieu et al. 2015, "beyond mean square error", arXiv 1511.05440).

The coarsest network sees the context at its size; each finer one sees the context at its own size and the guess so far,
enlarged, and corrects it. `seed` has the paper's networks, 12,569,740 parameters at 4 frames in and 1 out, pixels in
[-1, 1], each stage tanh(enlarged guess + network). `default` is smaller; its guess at every scale is the last frame
plus the enlarged residual, so that it starts as exactly that.

While training, the coarser stages' predictions are `Output.auxiliary`, enlarged. For adversarial training
`Output.scales` has all at their own sizes, `pyramid` gives the truth at these, and `discriminators` one adversary per
scale.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vidpred.errors import UserError
from vidpred.models.blocks.discriminators import Discriminators, PatchDiscriminator, SizedDiscriminator, resize
from vidpred.models.blocks.learned_path import check_length, standardise, start_frame, zero_head
from vidpred.models.blocks.pixels import from_signed, to_signed
from vidpred.models.checks import between
from vidpred.types import Output, Predictor, Task

DIVISORS = {"paper": (8, 4, 2, 1), "blog": (16, 4, 2, 1)}
"""Of height and width, coarsest first: at 64x64 8, 16, 32 and 64 pixels, or 4, 16, 32 and 64."""

GENERATORS = (
    ((128, 256, 128), (3, 3, 3, 3)),
    ((128, 256, 128), (5, 3, 3, 5)),
    ((128, 256, 512, 256, 128), (5, 3, 3, 3, 3, 5)),
    ((128, 256, 512, 256, 128), (7, 5, 5, 5, 5, 7)),
)
"""The paper's networks, coarsest first: channels between the convolutions, sides of the kernels."""

ADVERSARIES = (
    ((64,), (3,), (512, 256)),
    ((64, 128, 128), (3, 3, 3), (1024, 512)),
    ((128, 256, 256), (5, 5, 5), (1024, 512)),
    ((128, 256, 512, 128), (7, 7, 5, 5), (1024, 512)),
)
"""The paper's discriminators: filters, sides of the kernels, fully connected layers."""


@dataclass(frozen=True)
class Config:
    """What a sweep may vary."""

    variant: Literal["default", "seed"] = "default"
    """`default`, or the paper's networks, of which only `scales` may vary."""
    scales: Literal["paper", "blog"] = "paper"
    """Sizes of the stages: 1/8, 1/4, 1/2 and 1, or 1/16, 1/4, 1/2 and 1."""
    filters: int = 32
    """Channels between the convolutions of a stage."""
    depth: int = 4
    """Convolutions of a stage."""
    kernel: int = 3
    """Side of the kernels, in pixels of the stage; odd."""

    def __post_init__(self) -> None:
        between("multiscale", "filters", self.filters, 1)
        between("multiscale", "depth", self.depth, 2)
        between("multiscale", "kernel", self.kernel, 1)
        if self.kernel % 2 == 0:
            raise UserError(f"multiscale: kernel is {self.kernel}: give an odd number")
        changed = [field for field in ("filters", "depth", "kernel") if getattr(self, field) != getattr(Config, field)]
        if self.variant != "default" and changed:
            raise UserError(f"multiscale: {', '.join(changed)} of variant {self.variant} is its source's: leave it out")


SEARCH = {
    "config": {"filters": [16, 32, 64], "depth": [3, 4, 5], "kernel": [3, 5], "scales": ["paper", "blog"]},
    "train": {"learning_rate": {"low": 1e-3, "high": 1e-2, "log": True}},
}
"""What a sweep may try, as under `tune.models` of params.yaml."""


class Multiscale(Predictor):
    """(B, T, C, H, W) with the task's T in, the whole horizon out; frames of any size."""

    def __init__(self, config: Config, task: Task) -> None:
        super().__init__()
        self.config, self.task = config, task
        self.steps = task.horizon
        self.context = task.context
        self.residual = config.variant == "default"
        self.divisors = DIVISORS[config.scales]
        self.multiple = self.divisors[0]  # of height and width, where a graph of any size is made of it
        inputs, outputs = task.context * task.channels, task.horizon * task.channels
        self.networks = nn.ModuleList()
        for stage in range(len(self.divisors)):
            seen = inputs + (outputs if stage else 0)
            if self.residual:
                filters, kernels = (config.filters,) * (config.depth - 1), (config.kernel,) * config.depth
            else:
                filters, kernels = GENERATORS[stage]
            network = _stage((seen, *filters, outputs), kernels, nn.SiLU if self.residual else nn.ReLU)
            if self.residual:
                network[-1] = zero_head(filters[-1], outputs, config.kernel)
            self.networks.append(network)

    def forward(self, context: Tensor, flow: Tensor | None = None) -> Output:
        """See `Predictor.forward`."""
        contexts = self.pyramid(context)
        stages = self._stages(contexts)
        frames = self._predictions(contexts[-1], stages[-1])
        if not self.training:
            return Output(frames)
        size = frames.shape[-2:]
        coarser = tuple(self._predictions(contexts[-1], _enlarge(stage, size)) for stage in stages[:-1])
        return Output(frames, coarser, (*map(self._predictions, contexts[:-1], stages[:-1]), frames))

    def discriminators(self) -> Discriminators:
        """See `Predictor.discriminators`; one for every scale.

        Raises:
            UserError: frames too small for the paper's.
        """
        return discriminators(self.config, self.task)

    def pyramid(self, frames: Tensor) -> list[Tensor]:
        """(B, T, C, H, W) at the size of every stage, coarsest first, float32."""
        height, width = frames.shape[-2:]
        return [resize(frames, (-(-height // divisor), -(-width // divisor))) for divisor in self.divisors]

    def _stages(self, contexts: list[Tensor]) -> list[Tensor]:
        """(B, steps·C, h, w) float32 of every stage: residuals in `default`, frames in [-1, 1] in `seed`."""
        check_length("multiscale", contexts[-1], self.context)
        stages: list[Tensor] = []
        for context, network in zip(contexts, self.networks, strict=True):
            scaled = standardise(context) if self.residual else to_signed(context)
            seen = scaled.flatten(1, 2)
            if not stages:
                found = network(seen.contiguous(memory_format=torch.channels_last)).float()
            else:
                before = _enlarge(stages[-1], context.shape[-2:])
                guess = standardise(self._predictions(context, before).flatten(1, 2)) if self.residual else before
                both = torch.cat((seen, guess), dim=1).contiguous(memory_format=torch.channels_last)
                found = before + network(both).float()
            stages.append(found if self.residual else torch.tanh(found))
        return stages

    def _predictions(self, context: Tensor, stage: Tensor) -> Tensor:
        """A stage's own numbers as frames (B, steps, C, h, w) in [0, 1]; `context` of the same size."""
        apart = stage.unflatten(1, (self.steps, -1))
        return start_frame(context, between=self.between) + apart if self.residual else from_signed(apart)


def _stage(widths: tuple[int, ...], kernels: tuple[int, ...], activation: type[nn.Module]) -> nn.Sequential:
    layers: list[nn.Module] = []
    for before, after, kernel in zip(widths, widths[1:], kernels, strict=False):
        layers += [nn.Conv2d(before, after, kernel, padding=kernel // 2), activation()]
    return nn.Sequential(*layers[:-1])


def _enlarge(frames: Tensor, size: torch.Size) -> Tensor:
    return F.interpolate(frames.float(), size=tuple(size), mode="bilinear", align_corners=False)


def discriminators(config: Config, task: Task) -> Discriminators:
    """One adversary per scale for a model of this config and task; new, on the CPU.

    Those of `seed` are the paper's and work at the task's frame size only.

    Raises:
        UserError: frames too small for the paper's.
    """
    channels = (task.context + task.horizon) * task.channels
    judges: list[nn.Module] = []
    for divisor, (filters, kernels, hidden) in zip(DIVISORS[config.scales], ADVERSARIES, strict=True):
        size = (-(-task.height // divisor), -(-task.width // divisor))
        if config.variant == "seed":
            judges.append(SizedDiscriminator(channels, filters, kernels, hidden, size))
        else:
            judges.append(PatchDiscriminator(channels, config.filters))
    return Discriminators(judges)


def build(config: Config, task: Task) -> Multiscale:
    """A `Multiscale` for a task."""
    return Multiscale(config, task)
