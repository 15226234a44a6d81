"""Why a trial broke, in one line: from the exception itself, not from what Ray keeps of it in storage."""

from __future__ import annotations

import torch
from ray.exceptions import OutOfMemoryError, RayActorError, RayError, RayTaskError

_MOST = 300
"""Characters of a reason."""
_ALLOCATOR = ("can't allocate memory", "not enough memory", "out of memory", "cannot allocate memory")
"""How torch's allocators and the system complain."""


def in_words(error: BaseException) -> str:
    """One line."""
    error = _cause(error)
    if _is_monitor(error):
        return (
            "out of memory: Ray's memory monitor ended its worker, lest the machine run out: lower train.batch_size or "
            "resources.trials_at_once"
        )
    said = " ".join(str(error).split())
    if isinstance(error, torch.OutOfMemoryError):
        return _short(f"out of memory on the GPU: lower train.batch_size or raise resources.gpus_per_trial ({said}")
    if isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError | OSError) and any(words in said.lower() for words in _ALLOCATOR)
    ):
        return _short(f"out of memory: lower train.batch_size or resources.trials_at_once ({said or 'MemoryError'}")
    if isinstance(error, RayActorError | RayError):
        return _short(f"its worker or machine died: {said}")
    name = type(error).__name__
    return _short(said if name == "UserError" and said else f"{name}: {said}" if said else name)


def _is_monitor(error: BaseException) -> bool:
    """Whether Ray's memory monitor killed a worker."""
    return isinstance(error, OutOfMemoryError) or (
        isinstance(error, RayError) and "running low on memory" in str(error)
    )


def _cause(error: BaseException) -> BaseException:
    """What first went wrong: Ray packs it up once a process."""
    for _ in range(10):
        inner: BaseException | None = None
        if isinstance(error, RayTaskError):
            inner = error.cause if isinstance(error.cause, BaseException) else None
        elif failures := getattr(error, "worker_failures", None):  # of Ray Train, by rank
            inner = failures[min(failures)]
        inner = (
            inner
            or getattr(error, "why", None)
            or (error.__cause__ if type(error).__name__ == "StartTraceback" else None)
        )
        if inner is None or inner is error:
            break
        error = inner
    return error


def _short(text: str) -> str:
    text = text if len(text) <= _MOST else f"{text[: _MOST - 3]}..."
    return text + ")" * (text.count("(") > text.count(")"))
