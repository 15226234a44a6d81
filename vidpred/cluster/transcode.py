"""Files to frames on a Ray cluster: every node takes its share, and a lost one costs time only.

In and out: those of `clip_cache.Engine`. The driver alone writes the local store, with the names, bytes and order that
the local engine has; carriers.py gets sources to the nodes and frames back, and holds what the nodes run.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError

from vidpred import __version__
from vidpred.cluster.carriers import Carrier, Notes, ThroughRay, ThroughStorage
from vidpred.cluster.connect import connected
from vidpred.data.clip_cache import Engine, Plan, Unit
from vidpred.data.media import BATCH
from vidpred.errors import UserError

log = logging.getLogger(__name__)

_IN_FLIGHT = 2
"""Batches a CPU of the cluster: none waits for the driver, and results do not pile up."""
_NOT_THERE = ("ModuleNotFoundError", "ImportError", "failed to import on the worker", "Can't get attribute")
"""What Ray says where a node lacks the code of a task."""


def ray_engine(storage: str | None) -> Engine:
    """Does the work on the cluster of `RAY_ADDRESS`, else on a Ray of this machine.

    The engine raises UserError where no cluster answers, a node cannot do the work (it is named) or the storage cannot
    be reached.

    Args:
        storage: A folder or fsspec URL that every node reaches, for sources and frames; None: they travel through Ray.
    """

    def engine(batches: Sequence[Sequence[Unit]], files: Path, store: Path, plan: Plan) -> Iterator[Notes]:
        if storage is None:
            with connected():
                yield from _results(batches, ThroughRay(files, store, plan))
            return
        carrier = ThroughStorage(storage, files, store, plan)
        found: set[str] = set()
        for notes in carrier.found([unit for batch in batches for unit in batch]):
            found |= notes.keys()
            yield notes
        if found:
            log.info("%d of %d sources were done, in %s", len(found), sum(map(len, batches)), carrier.url)
        left = [rest for batch in batches if (rest := [unit for unit in batch if unit.key not in found])]
        if left:
            with connected():
                yield from _results(left, carrier)

    return engine


def _results(batches: Sequence[Sequence[Unit]], carrier: Carrier) -> Iterator[Notes]:
    """Sends batches to the cluster, a bounded number at once, and takes what comes, as it comes."""
    if not (cpus := _cpus()):
        raise UserError("the Ray cluster has no CPU to give: start a node with some (`ray start --num-cpus`)")
    waiting = carrier.ready(_divided(batches, cpus))
    running: dict[Any, tuple[Sequence[Unit], list[Any]]] = {}
    try:
        batch = next(waiting, None)
        while batch is not None or running:
            most = max(1, _IN_FLIGHT * _cpus())  # nodes come and go
            while batch is not None and (not running or (len(running) < most and carrier.fits(batch))):
                results = carrier.send(batch)
                running[results[0]] = (batch, results)
                batch = next(waiting, None)
            (done,), _ = ray.wait(list(running), num_returns=1)
            with _told(running[done][0]):
                notes = carrier.take(*running[done])
            del running[done]
            yield notes
    finally:
        # no ray.cancel: now and then it aborts the driver where a task ends just then. Ray ends tasks, and their
        # ffmpeg, when the driver leaves
        carrier.stop()


def _cpus() -> int:
    return int(ray.cluster_resources().get("CPU", 0))


def _divided(batches: Sequence[Sequence[Unit]], cpus: int) -> Iterator[Sequence[Unit]]:
    """Smaller batches where the cluster has more CPUs than there would be batches."""
    shared = sum(len(batch) for batch in batches if len(batch) > 1)
    most = max(1, min(BATCH, -(-shared // (2 * cpus))))
    for batch in batches:
        for at in range(0, len(batch), most):
            yield batch[at : at + most]


@contextmanager
def _told(batch: Sequence[Unit]) -> Iterator[None]:
    """Says in one line what a task could not do."""
    try:
        yield
    except RayTaskError as error:
        if isinstance(error.cause, UserError):  # whose text, as Ray raises it, is a traceback
            raise UserError(str(error.cause)) from None
        if any(sign in str(error) for sign in _NOT_THERE):
            raise UserError(
                f"a node of the Ray cluster cannot import vidpred {__version__}: install it there, with the same "
                "requirements.lock, in the Python that runs Ray"
            ) from error
        raise
    except RayError as error:
        why = " ".join(str(error).split())[:200]
        raise UserError(
            f"the cluster lost the work on {batch[0].file} again and again ({type(error).__name__}: {why}): look at "
            "memory and disks of its nodes, then run the stage again; it goes on from here"
        ) from error
