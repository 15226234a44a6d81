"""Downloads: URLs to files, many at once, with limits, and never to a private address unless allowed.

In: URLs and a folder. Out: the files, each under a hash of its URL, or the reason why there is none. Beside them stands
what a run leaves for the next: files that are there are not asked for again, unfinished ones are gone on with,
failures that time may heal are tried again, others are remembered until the parameter that decided them changes. Its
parts are in `vidpred.data.transfer`.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from vidpred.config import FetchParams
from vidpred.data.progress import progress
from vidpred.data.transfer import objects, sites, web
from vidpred.data.transfer.addresses import Network
from vidpred.data.transfer.items import CODES as CODES  # these four are part of what this file offers
from vidpred.data.transfer.items import Download as Download
from vidpred.data.transfer.items import DownloadError as DownloadError
from vidpred.data.transfer.items import Item as Item
from vidpred.data.transfer.items import Moved, check_retry
from vidpred.data.transfer.notes import Note, key_of, limit_of
from vidpred.data.transfer.part import Part, check_room
from vidpred.data.transfer.queue import Later, run

log = logging.getLogger(__name__)

_REDIRECTS = 10
_LONGEST_PAUSE_SECONDS = 60.0
_PROGRESS_BYTES = 1 << 20
_SHOWN = 12

Outcome = Download | DownloadError


def download(url: str, folder: Path, params: FetchParams, *, pause_seconds: float = 1.0) -> Download:
    """`download_all` of one URL.

    Raises:
        DownloadError: with the reason.
    """
    (outcome,) = download_all([Item(url)], folder, params, pause_seconds=pause_seconds)
    if isinstance(outcome, DownloadError):
        raise outcome
    return outcome


def download_all(
    items: Sequence[Item],
    folder: Path,
    params: FetchParams,
    *,
    retry: Collection[str] = (),
    pause_seconds: float = 1.0,
) -> list[Outcome]:
    """Fetches items into a folder, or finds them there.

    Args:
        items: May repeat themselves.
        folder: Of downloads; kept from run to run, and used by one process at a time.
        params: Limits and tries.
        retry: Codes of failures (`timeout`, `404`; `all`): exactly those are tried again. Empty: those that may pass.
        pause_seconds: Before the second try; doubles with each further one.

    Returns:
        Of each item the file or the failure, in their order.

    Raises:
        UserError: `retry` names no code, or the proxy variables no proxy.
    """
    check_retry(retry)
    folder.mkdir(parents=True, exist_ok=True)
    for left in folder.glob(".*.json.*.part"):  # notes that a killed process did not finish; no other is at work here
        left.unlink(missing_ok=True)
    outcomes: dict[Item, Outcome] = {}
    todo = list(dict.fromkeys(items))
    with progress("download", len(todo)) as advance:
        while todo:  # once, unless a URL is asked for in two ways: these share a file, and take turns
            turn: dict[str, Item] = {}
            for item in todo:
                turn.setdefault(key_of(item), item)
            outcomes |= _turn(list(turn.values()), folder, params, retry, pause_seconds, advance)
            todo = [item for item in todo if item not in outcomes]
    return [outcomes[item] for item in items]


def _turn(
    items: Sequence[Item],
    folder: Path,
    params: FetchParams,
    retry: Collection[str],
    pause_seconds: float,
    advance: Callable[[], None],
) -> dict[Item, Outcome]:
    """Outcomes of items with files of their own."""
    outcomes: dict[Item, Outcome] = {}
    jobs = []
    for item in items:
        note = Note.read(folder, item)
        known = note.known(item, params, retry)
        if known is None:
            jobs.append(_Job(item, note))
        else:
            outcomes[item] = known
            advance()

    def done(item: Item, outcome: Outcome) -> None:
        outcomes[item] = outcome
        advance()

    if jobs:
        asyncio.run(_run(jobs, params, pause_seconds, done))
    return outcomes


@dataclass
class _Job:
    """An item on its way."""

    item: Item
    note: Note
    part: Part | None = None
    url: str = ""
    """Where it is now; redirects lead it on."""
    moves: int = 0
    tries: int = 0
    spent_seconds: float = 0.0
    furthest: int = 0
    """Bytes that were there at the best of times."""

    def __post_init__(self) -> None:
        self.url = self.item.url

    @property
    def host(self) -> str:
        """Whose slots it takes."""
        try:
            return (urlsplit(self.url).hostname or "").rstrip(".")
        except ValueError:
            return ""


async def _run(
    jobs: Sequence[_Job], params: FetchParams, pause_seconds: float, done: Callable[[Item, Outcome], None]
) -> None:
    async with Network(params) as network:
        worker = _Worker(network, params, pause_seconds, done)
        await run(jobs, worker.work, at_once=params.at_once, per_host=params.per_host)


class _Worker:
    """Takes a job one request further."""

    def __init__(
        self, network: Network, params: FetchParams, pause_seconds: float, done: Callable[[Item, Outcome], None]
    ) -> None:
        self._network = network
        self._params = params
        self._pause_seconds = pause_seconds
        self._done = done

    async def work(self, job: _Job) -> Later | None:
        """One request, within the time that is left to the job."""
        begun = time.monotonic()
        outcome: Download | Moved | DownloadError
        limit = asyncio.timeout(self._params.total_seconds - job.spent_seconds)
        try:
            async with limit:
                outcome = await self._step(job)
        except DownloadError as error:
            outcome = error
        except TimeoutError:
            if not limit.expired():
                raise
            outcome = DownloadError("timeout", f"took longer than {self._params.total_seconds:g} s", again=False)
        job.spent_seconds += time.monotonic() - begun
        if isinstance(outcome, DownloadError):
            return self._failed(job, outcome)
        if isinstance(outcome, Moved):
            job.url, job.moves = outcome.url, job.moves + 1
            if job.moves <= _REDIRECTS:
                return Later()
            return self._failed(job, DownloadError("redirects", f"more than {_REDIRECTS}"))
        self._done(job.item, outcome)
        return None

    async def _step(self, job: _Job) -> Download | Moved:
        item, params, limit = job.item, self._params, limit_of(job.item, self._params)
        check_room(job.note.folder, params.free_bytes, 0)
        part = job.part = job.part or Part(job.note, max_bytes=limit, free_bytes=params.free_bytes)
        came: str | Moved
        if objects.is_object(job.url):
            came = await objects.ask(job.url, item, part, params)
        elif sites.is_site(job.url):
            came = await sites.ask(job.url, part, params, limit)
        else:
            came = await web.ask(job.url, item, part, self._network, params)
        return came if isinstance(came, Moved) else _kept(job, part, came)

    def _failed(self, job: _Job, error: DownloadError) -> Later | None:
        """Another try, or the end of it."""
        have = job.part.size if job.part and job.part.validator else 0
        if have < job.furthest + _PROGRESS_BYTES:  # a try that got on does not count
            job.tries += 1
        job.furthest = max(job.furthest, have)
        pause = max(self._pause(job), error.wait_seconds)
        in_time = job.spent_seconds + pause < self._params.total_seconds
        if error.again and job.tries < self._params.tries and in_time:
            log.info("%s: %s; trying again in %.1f s", job.item.url, error, pause)
            job.spent_seconds += pause
            job.url, job.moves = job.item.url, 0
            return Later(pause, whole_host=error.wait_seconds > 0)
        if error.again and not in_time and error.wait_seconds > 0:
            error = _more(error, f"asks to wait {error.wait_seconds:.0f} s, more than fetch.total_seconds leaves")
        elif job.tries > 1:
            error = _more(error, f"({job.tries} tries)")
        if job.part and not (error.passing and job.part.validator):
            job.part.drop()
        if error.code != "no url":  # that costs no request
            job.note.fail(error)
        self._done(job.item, error)
        return None

    def _pause(self, job: _Job) -> float:
        """Seconds before the next try: twice as many each time, and up to half more, so that not all come at once."""
        share = hashlib.sha256(f"{job.note.key} {job.tries}".encode()).digest()[0] / 255
        return min(self._pause_seconds * 2.0 ** max(0, job.tries - 1), _LONGEST_PAUSE_SECONDS) * (1 + share / 2)


def _more(error: DownloadError, words: str) -> DownloadError:
    """A failure with some words more."""
    detail = f"{error.detail} {words}".strip()
    return DownloadError(error.code, detail, passing=error.passing, decided_by=error.decided_by)


def _kept(job: _Job, part: Part, suffix: str) -> Download | Moved:
    """Gives a whole file its name, if it is the one that was expected.

    Raises:
        DownloadError: it is not.
    """
    pinned, expected, came = job.note.done, job.item.sha256.lower(), part.sha256
    wrong = None
    if expected and came != expected:
        wrong = DownloadError("checksum", f"{came}, not {expected}", decided_by={"sha256": expected})
    elif pinned and not expected and came != pinned["sha256"]:
        was, now = pinned["sha256"][:_SHOWN], came[:_SHOWN]
        wrong = DownloadError(
            "changed", f"sha256 was {was}… and is {now}…: vidpred fetch --retry changed takes what is there now"
        )
    if wrong is None:
        size = part.size
        part.path.replace(job.note.path)
        return job.note.finish(size=size, sha256=came, suffix=suffix)
    in_pieces = part.resumed
    part.drop()
    if in_pieces:  # an earlier piece may be to blame: once more, in one
        return Moved(job.item.url)
    raise wrong
