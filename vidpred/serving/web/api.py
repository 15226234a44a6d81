"""The API: `POST /api/predict`, `POST /api/classify` and what one may ask beside them."""

from base64 import b64encode
from pathlib import PurePath
from statistics import fmean
from typing import Annotated, Any, Literal

from fastapi import APIRouter, File, Form, Query, Request, Response, UploadFile

from vidpred.serving.web import board
from vidpred.serving.web.answers import (
    Bounds,
    Classification,
    Figure,
    Figures,
    Health,
    ModelInfo,
    Models,
    Prediction,
    Problem,
    Share,
    Strip,
)
from vidpred.serving.web.door import Key
from vidpred.serving.web.figures import Compared
from vidpred.serving.web.meters import Meters
from vidpred.serving.web.refusal import Refusal
from vidpred.serving.web.service import Asked, Foreseen, Service, Show
from vidpred.serving.web.settings import Settings
from vidpred.serving.web.shelf import Place, Shelf, facts, picture

_PROBLEMS: dict[int, str] = {
    400: "The body is no multipart form.",
    401: "The token is missing or wrong (where the server wants one).",
    403: "The request comes from another site, or under a name that is not the server's.",
    404: "There is no model of that name.",
    408: "The upload took too long to arrive.",
    413: "The upload is too large.",
    422: "The file is no GIF or video, is damaged or too short, or a field has a value that makes no sense.",
    503: "The server cannot do its work, such as for a full disk.",
    429: "Too many uploads are under way: try again after `Retry-After` seconds.",
}
_NAME_LENGTH = 80
_PICTURES = {".gif": "image/gif", ".png": "image/png"}


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Descriptions of answers that are no."""
    return {status: {"model": Problem, "description": _PROBLEMS[status]} for status in statuses}


def make_router(settings: Settings, shelf: Shelf, service: Service, meters: Meters, key: Key) -> APIRouter:
    """The routes.

    Args:
        settings: Limits, and where the leaderboard is.
        shelf: The models.
        service: Does the work.
        meters: What `/metrics` tells.
        key: By which `/healthz` knows whom it may tell more.
    """
    router = APIRouter()
    limits = settings.limits

    def place_of(model: str, kind: Literal["predict", "classify"] | None = None) -> Place:
        """The model of a name; where none is given the first, of that kind."""
        first = shelf.first_of(kind) if kind else shelf.first
        place = shelf.places.get(model) if model else first
        if place is None and not model:
            raise Refusal(404, "no_model", f"no model here can {kind}: `/api/models` tells what there is")
        if place is None:
            names = ", ".join(shelf.places)
            raise Refusal(404, "no_model", f"there is no model {_printable(model)}: there are {names}")
        return place

    @router.post(
        "/api/predict",
        summary="Predict what follows a clip",
        description="Upload a GIF or video; the answer is a GIF of the frames that the model expects next. With "
        "`compare` the clip's own last frames are kept back and predicted, so that the prediction can be held against "
        "what really happened. Nothing of the upload is kept.",
        response_class=Response,
        responses={
            200: {
                "model": Prediction,
                "description": "The predicted frames, as `format` says.",
                "content": {
                    "image/gif": {"schema": {"type": "string", "format": "binary"}},
                    "video/mp4": {"schema": {"type": "string", "format": "binary"}},
                },
            },
            **problems(400, 401, 403, 404, 408, 413, 422, 429, 503),
        },
    )
    async def predict(
        file: Annotated[UploadFile, File(description="A GIF or video: MP4, WebM, MOV, MKV, AVI and their like.")],
        model: Annotated[
            str, Form(max_length=300, description="Of `/api/models`; empty: the first.", examples=[shelf.first.title])
        ] = "",
        frames: Annotated[int, Form(ge=1, le=limits.max_frames, description="How many to predict.")] = 5,
        compare: Annotated[
            bool, Form(description="Keep the clip's last frames back, predict them, and tell how right that was.")
        ] = False,
        show: Annotated[
            Show, Form(description="In the GIF or MP4: the predicted frames; the clip and then these; or that, right, "
                       "beside what really happened, left.")
        ] = "prediction",
        format: Annotated[  # noqa: A002 - the field's name
            Literal["gif", "mp4", "json"], Form(description="json: frames as PNG, metrics, and the GIF in base64.")
        ] = "gif",
    ) -> Response:  # fmt: skip
        place = place_of(model, "predict")
        loaded = place.loaded
        _ = loaded.predictor  # before the upload is read
        data = await file.read()
        asked = Asked(_printable(PurePath(file.filename or "the file").name), frames, compare)
        foreseen = await service.foresee(data, loaded, asked)
        if format == "mp4":
            return _answer(await service.mp4(foreseen, show), "video/mp4", foreseen)
        gif = await service.gif(foreseen, show)
        if format == "gif":
            return _answer(gif, "image/gif", foreseen)
        strips = await service.strips(foreseen)
        told = Prediction(
            model=_info(place),
            fps=foreseen.fps,
            known=_strip(strips["known"], foreseen.known.shape),
            prediction=_strip(strips["prediction"], foreseen.predicted.shape),
            truth=_strip(strips["truth"], foreseen.truth.shape) if "truth" in strips else None,
            metrics=_figures(foreseen.compared) if foreseen.compared else None,
            gif=b64encode(gif).decode(),
            notes=list(foreseen.notes),
            seconds={step: round(seconds, 4) for step, seconds in foreseen.seconds.items()},
        )
        return Response(told.model_dump_json(), media_type="application/json")

    @router.post(
        "/api/classify",
        summary="Say which class a clip is of",
        description="Upload a GIF or video; the answer is what the model believes of each class: the mean over "
        "windows, evenly spaced over the clip. Nothing of the upload is kept.",
        responses=problems(400, 401, 403, 404, 408, 413, 422, 429, 503),
    )
    async def classify(
        file: Annotated[UploadFile, File(description="A GIF or video: MP4, WebM, MOV, MKV, AVI and their like.")],
        model: Annotated[
            str, Form(max_length=300, description="Of `/api/models`; empty: the first that classifies.")
        ] = "",
        windows: Annotated[int, Form(ge=1, le=64, description="That are scored at the most.")] = 8,
    ) -> Classification:
        place = place_of(model, "classify")
        loaded = place.loaded
        _ = loaded.classifier  # before the upload is read
        data = await file.read()
        name = _printable(PurePath(file.filename or "the file").name)
        told = await service.classify(data, loaded, name, windows=windows)
        gif = await service.moving(told)
        return Classification(
            model=_info(place),
            classes=[Share(name=name, share=share) for name, share in told.scores.items()],
            windows=told.windows,
            fps=told.fps,
            frames=told.count,
            gif=b64encode(gif).decode(),
            notes=list(told.notes),
            seconds={step: round(seconds, 4) for step, seconds in told.seconds.items()},
        )

    @router.get("/api/models", summary="The models to choose from, and the limits", responses=problems(401, 403))
    async def models() -> Models:
        return Models(
            models=[_info(place) for place in shelf.places.values()],
            limits=Bounds(
                max_bytes=limits.max_bytes, max_pixels=limits.max_pixels, max_seconds=limits.max_seconds,
                max_frames=limits.max_frames,
            ),
        )  # fmt: skip

    @router.get(
        "/api/card",
        summary="What is known of a model: its card, or its model.json",
        responses=problems(401, 403, 404, 422),
    )
    def card(
        model: Annotated[str, Query(max_length=300, description="Of `/api/models`; empty: the first.")] = "",
    ) -> dict[str, Any]:
        return facts(place_of(model).loaded)

    @router.get(
        "/api/card/picture",
        summary="A picture of a model's card",
        response_class=Response,
        responses={
            200: {"content": {kind: {"schema": {"type": "string", "format": "binary"}} for kind in _PICTURES.values()}},
            **problems(401, 403, 404, 422),
        },
    )
    def card_picture(
        name: Annotated[str, Query(max_length=40, description="Of the card's `pictures`.")],
        model: Annotated[str, Query(max_length=300, description="Of `/api/models`; empty: the first.")] = "",
    ) -> Response:
        path = picture(place_of(model).loaded, name)
        if path is None:
            raise Refusal(404, "no_picture", f"the model's card has no {_printable(name)}")
        return Response(path.read_bytes(), media_type=_PICTURES[path.suffix])

    @router.get("/api/leaderboard", summary="The project's leaderboard, if it has one", responses=problems(401, 403))
    def leaderboard() -> board.Board:
        return board.read(settings.leaderboard)

    @router.get(
        "/healthz", summary="Whether the server works", responses=problems(403), response_model_exclude_none=True
    )
    async def health(request: Request) -> Health:
        places = shelf.places.values()
        told = {
            place.title: {
                "weights": place.loaded.weights,
                "since": place.loaded.since,
                "checked": place.checked,
                "problem": place.problem,
            }
            for place in places
        }
        open_to = not key.needed or key.shown(request.headers)
        return Health(
            status="degraded" if any(place.problem for place in places) else "ok", models=told if open_to else None
        )

    @router.get(
        "/metrics", summary="Counters for Prometheus", response_class=Response,
        responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}, **problems(401, 403)},
    )  # fmt: skip
    def metrics() -> Response:
        return Response(meters.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    return router


def _answer(content: bytes, kind: str, foreseen: Foreseen) -> Response:
    timing = ", ".join(f"{step};dur={1000 * seconds:.1f}" for step, seconds in foreseen.seconds.items())
    suffix = kind.rpartition("/")[2]
    headers = {"Content-Disposition": f'inline; filename="prediction.{suffix}"', "Server-Timing": timing}
    return Response(content, media_type=kind, headers=headers)


def _info(place: Place) -> ModelInfo:
    loaded = place.loaded
    task = loaded.task
    return ModelInfo(
        id=place.title, kind="classify" if task.kind == "classify" else "predict", network=str(loaded.info["name"]),
        weights=loaded.weights, context=task.context, height=task.height, width=task.width, fps=loaded.fps,
        classes=list(task.classes), since=loaded.since, problem=place.problem,
    )  # fmt: skip


def _strip(png: bytes, shape: tuple[int, ...]) -> Strip:
    return Strip(count=shape[0], height=shape[1], width=shape[2], png=b64encode(png).decode())


def _figures(found: Compared) -> Figures:
    def figure(name: str) -> Figure:
        mine, theirs = found.model[name], found.copy_last[name]
        model, copy_last = fmean(mine), fmean(theirs)
        relative = 1 - model / copy_last if copy_last else None  # nothing moves: there is nothing to gain
        gain = model - copy_last if name == "psnr_db" else relative
        return Figure(model=model, copy_last=copy_last, gain=gain, frames=mine, frames_copy_last=theirs)

    pd, psnr = figure("perceptual_distance"), figure("psnr_db")
    return Figures(frames=len(pd.frames), perceptual_distance=pd, psnr_db=psnr)


def _printable(name: str) -> str:
    kept = "".join(letter if letter.isprintable() else "?" for letter in name)
    return kept if len(kept) <= _NAME_LENGTH else kept[: _NAME_LENGTH - 1] + "…"
