"""From what a user names to what is looked into: a model of a folder or a registry, a clip of a file."""

from __future__ import annotations

from pathlib import Path

from vidpred.serving.classify import ClipClassifier
from vidpred.serving.devices import device_of
from vidpred.tracking.opening import open_model
from vidpred.types import Classifier
from vidpred.visualize.subject import Shown, Subject, middle_window


def open_subject(model: str, *, device: str) -> Subject:
    """A classifier of a folder or a registry.

    Raises:
        UserError: there is no such model or device, it is damaged, or it predicts instead of classifying.
    """
    chosen = device_of(device)
    built, info = open_model(model, Classifier)
    return Subject(built.to(chosen), info)


def open_clip(path: Path, subject: Subject) -> Shown:
    """The middle window of a GIF or video, read as `vidpred classify` does.

    Raises:
        UserError: it cannot be read, or is too short.
    """
    reader = ClipClassifier(subject.model, subject.info, device=subject.device)
    return middle_window(reader.read(path), subject.task, str(path))
