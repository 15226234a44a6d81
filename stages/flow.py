"""Notes whether a model needs optical flow. None is stored: it is computed from a window's context as it is read.

The note does not name the models that need none: what depends on it must not be stale because such a one is added.
"""

from __future__ import annotations

import inspect
import logging
from pathlib import Path

from vidpred.config import load_params
from vidpred.models import zoo
from vidpred.types import Predictor
from vidpred.workspace import run_stage, write_json

log = logging.getLogger(__name__)


def needs_flow(name: str) -> bool:
    """Whether a model of the zoo declares `needs_flow`; UserError for an unknown name."""
    found = zoo.module(name)
    return any(
        issubclass(kind, Predictor) and kind.needs_flow and kind.__module__ == found.__name__
        for _, kind in inspect.getmembers(found, inspect.isclass)
    )


def main() -> None:
    """Writes data/flow/flow.json."""
    params = load_params()
    names = sorted({*params.tune.models, *([params.train.model] if params.train.model else [])})
    models = [name for name in names if needs_flow(name)]
    note = {"needed": bool(models), "models": models, "stored": False, **params.flow.model_dump()}
    write_json(Path("data/flow/flow.json"), note)
    if models:
        log.info("flow: %s: computed from the context as batches are made; none is stored", ", ".join(models))
    else:
        log.info("flow: none of %s needs it", ", ".join(names))


if __name__ == "__main__":
    run_stage(main)
