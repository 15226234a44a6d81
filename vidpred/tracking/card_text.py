"""A model card in words: its limits, and the whole of it as Markdown. Names and licences in it are strangers' texts:
nothing of them is taken for Markdown or HTML."""

from __future__ import annotations

import html
import re
from collections.abc import Mapping, Sequence
from typing import Any

from vidpred.data.card_figures import UNKNOWN
from vidpred.tracking import card_classes
from vidpred.training.figures import UNITS, gain_in_words

DESCRIPTION = 5000
"""Characters that MLflow's database takes as a description."""
_SHOWN = 100
"""Characters of a stranger's text."""
_LISTED = 12
"""Licences in the text; card.json has more."""
_PREDICTED = dict.fromkeys(("card.png", "card.gif"), "A test clip: what happened, and what was predicted, in green")
_PICTURES = {"confusion.png": "Which class, a row, is taken for which, a column"}
_ONE = "A test clip, green where it was told right, red where not"
_TABLE = ("perceptual_distance", "psnr_db", "ssim")
_HEADINGS = {"perceptual_distance": "PD", "psnr_db": "PSNR, dB", "ssim": "SSIM"}
_SPLITS = {
    "group": "whole groups (videos, near-duplicates joined) on one side only",
    "time": "the last part of every video judges, so that every video is known from training",
    "official": "the data set's own parts",
}


def plain(text: object) -> str:
    """A stranger's text as Markdown that shows it: one line, bounded, without markup or control characters."""
    line = " ".join("".join(c if c.isprintable() else " " for c in str(text)).split())
    line = line if len(line) <= _SHOWN else f"{line[: _SHOWN - 1]}…"
    return re.sub(r"([\\`*_{}\[\]#!|~:@])", r"\\\1", html.escape(line, quote=False))


def limits_of(card: Mapping[str, Any]) -> list[str]:
    """What a model was made for, and where it is known to be no better than copying a frame: a sentence each.

    Args:
        card: As `card.Card` has it, without its limits.
    """
    task, split, test = card["task"], card["split"], card["test"]
    rate = "at each clip's own rate" if task["fps"] is None else f"at {task['fps']:g} frames per second"
    every = f", every {task['interval']}th of them" if task["interval"] > 1 else ""
    what = (
        "the frame between two"
        if task["kind"] == "interpolate"
        else f"{_plural(task['horizon'], 'frame')} after {task['context']}"
    )
    fit = {"crop": "cropped", "pad": "padded", "stretch": "stretched"}.get(task["fit"], "brought")
    size = f"{task['width']}x{task['height']} pixels"
    classify = task["kind"] == "classify"
    judges = f"{_plural(split['test']['clips'], 'clip')} of {_plural(split['test']['groups'], 'group')}"
    other = f"clips of another shape are {fit} to it, and at another rate things move by other steps than in training"
    limits = [
        card_classes.purpose(card) if classify else f"Made for {what}, {size}, {rate}{every}; {other}.",
        f"Judged by {judges} of its own data set: nothing is known of clips of other kinds.",
    ]
    if split["kind"] == "time":
        limits.append("Split by time: it has seen earlier parts of the very videos that judge it.")
    for over, gain in test["gains"].items():
        if not gain["beats"]:
            limits.append(f"Not shown to be better than {over}: {gain['why_not'] or 'the interval holds zero'}.")
    if classify:
        limits += card_classes.limits(card)
    limits += _where_nothing_moves(card["motion"], test["baseline"]) + _ahead(card)
    unknown = sum(row["sources"] for row in card["licences"] if row["licence"] == UNKNOWN)
    if unknown or not card["licences"]:
        of = f"{_plural(unknown, 'source')}" if unknown else "the sources"
        limits.append(f"The licence of {of} is unknown: find out before you pass the model on.")
    limits.append(
        "What it says is a guess: the share that it gives a class is what it believes, not how often it is right."
        if classify
        else "What it shows is a guess, not a record of what happened."
    )
    return limits


def _where_nothing_moves(tenths: Sequence[Mapping[str, Any]], bar: str) -> list[str]:
    """Of the tenths of the windows in which a model gains nothing."""
    worse = [i for i, tenth in enumerate(tenths, start=1) if tenth["gain"] is None or tenth["gain"] <= 0]
    if not worse:
        return []
    if worse == list(range(1, len(worse) + 1)):
        which = "that move least" if len(worse) < len(tenths) else ""
        which = f" in the {_plural(len(worse), 'tenth')} of the test windows {which}" if which else " in any tenth"
    else:
        which = f" in {_plural(len(worse), 'tenth')} of the test windows, sorted by how much moves"
        which += f" (number {', '.join(map(str, worse))} of {len(tenths)})"
    return [f"No better than {bar}{which}."]


def _ahead(card: Mapping[str, Any]) -> list[str]:
    """How many frames ahead a model's mean distance stays below that of copying."""
    rollout, bar = card["rollout"], card["test"]["baseline"]
    if rollout is None or card["task"]["kind"] == "interpolate":
        return []
    mine, copied = (rollout["distances"].get(name, []) for name in (card["model"], bar))
    if not mine or len(mine) != len(copied):
        return []
    first = next((step for step, (a, b) in enumerate(zip(mine, copied, strict=True), start=1) if a >= b), None)
    if first is None:
        return [f"Rolled out on its own frames, its mean PD stays below {bar}'s for all {len(mine)} steps tried."]
    until = f"for {_plural(first - 1, 'step')}" if first > 1 else "for no step"
    return [f"Rolled out on its own frames, its mean PD stays below {bar}'s {until}, of {len(mine)} tried."]


def as_markdown(card: Mapping[str, Any], *, pictures: Sequence[str] = ()) -> str:
    """The whole card; without pictures it fits into `DESCRIPTION`.

    Args:
        card: As `card.Card` has it.
        pictures: Names of those beside it that are to be shown.
    """
    task, data, test = card["task"], card["data"], card["test"]
    classify = task["kind"] == "classify"
    size = f"{task['width']}x{task['height']}"
    made_for = card_classes.title(card) if classify else f"{task['context']} → {task['horizon']} frames of {size}"
    counted = [
        f"{card[key]:,} {word}"
        for key, word in (
            ("parameters", "parameters"),
            ("operations", f"multiply-adds a {'window' if classify else 'frame'}"),
        )
        if card[key] is not None
    ]
    parts = [
        f"# {plain(card['model'])}: {made_for}",
        f"{', '.join(counted)}; made by vidpred {plain(card['vidpred'])}; weights {card['weights_sha256'][:12]}."
        if counted
        else f"Made by vidpred {plain(card['vidpred'])}; weights {card['weights_sha256'][:12]}.",
        *(f"![{(_PICTURES if classify else _PREDICTED).get(name, _ONE)}]({name})" for name in pictures),
        "## How good",
        "\n".join(card_classes.figures(test, plain, card["model"])) if classify else _figures(test, card["model"]),
        "\n".join(f"- {_gain(over, gain, classify=classify)}" for over, gain in test["gains"].items()),
        "## Limits",
        "\n".join(f"- {plain_sentence(limit)}" for limit in card["limits"]),
        "## Data",
        (
            f"{_plural(data['sources'], 'source')}, {_plural(data['clips'], 'clip')}, {data['frames']:,} frames "
            f"({data['seconds']:,g} s); data_id {plain(data['data_id'][:12])}."
        ),
        _split(card["split"]),
        "## Licences of the sources",
        _licences(card["licences"]),
    ]
    text = "\n\n".join(part for part in parts if part) + "\n"
    return text if pictures or len(text) <= DESCRIPTION else f"{text[: DESCRIPTION - 4]}\n…\n"


def plain_sentence(text: str) -> str:
    """A sentence of our own, or a stranger's in its place, as Markdown that shows it."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return re.sub(r"([\\`*_\[\]#!|~])", r"\\\1", html.escape(line, quote=False))


def _figures(test: Mapping[str, Any], model: str) -> str:
    """The table of all models."""
    columns = [name for name in _TABLE if name in UNITS and any(name in row for row in test["metrics"].values())]
    lines = [
        f"| test, {_plural(test['windows'], 'window')} | {' | '.join(_HEADINGS[name] for name in columns)} |",
        f"| --- |{' ---: |' * len(columns)}",
    ]
    for name, row in sorted(test["metrics"].items(), key=lambda item: item[1].get("perceptual_distance", 0.0)):
        cells = [f"{row[column]:.4g}" if column in row else "–" for column in columns]
        shown = f"**{plain(name)}**" if name == model else plain(name)
        lines.append(f"| {shown} | {' | '.join(cells)} |")
    return "\n".join(
        [*lines, "", "PD: perceptual distance, lower is better; a grey that is d levels of 255 off counts about 3·d."]
    )


def _gain(over: str, gain: Mapping[str, Any], *, classify: bool) -> str:
    words = card_classes.points if classify else gain_in_words
    interval = gain["pooled_interval"]
    sure = f" (95 %: {words(interval[0])} to {words(interval[1])})" if interval else ""
    macro = f", {words(gain['macro'])} as a mean over {'groups' if classify else 'videos'}"
    judged = "it beats it" if gain["beats"] else "not shown to be better"
    figure = "of top-1" if classify else "in PD"
    return plain_sentence(f"{words(gain['pooled'])} {figure} over {over}{sure}{macro}: {judged}")


def _split(split: Mapping[str, Any]) -> str:
    parts = ", ".join(
        f"{split[part]['clips']:,} {word} ({_plural(split[part]['groups'], 'group')})"
        for part, word in (("train", "to train"), ("val", "to choose"), ("test", "to judge"))
    )
    kind = str(split["kind"])
    return f"Clips: {parts}. Split by {plain(kind)}: {_SPLITS.get(kind, 'see its docs')}."


def _licences(rows: Sequence[Mapping[str, Any]]) -> str:
    if not rows:
        return "None told."
    lines = [f"- {plain(row['licence'])}: {_plural(row['sources'], 'source')}" for row in rows[:_LISTED]]
    if rest := rows[_LISTED:]:
        lines.append(f"- others: {_plural(sum(row['sources'] for row in rest), 'source')}")
    return "\n".join(lines)


def _plural(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"
