"""What a model refuses, in one line: config values out of range, contexts too short to see motion in."""

from __future__ import annotations

import math

from vidpred.errors import UserError


def between(model: str, field: str, value: float, low: float, high: float = math.inf) -> None:
    """Does nothing where low <= value <= high.

    Raises:
        UserError: value is outside.
    """
    if not low <= value <= high:
        allowed = f"at least {low:g}" if high == math.inf else f"from {low:g} to {high:g}"
        raise UserError(f"{model}: {field} is {value}: give {allowed}")


def sees_motion(model: str, frames: int) -> None:
    """Does nothing where a context has two frames or more.

    Raises:
        UserError: it has fewer.
    """
    if frames < 2:
        raise UserError(f"{model} needs two frames to see motion and the context has {frames}: give at least 2")
