"""What a browser fetches: the page, its files, the examples, the form for the token. All of it lies in `static/`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Form, Request
from fastapi.responses import FileResponse, HTMLResponse, RedirectResponse, Response
from fastapi.staticfiles import StaticFiles

from vidpred.serving.web.door import Key, is_secure

STATIC = Path(__file__).parent / "static"


def files() -> StaticFiles:
    """Everything below `static/`."""
    return StaticFiles(directory=STATIC)


def make_router(key: Key) -> APIRouter:
    """The routes.

    Args:
        key: By which people log in.
    """
    router = APIRouter(include_in_schema=False)

    @router.get("/")
    async def page() -> Response:
        return FileResponse(STATIC / "index.html")

    @router.get("/favicon.ico")
    async def icon() -> Response:
        return RedirectResponse("/static/icon.svg", 308)

    @router.get("/login")
    async def form(request: Request) -> Response:
        if not key.needed or key.shown(request.headers):
            return RedirectResponse("/", 303)
        return FileResponse(STATIC / "login.html")

    @router.post("/login")
    async def login(request: Request, token: Annotated[str, Form()] = "") -> Response:
        if key.needed and not key.fits(token.strip()):
            wrong = (STATIC / "login.html").read_text("utf-8").replace("<!-- wrong -->", "That is not the token.")
            return HTMLResponse(wrong, 401)
        answer = RedirectResponse("/", 303)
        return key.give(answer, secure=is_secure(request.scope, request.headers)) if key.needed else answer

    return router
