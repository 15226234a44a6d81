"""What `vidpred doctor` finds: a line each."""

from __future__ import annotations

from typing import Literal, NamedTuple

Level = Literal["ok", "warn", "fail"]


class Finding(NamedTuple):
    """One line of the report."""

    level: Level
    what: str
    text: str
