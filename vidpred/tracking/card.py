"""The card of a registered model: what it was made of and for, how good it is and where not, whose the clips were.

In: what the gate judges by, and the tables of `evaluate`. Out, beside the weights:

    card.json   for programs, as `Card` has it
    card.md     the same for people; also the description of the version in MLflow
    card.png    a filmstrip of the evaluation, card.gif: it moving
    confusion.png   of a classifier: which class is taken for which

A card that comes from a registry was written by a stranger: `read_card` bounds its size and checks its form, and who
shows its texts escapes them.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from vidpred.errors import UserError
from vidpred.models.files import INFO
from vidpred.tracking.card_text import as_markdown
from vidpred.workspace import write_json

CARD, TEXT, STRIP, MOVING, CONFUSION = "card.json", "card.md", "card.png", "card.gif", "confusion.png"
PICTURES: Final = {STRIP: "0.png", MOVING: "0.gif", CONFUSION: "confusion.png"}
"""Beside a card, and what `evaluate` calls them."""
CARD_FILES: Final = (CARD, TEXT, *PICTURES)
MOST_BYTES: Final = {CARD: 256_000, TEXT: 256_000} | dict.fromkeys(PICTURES, 8_000_000)
"""Of each file; larger ones are neither written nor read."""
CLASSES = 1000
"""Told of one by one."""
LICENCES = 50
"""Named on a card; the others are counted together."""

_MAGIC = {".png": (b"\x89PNG\r\n\x1a\n",), ".gif": (b"GIF87a", b"GIF89a")}

Word = Annotated[str, StringConstraints(max_length=100)]
LONGEST: Final = 600
Line = Annotated[str, StringConstraints(max_length=LONGEST)]
Number = Annotated[float, Field(allow_inf_nan=False)]
Count = Annotated[int, Field(ge=0, le=10**15)]


class _Part(BaseModel):
    """Of a card. What a later version adds is passed over."""

    model_config = ConfigDict(extra="ignore", strict=True)


class Task(_Part):
    """What the model was made for: `records.Task`, and how clips are read for it."""

    kind: Word
    context: Count
    horizon: Count
    interval: Count
    height: Count
    width: Count
    fps: Number | None
    """None: at each clip's own rate."""
    fit: Word
    """How another shape is brought to the size: crop, pad or stretch."""


class Amount(_Part):
    """How much of something."""

    clips: Count
    groups: Count
    frames: Count


class Data(Amount):
    """All the clips, of which the split takes its parts."""

    data_id: Word
    seconds: Number
    sources: Count
    """Files that clips were made of."""


class Licence(_Part):
    """How many sources have it."""

    licence: Line
    sources: Count


class Split(_Part):
    """Which clips were for what."""

    kind: Word
    """`group`: whole groups; `time`: the last part of every video; `official`."""
    train: Amount
    val: Amount
    test: Amount


class Gain(_Part):
    """A gain over another model on the same clips: in PD 0.2 is a fifth less distance, in top-1 20 points more."""

    pooled: Number
    macro: Number
    pooled_interval: Annotated[list[Number], Field(min_length=2, max_length=2)] | None
    """95 %; None: one group alone has none."""
    macro_interval: Annotated[list[Number], Field(min_length=2, max_length=2)] | None
    units: Count
    """Independent units that the intervals rest on."""
    beats: bool
    """Whether it is shown to be better."""
    why_not: Line
    """In words; empty where it is."""


class OfClass(_Part):
    """How a classifier fares with one class; None where a figure would be a ratio to nothing."""

    name: Line
    videos: Count
    """Of it, on test."""
    recall: Number | None
    """The share of them that it finds."""
    precision: Number | None
    """How often it is right where it says this class."""
    taken_for: Line | None
    """The class that it is most often taken for."""


class Judged(_Part):
    """The figures on the test clips."""

    windows: Count
    baseline: Word
    """The bar: the best of the baselines, such as copy_last."""
    metrics: Annotated[dict[Word, Annotated[dict[Word, Number], Field(max_length=50)]], Field(max_length=20)]
    """Model to its figures; baselines among them."""
    gains: Annotated[dict[Word, Gain], Field(max_length=10)]
    """Over each of these."""
    videos: Count = 0
    """That a classifier was judged by."""
    top1_interval: Annotated[list[Number], Field(min_length=2, max_length=2)] | None = None
    """Of a classifier, 95 %."""
    classes: Annotated[list[OfClass], Field(max_length=CLASSES)] = []
    """Of a classifier."""


class Rollout(_Part):
    """The mean PD of each step ahead, each frame predicted from predicted ones."""

    steps: Count
    distances: Annotated[dict[Word, Annotated[list[Number], Field(max_length=1000)]], Field(max_length=20)]
    """Model to a figure a step."""


class Tenth(_Part):
    """A part of the test windows, sorted by how much moves in them."""

    windows: Count
    motion: Number
    """The bar's mean PD."""
    gain: Number | None
    """Over it; None: nothing moves."""


class Card(_Part):
    """What card.json holds."""

    format: Literal[1] = 1
    model: Word
    """Of the zoo."""
    weights_sha256: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
    parameters: Count | None
    operations: Count | None
    """Multiply-adds of one predicted frame, or of one window that is classified."""
    vidpred: Word
    """Version that made it."""
    task: Task
    data: Data
    licences: Annotated[list[Licence], Field(max_length=LICENCES + 2)]
    split: Split
    test: Judged
    rollout: Rollout | None
    motion: Annotated[list[Tenth], Field(max_length=100)]
    """From the windows that move least to those that move most."""
    limits: Annotated[list[Line], Field(max_length=30)]
    """In words: what it was not made for, and where it is no better than copying."""


def write_card(folder: Path, card: Mapping[str, Any], pictures: Path | None = None) -> None:
    """Writes a card's files into the folder of a model; pictures that are not there or too large are left out.

    Args:
        folder: Exists.
        card: As `make_card` gives it.
        pictures: Folder of `0.png`, `0.gif` and, for a classifier, `confusion.png`, as `evaluate` leaves it.
    """
    shown = []
    for name, source in PICTURES.items():
        if pictures is not None and _is_picture(pictures / source, name):
            shutil.copyfile(pictures / source, folder / name)
            shown.append(name)
    (folder / TEXT).write_text(as_markdown(card, pictures=shown), encoding="utf-8")
    write_json(folder / CARD, card)


def read_card(folder: Path) -> dict[str, Any]:
    """The card beside a model's weights, of the form of `Card`, and `pictures`: those of `PICTURES` that are there. Its
    texts are a stranger's: escape them where they are shown.

    Args:
        folder: As `download` gives it.

    Returns:
        Empty where the model has no card.

    Raises:
        UserError: it is too large, damaged, or of another model.
    """
    path = folder / CARD
    try:
        if path.is_symlink() or not path.is_file():
            return {}
        if path.stat().st_size > MOST_BYTES[CARD]:
            raise UserError(f"{path} is too large for a card")
        card = Card.model_validate_json(path.read_bytes()).model_dump()
        said = json.loads((folder / INFO).read_bytes())["weights_sha256"]
    except (ValidationError, OSError, ValueError, KeyError, TypeError, RecursionError):
        raise UserError(f"{path} is not a card that this version can read") from None
    if said != card["weights_sha256"]:
        raise UserError(f"{path} is the card of another model")
    return card | {"pictures": [name for name in PICTURES if _is_picture(folder / name, name)]}


def _is_picture(path: Path, kind: str) -> bool:
    """Whether a file is of the kind that its name says, and no larger than may be."""
    try:
        if path.is_symlink() or not path.is_file() or path.stat().st_size > MOST_BYTES[kind]:
            return False
        with path.open("rb") as file:
            return file.read(8).startswith(_MAGIC[Path(kind).suffix])
    except OSError:
        return False
