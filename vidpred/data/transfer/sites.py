"""One video of a site that has pages for videos, through yt-dlp in a process of its own.

In: the page's URL. Out: one file of about 480 lines, without sound where that is offered. yt-dlp runs apart so that it
can be ended at any moment; it reads no configuration, keeps no cache and loads no plugins. `site_program.py` is that
process.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sys
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from vidpred.config import FetchParams
from vidpred.data.graphs import SUFFIXES
from vidpred.data.transfer.items import DownloadError
from vidpred.data.transfer.notes import ytdlp_version
from vidpred.data.transfer.part import Part
from vidpred.data.transfer.threads import in_thread

SITES = ("youtube.com", "youtu.be", "youtube-nocookie.com", "vimeo.com", "dailymotion.com", "dai.ly")
"""Hosts, and those below them, whose URLs are pages of videos."""


def is_site(url: str) -> bool:
    """Whether yt-dlp is asked."""
    try:
        parts = urlsplit(url)
        host = (parts.hostname or "").rstrip(".").lower()
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and any(host == site or host.endswith(f".{site}") for site in SITES)


async def ask(url: str, part: Part, params: FetchParams, max_bytes: int) -> str:
    """Brings a page's video.

    Returns:
        The suffix of what is now whole in `part`.

    Raises:
        DownloadError: with the reason. Nothing is kept: a site may offer another file the next time.
    """
    if not ytdlp_version():
        raise DownloadError("yt-dlp", "not installed: pip install 'vidpred[youtube]'", passing=True, again=False)
    folder = part.path.with_suffix(".site")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    order = {
        "url": url,
        "folder": str(folder),
        "max_bytes": max_bytes,
        "free_bytes": params.free_bytes,
        "seconds": params.timeout_seconds,
        "tries": params.tries,
        "allow_private": params.allow_private,
    }
    try:
        told = await _run(order)
        if "code" in told:
            decided_by = {"yt-dlp": ytdlp_version()} | told["decided_by"]
            raise DownloadError(told["code"], told["detail"], decided_by=decided_by)
        file = Path(told["file"])
        part.begin(None, file.stat().st_size)
        with closing(part):
            await in_thread(lambda: _copy(file, part))
        return file.suffix.lower() if file.suffix.lower() in SUFFIXES else ".bin"
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _copy(file: Path, part: Part) -> None:
    with file.open("rb") as read:
        while block := read.read(1 << 20):
            part.write(block)


async def _run(order: dict[str, Any]) -> dict[str, Any]:
    """What the process tells; it ends with us, by the end of its input."""
    env = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "YTDLP_NO_PLUGINS": "1"}
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "vidpred.data.transfer.site_program",
        json.dumps(order),
        env=env,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        assert process.stdout is not None
        lines = (await process.stdout.read()).decode(errors="replace").splitlines()
        await process.wait()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    try:
        told = json.loads(lines[-1])
        assert isinstance(told, dict)
    except (IndexError, ValueError):
        raise DownloadError("yt-dlp", f"ended with {process.returncode}", passing=True, again=False) from None
    return told
