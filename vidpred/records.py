"""The records that every layer shares: what a model is asked for, and which frames are meant. No torch is needed here.

Clip      an uncut stretch of frames of one source: a row of `index.parquet`
Segment   the stretch of a clip that belongs to one part of the split
Window    context and horizon, cut from a clip when they are read
Task      what a model is asked for
"""

from __future__ import annotations

from dataclasses import dataclass

BACKGROUND = "background"
"""The class of what is none of the others: a label like any other, but nothing that is looked for in a long video."""


@dataclass(frozen=True)
class Task:
    """What a model is asked for. Two models can be compared only where these agree."""

    context: int
    """Frames that the model sees."""
    horizon: int
    """Frames that it predicts, one after the other."""
    height: int
    """Rows of a frame, in pixels."""
    width: int
    """Columns of a frame, in pixels."""
    channels: int = 3
    """Colour channels of a frame."""
    interval: int = 1
    """Distance between two frames of a window, in frames of the shard: 2 takes every second one."""
    kind: str = "predict"
    """`predict`: the frames that follow the context. `interpolate`: the middle one of three, of which the context is
    the first and the last. `classify`: which of `classes` the context shows; its horizon is 0."""
    classes: tuple[str, ...] = ()
    """Names of the classes in the order of their scores, for `classify`."""

    def __post_init__(self) -> None:
        """Takes a list of classes too, as JSON has it."""
        object.__setattr__(self, "classes", tuple(self.classes))

    @property
    def between(self) -> bool:
        """Whether the frame that is asked for lies between those of the context instead of after them."""
        return self.kind == "interpolate"

    @property
    def flow_interval(self) -> int:
        """Distance of two neighbours in the context, which flow leads back, in frames of the shard."""
        return 2 * self.interval if self.between else self.interval


@dataclass(frozen=True)
class Clip:
    """One row of `index.parquet`: an uncut stretch of frames of one source."""

    id: str
    """`<first 16 digits of the source's key>-<number of the clip in it>` (the key: see `RawClip`)."""
    source: str
    """The file as the user named it."""
    sha256: str
    """Of the source's bytes."""
    group: str
    """Clips of one group never straddle a split."""
    label: str
    """The class, or an empty string."""
    shard: str
    """File name of the shard that holds the frames."""
    offset: int
    """First frame in the shard."""
    length: int
    """Frames."""
    fps: float
    """Frames per second after transcoding."""
    motion: float
    """Mean absolute difference of neighbouring frames, in grey levels (0 to 255)."""
    start_seconds: float = 0.0
    """Where the clip begins in its source."""
    part: str = ""
    """The part (train, val or test) that the dataset's official split gives it, or an empty string."""


@dataclass(frozen=True)
class Segment:
    """A stretch of a clip that belongs to one part (train, val or test) of the split."""

    clip: int
    """Row of the clip in the index."""
    start: int
    """First frame, counted from the clip's first."""
    length: int
    """Frames."""


@dataclass(frozen=True)
class Window:
    """Context and horizon, cut from a clip when they are read."""

    clip: int
    """Row of the clip in the index."""
    start: int
    """First frame, counted from the clip's first."""
