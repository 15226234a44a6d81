"""CNN and LSTM: a network of images or of short stretches gives features, an LSTM reads them one after the other.

After Donahue et al. 2014 (LRCN, arXiv 1411.4389); with 3D features Baccouche et al. 2011. `many_to_one` scores the last
state; `many_to_many` scores every state and averages, and while training each moment's scores are trained as well.
`paper` is LRCN: CaffeNet's first 4,096 features of frames of 227x227, a state of 256, many to many.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Self

from torch import Tensor, nn

from vidpred.models.blocks.backbones import Backbone
from vidpred.models.blocks.caffenet import CaffeNet
from vidpred.models.blocks.learned_path import standardise
from vidpred.models.blocks.scoring import ClipNorm, Places, agreed, only_default
from vidpred.models.checks import between
from vidpred.types import Classifier, Scores, Task


@dataclass(frozen=True)
class Config:
    """What a sweep may vary."""

    variant: Literal["default", "paper"] = "default"
    """`default`, or the paper's network."""
    features: Literal["2d", "3d"] = "3d"
    """Of what: `2d` of frames, `3d` of stretches: the backbone inflated, all its moments being read."""
    backbone: Literal["small", "resnet50", "inception_v1", "vgg16"] = "small"
    """What gives features."""
    pretrained: str = ""
    """Where training begins: a .safetensors file of a published backbone's weights; empty: at random."""
    frozen: bool = False
    """Whether the backbone stays as it is, and only the LSTM and the scores learn."""
    outputs: Literal["many_to_one", "many_to_many"] = "many_to_one"
    """Which states are scored."""
    width: int = 16
    """Channels of the first of four stages of `small`."""
    grid: int = 1
    """For `small`: places a side whose features are kept apart; features of frames, `2d`, need more than one to tell
    where things are. Those of other backbones are averaged over places."""
    kept: int = 32
    """For `small`: features of each place."""
    hidden: int = 128
    """Size of the LSTM's state."""
    layers: int = 1
    """LSTMs, one above the other."""
    dropout: float = 0.0
    """Share of the state that is left out while training, before the scores."""

    def __post_init__(self) -> None:
        """Refuses what cannot be built.

        Raises:
            UserError: a field is out of range.
        """
        for field in ("width", "grid", "kept", "hidden", "layers"):
            between("cnn_lstm", field, getattr(self, field), 1)
        between("cnn_lstm", "dropout", self.dropout, 0, 0.95)
        only_default("cnn_lstm", self)


SEARCH = {
    "config": {
        "features": ["2d", "3d"],
        "outputs": ["many_to_one", "many_to_many"],
        "grid": [1, 4, 8],
        "hidden": [64, 128, 256],
    },
    "train": {"learning_rate": {"low": 1e-3, "high": 1e-2, "log": True}},
}
"""What a sweep may try, as under `tune.models` of params.yaml."""
MADE_FOR = {"paper": (16, 227, 101)}
"""Of the variants: frames, rows and columns, classes."""


class CnnLstm(Classifier):
    """Clips of any length, frames of any size."""

    def __init__(self, config: Config, task: Task) -> None:
        super().__init__()
        self.config = config
        self.over_time = config.features == "3d"
        self.look = Backbone(
            "cnn_lstm",
            config.backbone,
            task.channels,
            0,
            over_time=self.over_time,
            width=config.width,
            pretrained=config.pretrained,
        )
        if config.frozen:
            self.look.requires_grad_(False)
        size = self.look.net.features_out
        if config.backbone == "small":
            self.places = Places(size, config.kept, config.grid)
            size = self.places.features
        self.norm = ClipNorm(size)
        self.lstm = nn.LSTM(size, config.hidden, config.layers, batch_first=True)
        self.score = nn.Sequential(nn.Dropout(config.dropout), nn.Linear(config.hidden, len(task.classes)))

    def train(self, mode: bool = True) -> Self:
        """Frozen features keep their norms' statistics too."""
        super().train(mode)
        if self.config.frozen:
            self.look.eval()
        return self

    def forward(self, clip: Tensor, flow: Tensor | None = None) -> Scores:
        """See `Classifier.forward`."""
        maps = self.look.maps(clip.transpose(1, 2) if self.over_time else clip.flatten(0, 1))
        moments = maps.shape[2] if self.over_time else clip.shape[1]
        if self.over_time:  # (B, C, T', H, W) to frames
            maps = maps.transpose(1, 2).flatten(0, 1)
        found = self.places(maps) if self.config.backbone == "small" else self.look.net.score(maps)
        states, _ = self.lstm(self.norm(found).unflatten(0, (clip.shape[0], moments)))
        if self.config.outputs == "many_to_one":
            return Scores(self.score(states[:, -1]).float())
        return agreed(self.score(states), training=self.training)


class Published(Classifier):
    """Clips of any length, frames that leave something after three poolings."""

    def __init__(self, task: Task) -> None:
        super().__init__()
        self.look = CaffeNet(task.channels, 0)
        self.lstm = nn.LSTM(4096, 256, batch_first=True)
        self.score = nn.Linear(256, len(task.classes))

    def forward(self, clip: Tensor, flow: Tensor | None = None) -> Scores:
        """See `Classifier.forward`."""
        states, _ = self.lstm(self.look(standardise(clip).flatten(0, 1)).unflatten(0, clip.shape[:2]))
        return agreed(self.score(states), training=self.training)


def build(config: Config, task: Task) -> Classifier:
    """A `CnnLstm`, or the paper's, for a task.

    Raises:
        UserError: a file of weights that does not fit.
    """
    return Published(task) if config.variant == "paper" else CnnLstm(config, task)
