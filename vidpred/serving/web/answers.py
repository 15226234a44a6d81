"""The shapes of what the API answers: its OpenAPI description is made of these."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, Field


class Problem(BaseModel):
    """Any answer that is no."""

    code: str = Field(description="A word for programs.", examples=["unreadable"])
    detail: str = Field(description="A sentence for people.", examples=["cat.gif cannot be used: not a GIF or video"])


class ModelInfo(BaseModel):
    """A model that may be chosen."""

    id: str = Field(description="What to send as `model`.", examples=["models:/vidpred@champion"])
    kind: Literal["predict", "classify"] = Field(description="What it does: `/api/predict` or `/api/classify`.")
    network: str = Field(description="Its name in the zoo.", examples=["warpmix"])
    weights: str = Field(description="The first digits of its weights' sha256.", examples=["5f2c01ab9e77"])
    context: int = Field(description="Frames that it looks at.", examples=[5])
    height: int = Field(description="Rows of its frames.", examples=[64])
    width: int = Field(description="Columns of its frames.", examples=[64])
    fps: float | None = Field(description="Frames per second that it was trained on; null: of any rate.", examples=[10])
    classes: list[str] = Field(description="That it tells apart; empty where it predicts.")
    since: float = Field(description="When it was taken up, in seconds since 1970.")
    problem: str = Field(description="Why a newer version is not served; empty where all is well.")


class Bounds(BaseModel):
    """What one upload may take."""

    max_bytes: int
    max_pixels: int = Field(description="Of a frame of the source.")
    max_seconds: float = Field(description="Of a clip that are read.")
    max_frames: int = Field(description="That may be asked for.")


class Models(BaseModel):
    """What there is to choose from."""

    models: list[ModelInfo] = Field(description="The first is taken unless another is asked for.")
    limits: Bounds


class Strip(BaseModel):
    """Frames below each other in one PNG."""

    count: int
    height: int
    width: int
    png: str = Field(description="Base64.")


class Figure(BaseModel):
    """One metric over the frames whose truth is known."""

    model: float
    copy_last: float = Field(description="Of showing the last known frame again: the bar.")
    gain: float | None = Field(
        description="PD: 1 - model / copy_last; PSNR: the difference in dB. Above 0: the model is better. Null where "
        "nothing moves, so that copying is exactly right."
    )
    frames: list[float] = Field(description="Of the model, frame by frame.")
    frames_copy_last: list[float]


class Figures(BaseModel):
    """How right the prediction was."""

    frames: int = Field(description="Frames that were compared.")
    perceptual_distance: Figure = Field(
        description="PD, from 0 to 765: a grey that is d levels of 255 off counts about 3 d; lower is better."
    )
    psnr_db: Figure = Field(description="PSNR in dB; higher is better.")


class Prediction(BaseModel):
    """An answer with `format=json`."""

    model: ModelInfo
    fps: float = Field(description="At which the frames are to be shown.")
    known: Strip = Field(description="The clip's last frames up to where the prediction begins.")
    prediction: Strip
    truth: Strip | None = Field(description="What really followed, where `compare` kept it back.")
    metrics: Figures | None = Field(description="Where there is a truth to compare with.")
    gif: str = Field(description="What `format=gif` would answer, in base64.")
    notes: list[str] = Field(description="What people should know, such as that the clip was read in part.")
    seconds: dict[str, float] = Field(description="What the steps took, their wait for a batch included.")


class Share(BaseModel):
    """What is believed of one class."""

    name: str = Field(examples=["clockwise"])
    share: float = Field(description="From 0 to 1; those of all classes add up to 1.")


class Classification(BaseModel):
    """Which class a clip is of."""

    model: ModelInfo
    classes: list[Share] = Field(description="All of them, likeliest first.")
    windows: int = Field(description="Windows of the clip that were scored: what is told is their mean.")
    fps: float = Field(description="At which the model saw the clip.")
    frames: int = Field(description="Of the clip that were read.")
    gif: str = Field(description="The clip as the model sees it, its beginning, in base64.")
    notes: list[str] = Field(description="What people should know, such as that the clip was read in part.")
    seconds: dict[str, float] = Field(description="What the steps took, their wait for a batch included.")


class Health(BaseModel):
    """Whether the server works."""

    status: Literal["ok", "degraded"] = Field(description="`degraded`: it works, but not with the newest model.")
    models: dict[str, dict[str, Any]] | None = Field(
        default=None, description="By id, to who shows the token: weights, when they were checked, what is wrong."
    )
