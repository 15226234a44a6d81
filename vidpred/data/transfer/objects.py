"""One object of S3, Google's or Azure's storage, through fsspec and its driver for the store.

Where the store is, and who asks, the drivers take from their own places: `AWS_*` or `~/.aws` for S3, or fsspec's
settings (`FSSPEC_S3='{"anon": true}'` for what is open to all).
"""

from __future__ import annotations

import threading
from contextlib import closing
from typing import Any

from vidpred.config import FetchParams
from vidpred.data.graphs import SUFFIXES
from vidpred.data.transfer.items import DownloadError, Item, ending
from vidpred.data.transfer.part import Part
from vidpred.data.transfer.threads import in_thread

PACKAGES = {
    "s3": "'vidpred[s3]'",
    "gs": "gcsfs",
    "gcs": "gcsfs",
    "az": "adlfs",
    "abfs": "adlfs",
}
"""Schemes, and what pip installs for each."""

_BLOCK_BYTES = 8 << 20
_MARKS = ("ETag", "etag", "generation", "md5Hash", "LastModified", "last_modified")


def is_object(url: str) -> bool:
    """Whether fsspec is asked."""
    return url.partition("://")[0] in PACKAGES


async def ask(url: str, item: Item, part: Part, params: FetchParams) -> str:
    """Brings an object, or the rest of it.

    Returns:
        The suffix of what is now whole in `part`.

    Raises:
        DownloadError: with the reason; what came is kept.
    """
    await part.prepare()
    stop = threading.Event()
    try:
        await in_thread(lambda: _copy(url, part, params, stop))
    finally:
        stop.set()
    suffix = ending(url)
    return suffix if suffix in SUFFIXES or not item.media else ".bin"


def _copy(url: str, part: Part, params: FetchParams, stop: threading.Event) -> None:
    files = _driver(url, params)
    try:
        facts = files.info(url)
        if facts.get("type") == "directory":
            raise DownloadError("http 404", "a folder, not an object")
        mark, size = _mark(facts), facts.get("size")
        with closing(part), files.open(url, "rb", block_size=_BLOCK_BYTES, cache_type="none") as file:
            if part.validator and part.validator == mark:
                part.go_on()
                file.seek(part.size)
            else:
                part.begin(mark, size)
            while block := file.read(_BLOCK_BYTES):
                if stop.is_set():
                    return
                part.write(block)
        if _mark(files.info(url)) != mark or (size is not None and part.size != size):
            part.drop()
            raise DownloadError("length", f"changed while it was read, or {part.size} of {size} bytes came")
        if not part.size:
            raise DownloadError("empty", "no bytes")
    except DownloadError:
        raise
    except FileNotFoundError:
        raise DownloadError("http 404", "no such object") from None
    except PermissionError as error:
        raise DownloadError("http 403", str(error), passing=True, again=False) from None
    except Exception as error:  # noqa: BLE001 - each driver has exceptions of its own
        raise DownloadError("connection", f"{type(error).__name__}: {error}") from None


def _driver(url: str, params: FetchParams) -> Any:
    import fsspec

    scheme = url.partition("://")[0]
    options: dict[str, Any] = {}
    if scheme == "s3":
        limits = {"connect_timeout": params.connect_seconds, "read_timeout": params.timeout_seconds}
        options = {"config_kwargs": limits | {"retries": {"max_attempts": 1}}}
    try:
        return fsspec.filesystem(scheme, use_listings_cache=False, **options)
    except ImportError:
        raise DownloadError("driver", f"{scheme}:// needs pip install {PACKAGES[scheme]}") from None


def _mark(facts: dict[str, Any]) -> str | None:
    """What changes with an object's bytes."""
    return next((str(facts[name]) for name in _MARKS if facts.get(name)), None)
