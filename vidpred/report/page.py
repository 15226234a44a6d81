"""The report on a model that makes frames: `Inputs` in, one HTML page out that loads nothing from anywhere."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
from markupsafe import Markup

from vidpred.report import charts
from vidpred.report.common import data_uri, draw, shared
from vidpred.report.inputs import Inputs
from vidpred.report.shed import within
from vidpred.training.figures import (
    BASELINES,
    FURTHER_HIGHER_IS_BETTER,
    FURTHER_UNITS,
    HIGHER_IS_BETTER,
    UNITS,
    relative_gain,
    verdict,
)
from vidpred.workspace import atomic

_BARS = {
    "copy_last": "copying the last frame",
    "copy_first": "copying the first frame",
    "average": "averaging both frames",
}


class Metric(NamedTuple):
    """How a metric is shown."""

    label: str
    unit: str
    higher_is_better: bool | None
    form: str


_SHOWN = {
    "perceptual_distance": ("PD", "{:.2f}"),
    "psnr_db": ("PSNR", "{:.2f}"),
    "ssim": ("SSIM", "{:.4f}"),
    "l1": ("L1", "{:.4f}"),
    "mse": ("MSE", "{:.5f}"),
    "gdl": ("GDL", "{:.4f}"),
    "sharpness_db": ("Sharpness", "{:.2f}"),
    "edge_contrast": ("Edge contrast", "{:.4f}"),
    "capped_share": ("Frames at 60 dB", "{:.1%}"),
    "ms_ssim3": ("MS-SSIM, 3 scales", "{:.4f}"),
    "residual_bpp": ("Residual", "{:.3f}"),
    "lpips": ("LPIPS", "{:.4f}"),
    "pd_moving": ("PD, moving", "{:.2f}"),
    "psnr_moving_db": ("PSNR, moving", "{:.2f}"),
    "ssim_moving": ("SSIM, moving", "{:.4f}"),
    "moving_share": ("Pixels that move", "{:.1%}"),
    "ssim_openstl": ("SSIM as OpenSTL", "{:.4f}"),
    "mse_sum": ("MSE, summed", "{:.2f}"),
    "mae_sum": ("MAE, summed", "{:.2f}"),
    "l2_sum": ("L2, summed", "{:.2f}"),
    "total_loss": ("L2 + GDL, summed", "{:.2f}"),
}
"""Heading and form; one that is not here has its own name."""
_FIRST = (
    "perceptual_distance", "psnr_db", "ssim", "lpips", "pd_moving", "psnr_moving_db", "ssim_moving", "residual_bpp"
)  # fmt: skip
"""What people look at; the other metrics fold out."""


def write_report(inputs: Inputs, path: Path, *, title: str) -> None:
    """Writes the page, which holds its style, charts and pictures itself."""
    with atomic(path) as part:
        part.write_text(render(inputs, title=title), encoding="utf-8")


def render(inputs: Inputs, *, title: str) -> str:
    """The page as text, of at most `shed.MOST_BYTES`."""
    return within(inputs, lambda these: draw("prediction.html", _content(these), title=title))


def _content(inputs: Inputs) -> dict[str, Any]:
    metrics = inputs.metrics
    name: str = metrics["model"]["name"]
    kind = inputs.params["task"].get("kind", "predict")
    models = list(dict.fromkeys([name, *BASELINES[kind], "flow_gate"]))
    judged = verdict(metrics)
    gains = group_gains(inputs.windows, name, judged.baseline)
    best_step = inputs.training.iloc[int(inputs.training["val_perceptual_distance"].argmin())]
    drawn = {
        "rollout_pd": charts.rollout_chart(inputs.rollout, models, "perceptual_distance", "PD"),
        "rollout_psnr": charts.rollout_chart(inputs.rollout, models, "psnr_db", "PSNR, dB"),
        "training": charts.training_chart(inputs.training, name),
        "groups": charts.group_chart(gains, judged.baseline),
        "deciles": charts.decile_chart(inputs.deciles, models, judged.baseline),
    }
    return shared(inputs) | {
        "bar": _BARS.get(judged.baseline, judged.baseline),
        "between": kind == "interpolate",
        "models": models,
        "training_caption": (
            f"Validation over training; {judged.baseline} is judged on the same windows. Kept are the weights of the "
            f"best one: PD {best_step['val_perceptual_distance']:.2f} at step {best_step['step']:,.0f}."
        ),
        "worst_pd": max(metrics["test"][m]["perceptual_distance"] for m in models),
        "table": metric_table(metrics["test"], models, only=_FIRST),
        "further": metric_table(metrics["test"], models, leave_out=_FIRST),
        "protocol": protocol_rows(metrics, models),
        "learning": lessons(inputs),
        "restored": data_uri(inputs.restored, "image/png") if inputs.restored else "",
        "charts": {key: Markup(svg) for key, svg in drawn.items()},  # ours, not input
        "groups_ahead": int((gains > 0).sum()),
        "groups": len(gains),
        "groups_still": inputs.windows["group"].nunique() - len(gains),
        "pictures": [
            {
                "source": picture.source,
                "steps": picture.steps,
                "start": picture.start,
                "moving": data_uri(picture.moving, "image/gif"),
                "strip": data_uri(picture.strip, "image/png") if picture.strip else "",
            }
            for picture in inputs.pictures
        ],
        "left_out": inputs.left_out,
    }


def group_gains(windows: pd.DataFrame, name: str, baseline: str = "copy_last") -> pd.Series[float]:
    """PD's relative gain over a baseline for each group in which something moves, on the same windows of both."""
    mine, copied = (
        windows[windows["model"] == model].groupby("group")["perceptual_distance"].mean() for model in (name, baseline)
    )
    gains = {str(g): relative_gain(float(mine[g]), float(copied[g])) for g in copied.index}
    return pd.Series({g: gain for g, gain in gains.items() if gain is not None}, dtype=float)


def metric_table(
    test: Mapping[str, Mapping[str, float]],
    models: list[str],
    *,
    only: Collection[str] | None = None,
    leave_out: Collection[str] = (),
) -> dict[str, Any]:
    """Headings and rows of a table of metrics; in each column the best figure is marked.

    Args:
        test: Model to metric to figure.
        models: A row each; only metrics that all of them have are shown.
        only: Those that are shown, in this order; None: all, as `UNITS` and `FURTHER_UNITS` have them.
        leave_out: Those that are not.
    """
    measured = [metric for metric in test[models[0]] if all(metric in test[m] for m in models)]
    order = [*UNITS, *FURTHER_UNITS] if only is None else list(only)
    measured = [metric for metric in measured if metric not in leave_out and (only is None or metric in only)]
    names = sorted(measured, key=lambda metric: order.index(metric) if metric in order else len(order))
    shown = [(metric, _how(metric)) for metric in names]
    best = {}
    for metric, how in shown:
        if how.higher_is_better is not None:
            best[metric] = (max if how.higher_is_better else min)(test[m][metric] for m in models)
    return {
        "headings": [how for _, how in shown],
        "rows": [
            {
                "name": model,
                "cells": [(_formed(how, test[model][m]), best.get(m) == test[model][m]) for m, how in shown],
            }
            for model in models
        ],
    }


def _formed(how: Metric, value: float) -> str:
    return how.form.format(value).replace("%", " %")


def _how(metric: str) -> Metric:
    label, form = _SHOWN.get(metric, (metric, "{:.4g}"))
    units, better = UNITS | FURTHER_UNITS, HIGHER_IS_BETTER | FURTHER_HIGHER_IS_BETTER
    return Metric(label, units.get(metric, ""), better.get(metric), form)


def protocol_rows(metrics: Mapping[str, Any], models: list[str]) -> list[dict[str, Any]]:
    """What a published protocol prints of each model, step after step; empty where none is asked for."""
    if "protocol" not in metrics:
        return []
    forms = {"psnr_db": "{:.2f}", "ssim": "{:.4f}", "sharpness_db": "{:.2f}"}
    return [
        {
            "name": model,
            "cells": [
                "–" if step[name] is None else form.format(step[name])
                for step in metrics["protocol"]["steps"][model]
                for name, form in forms.items()
            ],
        }
        for model in models
    ]


def lessons(inputs: Inputs) -> list[dict[str, str]]:
    """The rows of the filmstrip of learning, each with its step and PD on validation."""
    distances = dict(zip(inputs.training["step"], inputs.training["val_perceptual_distance"], strict=True))
    return [
        {
            "label": lesson.label if lesson.step is None else f"step {lesson.step:,}",
            "note": f"PD {distances[lesson.step]:.2f}" if lesson.step in distances else "",
            "strip": data_uri(lesson.strip, "image/png"),
        }
        for lesson in inputs.learning
    ]
