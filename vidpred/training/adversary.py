"""Training against discriminators: two players that take turns.

In every step the discriminators first learn to tell true frames from those that the model predicts now; then the model
learns by `train.loss`, in which `adversarial` is how well it fools them as they are by then (Goodfellow et al. 2014,
arXiv 1406.2661; at several scales Mathieu et al. 2015, arXiv 1511.05440).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from vidpred.config import TrainParams
from vidpred.errors import UserError
from vidpred.training.losses import adversarial, discriminator
from vidpred.training.player import Player
from vidpred.types import Predictor


class Adversary:
    """The discriminators of a model, and their optimiser.

    Args:
        model: Whose frames are judged.
        params: `train` of params.yaml.
        device: Where to compute.

    Raises:
        UserError: the model has no discriminators.
    """

    def __init__(self, model: Predictor, params: TrainParams, device: torch.device) -> None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(params.seed)
            judges = model.discriminators()
        if judges is None:
            raise UserError(
                f"{type(model).__name__} has no discriminators to be trained against: leave adversarial out of "
                "train.loss, or take multiscale"
            )
        self.judges = judges.to(device).train()
        self.player = Player(
            self.judges.named_parameters(), weight_decay=params.weight_decay, clip_norm=params.clip_norm
        )

    def loss(self, context: Tensor, truth: Sequence[Tensor], predicted: Sequence[Tensor]) -> Tensor:
        """What the discriminators lose, a mean over scales; no gradient reaches the model.

        Args:
            context: (B, T, C, H, W).
            truth: (B, N, C, h, w) a scale, coarsest first.
            predicted: Same shapes.
        """
        real = self.judges(context, truth)
        wrong = self.judges(context, [frames.detach() for frames in predicted])
        return torch.stack([discriminator(r, w) for r, w in zip(real, wrong, strict=True)]).mean()

    def fooled(self, context: Tensor, predicted: Sequence[Tensor]) -> Tensor:
        """What the model loses where it is found out, a mean over scales; no gradient reaches the discriminators."""
        self.judges.requires_grad_(False)
        logits = self.judges(context, predicted)
        self.judges.requires_grad_(True)
        return torch.stack([adversarial(logit) for logit in logits]).mean()

    def tensors(self) -> dict[str, Tensor]:
        """The discriminators and their optimiser's moments."""
        weights = {f"weights.{n}": t for n, t in self.judges.state_dict().items()}
        return weights | {f"moments.{n}": t for n, t in self.player.tensors().items()}

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Goes back to what `tensors` gave."""
        self.judges.load_state_dict(part(tensors, "weights."))
        self.player.restore(part(tensors, "moments."))


def part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Those whose names begin with a prefix, without it."""
    return {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}
