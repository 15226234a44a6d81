"""`convlstm` and `simvp` as one would write them from their papers, and a training step as PyTorch's tutorials have it.

In: batches of frames. Out: trained weights, by the same function as ours. Everything is float32 in PyTorch's own memory
layout (NCHW); one convolution a moment sees input and state side by side; AdamW, clipping and the average of the
weights are PyTorch's with their defaults. Nothing is slowed down on purpose.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from vidpred.models.predict import convlstm, simvp
from vidpred.types import Predictor, Task


class ConvLSTMCell(nn.Module):
    """Shi et al. 2015 without peepholes."""

    def __init__(self, inputs: int, hidden: int, kernel: int) -> None:
        super().__init__()
        self.hidden = hidden
        self.conv = nn.Conv2d(inputs + hidden, 4 * hidden, kernel, padding=kernel // 2)

    def forward(self, x: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        h, c = state
        i, f, g, o = torch.chunk(self.conv(torch.cat([x, h], dim=1)), 4, dim=1)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        h = torch.sigmoid(o) * torch.tanh(c)
        return h, c


class ConvLSTM(nn.Module):
    """(B, T, C, H, W) in, (B, horizon, C, H, W) out: squares of pixels become channels, cells, a convolution, the last
    frame is added."""

    def __init__(self, config: convlstm.Config, task: Task) -> None:
        super().__init__()
        inputs = task.channels * config.fold**2
        self.fold, self.horizon, self.filters = config.fold, task.horizon, config.filters
        self.cells = nn.ModuleList(
            ConvLSTMCell(config.filters if layer else inputs, config.filters, config.kernel)
            for layer in range(config.layers)
        )
        self.head = nn.Conv2d(config.filters, inputs * task.horizon, 3, padding=1)

    def forward(self, frames: Tensor) -> Tensor:
        batch, length, channels, height, width = frames.shape
        zeros = torch.zeros(batch, self.filters, height // self.fold, width // self.fold)
        states = [(zeros, zeros) for _ in self.cells]
        x = zeros
        for t in range(length):
            x = F.pixel_unshuffle(4 * (frames[:, t] - 0.5), self.fold)
            for layer, cell in enumerate(self.cells):
                states[layer] = cell(x, states[layer])
                x = states[layer][0]
        residual = F.pixel_shuffle(self.head(x), self.fold)
        return frames[:, -1:] + residual.reshape(batch, self.horizon, channels, height, width)


class ConvNormAct(nn.Module):
    """Convolution, normalisation, SiLU; upwards by a pixel shuffle."""

    def __init__(self, inputs: int, outputs: int, *, stride: int = 1, up: bool = False) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, 4 * outputs if up else outputs, 3, stride=stride, padding=1)
        self.norm = nn.GroupNorm(2, outputs)
        self.shuffle = nn.PixelShuffle(2) if up else nn.Identity()
        self.act = nn.SiLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.norm(self.shuffle(self.conv(x))))


class Attention(nn.Module):
    """Large-kernel attention, gated."""

    def __init__(self, dim: int, near: int, far: int) -> None:
        super().__init__()
        self.proj_1 = nn.Conv2d(dim, dim, 1)
        self.act = nn.GELU()
        self.conv0 = nn.Conv2d(dim, dim, near, padding=near // 2, groups=dim)
        self.conv_spatial = nn.Conv2d(dim, dim, far, padding=3 * (far // 2), groups=dim, dilation=3)
        self.conv1 = nn.Conv2d(dim, 2 * dim, 1)
        self.proj_2 = nn.Conv2d(dim, dim, 1)

    def forward(self, x: Tensor) -> Tensor:
        f, g = self.conv1(self.conv_spatial(self.conv0(self.act(self.proj_1(x))))).chunk(2, dim=1)
        return x + self.proj_2(torch.sigmoid(g) * f)


class Mlp(nn.Module):
    """1x1 wide, 3x3 depthwise, 1x1 back."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Conv2d(dim, hidden, 1)
        self.dwconv = nn.Conv2d(hidden, hidden, 3, padding=1, groups=hidden)
        self.act = nn.GELU()
        self.fc2 = nn.Conv2d(hidden, dim, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(self.act(self.dwconv(self.fc1(x))))


class Block(nn.Module):
    """gSTA: x + scale · attention(norm(x)), then x + scale · mlp(norm(x))."""

    def __init__(self, config: simvp.Config, dim: int) -> None:
        super().__init__()
        seed = config.variant == "seed"
        self.norm_1 = nn.BatchNorm2d(dim) if seed else nn.GroupNorm(1, dim)
        self.norm_2 = nn.BatchNorm2d(dim) if seed else nn.GroupNorm(1, dim)
        self.scales = nn.ParameterList(torch.full((dim,), 0.01) for _ in range(2))
        self.attention = Attention(dim, config.attention_kernel, config.dilated_kernel)
        self.mlp = Mlp(dim, dim * (8 if seed else config.mlp_ratio))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.scales[0][:, None, None] * self.attention(self.norm_1(x))
        return x + self.scales[1][:, None, None] * self.mlp(self.norm_2(x))


class SimVP(nn.Module):
    """(B, T, C, H, W) in, (B, horizon, C, H, W) out; `seed`: as many out as in."""

    def __init__(self, config: simvp.Config, task: Task) -> None:
        super().__init__()
        filters, inside, depth, blocks = config.sizes
        self.seed = config.variant == "seed"
        self.out_frames = task.context if self.seed else task.horizon
        halves = [bool(layer % 2) for layer in range(depth)][1:]
        self.first = ConvNormAct(task.channels, filters)
        self.encoder = nn.Sequential(*(ConvNormAct(filters, filters, stride=2 if h else 1) for h in halves))
        layers: list[nn.Module] = []
        for block in range(blocks):
            dim = inside if block else task.context * filters
            after = self.out_frames * filters if block == blocks - 1 else inside
            layers.append(Block(config, dim))
            if dim != after:
                layers.append(nn.Conv2d(dim, after, 1))
        self.translator = nn.Sequential(*layers)
        self.decoder = nn.Sequential(*(ConvNormAct(filters, filters, up=h) for h in reversed(halves)))
        self.last = ConvNormAct(filters, filters)
        self.head = nn.Conv2d(filters, task.channels, 1)

    def forward(self, frames: Tensor) -> Tensor:
        batch, length, channels, height, width = frames.shape
        x = frames if self.seed else 4 * (frames - 0.5)
        fine = self.first(x.reshape(batch * length, channels, height, width))
        coarse = self.encoder(fine)
        _, filters, rows, columns = coarse.shape
        made = self.translator(coarse.reshape(batch, length * filters, rows, columns))
        coarse = self.decoder(made.reshape(batch * self.out_frames, filters, rows, columns))
        if not self.seed:  # the last frame's edges, at every step
            fine = fine.reshape(batch, length, filters, height, width)[:, -1]
            fine = fine.repeat_interleave(self.out_frames, dim=0)
        painted = self.head(self.last(coarse + fine)).reshape(batch, self.out_frames, channels, height, width)
        return painted if self.seed else frames[:, -1:] + painted


def same(ours: Predictor, config: convlstm.Config | simvp.Config, task: Task) -> nn.Module:
    """The plain one with a copy of our weights, which are the same in number, shape and order.

    Only in front of a pixel shuffle do ours stand in another order: ours puts the place in a square before the channel.
    """
    plain = ConvLSTM(config, task) if isinstance(config, convlstm.Config) else SimVP(config, task)
    with torch.no_grad():
        for into, weights in zip(plain.parameters(), ours.parameters(), strict=True):
            if into.shape != weights.shape:
                raise ValueError(f"weights {tuple(weights.shape)} do not fit {tuple(into.shape)}")
            into.copy_(weights)
        for module in plain.modules():
            if isinstance(module, ConvNormAct) and isinstance(module.shuffle, nn.PixelShuffle):
                for weights in module.conv.parameters():
                    weights.copy_(weights.unflatten(0, (4, -1)).transpose(0, 1).flatten(0, 1))
    return plain


def loss(prediction: Tensor, target: Tensor) -> Tensor:
    """Perceptual distance, smooth at zero, and a quarter of the gradient difference, as `train.loss` asks for; of one
    channel, the mean squared error."""
    if prediction.shape[2] == 1:
        return F.mse_loss(prediction, target)
    p, y = 255 * prediction, 255 * target
    red = ((p[:, :, 0] + y[:, :, 0]) / 2).detach().clamp(0, 255)
    d = (p - y) ** 2
    squared = (512 + red) * d[:, :, 0] / 256 + 4 * d[:, :, 1] + (767 - red) * d[:, :, 2] / 256
    distance = (torch.sqrt(squared + 9) - 3).mean() / 255
    rows = (torch.abs(torch.diff(target, dim=-2)) - torch.abs(torch.diff(prediction, dim=-2))).abs().mean()
    columns = (torch.abs(torch.diff(target, dim=-1)) - torch.abs(torch.diff(prediction, dim=-1))).abs().mean()
    return distance + 0.25 * (rows + columns)


class Plain:
    """Trains a plain model."""

    def __init__(self, model: nn.Module, *, context: int, rate: float = 1e-3, weight_decay: float = 0.05) -> None:
        self.model = model.train()
        self.context = context
        self.optimizer = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=weight_decay)
        self.average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.99))

    def train_step(self, frames: np.ndarray) -> float:
        """One step on uint8 (B, T + horizon, H, W, C); returns the loss."""
        clips = torch.from_numpy(frames).permute(0, 1, 4, 2, 3).contiguous().float() / 255
        self.optimizer.zero_grad()
        lost = loss(self.model(clips[:, : self.context]), clips[:, self.context :])
        lost.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.average.update_parameters(self.model)
        return lost.item()
