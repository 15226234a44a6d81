"""Ranges of config values: one line that says which, what it is and what it may be."""

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
