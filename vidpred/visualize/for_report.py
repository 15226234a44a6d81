"""The pictures that a report shows: a few classes, a short ascent, one test clip a class, the first kernels.

In: a model folder, shards and split. Out: a folder as of `gallery`, made in seconds or, of what is too large, less.
"""

from __future__ import annotations

import logging
from pathlib import Path

import torch

from vidpred.config import TaskParams
from vidpred.models import zoo
from vidpred.models.files import load_model, task_from
from vidpred.types import Classifier
from vidpred.visualize.ascent import Ascent
from vidpred.visualize.gallery import What, write_gallery
from vidpred.visualize.subject import Subject, of_test

log = logging.getLogger(__name__)

CLASSES = 8
"""That are shown at the most."""
STEPS = 160
"""Of the ascent."""
MOST_OPERATIONS = 4e11
"""Multiply-adds of the ascent's passes forward, about a minute of a processor's core: of a larger model fewer classes
are shown, or none, whatever machine it is, so that a report is the same everywhere."""


def write_for_report(folder: Path, model_folder: Path, *, shards: Path, split: Path, asked: TaskParams) -> None:
    """Writes the folder.

    Args:
        folder: New, empty, or of an earlier call.
        model_folder: Of a classifier.
        shards: Where the test clips' frames are.
        split: Which clips these are.
        asked: `task` of params.yaml.

    Raises:
        UserError: a file is missing or damaged.
    """
    model, info = load_model(model_folder, Classifier)
    task = task_from(info["task"])
    how = Ascent(steps=STEPS)
    takes = zoo.operations(model, task) * how.steps * how.views * (1 + model.needs_flow)
    count = min(CLASSES, len(task.classes), int(MOST_OPERATIONS / max(takes, 1)))
    if count < min(CLASSES, len(task.classes)):
        log.info("clips are found for %d classes only, as it takes long: `vidpred visualize` finds all", count)
    what: tuple[What, ...] = ("ascent", "saliency", "kernels") if count else ("saliency", "kernels")
    clips = of_test(shards, split, task, asked, most=CLASSES)
    write_gallery(
        folder, Subject(model.to(torch.device("cpu")), info), what=what, classes=range(count), clips=clips, how=how
    )
