"""What the way back from a model is made of: its hops, each with its hash and where that is known from."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from vidpred.tracking.lineage.subject import Subject


@dataclass(frozen=True)
class Hop:
    """One step of the way."""

    name: str
    """weights, version, run, code, machine, params, sweep, split, data, sources."""
    what: str
    """In a line."""
    hash: str = ""
    hash_of: str = ""
    """What the hash is of."""
    known_from: tuple[str, ...] = ()
    facts: dict[str, str] = field(default_factory=dict)
    unseen: str = ""
    """Why it cannot be seen from here; empty: it can."""
    short: dict[str, str] = field(default_factory=dict)
    """What a person is shown of facts that are long, unless all is asked for."""

    def shown(self, *, every: bool) -> dict[str, str]:
        """The facts as a person is shown them."""
        return self.facts if every else self.facts | self.short


@dataclass(frozen=True)
class Source:
    """One file that frames were made of."""

    name: str
    sha256: str
    licence: str
    """`unknown` where none is told."""
    clips: int
    """Made of it."""
    parts: str
    """Of the split that they are in, such as `train`."""


@dataclass(frozen=True)
class Way:
    """All of it."""

    model: str
    hops: tuple[Hop, ...]
    sources: tuple[Source, ...]
    """Empty: not known from here one by one."""

    def as_json(self) -> dict[str, Any]:
        """In plain values."""
        told = asdict(self)
        for hop in told["hops"]:
            del hop["short"]
        return told


MAIN = ("weights", "version", "run", "params", "split", "data", "sources")
"""The way itself; the other hops stand beside the run."""


def of_record(subject: Subject) -> str:
    if subject.live:
        return "the project as it is now (no version keeps a record)"
    return "the record on its run"
