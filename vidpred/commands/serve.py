"""`vidpred serve`: checks what it is told, and starts the page."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from vidpred.errors import UserError

log = logging.getLogger(__name__)

CHAMPION, CLASSIFIES = "models:/vidpred@champion", "models:/vidpred-classify@champion"
_SHORTEST_TOKEN = 16
EPILOG = (
    "Examples: `vidpred serve`; `vidpred serve models:/vidpred@champion models/trained --port 8080`; "
    "`VIDPRED_TOKEN=… vidpred serve --host 0.0.0.0` for others on the network; "
    "`curl -F file=@cat.gif -F frames=5 http://127.0.0.1:8000/api/predict -o future.gif`"
)


def serve(
    models: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="MODEL",
            help=f"What people may choose from: `models:/` URIs or model folders. Default: {CHAMPION} and "
            f"{CLASSIFIES}, else models/trained.",
        ),
    ] = None,
    host: Annotated[
        str, typer.Option(help="Address to listen on. One that others reach wants a token: yours, or one that is made.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any that is free.")] = 8000,
    token: Annotated[
        str | None,
        typer.Option(
            envvar="VIDPRED_TOKEN", show_envvar=True,
            help="Wanted of everybody. Rather by VIDPRED_TOKEN: others on this machine see command lines.",
        ),
    ] = None,
    allow_host: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="A name that the server answers to without a token, as behind a proxy."),
    ] = None,
    poll: Annotated[
        float, typer.Option(min=1, max=86400, metavar="SECONDS", help="Between two looks for a new champion.")
    ] = 30,
    max_mb: Annotated[float, typer.Option("--max-mb", min=0.1, max=2000, help="MiB of an upload at the most.")] = 20,
    max_seconds: Annotated[
        float, typer.Option(min=1, max=600, help="Of a clip that are read, from its start.")
    ] = 30,
    max_frames: Annotated[int, typer.Option(min=1, max=200, help="That may be asked for.")] = 30,
    waiting: Annotated[
        int, typer.Option(min=1, max=500, help="Uploads under way at once; others are told to come back (429).")
    ] = 32,
    threads: Annotated[int | None, typer.Option(min=1, max=256, help="Of torch. Default: one a core.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
) -> None:  # fmt: skip
    """Serve a page on which people drop a clip and see its future or its class, and an API for programs.

    Nothing that is uploaded is kept. A new champion is taken up without a restart.
    """
    from vidpred.serving.web.run import serve as run
    from vidpred.serving.web.settings import Limits, Settings
    from vidpred.workspace import set_up_logging

    if token is not None and len(token.strip()) < _SHORTEST_TOKEN:
        raise UserError(
            f"the token is too short to keep others out: take {_SHORTEST_TOKEN} characters or more, "
            "such as `openssl rand -hex 16` gives"
        )
    set_up_logging()
    limits = replace(
        Limits(),
        max_bytes=round(max_mb * (1 << 20)), max_seconds=max_seconds, max_frames=max_frames, waiting=waiting,
    )  # fmt: skip
    run(
        Settings(
            models=tuple(models) if models else default_models(),
            host=host,
            port=port,
            token=token.strip() if token else None,
            allow_hosts=tuple(allow_host or ()),
            poll_seconds=poll,
            device=device,
            threads=threads,
            leaderboard=_leaderboard(),
            limits=limits,
        )
    )


def default_models() -> tuple[str, ...]:
    """The champions, this project's task first; where that has none yet, what was trained here in its place.

    Raises:
        UserError: there is none of them, the registry does not answer, or this project's champion is damaged.
    """
    from vidpred.tracking.download import download, resolve
    from vidpred.tracking.meant import TRAINED, project
    from vidpred.tracking.store import StoreError

    first, *others = _champions()
    try:
        resolve(first)
    except StoreError as error:  # it may have a champion: another model must not take its place unseen
        raise StoreError(f"{error}; `vidpred serve {TRAINED}` serves what was trained here") from None
    except UserError as error:
        there = tuple(other for other in others if _is_there(other))
        root = project()
        if root is not None and (root / TRAINED).is_dir():
            there = (str(root / TRAINED), *there)
            log.warning("%s: serving %s; start again once there is a champion", error, TRAINED)
        elif there:
            log.warning("%s is not there yet: serving %s; start again once it is", first, ", ".join(there))
        else:
            raise
        return there
    download(first)  # one that is damaged is not passed over
    return (first, *(other for other in others if _is_there(other)))


def _champions() -> tuple[str, ...]:
    """What could be served, by whose task this project's is."""
    from vidpred.config import load_params
    from vidpred.workspace import find_root

    known = [CHAMPION, CLASSIFIES]
    try:
        own = f"models:/{load_params(find_root() / 'params.yaml').registered}@champion"
    except UserError:
        own = CHAMPION  # not in a project
    return (own, *(one for one in known if one != own)) if own in known else (own,)


def _is_there(model: str) -> bool:
    """Whether there is a champion of the other task that can be had; without one the page does its own."""
    from vidpred.tracking.download import download, resolve

    try:
        resolve(model)
    except UserError:
        return False
    try:
        download(model)
    except UserError as error:
        log.warning("left out: %s", error)
        return False
    return True


def _leaderboard() -> Path | None:
    from vidpred.workspace import find_root

    try:
        return find_root() / "leaderboard"
    except UserError:
        return None
