"""What the card of a classifier says that other cards do not: classes, top-1, which class is taken for which."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

_LISTED = 20
"""Classes in the text; card.json has more."""
_NAMED = 12
"""Classes in one line."""
_HALF = 0.5
_HEADINGS = {"top1": "top-1", "top5": "top-5", "cross_entropy": "cross-entropy"}


def purpose(card: Mapping[str, Any]) -> str:
    """What the classifier was made for: a sentence."""
    task, names = card["task"], [row["name"] for row in card["test"]["classes"]]
    shown = ", ".join(names[:_NAMED]) + (f" and {len(names) - _NAMED} more" if len(names) > _NAMED else "")
    rate = "at each clip's own rate" if task["fps"] is None else f"at {task['fps']:g} frames per second"
    every = f", every {task['interval']}th of them" if task["interval"] > 1 else ""
    fit = {"crop": "cropped", "pad": "padded", "stretch": "stretched"}.get(task["fit"], "brought")
    return (
        f"Made to tell {len(names)} classes apart ({shown}) by {task['context']} frames of "
        f"{task['width']}x{task['height']} pixels, {rate}{every}; clips of another shape are {fit} to it, and at "
        "another rate things move by other steps than in training."
    )


def limits(card: Mapping[str, Any]) -> list[str]:
    """Where a classifier is known to be weak: a sentence each."""
    rows: Sequence[Mapping[str, Any]] = card["test"]["classes"]
    found = ["A clip of anything else is given one of these classes all the same."]
    unseen = [row["name"] for row in rows if not row["videos"]]
    if unseen:
        found.append(f"Not judged on {_some(unseen)}: no test video is of it.")
    weak = sorted(
        (row for row in rows if row["recall"] is not None and row["recall"] < _HALF), key=lambda row: row["recall"]
    )
    for row in weak[:5]:
        other = f", most often taken for {row['taken_for']}" if row["taken_for"] else ""
        found.append(f"Of {row['videos']:,} test videos of {row['name']} it finds {_percent(row['recall'])}{other}.")
    if weak[5:]:
        found.append(f"Of {len(weak) - 5} further classes it finds fewer than half.")
    return found


def title(card: Mapping[str, Any]) -> str:
    """`8 classes in 8 frames of 32x32`."""
    task = card["task"]
    return f"{len(card['test']['classes'])} classes in {task['context']} frames of {task['width']}x{task['height']}"


def figures(test: Mapping[str, Any], cell: Any, model: str) -> list[str]:
    """Lines of Markdown: all models, then each class.

    Args:
        test: As `card.Judged`.
        cell: Makes a stranger's text fit for Markdown.
        model: The card's own.
    """
    columns = [name for name in _HEADINGS if any(name in row for row in test["metrics"].values())]
    lines = [
        f"| test, {test['videos']:,} videos | {' | '.join(_HEADINGS[name] for name in columns)} |",
        f"| --- |{' ---: |' * len(columns)}",
    ]
    for name, row in sorted(test["metrics"].items(), key=lambda item: -item[1].get("top1", 0.0)):
        told = [
            "–" if column not in row else f"{row[column]:.3f}" if column == "cross_entropy" else _percent(row[column])
            for column in columns
        ]
        lines.append(f"| {f'**{cell(name)}**' if name == model else cell(name)} | {' | '.join(told)} |")
    if test["top1_interval"]:
        low, high = test["top1_interval"]
        lines += ["", f"Top-1, 95 %: {_percent(low)} to {_percent(high)}, by a bootstrap over groups."]
    lines += [
        "",
        "| class | test videos | found | right when said | most often taken for |",
        "| --- | ---: | ---: | ---: | --- |",
    ]
    for row in test["classes"][:_LISTED]:
        shares = " | ".join("–" if row[key] is None else _percent(row[key]) for key in ("recall", "precision"))
        lines.append(f"| {cell(row['name'])} | {row['videos']:,} | {shares} | {cell(row['taken_for'] or '–')} |")
    if more := len(test["classes"]) - _LISTED:
        lines += ["", f"And {more} more in card.json."] if more > 0 else []
    return lines


def points(gain: float) -> str:
    """`+87.0 points`."""
    return f"{100 * gain:+.1f} points"


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:_NAMED]) + (f" and {len(names) - _NAMED} more" if len(names) > _NAMED else "")
