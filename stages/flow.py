"""Stores the optical flow of all frames where a model of tune or train needs it; else notes that none does.

The note does not name the models that need none: what depends on it must not be stale because such a one is added.
"""

from __future__ import annotations

import inspect
import logging
from pathlib import Path

from vidpred.config import load_params
from vidpred.data.flow_store import NOTE, write_flow
from vidpred.data.shards import Shards
from vidpred.models import zoo
from vidpred.types import Model
from vidpred.workspace import cores, home, run_stage, write_json

log = logging.getLogger(__name__)


def needs_flow(name: str, kind: str = "predict") -> bool:
    """Whether a model for a kind of task needs flow, under some config at least; UserError for an unknown name."""
    found = zoo.module(name, kind)
    return any(
        issubclass(one, Model) and one.needs_flow and one.__module__ == found.__name__
        for _, one in inspect.getmembers(found, inspect.isclass)
    )


def main() -> None:
    """Writes data/flow."""
    params = load_params()
    names = sorted({*params.tune.models, *([params.train.model] if params.train.model else [])})
    models = [name for name in names if needs_flow(name, params.task.kind)]
    out = Path("data/flow")
    if not models:
        note = {"needed": False, "models": [], "stored": False, **params.flow.model_dump()}
        write_json(out / NOTE, note)
        log.info("flow: none of %s needs it", ", ".join(names))
        return
    note = write_flow(
        Shards("data/shards"),
        out,
        home() / "flow",
        params.flow,
        interval=params.task.flow_interval,
        models=models,
        workers=params.resources.workers or cores(),
    )
    log.info(
        "flow of %d frames for %s, right to %.2f pixels of what %s finds",
        note["frames"], ", ".join(models), note["largest_error_pixels"], params.flow.method,
    )  # fmt: skip


if __name__ == "__main__":
    run_stage(main)
