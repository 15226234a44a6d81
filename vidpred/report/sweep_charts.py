"""Charts of a sweep: `Tried` in, SVG out in the report's style (charts.py)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogFormatterSciNotation, LogLocator, MaxNLocator, NullFormatter

from vidpred.report.charts import BAD, GOOD, GRID, INK, PALETTE, PAPER, new_axes, styled, to_svg
from vidpred.report.sweep_importance import Importance
from vidpred.report.sweep_settings import Setting, Tried
from vidpred.report.sweep_tables import (
    DRAWN,
    OBJECTIVES,
    distances_from_best,
    drawn_trials,
    front,
    measured_objectives,
    neighbours_table,
)
from vidpred.report.words import short

OTHERS = "others"
_COLOURS = [colour for colour in PALETTE if colour != PALETTE[1]]
_LINES = 24
"""Trials drawn one by one where bands tell of the others."""


def colours_of(models: Sequence[str]) -> dict[str, str]:
    """A colour for each of the best models; the others are grey together."""
    most = len(_COLOURS)
    return {model: _COLOURS[i] if i < most else PALETTE[1] for i, model in enumerate(models)}


def empty_chart(why: str, name: str) -> str:
    """In place of a chart that there is nothing for: why."""
    with styled():
        figure = Figure(figsize=(5.2, 1.2))
        figure.text(0.5, 0.5, why, ha="center", va="center", wrap=True)
        return to_svg(figure, why, name)


def curves_chart(tried: Tried) -> str:
    """PD of every trial over its steps; of many trials the best as lines, and all of a model as a band."""
    with styled():
        figure, axes = new_axes(10.6, 4.0)
        colours = colours_of(tried.models)
        every = sum(len(c) > 0 for c in tried.curves.values()) <= DRAWN
        if not every:
            for model in reversed(tried.models[: len(_COLOURS)]):
                _band(axes, tried, model, colours[model])
        for number in reversed(drawn_trials(tried, DRAWN if every else _LINES)):
            if every or number in tried.ranked.index[: _LINES // 2]:
                _curve(axes, tried, number, colours[tried.model_of(number)])
        bar = tried.trials.get("val_copy_last", pd.Series(dtype=float)).median()
        if np.isfinite(bar):
            axes.axhline(bar, color=INK, linewidth=1, linestyle=(0, (4, 3)), zorder=1)
            axes.annotate(
                "copy_last", (1, bar), xycoords=("axes fraction", "data"), xytext=(-2, 3), textcoords="offset points",
                ha="right", fontsize=9,
            )  # fmt: skip
        across = "per cent of a trial's way" if tried.by_share else "optimiser steps"
        axes.set(xlabel=across, ylabel="PD on validation")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_ylim(*_limits(tried, bar))
        axes.set_xlim(left=0)
        _model_legend(axes, colours, stopped=every and "stopped" in set(tried.trials["status"]))
        return to_svg(figure, "Perceptual distance of the trials over their steps", "curves")


def _curve(axes: Axes, tried: Tried, number: int, colour: str) -> None:
    curve, row = tried.curves[number], tried.trials.loc[number]
    won, whole = number == tried.best, row["status"] == "finished"
    alpha = 1.0 if won else 0.8 if whole else 0.4
    axes.plot(
        curve[:, 0], curve[:, 1], color=colour, linewidth=2.8 if won else 1.2, alpha=alpha, zorder=4 if won else 3
    )
    failed = row["status"] == "failed"
    axes.scatter(
        curve[-1:, 0], curve[-1:, 1], color=BAD if failed else colour, marker="x" if failed else "o",
        s=50 if won else 24 if failed else 12, alpha=1.0 if failed else alpha, zorder=5 if won else 3,
    )  # fmt: skip


def _band(axes: Axes, tried: Tried, model: str, colour: str) -> None:
    """Between the best and the worst tenth of a model's trials at each step, with their median."""
    numbers = tried.trials.index[tried.trials["model"] == model]
    curves = pd.DataFrame(np.concatenate([tried.curves[n] for n in numbers]), columns=["step", "pd"]).dropna()
    steps = curves.groupby("step")["pd"]
    if (enough := steps.size() >= 5).any():
        of_step = pd.DataFrame({share: steps.quantile(share) for share in (0.1, 0.5, 0.9)})[enough]
        if len(of_step) == 1:  # stopped where it first reported
            axes.vlines(of_step.index, of_step[0.1], of_step[0.9], color=colour, alpha=0.3, linewidth=7)
            axes.scatter(of_step.index, of_step[0.5], color=colour, marker="_", s=80)
            return
        axes.fill_between(of_step.index, of_step[0.1], of_step[0.9], color=colour, alpha=0.16, linewidth=0)
        axes.plot(of_step.index, of_step[0.5], color=colour, linewidth=1.4, linestyle=(0, (2, 1.5)), zorder=2)


def _limits(tried: Tried, bar: float) -> tuple[float, float]:
    """Of the axis of PD: one trial that went astray must not flatten all others."""
    values = np.concatenate([curve[:, 1] for curve in tried.curves.values()])
    values = values[np.isfinite(values)]
    level = bar if np.isfinite(bar) else float(np.median(values))
    low, high = float(min(values.min(), level)), min(float(values.max()), max(1.3 * level, np.quantile(values, 0.9)))
    margin = 0.06 * (max(high, level) - low or 1.0)
    return low - margin, max(high, level) + margin


def parallel_chart(tried: Tried, models: Sequence[str]) -> str:
    """The settings of each model's trials as lines from axis to axis, the last one PD: the best tenth stands out."""
    with styled():
        figure = Figure(figsize=(10.6, 2.7 * len(models)), layout="constrained")
        for i, model in enumerate(models):
            _parallel(figure.add_subplot(len(models), 1, i + 1), tried, model)
        return to_svg(figure, f"Settings and perceptual distance of the trials of {', '.join(models)}", "parallel")


def _parallel(axes: Axes, tried: Tried, model: str) -> None:
    settings = tried.settings[model]
    own = [int(n) for n in tried.ranked.index if tried.trials.loc[n, "model"] == model]
    distance = np.log10(tried.trials.loc[own, "perceptual_distance"].clip(lower=1e-6))
    shown = own if len(own) <= DRAWN else [own[i] for i in np.linspace(0, len(own) - 1, DRAWN).astype(int)]
    best = own[: max(1, min(10, len(own) // 10))]
    ends = [(s.scale.min(), s.scale.max()) for s in settings] + [(distance.min(), distance.max())]
    for number in [*reversed(shown), *reversed(best)]:
        at = [float(s.scale[number]) for s in settings] + [float(distance[number])]
        heights = [(v - low) / (high - low) if high > low else 0.5 for v, (low, high) in zip(at, ends, strict=True)]
        # lines through the same level of a setting lie beside each other, not on each other
        place = (own.index(number) + 0.5) / len(own) - 0.5
        heights = [
            h + 0.05 * place if s.levels or s.values.nunique() <= 8 else h
            for h, s in zip(heights, settings, strict=False)
        ] + heights[-1:]
        won, first = number == own[0], number in best
        axes.plot(
            range(len(at)), heights, color=GOOD if first else INK, linewidth=2.6 if won else 1.5 if first else 0.8,
            alpha=1 if first else 0.28, zorder=4 if won else 3 if first else 2, solid_joinstyle="round",
        )  # fmt: skip
    for i, end in enumerate(ends):
        axes.axvline(i, color=INK, linewidth=0.9, zorder=1)
        for height, text in _ticks(settings[i] if i < len(settings) else None, *end):
            axes.annotate(
                text, (i, height), xytext=(-5, 0), textcoords="offset points", fontsize=8.5, ha="right", va="center",
                bbox={"facecolor": PAPER, "edgecolor": "none", "alpha": 0.8, "pad": 0.6}, zorder=6,
            )  # fmt: skip
    names = [f"{s.name}{' (log)' if s.log else ''}" for s in settings] + ["PD (log)"]
    axes.set_xticks(range(len(names)), names)
    axes.set(ylim=(-0.06, 1.06), xlim=(-0.35, len(names) - 0.85))
    axes.set_yticks([])
    axes.grid(visible=False)
    for side in ("left", "bottom"):
        axes.spines[side].set_visible(False)
    axes.set_title(f"{model}, {len(own)} trial{'s' * (len(own) != 1)}", fontsize=10, loc="left", color=INK)


def _ticks(setting: Setting | None, low: float, high: float) -> list[tuple[float, str]]:
    """Places from 0 to 1 on an axis and what is written there."""
    log = setting is None or setting.log
    if setting is not None and setting.levels is not None:
        last = max(1, len(setting.levels) - 1)
        return [(i / last, str(level)) for i, level in enumerate(setting.levels)]
    if setting is not None and setting.scale.nunique() <= 6:
        at = sorted(set(setting.scale))
    elif log:
        tens = 10.0 ** np.arange(np.floor(low), np.ceil(high) + 1)
        at = list(np.log10(np.outer(tens, (1, 2, 5)).ravel()))
    else:
        at = list(MaxNLocator(5).tick_values(low, high))
    within = [v for v in at if low - 1e-9 <= v <= high + 1e-9]
    within = within if len(within) > 1 else sorted({low, high})
    places = [(v - low) / (high - low) if high > low else 0.5 for v in within]
    texts = [f"{10**v if log else v:.3g}" for v in within]
    if len(set(texts)) < len(texts):
        texts = [f"{10**v if log else v:.5g}" for v in within]
    told = list(zip(places, texts, strict=True))
    # no text on another
    return [one for i, one in enumerate(told) if i == 0 or one[0] - max(p for p, _ in told[:i]) > 0.07]


def importance_chart(found: Sequence[Importance]) -> str:
    """A bar a setting, with the range in which the measure lies, for each group that tells something."""
    told = [one for one in found if one.shares]
    rows: list[tuple[str, tuple[float, float, float] | None]] = []
    for one in told:
        rows.append((f"{one.group}, {one.trials} trials", None))
        rows += list(one.shares.items())
    with styled():
        figure, axes = new_axes(5.2, 0.7 + 0.3 * len(rows))
        for i, (_, share) in enumerate(rows):
            if share is None:
                continue
            mean, low, high = share
            sure = low > 0
            axes.barh(i, max(mean, 0), height=0.62, color=GOOD if sure else PALETTE[1], alpha=1 if sure else 0.6)
            axes.plot([low, high], [i, i], color=INK, linewidth=1.4)
        axes.set_yticks(range(len(rows)), [name for name, _ in rows])
        for label, (_, share) in zip(axes.get_yticklabels(), rows, strict=True):
            label.set_fontweight("normal" if share else "bold")
        axes.axvline(0, color=INK, linewidth=0.8)
        axes.invert_yaxis()
        axes.set_xlabel("share of the differences in log PD")
        axes.grid(visible=False, axis="y")
        return to_svg(figure, "How much each setting mattered", "importance")


def neighbours_chart(tried: Tried) -> str:
    """PD of the trials of the winner's model by how far their settings are from it: a valley, or luck."""
    apart = distances_from_best(tried)
    rows = tried.ranked.loc[[n for n in tried.ranked.index if n in apart.index]]
    nearest = [n for n in neighbours_table(tried)["trial"][1:] if n in rows.index]
    with styled():
        figure, axes = new_axes(5.2, 3.2)
        distances = rows["perceptual_distance"]
        _dots(axes, rows.assign(apart=apart), "apart", INK)
        axes.scatter(apart[nearest], distances[nearest], s=30, color=PALETTE[2], zorder=3)
        axes.scatter([0], [distances[tried.best]], s=60, color=GOOD, zorder=4)
        for number in nearest:
            axes.annotate(
                str(number), (apart[number], distances[number]), xytext=(5, 3), textcoords="offset points", fontsize=8.5
            )
        axes.annotate(
            f"{tried.best}, the best", (0, distances[tried.best]), xytext=(7, -9), textcoords="offset points",
            fontsize=9,
        )  # fmt: skip
        axes.set(xlabel="distance of its settings from the best one's", ylabel="PD on validation")
        axes.set_xlim(-0.02, max(0.05, 1.08 * apart[rows.index].max()))
        low, high = distances.min(), max(distances.quantile(0.9), *distances[nearest], distances.min())
        axes.set_ylim(low - 0.12 * (high - low or 1), high + 0.06 * (high - low or 1))
        return to_svg(figure, "Perceptual distance by how far settings are from the best", "neighbours")


def front_chart(tried: Tried) -> str:
    """PD beside what it is weighed against, a point a trial, with the Pareto front as steps."""
    objectives = measured_objectives(tried)
    colours = colours_of(tried.models)
    with styled():
        figure = Figure(figsize=(5.2 * len(objectives), 3.4), layout="constrained")
        for i, objective in enumerate(objectives):
            axes = figure.add_subplot(1, len(objectives), i + 1)
            rows = tried.ranked[tried.ranked[objective].notna()]
            for model in reversed(tried.models):
                own = rows[rows["model"] == model]
                _dots(axes, own, objective, colours[model])
            best = rows.loc[front(tried, objective)]
            axes.step(best[objective], best["perceptual_distance"], where="post", color=INK, linewidth=1.2, zorder=2)
            axes.scatter(
                best[objective], best["perceptual_distance"], s=44, color=[colours[m] for m in best["model"]],
                edgecolor=INK, linewidth=1, zorder=4,
            )  # fmt: skip
            for number, row in best.iterrows():
                axes.annotate(
                    str(number), (row[objective], row["perceptual_distance"]), xytext=(5, 4),
                    textcoords="offset points", fontsize=8.5,
                )  # fmt: skip
            if rows[objective].min() > 0:
                axes.set_xscale("log")
                _few_ticks(axes)
            axes.set(xlabel=OBJECTIVES[objective], ylabel="PD on validation")
            axes.set_ylim(*_limits(tried, float("nan")))
            if i == 0:
                _model_legend(axes, colours, stopped=False)
        return to_svg(figure, "Perceptual distance beside the cost of a prediction", "front")


def _dots(axes: Axes, rows: pd.DataFrame, across: str, colour: str) -> None:
    """A dot a trial at its PD; those that did not come to their end are pale."""
    whole = rows["status"] == "finished"
    for some, alpha in ((rows[whole], 0.75), (rows[~whole], 0.3)):
        axes.scatter(some[across], some["perceptual_distance"], s=15, color=colour, alpha=alpha, linewidth=0)


def _few_ticks(axes: Axes) -> None:
    """Of a logarithmic axis: 1, 2 and 5 of each decade where there are few decades."""
    low, high = axes.get_xlim()
    subs = (1.0, 2.0, 5.0) if np.log10(high / low) < 2 else (1.0,)
    axes.xaxis.set_major_locator(LogLocator(subs=subs, numticks=8))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda v, _: short(v)) if len(subs) > 1 else LogFormatterSciNotation())


def _model_legend(axes: Axes, colours: Mapping[str, str], *, stopped: bool) -> None:
    named = {model: colour for model, colour in colours.items() if colour != PALETTE[1]}
    rest = len(colours) - len(named)
    for model, colour in named.items():
        axes.plot([], [], color=colour, linewidth=2, label=model)
    if rest:
        axes.plot([], [], color=PALETTE[1], linewidth=2, label=f"{rest} {OTHERS}")
    if stopped:
        axes.plot([], [], color=INK, linewidth=1.2, alpha=0.4, label="pale: stopped early")
    columns = 4 if axes.get_figure().get_figwidth() < 8 else 7  # type: ignore[union-attr]
    rows = -(-(len(named) + bool(rest) + stopped) // columns)
    axes.legend(
        loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=columns, handlelength=1.4, columnspacing=1.2,
        borderaxespad=0.2 * rows,
    )  # fmt: skip
    axes.grid(color=GRID)
