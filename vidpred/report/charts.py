"""The report's charts: data frames in, inline SVG out, in colours that the page's style sheet sets, light and dark."""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from importlib.resources import files
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter
from matplotlib.typing import RcKeyType
from numpy.typing import NDArray

from vidpred.training.figures import best_baseline

INK, GRID = "#010101", "#020202"
"""Stand for `--ink-soft` and `--line` until the SVG is in the page."""
PALETTE = ("#030303", "#040404", "#050505", "#060606", "#070707", "#080808")
"""Stand for `--series-1` …: the model first, then the baselines or further models."""
GOOD, BAD = "#090909", "#0a0a0a"
"""Stand for `--good` and `--bad`."""
PAPER = "#0b0b0b"
"""Stands for `--paper`."""
_VARIABLES = {INK: "--ink-soft", GRID: "--line", GOOD: "--good", BAD: "--bad", PAPER: "--paper"} | {
    colour: f"--series-{i}" for i, colour in enumerate(PALETTE, 1)
}
_DECLARATION = '<?xml version="1.0" encoding="utf-8"?>\n'
_BACKGROUND = '<rect width="100%" height="100%" fill="{}"/>'
_FAMILY = "system-ui, sans-serif"
_STYLE: dict[RcKeyType, Any] = {
    "svg.fonttype": "none",  # text stays text: sharp, searchable, in the page's font
    "font.size": 10,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": GRID,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "legend.frameon": False,
}


def styled() -> AbstractContextManager[None]:
    """Inside, figures are drawn in the report's style."""
    return rc_context(_STYLE)


def rollout_chart(rollout: pd.DataFrame, models: Sequence[str], metric: str, label: str) -> str:
    """A metric per step ahead, a line a model; `rollout` has columns model, step and the metric."""
    with styled():
        figure, axes = new_axes(5.2, 3.2)
        for name, colour in _coloured(models):
            rows = rollout[rollout["model"] == name].sort_values("step")
            first = colour == PALETTE[0]
            axes.plot(
                rows["step"], rows[metric], color=colour, marker="o" if len(rows) <= 20 else "",
                markersize=4 if first else 3,
                linewidth=2.4 if first else 1.5, label=name, zorder=3 if first else 2,
            )  # fmt: skip
        axes.set(xlabel="steps ahead", ylabel=label)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        _legend(axes)
        return to_svg(figure, f"{label} of {', '.join(models)} per step of the rollout", f"rollout-{metric}")


def training_chart(training: pd.DataFrame, name: str) -> str:
    """Validation PD over steps, beside the best baseline on the same windows."""
    with styled():
        figure, axes = _validations(training, "val_perceptual_distance", name)
        bar, known = best_baseline({str(k): v for k, v in training.iloc[-1].items()}, prefix="val_")
        axes.set_ylabel("PD on validation")
        _scaled_to(axes, training["val_perceptual_distance"], known, bar, f"{bar} {known:.2f}")
        return to_svg(figure, "Perceptual distance on validation windows over training steps", "training")


def top1_chart(training: pd.DataFrame, name: str) -> str:
    """Top-1 on validation over steps, beside always saying the commonest class."""
    with styled():
        figure, axes = _validations(training, "val_top1", name)
        known = float(training["val_majority"].iloc[-1])
        axes.set_ylabel("top-1 on validation")
        axes.yaxis.set_major_formatter(PercentFormatter(1))
        _scaled_to(axes, training["val_top1"], known, "commonest class", f"commonest class {100 * known:.1f} %")
        return to_svg(figure, "Top-1 on validation windows over training steps", "training")


def _validations(training: pd.DataFrame, column: str, name: str) -> tuple[Figure, Axes]:
    figure, axes = new_axes(5.2, 3.2)
    axes.plot(
        training["step"], training[column], color=PALETTE[0], marker="o" if len(training) <= 30 else "", markersize=4,
        linewidth=2.4, label=name, zorder=3,
    )  # fmt: skip
    axes.set_xlabel("optimiser steps")
    axes.xaxis.set_major_locator(MaxNLocator(nbins=7, integer=True))
    return figure, axes


def _scaled_to(axes: Axes, curve: pd.Series[float], bar: float, name: str, told: str) -> None:
    """Fits the axis to a curve: a bar that is near is a line, one that is far only named at the edge where it would be.

    Args:
        axes: In which the curve is.
        curve: Its heights.
        bar: What it is held against.
        name: Of the bar.
        told: Name and figure of the bar.
    """
    low, high = float(curve.min()), float(curve.max())
    room = max(high - low, 0.02 * abs(high)) or 1.0
    if low - room <= bar <= high + room:
        axes.axhline(bar, color=PALETTE[1], linewidth=1.5, label=name)
        low, high = min(low, bar), max(high, bar)
    else:
        above = bar > high
        axes.annotate(
            f"{told} {'↑' if above else '↓'}", (1, 1 if above else 0), xycoords="axes fraction",
            xytext=(-3, -3 if above else 3), textcoords="offset points", ha="right", va="top" if above else "bottom",
            fontsize=9,
        )  # fmt: skip
    axes.set_ylim(low - 0.2 * room, high + 0.2 * room)
    _legend(axes)


def decile_chart(deciles: pd.DataFrame, models: Sequence[str], baseline: str) -> str:
    """The gain in each tenth of the windows, from those in which least moves to those in which most does.

    Args:
        deciles: With columns model, decile, motion and gain (NaN where nothing moves).
        models: In the order of their colours.
        baseline: What gains are over; its mean distance is `motion`.
    """
    with styled():
        figure, axes = new_axes(10.6, 2.8)
        for name, colour in _coloured(models):
            if name == baseline:
                continue
            rows = deciles[deciles["model"] == name].sort_values("decile")
            first = colour == PALETTE[0]
            axes.plot(
                rows["decile"], rows["gain"], color=colour, marker="o", markersize=5 if first else 4,
                linewidth=2.4 if first else 1.5, label=name, zorder=3 if first else 2,
            )  # fmt: skip
        axes.axhline(0, color=INK, linewidth=0.8)
        axes.set_ylim(bottom=max(-1.0, axes.get_ylim()[0]))  # a ratio to next to nothing would flatten all others
        of_each = deciles.drop_duplicates("decile").sort_values("decile")
        axes.set_xticks(of_each["decile"], [f"{motion:.1f}" for motion in of_each["motion"]])
        axes.set(xlabel=f"PD of {baseline} in each part, from the windows that move least to those that move most")
        axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        _legend(axes)
        return to_svg(figure, f"Gain over {baseline} by how much moves", "deciles")


def group_chart(gains: pd.Series[float], baseline: str) -> str:
    """The gain of every group of test clips as a bar, worst to best; above zero is better than the baseline."""
    with styled():
        figure, axes = new_axes(10.6, 2.2)
        ordered = np.sort(gains.to_numpy())
        axes.bar(range(len(ordered)), ordered, width=0.86, color=[GOOD if g > 0 else BAD for g in ordered])
        axes.set_ylim(bottom=max(-1.0, axes.get_ylim()[0]))  # one group far off would flatten all others
        axes.axhline(0, color=INK, linewidth=0.8)
        axes.set_xticks([])
        groups = f"{len(ordered)} groups" if len(ordered) > 1 else "group"
        axes.set_xlabel(f"the {groups} of the test part, worst to best")
        axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        axes.grid(visible=False, axis="x")
        return to_svg(figure, f"Gain over {baseline} for every group of the test part", "groups")


def motion_chart(gains: Mapping[str, Sequence[float | None]], motion: Sequence[float], bar: str) -> str:
    """The gain over a baseline in parts of the windows ordered by motion, a line a model.

    Args:
        gains: Of each model, a gain for each part; None where nothing moves.
        motion: The baseline's mean distance in each part, written below it.
        bar: The baseline's name.
    """
    with styled():
        figure, axes = new_axes(10.6, 3.4)
        parts = range(1, len(motion) + 1)
        for name, colour in _coloured(list(gains)):
            known = [np.nan if gain is None else gain for gain in gains[name]]
            axes.plot(parts, known, color=colour, marker="o", markersize=4, linewidth=1.8, label=name)
        axes.axhline(0, color=INK, linewidth=0.8)
        axes.set_ylim(
            bottom=max(-1.0, axes.get_ylim()[0])
        )  # a still part, where gains are ratios to little, is no scale
        axes.set_xticks(list(parts), [f"{i}\n{moved:.1f}" for i, moved in zip(parts, motion, strict=True)])
        axes.set_xlabel(f"tenth of the windows by motion, and the mean PD of {bar} in it")
        axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        _legend(axes)
        return to_svg(figure, f"Gain over {bar} by motion, of {', '.join(gains)}", "motion")


def cost_chart(models: Mapping[str, tuple[float, float]], levels: Mapping[str, float]) -> str:
    """PD beside multiply-adds, a named point a model.

    Args:
        models: Multiply-adds and PD of each.
        levels: PD of those that compute next to nothing, as lines across.
    """
    with styled():
        figure, axes = new_axes(10.6, 4.2)
        for i, (name, distance) in enumerate(levels.items(), 1):
            axes.axhline(distance, color=PALETTE[i], linewidth=1.3, linestyle="--")
            axes.annotate(
                name, (1, distance), xycoords=("axes fraction", "data"), xytext=(-4, 3), textcoords="offset points",
                ha="right", fontsize=9,
            )  # fmt: skip
        axes.set(xscale="log", xlabel="multiply-adds of one predicted frame", ylabel="PD")
        axes.margins(x=0.12)
        places = np.array(list(models.values()))
        axes.scatter(places[:, 0], places[:, 1], color=PALETTE[0], s=30, zorder=3)
        axes.set_ylim(bottom=0)
        figure.draw_without_rendering()  # only then it is known where a point comes to lie
        points = axes.transData.transform(places) * 72 / figure.dpi
        for (name, place), lift in zip(models.items(), _lifts(points, list(models)), strict=True):
            axes.annotate(name, place, xytext=(6, lift), textcoords="offset points", fontsize=9, va="center")
        return to_svg(figure, "PD of every model beside its multiply-adds", "cost")


def _lifts(points: NDArray[np.float64], names: Sequence[str]) -> list[float]:
    """How far up from its point each name is written, so that names do not lie on each other: all lengths in points.

    Args:
        points: (N, 2) where the points lie.
        names: Written to their right, in 9 points.
    """
    high, wide = 11.0, 5.5
    taken: list[tuple[float, float, float]] = []
    lifts = []
    for (x, y), name in zip(points, names, strict=True):
        right = x + 6 + wide * len(name)
        free = (
            lift
            for lift in sorted(np.arange(-4, 5) * high / 2, key=abs)
            if all(abs(y + lift - other) >= high or right < left or x > end for left, end, other in taken)
        )
        lifts.append(float(next(free, 0.0)))
        taken.append((x, right, y + lifts[-1]))
    return lifts


def new_axes(width: float, height: float) -> tuple[Figure, Axes]:
    """A figure of so many inches, and the axes in it."""
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.add_subplot()


def _coloured(models: Sequence[str]) -> Iterable[tuple[str, str]]:
    return zip(models, _cycle(PALETTE, len(models)), strict=True)


def _cycle(colours: Sequence[str], count: int) -> list[str]:
    return [colours[i % len(colours)] for i in range(count)]


def _legend(axes: Axes) -> None:
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, 1.16), ncols=4, handlelength=1.4, columnspacing=1.4)


def to_svg(figure: Figure, description: str, name: str) -> str:
    """The figure as an <svg> element; `name` keeps the ids inside apart from those of other charts."""
    file = io.StringIO()
    with rc_context({"svg.hashsalt": name, "svg.id": name}):
        figure.savefig(file, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    svg = file.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    for colour, variable in _VARIABLES.items():
        svg = svg.replace(colour, f"var({variable})")
    svg = re.sub(r"font(?:-family)?: ?[^;\"]*sans[^;\"]*(;?)", _without_family, svg)
    label = description.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;")
    return svg.replace("<svg ", f'<svg role="img" aria-label="{label}" ', 1)


def standalone(svg: str) -> str:
    """A chart as a file of its own: in the page's light colours, on paper."""
    colours = _light()
    for variable in _VARIABLES.values():
        svg = svg.replace(f"var({variable})", colours[variable])
    start = svg.index(">", svg.index("<svg")) + 1
    root = svg[:start].replace("<svg ", f'<svg font-family="{_FAMILY}" ', 1)
    return f"{_DECLARATION}{root}{_BACKGROUND.format(colours['--paper'])}{svg[start:]}\n"


def inline(file: str) -> str:
    """A file of `standalone` as an element of the page again, in the page's colours."""
    colours = _light()
    svg = (
        file.removeprefix(_DECLARATION)
        .replace(_BACKGROUND.format(colours["--paper"]), "")
        .replace(f'font-family="{_FAMILY}" ', "", 1)
    )
    for variable in _VARIABLES.values():
        svg = svg.replace(colours[variable], f"var({variable})")
    return svg.strip()


def _light() -> dict[str, str]:
    """Colours of the style sheet's first block, by variable."""
    first = files("vidpred.report").joinpath("style.css").read_text(encoding="utf-8").partition("}")[0]
    return dict(re.findall(r"(--[\w-]+): (#[0-9a-f]{6})", first))


def _without_family(match: re.Match[str]) -> str:
    size = re.search(r"[\d.]+px", match[0])
    return f"font-size: {size[0]}{match[1]}" if size else ""
