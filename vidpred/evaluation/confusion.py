"""Which classes are taken for which: the matrix as a table and as a picture, and figures of each class.

In: the true and the predicted class of each video. Out: counts, recall, precision and F1; confusion.csv, confusion.png.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from vidpred.workspace import atomic

_NAMED = 40
"""Classes whose names, and up to half as many whose counts, are written into the picture."""


def confusion_of(labels: Sequence[str], predicted: Sequence[str], classes: Sequence[str]) -> NDArray[np.int64]:
    """(classes, classes): how many videos of the class of a row were taken for the class of a column."""
    number = {name: i for i, name in enumerate(classes)}
    matrix = np.zeros((len(classes), len(classes)), np.int64)
    for true, said in zip(labels, predicted, strict=True):
        matrix[number[true], number[said]] += 1
    return matrix


def per_class(matrix: NDArray[np.int64], classes: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Of each class: videos, recall (its top-1), precision and F1, and what it is most often taken for; null where a
    figure would be a ratio to nothing."""
    found: dict[str, dict[str, Any]] = {}
    for i, name in enumerate(classes):
        right, there, said = int(matrix[i, i]), int(matrix[i].sum()), int(matrix[:, i].sum())
        wrong = np.where(np.arange(len(classes)) == i, 0, matrix[i])
        found[name] = {
            "videos": there,
            "recall": right / there if there else None,
            "precision": right / said if said else None,
            "f1": 2 * right / (there + said) if there + said else None,
            "taken_for": classes[int(wrong.argmax())] if wrong.any() else None,
        }
    return found


def write_confusion(folder: Path, matrix: NDArray[np.int64], classes: Sequence[str]) -> None:
    """Writes `confusion.csv`, a row a true class, and `confusion.png`."""
    table = pd.DataFrame(matrix, index=pd.Index(classes, name="true"), columns=list(classes))
    with atomic(folder / "confusion.csv") as part:
        table.to_csv(part)
    with atomic(folder / "confusion.png") as part:
        _draw(part, matrix, classes)


def _draw(path: Path, matrix: NDArray[np.int64], classes: Sequence[str]) -> None:
    from matplotlib.figure import Figure

    count = len(classes)
    side = min(12.0, 2.6 + 0.42 * count)
    figure = Figure(figsize=(side, side), layout="constrained")
    axes = figure.add_subplot()
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    if count <= _NAMED:
        axes.set_xticks(range(count), classes, rotation=60, ha="right", rotation_mode="anchor", fontsize=8)
        axes.set_yticks(range(count), classes, fontsize=8)
    if count <= _NAMED // 2:
        for row, column in zip(*np.nonzero(matrix), strict=True):
            dark = shares[row, column] > 0.5
            axes.text(
                column, row, str(matrix[row, column]), ha="center", va="center", fontsize=8,
                color="white" if dark else "black",
            )  # fmt: skip
    axes.set(xlabel="taken for", ylabel="is")
    figure.savefig(path, dpi=120, format="png", metadata={"Software": None})
