"""The report on a classifier: outputs of the stages in, one HTML page out that loads nothing from anywhere."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Any

import pandas as pd
import yaml
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup
from matplotlib.ticker import MaxNLocator, PercentFormatter

from vidpred import __version__
from vidpred.report import inputs as read
from vidpred.report.charts import PALETTE, new_axes, styled, to_svg
from vidpred.report.inputs import Sweep
from vidpred.report.page import LISTED, data_uri, plural, rounded, size
from vidpred.report.sweep_section import section
from vidpred.training.figures import verdict
from vidpred.workspace import atomic, home


def write_class_report(root: Path, path: Path, *, title: str) -> None:
    """Writes the page.

    Args:
        root: Of the project, below which the stages before `report` wrote.
        path: Of the page.
        title: Its heading.

    Raises:
        UserError: a file is missing or damaged; names the stage that makes it again.
    """
    own = files("vidpred.report")
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {
        "share": lambda value: "–" if value is None else f"{100 * value:.1f} %",
        "points": lambda value: f"{100 * value:+.1f}".replace("-", "−"),
        "count": "{:,}".format,
        "size": size,
        "plural": plural,
    }
    template = environment.from_string(own.joinpath("classes.html").read_text(encoding="utf-8"))
    style = Markup(own.joinpath("style.css").read_text(encoding="utf-8"))  # ours, not input
    page = template.render(title=title, style=style, version=__version__, **_content(root))
    with atomic(path) as part:
        part.write_text(page, encoding="utf-8")


def _content(root: Path) -> dict[str, Any]:
    params = {k: v for k, v in yaml.safe_load((root / "params.yaml").read_text()).items() if k != "resources"}
    metrics = read.read_json(root / "results/evaluate/metrics.json", "evaluate")
    model = read.read_json(root / "models/trained/model.json", "train")
    training = read.read_lines(root / "models/trained/metrics.jsonl", "train")
    sources = read.read_table(root / "data/shards/sources.parquet", "transcode")
    pictures = root / "data/evaluation/pictures"
    name = metrics["model"]["name"]
    set_aside = sources[sources["status"] != "kept"]
    per_class = sorted(metrics["classes_of_test"].items(), key=lambda item: (item[1]["recall"] or 0.0, item[0]))
    return {
        "name": name,
        "metrics": metrics,
        "mine": metrics["test"][name],
        "common": metrics["test"][metrics["baseline"]],
        "judged": verdict(metrics),
        "per_class": per_class,
        "confusion": data_uri((pictures / "confusion.png").read_bytes(), "image/png"),
        "chart": Markup(training_chart(training, name)),
        "best_step": min(training.to_dict("records"), key=lambda row: (-row["val_top1"], row["val_cross_entropy"])),
        "pictures": [
            caption
            | {
                "moving": data_uri((pictures / f"{i}.gif").read_bytes(), "image/gif"),
                "strip": data_uri((pictures / f"{i}.png").read_bytes(), "image/png"),
            }
            for i, caption in enumerate(read.read_json(pictures / "pictures.json", "evaluate"))
        ],
        "sweep": section(_sweep(root), params["tune"]["steps"]),
        "fetch": read.read_json(root / "results/fetch/summary.json", "fetch"),
        "transcode": read.read_json(root / "results/transcode/summary.json", "transcode"),
        "split": read.read_json(root / "results/split/summary.json", "split"),
        "receipt": read.read_json(root / "results/register/receipt.json", "register"),
        "set_aside": set_aside.head(LISTED)[["name", "status", "reason"]].to_dict("records"),
        "set_aside_more": max(0, len(set_aside) - LISTED),
        "model": model,
        "params": params,
        "params_text": {key: yaml.safe_dump(value, sort_keys=False).strip() for key, value in params.items()},
        "trained_text": yaml.safe_dump(
            {"model": model["name"], "config": model["config"], **rounded(model["training"])}, sort_keys=False
        ).strip(),
    }


def _sweep(root: Path) -> Sweep:
    """With the cross-entropy under the name by which trials are judged elsewhere."""
    found = read.read_sweep(root / "results/tune", home(root) / "tune")
    names = {"cross_entropy": "perceptual_distance", "val_cross_entropy": "val_perceptual_distance"}
    return Sweep(
        trials=found.trials.rename(columns=names),
        neighbours=found.neighbours.rename(columns=names),
        charts=found.charts,
        notes=found.notes,
        costs=found.costs,
    )


def training_chart(training: pd.DataFrame, name: str) -> str:
    """Top-1 on validation over steps, beside always saying the commonest class."""
    with styled():
        figure, axes = new_axes(5.2, 3.2)
        axes.plot(
            training["step"], training["val_top1"], color=PALETTE[0], marker="o", markersize=4, linewidth=2.4,
            label=name, zorder=3,
        )  # fmt: skip
        axes.axhline(training["val_majority"].iloc[-1], color=PALETTE[1], linewidth=1.5, label="commonest class")
        axes.set(xlabel="optimiser steps", ylabel="top-1 on validation", ylim=(0, 1.03))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.yaxis.set_major_formatter(PercentFormatter(1))
        axes.legend(loc="best", fontsize=9)
        return to_svg(figure, "Top-1 on validation windows over training steps", "training")
