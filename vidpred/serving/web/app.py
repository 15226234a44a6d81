"""The app: routes, what lies before them, and what begins and ends with the server."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import ASGIApp

from vidpred import __version__
from vidpred.errors import UserError
from vidpred.serving.web import api, complaints, pages
from vidpred.serving.web.door import Door, Key
from vidpred.serving.web.intake import Intake, TooMuch
from vidpred.serving.web.meters import Meters
from vidpred.serving.web.refusal import Refusal
from vidpred.serving.web.service import Service
from vidpred.serving.web.settings import Settings
from vidpred.serving.web.shelf import Shelf

log = logging.getLogger(__name__)

_ABOUT = """Predicts the next frames of GIFs and videos, or says which class they are of.

Errors have one shape, `{"code": …, "detail": …}`: a word for programs and a sentence for people. Where the server wants
a token, send it as `Authorization: Bearer TOKEN`.
"""
_CODES = {400: "bad_request", 404: "not_found", 405: "method"}


def make_app(settings: Settings, *, scratch: Path) -> ASGIApp:
    """Loads the models and puts the app together.

    Args:
        settings: All that may be set.
        scratch: A private folder for what lies between.

    Raises:
        UserError: a model cannot be had.
    """
    meters, key = Meters(), Key(settings.token, settings.port)
    shelf = Shelf(
        settings.models,
        device=settings.device,
        poll_seconds=settings.poll_seconds,
        changed=lambda place: meters.serving(place.title, str(place.loaded.info["name"]), place.loaded.weights),
        failed=lambda place: meters.model_changes.labels(place.title, "refused").inc(),
    )
    service = Service(scratch=scratch, limits=settings.limits, meters=meters)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        shelf.start()
        async with service.running():
            yield
        shelf.stop()

    app = FastAPI(
        title="vidpred", version=__version__, description=_ABOUT, lifespan=lifespan, docs_url=None, redoc_url=None
    )
    app.include_router(api.make_router(settings, shelf, service, meters, key))
    app.include_router(pages.make_router(key))
    app.mount("/static", pages.files())
    _explain(app)
    routes = ["/", "/login", "/openapi.json", *app.openapi()["paths"]]
    inner = Intake(app, limits=settings.limits, meters=meters)
    return Door(inner, settings=settings, meters=meters, key=key, routes=routes)


def _explain(app: FastAPI) -> None:
    """Gives every error the one shape."""

    @app.exception_handler(Refusal)
    async def refused(_: Request, error: Refusal) -> Response:
        return error.response()

    @app.exception_handler(HTTPException)
    async def failed(request: Request, error: HTTPException) -> Response:
        if isinstance(error, TooMuch):
            return error.refusal.response()
        code = _CODES.get(error.status_code, "error")
        headers = {name.lower(): value for name, value in (error.headers or {}).items()}
        told = complaints.of_request(
            error.status_code, str(error.detail), method=request.method, allowed=headers.get("allow", "")
        )
        return Refusal(error.status_code, code, told, headers).response()

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        return Refusal(422, "invalid", complaints.of_fields(error.errors(), request.url.path)).response()

    @app.exception_handler(OSError)
    @app.exception_handler(UserError)
    async def unable(_: Request, error: OSError | UserError) -> Response:
        log.error("%s", error)  # a full disk or the like: it may name folders of this machine
        return Refusal(503, "unable", "the server cannot do this just now: its log says why").response()

    @app.exception_handler(Exception)
    async def broken(_: Request, error: Exception) -> Response:
        return Refusal(500, "broken", f"something went wrong here ({type(error).__name__}): the log tells").response()
