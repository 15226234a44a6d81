"""Figures as pages write them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vidpred.training.figures import gain_in_words, interval_of


def percent(value: float) -> str:
    """A gain: `+63.9 %`."""
    return gain_in_words(value).replace("-", "−")


def points(value: float) -> str:
    """A difference of shares: `+12.5`."""
    return f"{100 * value:+.1f}".replace("-", "−")


def share(value: float | None) -> str:
    """`63.9 %`; a dash where it is not known."""
    return "–" if value is None else f"{100 * value:.1f} %"


def sure(gain: Mapping[str, Any], form: str, kind: str = "pooled") -> str:
    """The interval of a gain, in a form such as ` ({})`; nothing where it has none."""
    interval = interval_of(gain, kind)
    return form.format(" to ".join(percent(end) for end in interval)) if interval else ""


def plural(count: int, what: str) -> str:
    """`1 window`, `2 windows`."""
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def figure(value: float) -> str:
    """Three digits and no exponent."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def size(count: float) -> str:
    """Bytes as people write them: `12 MB`."""
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"


def short(count: float) -> str:
    """A count in three digits: `98.0 M`."""
    for scale, unit in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if count >= scale:
            return f"{count / scale:.3g}{unit}"
    return f"{count:.3g}"
