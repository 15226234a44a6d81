"""The report on a classifier: `ClassInputs` in, one HTML page out that loads nothing from anywhere."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from markupsafe import Markup

from vidpred.report import charts
from vidpred.report.common import data_uri, draw, shared
from vidpred.report.inputs import ClassInputs, read_json
from vidpred.report.looks import looks
from vidpred.report.shed import MOST_BYTES
from vidpred.report.words import share
from vidpred.training.figures import interval_of, verdict
from vidpred.workspace import atomic

_LEFT_OUT = Markup(
    "<p>These pictures would make the page too large to mail: they lie in <code>{}/</code> beside it.</p>"
)


def write_class_report(
    inputs: ClassInputs, path: Path, *, title: str, looks_folder: Path | None = None, most: int = MOST_BYTES
) -> None:
    """Writes the page, which holds its style, charts and pictures itself.

    Args:
        inputs: What the stages left behind.
        path: Of the page.
        title: Its heading.
        looks_folder: Of `vidpred.visualize`: what the model looks for; None: the page has no such part.
        most: Bytes of the page; where these pictures would make it larger, a line says where they are.
    """
    content = _content(inputs) | {"looks": _looks(looks_folder) if looks_folder is not None else Markup()}
    page = draw("classes.html", content, title=title)
    if looks_folder is not None and len(page.encode()) > most:
        page = draw("classes.html", content | {"looks": _LEFT_OUT.format(looks_folder.name)}, title=title)
    with atomic(path) as part:
        part.write_text(page, encoding="utf-8")


def _content(inputs: ClassInputs) -> dict[str, Any]:
    metrics, name = inputs.metrics, inputs.metrics["model"]["name"]
    best = min(inputs.training.to_dict("records"), key=lambda row: (-row["val_top1"], row["val_cross_entropy"]))
    return shared(inputs) | {
        "mine": metrics["test"][name],
        "common": metrics["test"][metrics["baseline"]],
        "over_common": interval_of(verdict(metrics).gain),
        "per_class": sorted(metrics["classes_of_test"].items(), key=lambda item: (item[1]["recall"] or 0.0, item[0])),
        "confusion": data_uri(inputs.confusion, "image/png"),
        "charts": {"training": Markup(charts.top1_chart(inputs.training, name))},  # ours, not input
        "training_caption": (
            "Validation over training, window by window. Kept are the weights of the best one: "
            f"top-1 {share(best['val_top1'])} at step {best['step']:,}."
        ),
        "pictures": [
            picture.caption
            | {"moving": data_uri(picture.moving, "image/gif"), "strip": data_uri(picture.strip, "image/png")}
            for picture in inputs.pictures
        ],
    }


def _looks(folder: Path) -> Markup:
    def source(path: str) -> str:
        return data_uri((folder / path).read_bytes(), "image/gif" if path.endswith(".gif") else "image/png")

    return looks(read_json(folder / "visualize.json", "report"), source)
