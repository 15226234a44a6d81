"""What a check of a model found: sentences, each with what to do, and what was looked at."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class Finding:
    """Something that is not as it was."""

    hop: str
    """weights, version, run, record, data, split, files, alias."""
    what: str
    do: str
    """What to do about it."""


@dataclass
class Report:
    """Of one model."""

    model: str
    findings: list[Finding] = field(default_factory=list)
    checked: list[str] = field(default_factory=list)
    """What was looked at and found whole."""
    notes: list[str] = field(default_factory=list)
    """What was known already when the model was recorded, and is nothing that has changed since."""
    unseen: list[str] = field(default_factory=list)
    """What could not be looked at from here, and why."""

    def add(self, hop: str, what: str, do: str) -> None:
        """A finding more."""
        self.findings.append(Finding(hop, what, do))

    def as_json(self) -> dict[str, Any]:
        """In plain values."""
        return {**asdict(self), "whole": not self.findings}
