"""The process in which yt-dlp runs, for sites.py: one order in, one line of JSON out.

`file` is what came; or `code`, `detail` and `decided_by` say why nothing did.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import threading
import urllib.request
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from vidpred.data.transfer.addresses import check_public
from vidpred.data.transfer.items import DownloadError
from vidpred.data.transfer.notes import too_large
from vidpred.data.transfer.part import FULL, check_room

_FORMAT = "bv*[ext=mp4]/bv*/b"
_SORTED_BY = ["proto:https", "res:480", "vcodec:h264"]
"""Plain files before streams; then the most lines up to 480, else the fewest above; then what every decoder reads."""
_DETAIL_CHARACTERS = 300
_GAVE_UP = "[download] Got error"
"""Said of a connection that broke off; no cause is named with it."""


def main() -> None:
    """Does the order that is the only argument, and prints what came of it."""
    order = json.loads(sys.argv[1])
    threading.Thread(target=_end_with_parent, daemon=True).start()
    refused: list[DownloadError] = []
    if not order["allow_private"]:
        _refuse_private_addresses(refused)
    told: dict[str, Any]
    try:
        told = {"file": str(_fetched(order))}
    except DownloadError as failure:
        error = refused[0] if refused else failure
        told = {"code": error.code, "detail": error.detail, "decided_by": error.decided_by}
    sys.stdout.write(json.dumps(told) + "\n")


def _end_with_parent() -> None:
    """Whoever started us keeps our input open, and writes nothing."""
    while os.read(0, 1):
        pass
    os._exit(1)


def _refuse_private_addresses(refused: list[DownloadError]) -> None:
    """Every name that this process looks up, but those of proxies, is checked; what is refused is listed."""
    sys.modules["curl_cffi"] = None  # type: ignore[assignment] # yt-dlp may use it, and it looks names up by itself
    real = socket.getaddrinfo
    proxies = {
        urlsplit(proxy if "://" in proxy else f"//{proxy}").hostname for proxy in urllib.request.getproxies().values()
    }

    def checked(host: Any, *rest: Any, **more: Any) -> Any:
        found = real(host, *rest, **more)
        if host not in proxies:
            try:
                check_public((str(entry[4][0]) for entry in found), allow_private=False)
            except DownloadError as error:
                refused.append(error)
                raise socket.gaierror(socket.EAI_FAIL, str(error)) from None
        return found

    socket.getaddrinfo = checked


class _Silent:
    def debug(self, message: str) -> None:
        """Progress and the like."""

    warning = error = info = debug


def _fetched(order: dict[str, Any]) -> Path:
    """Runs yt-dlp; the file it wrote.

    Raises:
        DownloadError: with the reason.
    """
    from yt_dlp import YoutubeDL
    from yt_dlp.utils import YoutubeDLError

    folder = Path(order["folder"])

    def look(state: dict[str, Any]) -> None:
        if (
            state.get("downloaded_bytes", 0) > order["max_bytes"]
            or (state.get("total_bytes") or 0) > order["max_bytes"]
        ):
            raise too_large(order["max_bytes"])
        check_room(folder, order["free_bytes"], 0)

    def refuse(facts: dict[str, Any], *, incomplete: bool = False) -> None:
        if facts.get("is_live"):
            raise DownloadError("yt-dlp", "a live stream, which has no end")
        if not incomplete and (facts.get("filesize") or 0) > order["max_bytes"]:
            raise too_large(order["max_bytes"])

    options = {
        "format": _FORMAT,
        "format_sort": _SORTED_BY,
        "paths": {"home": str(folder), "temp": str(folder)},
        "outtmpl": {"default": "video.%(ext)s"},
        "cachedir": False,
        "noplaylist": True,
        "match_filter": refuse,
        "progress_hooks": [look],
        "socket_timeout": order["seconds"],
        "retries": 0,  # whoever started us tries again
        "fragment_retries": order["tries"] - 1,
        "extractor_retries": 0,
        "file_access_retries": 0,
        "fixup": "never",
        "updatetime": False,
        "noprogress": True,
        "quiet": True,
        "no_warnings": True,
        "logger": _Silent(),
    }
    try:
        with YoutubeDL(options) as downloader:
            facts = downloader.extract_info(order["url"], download=False)
            if facts.get("_type", "video") != "video":
                raise DownloadError("yt-dlp", "a list of videos, not one")
            downloader.process_ie_result(facts, download=True)
    except (YoutubeDLError, OSError) as error:
        raise _failure(error) from None
    files = [path for path in folder.iterdir() if path.is_file() and path.suffix not in (".part", ".ytdl")]
    if len(files) != 1:
        raise DownloadError("yt-dlp", f"gave {len(files)} files")
    return files[0]


def _failure(error: Any) -> DownloadError:
    """yt-dlp's words, under our own code where the cause is one of ours."""
    from yt_dlp.networking.exceptions import HTTPError, TransportError

    told = " ".join(str(error).split()).removeprefix("ERROR: ").partition(" (caused by ")[0][:_DETAIL_CHARACTERS]
    for cause in _causes(error):
        if isinstance(cause, DownloadError):
            return cause
        if isinstance(cause, HTTPError):
            return DownloadError(f"http {cause.status}", told)
        if isinstance(cause, OSError) and cause.errno in FULL:
            return DownloadError("disk", f"{cause.strerror}: make room and run again")
        if isinstance(cause, TimeoutError):
            return DownloadError("timeout", told)
    if _GAVE_UP in told and "timed out" in told:
        return DownloadError("timeout", told)
    if _GAVE_UP in told or any(isinstance(cause, TransportError | OSError) for cause in _causes(error)):
        return DownloadError("connection", told)
    return DownloadError("yt-dlp", told)


def _causes(error: BaseException) -> list[BaseException]:
    """An error and all that led to it; yt-dlp keeps some in attributes of its own."""
    todo: list[Any] = [error]
    found: list[BaseException] = []
    while todo:
        one = todo.pop(0)
        if isinstance(one, BaseException) and one not in found:
            found.append(one)
            info = getattr(one, "exc_info", None) or (None, None)
            todo += [info[1], getattr(one, "cause", None), one.__cause__, one.__context__]
    return found


if __name__ == "__main__":
    main()
