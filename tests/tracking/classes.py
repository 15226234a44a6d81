"""A small project whose task is to tell colours apart, and classifiers of it that are as good as a test wants."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch.nn import functional

from tests.shapes import COLOURS, write_colours
from vidpred.config import Params
from vidpred.data.shards import Shards
from vidpred.data.split import read_split
from vidpred.evaluation.classes import judge_classes
from vidpred.evaluation.classify import evaluate_classes
from vidpred.models import zoo
from vidpred.models.files import load_model, save_model
from vidpred.tracking.gate import Bench
from vidpred.tracking.registry import register
from vidpred.types import Classifier, Task, to_float

NAME = "vidpred-classify"
CLASSES = tuple(COLOURS)
CONFIG = {"width": 8, "scales": 2, "hidden": 8}
TASK = Task(context=4, horizon=0, height=32, width=32, kind="classify", classes=CLASSES)


class ClassProject:
    """Shards, a split of which test has the twenty groups that a claim needs, and classifiers.

    Attributes:
        params: Of the project.
    """

    def __init__(self, folder: Path, params: Params) -> None:
        self.folder = write_colours(folder, groups=90)
        self.shards = Shards(folder / "shards")
        self.split = folder / "split"
        raw = params.model_dump(by_alias=True)
        raw["task"] |= {"kind": "classify", "context": 4}
        raw["evaluate"] |= {"pictures": 2, "windows_per_clip": 2}
        self.params = Params.model_validate(raw)
        self._weights = _trained(self.shards, self.split)

    def model(self, blind: Sequence[str] = (), *, shift: float = 0.0, task: Task = TASK, fps: float = 10.0) -> Path:
        """A folder of a classifier.

        Args:
            blind: Classes that it never says.
            shift: Added to all scores, which changes the weights and nothing that is said.
            task: Another one has other classes.
            fps: That it was trained at.
        """
        built = zoo.build("single_frame", CONFIG, task, Classifier)
        last = max(key for key in self._weights if key.endswith("bias") and self._weights[key].shape == (len(CLASSES),))
        weights = {key: tensor.clone() for key, tensor in self._weights.items()}
        weights[last] += shift
        for name in blind:
            weights[last][CLASSES.index(name)] -= 1000
        if task.classes == CLASSES:
            built.load_state_dict(weights)
        folder = self.folder / f"model-{'-'.join(blind)}-{shift}-{task.context}-{len(task.classes)}-{fps}"
        info = {"data_id": self.shards.data_id, "fps": fps, "fit": "crop"}
        save_model(folder, built, name="single_frame", config=CONFIG, task=task, info=info)
        (folder / "metrics.jsonl").write_text('{"step": 10, "loss": 0.5}\n')
        return folder

    def bench(self, folder: Path) -> Bench:
        """The evaluation of a classifier."""
        model, info = load_model(folder, Classifier)
        device = torch.device("cpu")
        found = judge_classes(
            model, info, shards=self.shards, split=self.split, by_time=False, params=self.params, device=device
        )
        return Bench(
            info=info, metrics=found.figures, windows=found.rows, shards=self.shards, split=self.split,
            flow=self.params.flow, batch_size=32, crop=None, device=device,
        )  # fmt: skip

    def evaluate(self, folder: Path) -> tuple[dict[str, Any], Path]:
        """As the stage does it: figures and the folder of pictures."""
        out = self.folder / "evaluation"
        figures = evaluate_classes(
            folder, shards_folder=self.shards.folder, split=self.split, by_time=False, out=out, params=self.params,
            device=torch.device("cpu"),
        )  # fmt: skip
        return figures, out / "pictures"

    def register(self, blind: Sequence[str] = (), **model: Any) -> dict[str, Any]:
        """Judges a classifier and registers it; gives the receipt."""
        folder = self.model(blind, **model)
        pictures = self.folder / "no pictures"
        pictures.mkdir(exist_ok=True)
        return register(folder, name=NAME, run_key=folder.name, bench=self.bench(folder), pictures=pictures)


def _trained(shards: Shards, split: Path) -> dict[str, torch.Tensor]:
    """Weights that know all the colours."""
    torch.manual_seed(0)
    model = zoo.build("single_frame", CONFIG, TASK, Classifier)
    segments = read_split(split, "train")[:120]
    clips = to_float(torch.from_numpy(np.stack([shards.frames(s.clip, s.start, 4, 1) for s in segments])))
    labels = torch.tensor([CLASSES.index(shards.clips[s.clip].label) for s in segments])
    optimiser = torch.optim.Adam(model.parameters(), 0.02)
    for _ in range(40):
        optimiser.zero_grad()
        functional.cross_entropy(model(clips).logits, labels).backward()
        optimiser.step()
    assert pd.Series(model.eval()(clips).logits.argmax(1).eq(labels)).mean() == 1
    return model.state_dict()
