"""A model, built, by whatever name the user has for it; what is wrong with it is told under that name.

In: an address of a registry or a folder. Out: the model and its model.json; never the place in the cache, which means
nothing to anybody.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from vidpred.errors import UserError
from vidpred.models.files import load_model, read_info
from vidpred.tracking.download import download
from vidpred.types import Classifier, Model, Predictor

M = TypeVar("M", bound=Model)


def open_model(model: str, of: type[M]) -> tuple[M, dict[str, Any]]:
    """Fetches a model where necessary, and builds it, in eval mode on the CPU.

    Args:
        model: As `download` takes it.
        of: `Predictor`, `Classifier`, or `Model` for either.

    Returns:
        The model, and what its model.json says.

    Raises:
        UserError: there is no such model, it is damaged, or it does what `of` does not.
    """
    folder = download(model)
    with called(model, folder):
        info = read_info(folder)
        classifies = info["task"].get("kind") == "classify"
        if not issubclass(Classifier if classifies else Predictor, of):
            does, wanted = ("classifies", "predicts") if classifies else ("predicts", "classifies")
            command = "classify" if classifies else "predict"
            raise UserError(
                f"{model} {does} ({info['name']}): give one that {wanted}, or use it with `vidpred {command} {model} "
                "cat.gif`"
            )
        return load_model(folder, of)


@contextmanager
def called(model: str, folder: Path) -> Iterator[None]:
    """Inside, errors about a folder speak of the model by the user's name for it."""
    try:
        yield
    except UserError as error:
        if Path(model).expanduser() == folder:
            raise
        text = re.sub(rf"{re.escape(str(folder))}/([\w.-]+)", lambda found: f"{found[1]} of {model}", str(error))
        raise UserError(text.replace(str(folder), model)) from None
