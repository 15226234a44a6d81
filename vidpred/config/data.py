"""The sections of params.yaml that decide which frames there are: task, fetch, transcode, split, flow."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from vidpred.config.section import Count, Section, Seed


class TaskParams(Section):
    """What is asked of a model. Stages from split on depend on it."""

    kind: Literal["predict", "interpolate", "classify"] = "predict"
    """`predict`: the frames that follow the context. `interpolate`: the middle one of three, of which the context is
    the first and the last; `context` is 2 and `horizon` is 1 then. `classify`: which class the context is of; nothing
    that follows is asked for, and `horizon` has no part in it."""
    context: Annotated[int, Field(ge=2)] = 5
    """Frames that the model sees."""
    horizon: Count = 1
    """Frames that it is trained and scored to predict."""
    interval: Count = 1
    """Distance between two frames of a window, in frames of the shard."""

    @property
    def ahead(self) -> int:
        """Frames of a window that the model does not see."""
        return 0 if self.kind == "classify" else self.horizon

    @property
    def span(self) -> int:
        """Frames of the shard from a window's first to its last, both counted."""
        return (self.context + self.ahead - 1) * self.interval + 1

    @property
    def flow_interval(self) -> int:
        """Distance of two neighbours in the context, in frames of the shard: stored flow leads back as far."""
        return 2 * self.interval if self.kind == "interpolate" else self.interval

    @model_validator(mode="after")
    def _three_frames(self) -> TaskParams:
        if self.kind == "interpolate" and (self.context, self.horizon) != (2, 1):
            raise ValueError(
                f"kind interpolate sees the first and the last of three frames, but context is {self.context} and "
                f"horizon {self.horizon}: set context to 2 and horizon to 1"
            )
        return self


class FetchParams(Section):
    """Where the clips come from."""

    source: str
    """A folder of GIFs and videos, one file, an archive, a list of URLs (.txt, .csv, .tsv), a dataset or recipe (.yaml)
    or a NumPy video (.npy); always a path."""
    connect_seconds: Annotated[float, Field(gt=0)] = 20
    """A server that does not accept the connection for so long has failed."""
    timeout_seconds: Annotated[float, Field(gt=0)] = 60
    """A download that sends nothing for so long has failed."""
    total_seconds: Annotated[float, Field(gt=0)] = 3600
    """A download that takes longer in all, tries included, has failed."""
    max_bytes: Count = 2_000_000_000
    """A larger file is set aside; archives are limited by `max_archive_bytes`."""
    tries: Count = 3
    """Attempts at a download before it has failed."""
    at_once: Annotated[int, Field(ge=1, le=256)] = 16
    """Downloads at once."""
    per_host: Annotated[int, Field(ge=1, le=64)] = 4
    """Downloads at once from one host."""
    free_bytes: Annotated[int, Field(ge=0)] = 1_000_000_000
    """Disk space that is left free: a download that would take it has failed."""
    allow_private: bool = False
    """Whether URLs may lead to addresses of this machine or a private network."""
    max_archive_bytes: Count = 200_000_000_000
    """Of an archive, and of all that comes out of it."""
    max_members: Count = 2_000_000
    """Entries of an archive at the most."""
    max_ratio: Annotated[float, Field(gt=1)] = 200
    """A member that unpacks to more than so many times its packed size is a bomb."""


class TranscodeParams(Section):
    """How frames are made from files."""

    height: Annotated[int, Field(ge=8, le=4096)] = 64
    """Rows of a frame."""
    width: Annotated[int, Field(ge=8, le=4096)] = 64
    """Columns of a frame."""
    fit: Literal["crop", "pad", "stretch"] = "crop"
    """How another shape is brought to this one: crop the middle, pad with black, or stretch."""
    fps: Annotated[float, Field(gt=0, le=240)] | None = 10
    """Frames per second, sampled by time stamp; null keeps the source's frames."""
    background: Annotated[str, Field(pattern=r"^(black|white|#[0-9a-fA-F]{6})$")] = "white"
    """What shows through where a source is transparent."""
    crop_bars: bool = False
    """Cut black bars off the source's edges first; not for clips whose own background is black."""
    cut_threshold: Annotated[float, Field(gt=0, lt=255)] | None = 30
    """A cut: a frame that differs from the one before by so many grey levels in the mean, and by far more than its
    neighbours do. Clips end there. null: cuts are not looked for."""
    freeze_threshold: Annotated[float, Field(ge=0, lt=255)] = 0.2
    """A frame of the source that differs by no more grey levels in the mean from the first of a picture repeats it."""
    max_freeze_seconds: Annotated[float, Field(gt=0)] | None = 0.35
    """A picture that stands still for longer ends the clip; the next begins with its last repeat. null: never."""
    drop_repeats: bool = False
    """With `fps: null`: a frame that repeats the one before is left out, so that what moves does not stand still for a
    frame where a video was brought to a higher rate."""
    min_motion: Annotated[float, Field(ge=0, lt=255)] = 0.1
    """A clip whose neighbouring frames differ by fewer grey levels in the mean is dropped."""
    min_frames: Count = 6
    """A clip with fewer frames is dropped."""
    max_seconds: Annotated[float, Field(gt=0)] = 60
    """Only so much of each source is taken, from its start."""
    max_frames: Count = 20_000
    """Only so many frames of each source are read."""
    max_pixels: Count = 40_000_000
    """A source with more pixels a frame is set aside."""
    timeout_seconds: Annotated[float, Field(gt=0)] = 120
    """A source that takes ffmpeg longer is set aside."""
    buckets: Annotated[int, Field(ge=1, le=4096)] = 8
    """Shard files; a source's sha256 decides which one it is in."""
    ffmpeg: str = "bundled"
    """`bundled` (of imageio-ffmpeg), `system` (on the PATH), or a path."""
    engine: Literal["local", "ray"] = "local"
    """Where ffmpeg runs: on this machine, or on every node of the Ray cluster. The bytes are the same."""
    storage: str | None = None
    """With `engine: ray`: a folder or fsspec URL (s3://bucket/prefix) that every node reaches, for sources and frames;
    null: they travel through Ray."""

    @model_validator(mode="after")
    def _repeats_are_the_source_s(self) -> TranscodeParams:
        if self.drop_repeats and self.fps is not None:
            raise ValueError(
                f"drop_repeats leaves out frames of the source, but fps {self.fps:g} samples by time: set fps to null"
            )
        return self


class SplitParams(Section):
    """Which clips train, which choose, which judge."""

    kind: Literal["group", "time", "official"] = "group"
    """`group`: whole groups, by the hash of their name. `time`: the last part of every clip. `official`: as the dataset
    says."""
    val: Annotated[float, Field(gt=0, lt=1)] = 0.1
    """Share of the groups (or of the time) for validation."""
    test: Annotated[float, Field(gt=0, lt=1)] = 0.2
    """Share for the test."""
    seed: Seed = 0
    """Another seed, another split."""
    duplicate_bits: Annotated[int, Field(ge=0, le=16)] | None = 8
    """Clips with frames whose perceptual hashes differ by at most so many of 64 bits, and that move alike, are
    near-duplicates and share a group; null: they are not looked for."""
    leaks: Literal["refuse", "warn"] = "refuse"
    """What near-duplicates in two parts are, which another measure finds in the end: an error, or a warning, for clips
    that are known to be independent and look alike all the same."""
    drop_labels: list[str] = []
    """Classes that are left out; one that no clip has is an error."""
    min_class_motion: Annotated[float, Field(ge=0, lt=255)] = 0
    """Classes whose clips move less, in grey levels in the mean, are left out."""

    @model_validator(mode="after")
    def _leaves_training(self) -> SplitParams:
        if self.val + self.test > 0.9:
            raise ValueError(f"val + test is {self.val + self.test:.2f}: leave at least 0.1 for training")
        return self


class FlowParams(Section):
    """Optical flow, for models that need it."""

    method: Literal["dis", "farneback"] = "dis"
    """`dis`: OpenCV's dense inverse search; `farneback`: its polynomial expansion."""
    preset: Literal["ultrafast", "fast", "medium", "fine"] = "fine"
    """How hard `dis` searches; `fine` to the full resolution, the others to half of it: several times the work, and on
    frames of some hundred pixels a better flow."""
