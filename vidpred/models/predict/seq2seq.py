"""ConvLSTM encoder-decoder (Srivastava et al. 2015, arXiv 1502.04681, made convolutional as in 1506.04214).

Every frame goes through convolutions of stride 2. One ConvLSTM reads all context frames but the last and hands its
state to a second one, which starts from the last and gives one frame after the other through transposed convolutions.

`seed` follows the UCF-101 line: no skips, pixels in [-1, 1], tanh, teacher forcing; 644,067 parameters. `better` is
its improved one: deeper, with batch norm, without teacher forcing; 2,619,363. Of both the source tells the structure
and not the sizes: the filters are ours. `default` adds a residual to the frame before, with skips, and starts as
exactly `copy_last`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vidpred.errors import UserError
from vidpred.models.blocks.learned_path import fold_pixels, standardise, start_frame, zero_head
from vidpred.models.blocks.pixels import from_signed, to_signed
from vidpred.models.blocks.recurrent import ConvLSTM
from vidpred.models.checks import between
from vidpred.types import Output, Predictor, Task


@dataclass(frozen=True)
class Config:
    """What a sweep may vary."""

    variant: Literal["default", "seed", "better"] = "default"
    """`default`, or one of the source's networks, of which nothing may vary."""
    filters: int = 32
    """Channels of the first convolution; each deeper one has twice as many, the states as many as the last."""
    depth: int = 1
    """Convolutions of stride 2 before the ConvLSTMs and as many transposed ones after."""
    fold: int = 2
    """So many pixels a side become the channels of one before the first convolution; 1 keeps the full resolution."""
    batch_norm: bool = False
    """Whether the convolutions are followed by batch norm."""
    teacher_forcing: float = 0.0
    """How often, while training, the decoder goes on from the true frame instead of its own: 0 never, 1 always."""

    def __post_init__(self) -> None:
        between("seq2seq", "filters", self.filters, 1)
        between("seq2seq", "depth", self.depth, 1)
        between("seq2seq", "fold", self.fold, 1)
        between("seq2seq", "teacher_forcing", self.teacher_forcing, 0, 1)
        fields = ("filters", "depth", "fold", "batch_norm", "teacher_forcing")
        changed = [field for field in fields if getattr(self, field) != getattr(Config, field)]
        if self.variant != "default" and changed:
            raise UserError(f"seq2seq: {', '.join(changed)} of variant {self.variant} is its source's: leave it out")


SEARCH = {
    "config": {
        "filters": [16, 32, 64],
        "depth": [1, 2],
        "batch_norm": [False, True],
        "teacher_forcing": [0.0, 0.5, 1.0],
    },
    "train": {"learning_rate": {"low": 1e-3, "high": 1e-2, "log": True}},
}
"""What a sweep may try, as under `tune.models` of params.yaml."""


_SOURCES = {
    "seed": Config(filters=32, depth=2, fold=1, batch_norm=False, teacher_forcing=1),
    "better": Config(filters=32, depth=3, fold=1, batch_norm=True, teacher_forcing=0),
}

State = tuple[Tensor, Tensor]
"""Hidden (B, filters, h, w) and cell, the same shape in float32."""


class _Cell(ConvLSTM):
    """A ConvLSTM one frame at a time, from a state that is handed to it."""

    def step(self, frame: Tensor, state: State | None) -> State:
        """The state after a frame (B, C, h, w); None before the first."""
        if state is None:
            batch, _, height, width = frame.shape
            zeros = torch.zeros(batch, self.filters, height, width, device=frame.device)
            state = (zeros, zeros)
        hidden, cell = state
        seen = torch.cat((frame, hidden.to(frame.dtype)), dim=1).contiguous(memory_format=torch.channels_last)
        into, forget, candidate, out = self.gates(seen).chunk(4, dim=1)
        cell = torch.sigmoid(forget) * cell + (torch.sigmoid(into) * torch.tanh(candidate)).float()
        return torch.sigmoid(out) * torch.tanh(cell), cell


class Seq2seq(Predictor):
    """(B, T, C, H, W) with any T in, the whole horizon out; frames of any size."""

    def __init__(self, config: Config, task: Task) -> None:
        super().__init__()
        self.steps = task.horizon
        self.residual = config.variant == "default"
        sized = _SOURCES.get(config.variant, config)
        self.fold = sized.fold
        self.multiple = sized.fold * 2**sized.depth
        self.teacher_forcing = sized.teacher_forcing
        pixels = task.channels * sized.fold**2
        widths = [sized.filters * 2**level for level in range(sized.depth)]
        self.encoder = nn.ModuleList(
            _layer(nn.Conv2d(before, after, 3, stride=2, padding=1, bias=not sized.batch_norm), sized)
            for before, after in zip([pixels, *widths], widths, strict=False)
        )
        self.reader, self.writer = (_Cell(widths[-1], widths[-1], 3) for _ in range(2))
        skipped = widths[-2::-1] if self.residual else [0] * (sized.depth - 1)
        inputs = [widths[-1], *(width + skip for width, skip in zip(widths[-2::-1], skipped, strict=True))]
        outputs = [*widths[-2::-1], widths[0]]
        hidden = [
            _layer(nn.ConvTranspose2d(before, after, 4, stride=2, padding=1, bias=not sized.batch_norm), sized)
            for before, after in zip(inputs, outputs, strict=True)
        ]
        if self.residual:
            self.decoder = nn.ModuleList(hidden)
            self.head: nn.Module = zero_head(widths[0] + pixels, pixels)
        else:
            self.decoder = nn.ModuleList(hidden[:-1])
            last = nn.ConvTranspose2d(inputs[-1], task.channels, 4, stride=2, padding=1)
            self.head = nn.Sequential(last, nn.Tanh())

    def forward(self, context: Tensor, flow: Tensor | None = None, target: Tensor | None = None) -> Output:
        """See `Predictor.forward`.

        Args:
            context: (B, T, C, H, W) float32 in [0, 1].
            flow: Not used.
            target: (B, steps, C, H, W) float32 in [0, 1], for teacher forcing; not looked at in eval mode.
        """
        height, width = context.shape[-2:]
        if target is not None and target.shape != (len(context), self.steps, *context.shape[2:]):
            raise ValueError(f"target is {tuple(target.shape)} to a context of {tuple(context.shape)}")
        truth = None
        if target is not None and self.training and self.teacher_forcing > 0:
            truth = fold_pixels(target, 1, self.multiple)
        frames = fold_pixels(context, 1, self.multiple)
        *past, frame = frames.unbind(1)
        state: State | None = None
        if past:
            together = self._encode(torch.stack(past).flatten(0, 1))[-1]
            for seen in together.unflatten(0, (len(past), -1)).unbind(0):
                state = self.reader.step(seen, state)
        predicted = []
        for step in range(self.steps):
            *skips, seen = self._encode(frame)
            state = self.writer.step(seen, state)
            start = start_frame(frames, between=True)[:, 0] if self.between else frame
            predicted.append(self._decode(state[0], skips, start))
            frame = predicted[-1]
            if truth is not None and step + 1 < self.steps:
                told = torch.rand(len(frame), 1, 1, 1, device=frame.device) < self.teacher_forcing
                frame = torch.where(told, truth[:, step].float(), frame)
        return Output(torch.stack(predicted, dim=1)[..., :height, :width])

    def __call__(self, context: Tensor, flow: Tensor | None = None, target: Tensor | None = None) -> Output:
        output: Output = nn.Module.__call__(self, context, flow, target)
        return output

    def _encode(self, frame: Tensor) -> list[Tensor]:
        """(B, C, H, W) in [0, 1]: the folded frame and what every convolution makes of it."""
        scaled = standardise(frame) if self.residual else to_signed(frame)
        levels = [F.pixel_unshuffle(scaled, self.fold).contiguous(memory_format=torch.channels_last)]
        for layer in self.encoder:
            levels.append(layer(levels[-1]))
        return levels

    def _decode(self, hidden: Tensor, skips: list[Tensor], start: Tensor) -> Tensor:
        """The next frame, (B, C, H, W) float32 in [0, 1]; a residual to `start`."""
        found = hidden
        if not self.residual:
            for layer in self.decoder:
                found = layer(found)
            return from_signed(self.head(found))
        for layer, skip in zip(self.decoder, reversed(skips), strict=True):
            found = layer(found)
            found = torch.cat((found, skip.to(found.dtype)), dim=1)
        return start.float() + F.pixel_shuffle(self.head(found).float(), self.fold)


def _layer(convolution: nn.Conv2d | nn.ConvTranspose2d, config: Config) -> nn.Sequential:
    norm = [nn.BatchNorm2d(convolution.out_channels)] if config.batch_norm else []
    return nn.Sequential(convolution, *norm, nn.LeakyReLU(0.2))


def build(config: Config, task: Task) -> Seq2seq:
    """A `Seq2seq` for a task."""
    return Seq2seq(config, task)
