"""SimVP: frames are encoded one by one, a translator mixes space and time in one stack of maps, a decoder paints them.

After Gao et al. 2022 (SimVP, arXiv 2206.05099) with the translator of Tan et al. 2022 (arXiv 2211.12509): gated
spatiotemporal attention (gSTA), an attention map that convolutions give. Nothing is recurrent.

`seed` is the network as OpenSTL (arXiv 2306.11249) lays it out: as many frames come out as went in; fewer are cut off,
more are predicted from the predicted ones. At 10 frames in and out and one channel its sizes have 46.8 M parameters;
32 / 128 / 4 / 4 have 3.36 M. `default` is smaller, gives the whole horizon at once, normalises within each sample
instead of over the batch, adds to the last frame and starts as exactly that.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vidpred.errors import UserError
from vidpred.models.blocks.depthwise import Depthwise
from vidpred.models.blocks.learned_path import add_residual, check_length, standardise, zero_head
from vidpred.models.checks import between
from vidpred.types import Output, Predictor, Task

_SIZES = {"default": (16, 80, 4, 4), "seed": (64, 512, 4, 8)}
_SEED_MLP = 8
_DILATION = 3


@dataclass(frozen=True)
class Config:
    """What a sweep may vary."""

    variant: Literal["default", "seed"] = "default"
    """`default`, or the source's network, of which only the four sizes and `drop_path` may vary."""
    filters: int | None = None
    """Channels of encoder and decoder, even (OpenSTL's hid_S); None: 16, in `seed` 64."""
    translator_filters: int | None = None
    """Channels inside the translator (hid_T); None: 80, in `seed` 512."""
    depth: int | None = None
    """Convolutions of the encoder, and of the decoder (N_S); every second one halves the resolution; None: 4."""
    translator_depth: int | None = None
    """Attention blocks of the translator (N_T), at least 2; None: 4, in `seed` 8."""
    mlp_ratio: int = 4
    """Hidden channels of a block's mixing layers, as a multiple of its own; 8 in `seed`."""
    attention_kernel: int = 5
    """Side of the attention's first depthwise kernel; odd."""
    dilated_kernel: int = 7
    """Side of the second one, whose pixels lie three apart; odd."""
    drop_path: float = 0.0
    """Share of samples that skip the last block's branches while training; the blocks before it, evenly less."""

    def __post_init__(self) -> None:
        for field, low in (("filters", 2), ("translator_filters", 1), ("depth", 1), ("translator_depth", 2)):
            value = getattr(self, field)
            if value is not None:
                between("simvp", field, value, low)
        for field in ("mlp_ratio", "attention_kernel", "dilated_kernel"):
            between("simvp", field, getattr(self, field), 1)
        between("simvp", "drop_path", self.drop_path, 0, 0.9)
        for field in ("attention_kernel", "dilated_kernel"):
            if getattr(self, field) % 2 == 0:
                raise UserError(f"simvp: {field} is {getattr(self, field)}: give an odd number")
        if self.filters is not None and self.filters % 2:
            raise UserError(f"simvp: filters is {self.filters}: give an even number")
        fixed = ("mlp_ratio", "attention_kernel", "dilated_kernel")
        changed = [f for f in fixed if getattr(self, f) != getattr(Config, f)]
        if self.variant != "default" and changed:
            raise UserError(f"simvp: {', '.join(changed)} of variant {self.variant} is its source's: leave it out")

    @property
    def sizes(self) -> tuple[int, int, int, int]:
        """Filters, translator_filters, depth and translator_depth, those of the variant where none is given."""
        given = (self.filters, self.translator_filters, self.depth, self.translator_depth)
        a, b, c, d = (x if x is not None else own for x, own in zip(given, _SIZES[self.variant], strict=True))
        return a, b, c, d


SEARCH = {
    "config": {
        "filters": [8, 16, 32],
        "translator_filters": [40, 80, 128],
        "translator_depth": [2, 4, 6],
        "drop_path": [0.0, 0.1],
    },
    "train": {"learning_rate": {"low": 5e-4, "high": 5e-3, "log": True}},
}
"""What a sweep may try, as under `tune.models` of params.yaml."""


class Simvp(Predictor):
    """(B, T, C, H, W) with the task's T in, the whole horizon out; frames of any size."""

    def __init__(self, config: Config, task: Task) -> None:
        super().__init__()
        self.steps = task.horizon
        self.context = task.context
        self.seed = config.variant == "seed"
        filters, inside, depth, blocks = config.sizes
        self.given = task.context if self.seed else task.horizon
        halves = [bool(layer % 2) for layer in range(depth)]
        self.multiple = 2 ** sum(halves)
        self.first = _Conv(task.channels, filters)
        self.encoder = nn.Sequential(*(_Conv(filters, filters, stride=2 if halve else 1) for halve in halves[1:]))
        ends = (task.context * filters, self.given * filters)
        self.translator = _translator(config, ends[0], inside, ends[1], blocks)
        self.decoder = nn.Sequential(*(_Conv(filters, filters, doubles=halved) for halved in reversed(halves[1:])))
        self.last = _Conv(filters, filters)
        self.head = nn.Conv2d(filters, task.channels, 1) if self.seed else zero_head(filters, task.channels, 1)

    def forward(self, context: Tensor, flow: Tensor | None = None) -> Output:
        """See `Predictor.forward`.

        Raises:
            UserError: the context is not as long as the task's, whose time is stacked on channels.
        """
        check_length("simvp", context, self.context)
        if not self.seed:
            return Output(
                add_residual(context, self._once(standardise(context)).flatten(1, 2), self.steps, between=self.between)
            )
        passes = [self._once(context)]
        while len(passes) * self.given < self.steps:
            passes.append(self._once(passes[-1]))
        return Output(torch.cat(passes, dim=1)[:, : self.steps])

    def _once(self, frames: Tensor) -> Tensor:
        """(B, T, C, H, W) to (B, given, C, H, W) float32."""
        batch, length, _, height, width = frames.shape
        below, right = -height % self.multiple, -width % self.multiple
        if below or right:
            frames = F.pad(frames.flatten(0, 1), (0, right, 0, below), mode="replicate").unflatten(0, (batch, length))
        # what is added to the last frame is painted from the last frame's edges, at every step; that frame is encoded
        # apart from the others, whose fine maps then need no gradient of the decoder's, mostly zeros
        parts = [frames] if self.seed or length == 1 else [frames[:, :-1], frames[:, -1:]]
        encoded = [self._encode(part) for part in parts]
        stacked = _fold_time(torch.cat([coarse for _, coarse in encoded], dim=1).flatten(0, 1), length)
        decoded = self.decoder(_unfold_time(self.translator(stacked), self.given))
        fine = encoded[-1][0]
        skipped = decoded + (fine if self.seed else fine.repeat_interleave(self.given, dim=0))
        painted: Tensor = self.head(self.last(skipped))
        return painted[..., :height, :width].float().reshape(batch, self.given, -1, height, width)

    def _encode(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        """(B, T, C, H, W) to maps of all frames in one row at full resolution, (B·T, C, H, W), and small ones, (B, T,
        C, H', W')."""
        fine = self.first(frames.flatten(0, 1).contiguous(memory_format=torch.channels_last))
        coarse: Tensor = self.encoder(fine)
        return fine, coarse.unflatten(0, frames.shape[:2])


def _fold_time(x: Tensor, length: int) -> Tensor:
    """(B·T, C, H, W) to (B, T·C, H, W), channels-last."""
    batch, channels, height, width = x.shape
    stacked = x.reshape(batch // length, length * channels, height, width)
    return stacked.contiguous(memory_format=torch.channels_last)


def _unfold_time(x: Tensor, length: int) -> Tensor:
    """(B, T·C, H, W) to (B·T, C, H, W), channels-last."""
    batch, _, height, width = x.shape
    return x.reshape(batch * length, -1, height, width).contiguous(memory_format=torch.channels_last)


def _fold_out(x: Tensor) -> Tensor:
    """(B, 4·C, H, W) to (B, C, 2·H, 2·W), channels-last.

    `pixel_shuffle` but for the order of the input channels, which are a convolution's own: so whole runs of C numbers
    move, and the way back takes a quarter of the time.
    """
    batch, channels, height, width = x.shape
    squares = x.permute(0, 2, 3, 1).reshape(batch, height, width, 2, 2, channels // 4)
    return squares.transpose(2, 3).reshape(batch, 2 * height, 2 * width, channels // 4).permute(0, 3, 1, 2)


class _Conv(nn.Module):
    """3x3 convolution (to four times the channels, folded out to twice the resolution), two groups' norm, SiLU."""

    def __init__(self, inputs: int, outputs: int, *, stride: int = 1, doubles: bool = False) -> None:
        super().__init__()
        self.doubles = doubles
        self.conv = nn.Conv2d(inputs, 4 * outputs if doubles else outputs, 3, stride=stride, padding=1)
        self.norm = nn.GroupNorm(2, outputs)
        nn.init.trunc_normal_(self.conv.weight, std=0.02)
        if self.conv.bias is not None:
            nn.init.zeros_(self.conv.bias)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        # in float32, since bfloat16 takes four times as long on the way back
        return F.silu(self.norm((_fold_out(x) if self.doubles else x).float()))


def _translator(config: Config, inputs: int, inside: int, outputs: int, blocks: int) -> nn.Sequential:
    """Blocks at `inputs`, then `inside` channels; 1x1 convolutions where the width changes."""
    layers: list[nn.Module] = []
    for block in range(blocks):
        width = inside if block else inputs
        after = outputs if block == blocks - 1 else inside
        layers.append(_Block(config, width, config.drop_path * block / (blocks - 1)))
        if width != after:
            layers.append(_scaled(nn.Conv2d(width, after, 1)))
    return nn.Sequential(*layers)


class _Block(nn.Module):
    """gSTA: attention and a mixing network, each normalised, scaled by a hundredth and added to what came in."""

    def __init__(self, config: Config, width: int, drop: float) -> None:
        super().__init__()
        seed = config.variant == "seed"
        hidden = width * (_SEED_MLP if seed else config.mlp_ratio)
        self.drop = drop
        self.norms = nn.ModuleList(nn.BatchNorm2d(width) if seed else nn.GroupNorm(1, width) for _ in range(2))
        self.scales = nn.ParameterList(torch.full((width,), 0.01) for _ in range(2))
        self.into = _scaled(nn.Conv2d(width, width, 1))
        self.near = _scaled(Depthwise(width, config.attention_kernel))
        self.far = _scaled(Depthwise(width, config.dilated_kernel, dilation=_DILATION))
        self.gate = _scaled(nn.Conv2d(width, 2 * width, 1))
        self.out = _scaled(nn.Conv2d(width, width, 1))
        self.widen = _scaled(nn.Conv2d(width, hidden, 1))
        self.spread = _scaled(Depthwise(hidden, 3))
        self.narrow = _scaled(nn.Conv2d(hidden, width, 1))

    def forward(self, x: Tensor) -> Tensor:
        x = self._add(x, 0, self._attend(self.norms[0](x)))
        return self._add(x, 1, self._mix(self.norms[1](x)))

    def _attend(self, x: Tensor) -> Tensor:
        near = self.near(F.gelu(self.into(x)))
        values, gates = self.gate(self.far(near)).chunk(2, dim=1)
        gated: Tensor = self.out(values * torch.sigmoid(gates))
        return x + gated

    def _mix(self, x: Tensor) -> Tensor:
        mixed: Tensor = self.narrow(F.gelu(self.spread(self.widen(x))))
        return mixed

    def _add(self, x: Tensor, which: int, branch: Tensor) -> Tensor:
        scale: Tensor = self.scales[which]
        scaled = scale[:, None, None] * branch
        if self.training and self.drop > 0:
            kept = torch.rand(len(x), 1, 1, 1, device=x.device) >= self.drop
            scaled = scaled * (kept / (1 - self.drop))
        return x + scaled


_Conv2d = TypeVar("_Conv2d", bound=nn.Conv2d)


def _scaled(conv: _Conv2d) -> _Conv2d:
    """Weights that keep the gradient's scale on its way back: variance 2 / (kernel² · outputs of a group)."""
    rows, columns = conv.kernel_size
    nn.init.normal_(conv.weight, std=(2 * conv.groups / (rows * columns * conv.out_channels)) ** 0.5)
    if conv.bias is not None:
        nn.init.zeros_(conv.bias)
    return conv


def build(config: Config, task: Task) -> Simvp:
    """A `Simvp` for a task."""
    return Simvp(config, task)
