"""What a classifier is trained for and watched by: the cross-entropy of its scores, and how often it is right.

In: windows with the number of their class. Out: the loss, with label smoothing and mixup where they are asked for; and
on validation windows top-1, top-5 and the cross-entropy, beside the share of the class that is commonest in training.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from vidpred.config import TrainParams
from vidpred.data.clips import make_batch, read_windows
from vidpred.data.flow_store import Quantised
from vidpred.data.labels import Labels
from vidpred.errors import UserError
from vidpred.training import pace
from vidpred.training.adversary import Adversary
from vidpred.training.data import Data
from vidpred.training.device import choose_precision
from vidpred.training.peers import Peers, averaged
from vidpred.training.stages import Stage
from vidpred.training.validation import Row
from vidpred.types import Batch, Classifier, Model

log = logging.getLogger(__name__)

TOP = 5
"""Classes of which one must be right for the figure that is told beside top-1, where there are more than so many."""
BATCH = 32
"""Windows scored at once."""
PATIENCE = 3
"""Validations no better than the commonest class after which it is told."""


def ranks(logits: Tensor, labels: Tensor) -> Tensor:
    """How many other classes have a score as high as the true one's: 0 where a model is right.

    Args:
        logits: (N, classes); where one is not finite the model is wrong.
        labels: (N,) int64.

    Returns:
        (N,) int64.
    """
    true = logits.gather(1, labels[:, None])
    found = (logits >= true).sum(dim=1) - 1
    return torch.where(logits.isfinite().all(dim=1), found, logits.shape[1])


def commonest(data: Data, labels: Labels) -> int:
    """The number of the class that most training clips are of; of two alike the first."""
    counts = np.bincount(labels.of_clip[[segment.clip for segment in data.train]], minlength=len(labels.classes))
    return int(counts.argmax())


class ClassObjective:
    """The loss of a classifier, and its figures on validation.

    Args:
        model: On the device.
        data: What batches are of.
        params: `train` of params.yaml.
        device: Where to compute.

    Raises:
        UserError: there are no classes, or a validation clip is of one that does not train.
    """

    bars: tuple[str, ...] = ("majority",)
    figure = "val_cross_entropy"
    adversary: Adversary | None = None

    def __init__(self, model: Classifier, data: Data, params: TrainParams, device: torch.device) -> None:
        if data.labels is None:
            raise UserError("a classifier is trained on classes: set task.kind to classify")
        self.model, self.data, self.params, self.device = model, data, params, device
        self.labels = data.labels
        self.dtype = choose_precision(params.precision, device)
        unknown = sorted({data.shards.clips[w.clip].label for w in data.val if self.labels.of_clip[w.clip] < 0})
        if unknown:
            raise UserError(
                f"no training clip is of {', '.join(unknown)}, but validation clips are: run `dvc repro split`"
            )
        self._majority = commonest(data, self.labels)
        self.watched = ("val_top1", *(["val_top5"] if self._tops else []), "val_cross_entropy", "val_majority")

    @property
    def _tops(self) -> bool:
        return len(self.labels.classes) > TOP

    def batch(self, frames: np.ndarray, stored: Quantised | None = None, labels: np.ndarray | None = None) -> Batch:
        """uint8 frames (B, T, H, W, C) as the model sees them; the target is (B, classes), a share of each class."""
        computed = self.data.flow if self.model.needs_flow else None
        flow = computed if stored is None else stored
        made = make_batch(frames, context=self.data.task.context, device=self.device, flow=flow)
        if labels is None:
            return made
        known = torch.from_numpy(labels).to(self.device)
        return made._replace(target=functional.one_hot(known, len(self.labels.classes)).float())

    def loss(self, batch: Batch, stage: Stage) -> tuple[Tensor, dict[str, float]]:
        """The cross-entropy, with a gradient; and what else is to be told of it: nothing."""
        batch = self._mixed(batch) if self.params.mixup else batch
        with self._autocast():
            scores = self.model(batch.context, batch.flow)
        loss = self._cross_entropy(scores.logits, batch.target)
        for other in scores.auxiliary:
            weight = self.params.auxiliary_weight / len(scores.auxiliary)
            loss = loss + weight * self._cross_entropy(other, batch.target)
        return loss, {}

    def adversary_loss(self, adversary: Adversary, batch: Batch) -> Tensor:
        """Never asked for."""
        raise TypeError("a classifier has no adversary")

    def _cross_entropy(self, logits: Tensor, target: Tensor) -> Tensor:
        return functional.cross_entropy(logits.float(), target, label_smoothing=self.params.label_smoothing)

    def _mixed(self, batch: Batch) -> Batch:
        """Mixup (Zhang et al. 2018, arXiv 1710.09412): each window with the one before it in the batch, and so their
        labels. The larger share is the window's own."""
        alpha = torch.tensor(self.params.mixup)
        share = torch.distributions.Beta(alpha, alpha).sample((len(batch.context),)).to(self.device)
        share = torch.maximum(share, 1 - share)

        def mix(values: Tensor) -> Tensor:
            weight = share.view(-1, *[1] * (values.ndim - 1))
            return weight * values + (1 - weight) * values.roll(1, dims=0)

        flow = None if batch.flow is None else mix(batch.flow)
        return Batch(context=mix(batch.context), target=mix(batch.target), flow=flow)

    # ---- validation

    @torch.no_grad()
    def validate(self, model: Model, stage: Stage, *, known: Mapping[str, float], peers: Peers) -> Row:
        """Scores weights on the validation windows, each by itself."""
        first = top = entropy = common = 0.0
        task, mine = self.data.task, self.data.val[peers.rank :: peers.size]
        for start in range(0, len(mine), BATCH):
            windows = mine[start : start + BATCH]
            frames = read_windows(self.data.shards, windows, count=task.context, interval=task.interval)
            batch = self.batch(frames)
            labels = torch.from_numpy(self.labels.of_clip[[window.clip for window in windows]]).to(self.device)
            with self._autocast():
                logits = model(batch.context, batch.flow).logits.float()
            rank = ranks(logits, labels)
            first += float((rank == 0).sum())
            top += float((rank < TOP).sum())
            entropy += float(functional.cross_entropy(logits, labels, reduction="sum"))
            common += float((labels == self._majority).sum())
        first, top, entropy, common, count = averaged(peers, first, top, entropy, common, len(mine))
        return {
            "val_top1": first / count,
            **({"val_top5": top / count} if self._tops else {}),
            "val_cross_entropy": entropy / count,
            "val_majority": common / count,
        }

    def rank(self, row: Row) -> tuple[float, ...]:
        """What a validation is judged by, the smaller the better: top-1, and the cross-entropy where that is alike."""
        return -row["val_top1"], row["val_cross_entropy"]

    def in_words(self, row: Row) -> str:
        """`top-1 87.5 % (commonest class 12.5 %), cross-entropy 0.412`."""
        return (
            f"top-1 {100 * row['val_top1']:.1f} % (commonest class {100 * row['val_majority']:.1f} %), "
            f"cross-entropy {row['val_cross_entropy']:.3f}"
        )

    def tell(self, row: Row, speed: Row, *, stage: Stage, judged: Sequence[Row]) -> None:
        """A line in the log; and a warning where the model has learned nothing."""
        log.info(
            "step %d: loss %.4f, validation %s, %s", row["step"], row["loss"], self.in_words(row), pace.in_words(speed)
        )
        if len(judged) == PATIENCE and all(one["val_top1"] <= one["val_majority"] for one in judged):
            log.warning(
                "%d validations in a row were no better than always saying the commonest class: the model has learned "
                "nothing yet. Raise train.learning_rate, or see docs/classify.md",
                PATIENCE,
            )

    def doubt(self, best: Row) -> str:
        """What is to be said of a finished run; nothing where it has learned something."""
        if best["val_top1"] > best["val_majority"]:
            return ""
        return "the model is no better than always saying the commonest class: train longer, or see docs/classify.md"

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, dtype=self.dtype, enabled=self.dtype != torch.float32)
