"""Keeps the page small enough to mail: pictures leave it, largest first, until it is.

In: `Inputs`, and how large a page of them is. Out: the page, and how many pictures it lacks.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from vidpred.report.inputs import Inputs, Picture

MOST_BYTES = 15_000_000
"""Of a page: what mail servers let pass."""


def within(inputs: Inputs, draw: Callable[[Inputs], str], *, most: int = MOST_BYTES) -> str:
    """A page of at most so many bytes, or one without any moving picture or strip.

    Filmstrips go first, since they fold away, then the largest moving pictures; one moving picture stays as long as
    anything else can go.

    Args:
        inputs: Of the page.
        draw: Makes a page of them; `Inputs.left_out` says how many pictures it lacks.
        most: Bytes.
    """
    page = draw(inputs)
    while (excess := len(page.encode()) - most) > 0:
        before = inputs
        while excess > 0 and (smaller := _without_one(inputs)) is not None:
            excess -= _bytes(inputs) - _bytes(smaller)
            inputs = smaller
        if inputs is before:
            break
        page = draw(inputs)
    return page


def _bytes(inputs: Inputs) -> int:
    """What the pictures take in the page, in base64."""
    held = sum(len(picture.moving) + len(picture.strip) for picture in inputs.pictures)
    return 4 * (held + sum(len(lesson.strip) for lesson in inputs.learning) + len(inputs.restored or b"")) // 3


def _without_one(inputs: Inputs) -> Inputs | None:
    """The same without its most dispensable picture; None: there is none left."""
    strips = [picture for picture in inputs.pictures if picture.strip]
    if strips:
        largest = max(strips, key=lambda picture: len(picture.strip))
        pictures = [replace(picture, strip=b"") if picture is largest else picture for picture in inputs.pictures]
        return replace(inputs, pictures=pictures, left_out=inputs.left_out + 1)
    if len(inputs.pictures) > 1:
        return _less(inputs, max(inputs.pictures, key=lambda picture: len(picture.moving)))
    if inputs.learning:
        return replace(inputs, learning=[], left_out=inputs.left_out + len(inputs.learning))
    if inputs.restored:
        return replace(inputs, restored=None, left_out=inputs.left_out + 1)
    return _less(inputs, inputs.pictures[0]) if inputs.pictures else None


def _less(inputs: Inputs, one: Picture) -> Inputs:
    kept = [picture for picture in inputs.pictures if picture is not one]
    return replace(inputs, pictures=kept, left_out=inputs.left_out + 1)
