"""Clips that are made, not fetched: a YAML file with `recipe:` says how.

In: the recipe. Out: for each clip its name, what is known of it, and how to write it. Another kind of recipe is a
function here and a line in `RECIPES`.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import BaseModel, ValidationError

from vidpred.config import FetchParams
from vidpred.errors import UserError
from vidpred.problems import problems
from vidpred.records import BACKGROUND

if TYPE_CHECKING:
    from vidpred.data import shapes

R = TypeVar("R", bound=BaseModel)


@dataclass(frozen=True)
class Made:
    """A clip of a recipe."""

    name: str
    """Of its file, with the suffix."""
    group: str
    label: str
    licence: str
    write: Callable[[Path], None]
    """Makes it, at this path."""


def _moving_digits(raw: dict[str, Any], _folder: Path, _params: FetchParams) -> list[Made]:
    from sklearn.datasets import load_digits

    from vidpred.data import digits

    recipe = _checked(digits.Recipe, raw)
    images, targets = load_digits(return_X_y=True)
    images = images.reshape(-1, 8, 8)

    def write(clip: digits.DigitClip, path: Path) -> None:
        digits.write_clip(path, digits.rendered(recipe, clip, images), recipe.fps)

    return [
        Made(clip.name, clip.group, clip.label, digits.LICENCE, partial(write, clip))
        for clip in digits.planned(recipe, targets)
    ]


def _moving_mnist(raw: dict[str, Any], folder: Path, params: FetchParams) -> list[Made]:
    from vidpred.data import mnist

    recipe = _checked(mnist.MovingMnistRecipe, raw)
    shapes = mnist.read_digits(recipe, folder, params.max_bytes)

    def write(clip: mnist.MnistClip, path: Path) -> None:
        mnist.write_clip(path, mnist.rendered(recipe, clip, shapes))

    return [
        Made(clip.name, clip.group, clip.label, mnist.LICENCE, partial(write, clip))
        for clip in mnist.planned(recipe, shapes)
    ]


def _shapes(raw: dict[str, Any], _folder: Path, _params: FetchParams) -> list[Made]:
    from vidpred.data import shapes

    return _shapes_of(_checked(shapes.Recipe, raw))


def _shapes_of(recipe: shapes.Recipe) -> list[Made]:
    from vidpred.data import shapes

    def write(clip: shapes.ShapeClip, path: Path) -> None:
        shapes.write_clip(path, shapes.rendered(recipe, clip), recipe.fps)

    return [
        Made(clip.name, clip.group, clip.label, shapes.LICENCE, partial(write, clip)) for clip in shapes.planned(recipe)
    ]


def _untrimmed_shapes(raw: dict[str, Any], _folder: Path, _params: FetchParams) -> list[Made]:
    from vidpred.data import shapes, untrimmed

    recipe = _checked(untrimmed.Recipe, raw)

    def write(clip: untrimmed.Background, path: Path) -> None:
        shapes.write_clip(path, untrimmed.rendered(recipe, clip), recipe.fps)

    return _shapes_of(recipe) + [
        Made(clip.name, clip.group, BACKGROUND, shapes.LICENCE, partial(write, clip))
        for clip in untrimmed.planned(recipe)
    ]


RECIPES: dict[str, Callable[[dict[str, Any], Path, FetchParams], list[Made]]] = {
    "moving_digits": _moving_digits,
    "moving_mnist": _moving_mnist,
    "shapes": _shapes,
    "untrimmed_shapes": _untrimmed_shapes,
}
"""By the word behind `recipe:`; each takes the recipe, the folder it is in, and limits."""


def planned(raw: dict[str, Any], folder: Path, params: FetchParams) -> list[Made]:
    """The clips of a recipe.

    Args:
        raw: What its file holds.
        folder: Where it is: relative paths in it begin there.
        params: Limits.

    Raises:
        UserError: with what is wrong and where.
    """
    kind = raw.get("recipe")
    if not isinstance(kind, str) or kind not in RECIPES:
        raise UserError(f"recipe: {kind} is unknown: there are {', '.join(RECIPES)}")
    return RECIPES[kind](raw, folder, params)


def written(clips: list[Made], folder: Path, workers: int) -> Generator[tuple[Made, Path], None, None]:
    """Writes clips, several at once, and gives them in their order; each file goes when the next is asked for."""
    with ThreadPoolExecutor(max(1, workers), thread_name_prefix="fetch") as pool:

        def write(clip: Made) -> Path:
            path = folder / clip.name
            clip.write(path)
            return path

        try:
            for clip, path in zip(clips, pool.map(write, clips), strict=True):
                yield clip, path
                path.unlink()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _checked(model: type[R], raw: dict[str, Any]) -> R:
    try:
        return model.model_validate(raw)
    except ValidationError as error:
        raise UserError(problems(error, model, raw)) from None
