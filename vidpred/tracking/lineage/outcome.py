"""What came of making a model again: the same bytes, or how far off, and what may be the reason."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from vidpred import workspace
from vidpred.errors import UserError
from vidpred.models.files import WEIGHTS, read_info
from vidpred.tracking.artifacts import fetch
from vidpred.tracking.lineage.reading import read_yaml
from vidpred.tracking.lineage.subject import Subject

SHOWN = ("top1", "top5", "cross_entropy", "perceptual_distance", "psnr_db", "ssim", "l1", "mse")


@dataclass(frozen=True)
class Outcome:
    """Of one model."""

    model: str
    then: str
    """sha256 of the registered weights."""
    now: str
    """sha256 of the weights made again."""
    furthest: tuple[str, float] | None = None
    """The tensor with the largest difference of a weight, and that; None: the same bytes, or other shapes."""
    metrics: dict[str, tuple[float, float]] = field(default_factory=dict)
    """Figures on test: then, now."""
    data: tuple[str, str] = ("", "")
    """data_id: then, now."""
    code: list[str] = field(default_factory=list)
    """Code that is not what dvc.lock says was read then."""
    differs: dict[str, tuple[str, str]] = field(default_factory=dict)
    """Hardware and versions: then, now."""

    @property
    def same(self) -> bool:
        """To the last bit."""
        return self.then == self.now

    def as_json(self) -> dict[str, Any]:
        """In plain values."""
        return {**asdict(self), "same": self.same}


def compare(
    subject: Subject,
    made: Path,
    metrics: Mapping[str, Any] | None,
    *,
    code: list[str],
    data: str,
    differs: dict[str, tuple[str, str]],
) -> Outcome:
    """Holds a model folder against the registered one."""
    info = read_info(made)
    now = workspace.file_sha256(made / WEIGHTS)
    then = str(subject.info.get("weights_sha256") or (subject.record or {}).get("weights_sha256", ""))
    before = read_yaml(subject.file("metrics.json"))
    return Outcome(
        model=subject.uri,
        then=then,
        now=now,
        furthest=None if then == now else _furthest(subject, made),
        metrics=_beside(before, metrics, str(info["name"])) if metrics else {},
        data=(str(subject.info.get("data_id", "")), data),
        code=code,
        differs=differs,
    )


def _beside(then: Mapping[str, Any], now: Mapping[str, Any], name: str) -> dict[str, tuple[float, float]]:
    try:
        before, after = then["test"][name], now["test"][name]
        return {key: (float(before[key]), float(after[key])) for key in SHOWN if key in before and key in after}
    except (KeyError, TypeError, ValueError):
        return {}


def _furthest(subject: Subject, made: Path) -> tuple[str, float] | None:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    with tempfile.TemporaryDirectory(prefix="vidpred-") as temporary:
        folder = subject.folder or Path(temporary)
        try:
            if subject.source:
                fetch(subject.source, folder, {WEIGHTS: True})
            before, after = load_file(folder / WEIGHTS), load_file(made / WEIGHTS)
            if before.keys() != after.keys() or any(before[key].shape != after[key].shape for key in before):
                return None
            apart = {
                key: float((before[key].double() - after[key].double()).abs().max())
                for key in before
                if before[key].numel()
            }
        except (UserError, OSError, SafetensorError):
            return None
    worst = max(apart, key=lambda key: apart[key], default=None)
    return None if worst is None else (worst, apart[worst])
