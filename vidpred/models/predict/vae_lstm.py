"""The latent line: an autoencoder turns every frame into a vector, an LSTM predicts the next one, a decoder paints it.

The autoencoder is variational (Kingma and Welling 2013, arXiv 1312.6114) and sees one frame at a time.

`seed` has a latent of 32 at 64x64; its layers are those of the world models of Ha and Schmidhuber 2018 (arXiv
1803.10122), the published network of this kind: a VAE of 4,348,547 parameters and an LSTM of 256. It paints outright
what it expects, so by nature it cannot start as `copy_last`: everything that a frame has passes through 32 numbers.
`default` is smaller, takes any frame size at building and adds what the decoder changes to the last frame, last +
decode(next) - decode(now), where next starts as now: exactly the last frame. Further steps are predicted in the latent.
To interpolate, it is added to the average of the frames around; the LSTM reads both and then says what lies between.

The options are the line's own. `latent: difference` predicts what is added to the latent. `head: point` predicts a
vector (matched by squared error), `gaussian` a mean and a variance (by KL divergence to the encoded ones), `mdn` a
mixture density network (Graves 2013, arXiv 1308.0850; by its negative log-likelihood, and the mixture's mean is
painted). `features: conv` encodes features instead of pixels: an autoencoder without a bottleneck in between finds
them, and the VAE, of 256 dimensions, restores features.

It can be trained at once by the loss on frames, through `forward`, or in stages, each with a loss of its own:

    for stage in model.stages:
        optimise(model.stage_parameters(stage), loss=lambda batch: model.stage_loss(stage, batch))

    features      only with `features: conv`: image to features to image, by squared error
    autoencoder   the VAE, by squared error and KL divergence to N(0, 1); of features, where there are any
    deconvoluter  only with `features: conv`: features as the VAE restores them to image, by squared error
    latent        the LSTM, taught by the encoded frames of the whole window; see `latent_loss`
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vidpred.errors import UserError
from vidpred.models.blocks.coders import SIDE, halving, of_world_models
from vidpred.models.blocks.gaussians import Belief, kl_divergence
from vidpred.models.blocks.learned_path import standardise, start_frame
from vidpred.models.checks import between
from vidpred.types import Batch, Output, Predictor, Task

_REACH = 1.2  # of painted values around a half; what lies beyond black and white is cut off, and keeps its gradient
_LIMIT = 8.0  # of log variances: their exponentials stay finite, also in the first, wild steps


@dataclass(frozen=True)
class Config:
    """What a sweep may vary."""

    variant: Literal["default", "seed"] = "default"
    """`default`, or the source's network, whose `filters`, `hidden` and `layers` are fixed."""
    latent: Literal["absolute", "difference"] | None = None
    """What the LSTM gives: the next latent, or what is added to this one; None: difference, in `seed` absolute."""
    head: Literal["point", "gaussian", "mdn"] = "point"
    """What it gives of that: a vector, a mean and a variance, or a mixture of Gaussians."""
    features: Literal["none", "conv"] = "none"
    """Whether the VAE encodes pixels, or features that a convolutional autoencoder learns first."""
    latent_size: int | None = None
    """Numbers that describe a frame; None: 32, with `features: conv` 256."""
    filters: int = 16
    """Channels at half the resolution; twice as many at a quarter, four times from an eighth on."""
    hidden: int = 128
    """Numbers of the LSTM's state."""
    layers: int = 1
    """LSTMs, one above the other."""
    mixtures: int = 5
    """Gaussians of `head: mdn`."""
    kl_weight: float = 0.1
    """Of the VAE's KL divergence beside the squared error, both summed over a frame."""

    def __post_init__(self) -> None:
        for field in ("filters", "hidden", "layers", "mixtures"):
            between("vae_lstm", field, getattr(self, field), 1)
        if self.latent_size is not None:
            between("vae_lstm", "latent_size", self.latent_size, 1)
        between("vae_lstm", "kl_weight", self.kl_weight, 0)
        changed = [f for f in ("filters", "hidden", "layers") if getattr(self, f) != getattr(Config, f)]
        if self.variant != "default" and changed:
            raise UserError(f"vae_lstm: {', '.join(changed)} of variant {self.variant} is its source's: leave it out")


SEARCH = {
    "config": {
        "latent_size": [16, 32, 64],
        "hidden": [128, 256],
        "head": ["point", "gaussian", "mdn"],
        "kl_weight": [0.01, 0.1, 1.0],
    },
    "train": {"learning_rate": {"low": 1e-3, "high": 1e-2, "log": True}},
}
"""What a sweep may try, as under `tune.models` of params.yaml."""


class VaeLstm(Predictor):
    """(B, T, C, H, W) with any T in, the whole horizon out; frames of the size of the task it was built for."""

    def __init__(self, config: Config, task: Task) -> None:
        super().__init__()
        seed = config.variant == "seed"
        self.steps = task.horizon
        self.size = (task.height, task.width)
        self.stages = ("autoencoder", "latent")
        if config.features == "conv":
            self.stages = ("features", "autoencoder", "deconvoluter", "latent")
        self.latent_size = config.latent_size or (256 if config.features == "conv" else 32)
        self.kl_weight = config.kl_weight
        self.kind = config.head
        self.residual = not seed
        self.differences = (config.latent or ("absolute" if seed else "difference")) == "difference"
        self.padding = (0, 0) if seed else (-task.height % 16, -task.width % 16)
        if seed and self.size != (SIDE, SIDE):
            raise UserError(
                f"vae_lstm: variant seed is for frames of {SIDE}x{SIDE}, not {task.height}x{task.width}: "
                "resize them, or take variant default"
            )
        padded = (task.height + self.padding[0], task.width + self.padding[1])
        self.extractor, self.painter, features = (
            of_world_models(task.channels) if seed else halving(task.channels, config.filters, padded)
        )
        self.to_latent = nn.Linear(features, 2 * self.latent_size)
        self.from_latent = nn.Linear(self.latent_size, features)
        hidden, layers = (256, 1) if seed else (config.hidden, config.layers)
        self.lstm = nn.LSTM(self.latent_size, hidden, layers, batch_first=True)
        self.mixtures = config.mixtures if config.head == "mdn" else 1
        self.head = nn.Linear(
            hidden,
            self.mixtures * (1 + 2 * self.latent_size)
            if self.kind == "mdn"
            else self.latent_size * (2 if self.kind == "gaussian" else 1),
        )
        self._initialise()

    def _initialise(self) -> None:
        with torch.no_grad():
            if self.residual:  # noise of a seventh: with that of a fresh VAE, 1, nothing but noise would be painted
                self.to_latent.bias[self.latent_size :] = -4
            if self.residual and self.differences:
                nn.init.zeros_(self.head.weight)
                nn.init.zeros_(self.head.bias)
            if self.kind == "mdn":  # equal Gaussians would stay equal: let their widths differ
                variances = self.head.bias[self.mixtures * (1 + self.latent_size) :].view(self.mixtures, -1)
                variances += torch.linspace(-2, 2, self.mixtures)[:, None]

    def forward(self, context: Tensor, flow: Tensor | None = None) -> Output:
        """See `Predictor.forward`. While training latents are drawn, and what the decoder paints outright is auxiliary.

        Raises:
            UserError: frames of another size than the task's.
        """
        return self.imagine(context, self.steps)

    def imagine(self, context: Tensor, frames: int) -> Output:
        """Any number of frames, predicted in the latent, without looking at those painted; else as `forward`."""
        mean, log_variance = self.encode(context)
        latents = self._drawn(mean, log_variance)
        believed, memory = self._believe(latents)
        futures = [believed.mean[:, -1]]
        for _ in range(frames - 1):
            believed, memory = self._believe(futures[-1][:, None], memory)
            futures.append(believed.mean[:, -1])
        # painted one by one, so that equal latents give equal bits, and the default starts as exactly the last frame
        painted = [self.decode(latent) for latent in futures]
        outright = torch.stack(painted, dim=1)
        kl: Tensor | None = None
        if self.training:
            kl = kl_divergence(mean, log_variance, torch.zeros_like(mean), torch.zeros_like(mean)).sum(dim=-1).mean()
        if not self.residual:
            return Output(outright, kl=kl)
        now, start = self.decode(latents[:, -1]), start_frame(context, between=self.between)[:, 0]
        predicted = torch.stack([start + (latent - now) for latent in painted], dim=1)
        return Output(predicted, (outright,) if self.training else (), kl=kl)

    # ---- the autoencoder

    def encode(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        """What a frame is in the latent.

        Args:
            frames: (..., C, H, W) in [0, 1].

        Returns:
            Mean and logarithm of the variance, both (..., latent_size) float32.

        Raises:
            UserError: frames of another size than the task's.
        """
        return self._to_latent(self._extract(frames))

    def decode(self, latent: Tensor) -> Tensor:
        """Frames (..., C, H, W) float32, within [0, 1], from latents (..., latent_size)."""
        return self._paint(self.from_latent(latent))

    def reconstruct(self, frames: Tensor) -> Tensor:
        """Frames (..., C, H, W) through the latent and back, without noise: to be shown below the originals."""
        return self.decode(self.encode(frames)[0])

    def primed(self, context: Tensor) -> Tensor | None:
        """See `Predictor.primed`: what the LSTM expected, painted outright. Nothing is known before the first frame."""
        if self.between or context.shape[1] < 2:
            return None
        believed, _ = self._believe(self.encode(context)[0][:, :-1])
        return self.decode(believed.mean)

    # ---- training in stages

    def stage_parameters(self, stage: str) -> list[nn.Parameter]:
        """What is trained in a stage; all else stays as it is.

        Raises:
            UserError: no stage of this model has that name.
        """
        vae: list[nn.Module] = [self.to_latent, self.from_latent]
        parts: dict[str, list[nn.Module]] = {
            "features": [self.extractor, self.painter],
            "autoencoder": vae if "features" in self.stages else [self.extractor, *vae, self.painter],
            "deconvoluter": [self.painter],
            "latent": [self.lstm, self.head],
        }
        return [parameter for part in parts[self._known(stage)] for parameter in part.parameters()]

    def stage_loss(self, stage: str, batch: Batch) -> Tensor:
        """The loss of a stage on a batch of windows; a number with a gradient.

        Of frames that are to be restored every third is taken, from one of the first three on: those between are nearly
        the same pictures, and without them three times the steps fit into the same time.

        Raises:
            UserError: no stage of this model has that name.
        """
        frames = torch.cat((batch.context, batch.target), dim=1)
        if self._known(stage) == "latent":
            return self.latent_loss(frames)
        frames = frames[:, int(torch.randint(min(3, frames.shape[1]), ())) :: 3]
        if stage == "autoencoder":
            return self.autoencoder_loss(frames)
        if stage == "features":
            return F.mse_loss(self._paint(self._extract(frames)), frames)
        return F.mse_loss(self.reconstruct(frames), frames)

    def restored(self, stage: str, frames: Tensor) -> Tensor | None:
        """See `Predictor.restored`."""
        if self._known(stage) == "latent":
            return None
        return self._paint(self._extract(frames)) if stage == "features" else self.reconstruct(frames)

    def autoencoder_loss(self, frames: Tensor) -> Tensor:
        """Squared error of what is restored, plus `kl_weight` times the KL divergence to N(0, 1), per number restored.

        Args:
            frames: (..., C, H, W) in [0, 1]. With `features: conv` it is their features that are restored, which
                get no gradient.
        """
        features = self._extract(frames)
        if "features" in self.stages:
            features = features.detach()
        mean, log_variance = self._to_latent(features)
        restored = self.from_latent(self._drawn(mean, log_variance))
        if "features" in self.stages:
            wanted, restored = features.float(), restored.float()
        else:
            wanted, restored = frames, self._paint(restored)
        zero = torch.zeros_like(mean)
        divergence = kl_divergence(mean, log_variance, zero, zero).sum() / wanted.numel()
        return F.mse_loss(restored, wanted) + self.kl_weight * divergence

    def latent_loss(self, frames: Tensor) -> Tensor:
        """How badly each frame's latent is predicted from those of all frames before it, per number of the latent.

        `head: point`: squared error to the encoded mean. `gaussian`: KL divergence from the encoded distribution to the
        predicted one. `mdn`: negative log-likelihood of the encoded latent. The autoencoder gets no gradient: it could
        make its latents easy to predict by making them all the same.

        Args:
            frames: (B, T, C, H, W) in [0, 1], T at least 2; while training, latents are drawn.
        """
        with torch.no_grad():
            mean, log_variance = self.encode(frames)
            latents = self._drawn(mean, log_variance)
        believed, _ = self._believe(latents[:, :-1])
        first = 1
        if self.between:  # of the first frame, the last and the one between, in this order, only that one is asked for
            first = frames.shape[1] - 1
            believed = Belief(*(part[:, -1:] for part in believed))
        if self.kind == "mdn":
            return -believed.log_likelihood(latents[:, first:]).mean() / self.latent_size
        if self.kind == "gaussian":
            predicted = (believed.means[..., 0, :], believed.log_variances[..., 0, :])
            return kl_divergence(mean[:, first:], log_variance[:, first:], *predicted).mean()
        return F.mse_loss(believed.mean, mean[:, first:])

    # ---- inside

    def _known(self, stage: str) -> str:
        if stage not in self.stages:
            raise UserError(f"vae_lstm has no stage {stage!r} here: give one of {', '.join(self.stages)}")
        return stage

    def _extract(self, frames: Tensor) -> Tensor:
        """(..., C, H, W) to (..., F)."""
        if frames.shape[-2:] != self.size:
            (height, width), (rows, columns) = self.size, frames.shape[-2:]
            raise UserError(
                f"vae_lstm was built for frames of {height}x{width}, not {rows}x{columns}: "
                "resize them, or train one with this size of frames"
            )
        shots = frames.reshape(-1, *frames.shape[-3:])
        if self.residual:
            shots = standardise(shots)
        if any(self.padding):
            shots = F.pad(shots, (0, self.padding[1], 0, self.padding[0]), mode="replicate")
        features: Tensor = self.extractor(shots.contiguous(memory_format=torch.channels_last))
        return features.reshape(*frames.shape[:-3], -1)

    def _to_latent(self, features: Tensor) -> tuple[Tensor, Tensor]:
        mean, log_variance = self.to_latent(features).float().chunk(2, dim=-1)
        return mean, _bounded(log_variance)

    def _drawn(self, mean: Tensor, log_variance: Tensor) -> Tensor:
        return mean + torch.exp(0.5 * log_variance) * torch.randn_like(mean) if self.training else mean

    def _paint(self, features: Tensor) -> Tensor:
        """(..., F) to (..., C, H, W) float32."""
        logits: Tensor = self.painter(features.reshape(-1, features.shape[-1]))
        height, width = self.size
        frames = torch.sigmoid(logits[..., :height, :width].float())
        if self.residual:  # a plain sigmoid is black or white nowhere, and hardly has a gradient near them
            wide = 0.5 + _REACH * (frames - 0.5)
            frames = wide.clamp(0, 1).detach() + (wide - wide.detach())
        return frames.reshape(*features.shape[:-1], *frames.shape[1:])

    def _believe(
        self, latents: Tensor, memory: tuple[Tensor, Tensor] | None = None
    ) -> tuple[Belief, tuple[Tensor, Tensor]]:
        """What follows each of (B, T, L) latents, and the LSTM's state after the last; float32: it sums over time."""
        with torch.autocast(latents.device.type, enabled=False):
            states, memory = self.lstm(latents, memory)
            numbers = self.head(states)
        k, size = self.mixtures, self.latent_size
        logits = numbers[..., :k] if self.kind == "mdn" else torch.zeros_like(numbers[..., :1])
        rest = numbers[..., k:] if self.kind == "mdn" else numbers
        means = rest[..., : k * size].unflatten(-1, (k, size))
        log_variances = torch.zeros_like(means)
        if self.kind != "point":
            log_variances = _bounded(rest[..., k * size :]).unflatten(-1, (k, size))
        if self.differences:
            means = latents[..., None, :] + means
        return Belief(logits, means, log_variances), memory


def _bounded(log_variance: Tensor) -> Tensor:
    return _LIMIT * torch.tanh(log_variance / _LIMIT)


def build(config: Config, task: Task) -> VaeLstm:
    """A `VaeLstm` for a task."""
    return VaeLstm(config, task)
