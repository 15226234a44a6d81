"""How well actions are found in long videos: `make bench-localise`.

In: a classifier with a class `background` (by the preset untrimmed_shapes), and long videos of moving shapes made from
seeds that it was not trained on. Out: a table on stdout, and the same as JSON: mAP at temporal IoU 0.3, 0.5 and 0.7
with its 95 % interval over videos, the windows that the model was shown, and the time. The plain way beside ours:
windows side by side, the likeliest class of each, neighbours of one class joined. The videos stay, with `truth.csv`, to
be looked at with `vidpred classify`.
"""

from __future__ import annotations

import argparse
import logging
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import yaml
from rich.console import Console
from rich.table import Table

from benchmarks.contest import machine
from vidpred.data import untrimmed
from vidpred.errors import UserError
from vidpred.evaluation.annotations import write_truth
from vidpred.evaluation.detections import THRESHOLDS, Span, interpolated, judged, matched, mean_of, ranking
from vidpred.records import BACKGROUND
from vidpred.serving.classify import ClipClassifier
from vidpred.serving.localise import localise, opened
from vidpred.training.device import set_threads
from vidpred.workspace import cores, home, set_up_logging, write_json

log = logging.getLogger(__name__)

ROOT = Path(__file__).resolve().parents[1]
SEED = 1000
"""Of the videos; the training clips have seed 0."""
RESAMPLES = 1000
Spans = dict[str, list[Span]]
Way = Callable[[ClipClassifier, Path], tuple[list[Span], int]]
"""Segments of a video, and how many windows the model was shown."""


SETS: dict[str, dict[str, object]] = {"often": {}, "rarely": {"gap": [40, 120]}}
"""How often something happens, by what is changed of the recipe: after rests of 1 to 3 s, or of 4 to 12 s."""


def make_videos(folder: Path, count: int, *, seed: int, seconds: float, **changes: object) -> Spans:
    """Long videos as MP4, and `truth.csv` beside them."""
    raw = yaml.safe_load((ROOT / "datasets/untrimmed_shapes.yaml").read_text())
    recipe = untrimmed.Recipe.model_validate(raw | {"seed": seed, "seconds": seconds} | changes)
    folder.mkdir(parents=True, exist_ok=True)
    truth: Spans = {}
    for number in range(count):
        name = f"shapes{number:02d}.mp4"
        actions = untrimmed.write_video(folder / name, recipe, number)
        truth[name] = [Span(action.start / recipe.fps, action.end / recipe.fps, action.label) for action in actions]
    write_truth(folder / "truth.csv", truth)
    return truth


def ours(way: str) -> Way:
    """One of `vidpred classify --localise`."""

    def look(model: ClipClassifier, path: Path) -> tuple[list[Span], int]:
        found = localise(model, opened(model, path), way)
        return found.spans, found.windows

    return look


def side_by_side(model: ClipClassifier, path: Path) -> tuple[list[Span], int]:
    """As one would write it in ten minutes."""
    source = opened(model, path)
    frames = np.concatenate([part.frames for part in source.parts()])
    starts = range(0, len(frames) - model.span + 1, model.span)
    believed = model.believed(np.stack([model.window(frames, start) for start in starts]))
    spans: list[Span] = []
    for start, scores in zip(starts, believed, strict=True):
        label, score = model.task.classes[int(scores.argmax())], float(scores.max())
        begin, end = start / source.fps, (start + model.span) / source.fps
        if label == BACKGROUND:
            continue
        if spans and spans[-1].label == label and abs(spans[-1].end - begin) < 1e-9:
            spans[-1] = spans[-1]._replace(end=end, score=max(spans[-1].score, score))
        else:
            spans.append(Span(begin, end, label, score))
    return spans, len(starts)


WAYS: dict[str, Way] = {
    "side by side": side_by_side,
    "sliding": ours("sliding"),
    "proposals": ours("proposals"),
}


def interval(found: Mapping[str, list[Span]], truth: Mapping[str, list[Span]], threshold: float) -> tuple[float, float]:
    """95 % of mAP: a bootstrap over videos. What is right in a video depends on no other one, so it is told once."""
    rng, videos = np.random.default_rng(0), list(truth)
    labels = sorted({span.label for spans in truth.values() for span in spans})
    parts = {}
    for label in labels:
        for i, video in enumerate(videos):
            mine, true = ([s for s in spans[video] if s.label == label] for spans in (found, truth))
            parts[label, i] = np.array([s.score for s in mine]), matched(mine, true, threshold), len(true)
    means = []
    for _ in range(RESAMPLES):
        drawn = rng.integers(0, len(videos), len(videos))
        precisions = {}
        for label in labels:
            scores, right, counts = zip(*(parts[label, int(i)] for i in drawn), strict=True)
            if sum(counts):
                order = ranking(np.concatenate(scores))
                precisions[label] = interpolated(np.concatenate(right)[order], sum(counts))
        means.append(mean_of(precisions))
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)


def measure(model: ClipClassifier, folder: Path, truth: Spans) -> list[dict[str, object]]:
    """A row for each way."""
    rows: list[dict[str, object]] = []
    for name, way in WAYS.items():
        found: Spans = {}
        windows, seconds = 0, []
        for video in truth:
            began = time.monotonic()
            found[video], shown = way(model, folder / video)
            seconds.append(time.monotonic() - began)
            windows += shown
        told = judged(found, truth)
        rows.append(
            {
                "way": name,
                "map": {f"{t:g}": mean_of(told[t]) for t in THRESHOLDS},
                "interval": {f"{t:g}": interval(found, truth, t) for t in THRESHOLDS},
                "ap": {f"{t:g}": told[t] for t in THRESHOLDS},
                "windows": windows,
                "seconds_per_video": statistics.median(seconds),
            }
        )
        log.info("%s: mAP at 0.5 %.1f %%", name, 100 * mean_of(told[0.5]))
    return rows


def show(rows: Sequence[Mapping[str, object]], title: str) -> None:
    """Prints the table to stdout."""
    table = Table(title=title, title_justify="left")
    for heading in ("way", *(f"mAP at {t:g}" for t in THRESHOLDS), "windows", "s a video"):
        table.add_column(heading, justify="left" if heading == "way" else "right")
    for row in rows:
        means, spread = row["map"], row["interval"]
        assert isinstance(means, dict)
        assert isinstance(spread, dict)
        cells = [f"{100 * means[k]:.1f} ({100 * spread[k][0]:.1f} to {100 * spread[k][1]:.1f})" for k in means]
        table.add_row(str(row["way"]), *cells, str(row["windows"]), f"{row['seconds_per_video']:.2f}")
    Console().print(table)


def main() -> None:
    """Prints the table."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    options.add_argument("model", type=Path, nargs="?", default=ROOT / "models/trained", help="a model folder")
    options.add_argument("--videos", type=int, default=10, help="how many of each kind, of a minute each")
    options.add_argument("--seed", type=int, default=SEED, help="of the videos")
    options.add_argument("--folder", type=Path, default=None, help="where they are kept")
    options.add_argument("--threads", type=int, default=None, help="of torch (default: one a core)")
    options.add_argument("--out", type=Path, default=ROOT / "results/bench/localise.json")
    options.add_argument("--quick", action="store_true", help="three videos of 20 seconds of each kind")
    given = options.parse_args()
    set_up_logging()
    set_threads(given.threads)
    count, seconds = (3, 20.0) if given.quick else (given.videos, 60.0)
    folder = given.folder or home() / "bench-localise-videos"
    model = ClipClassifier.load(given.model, device="cpu")
    tables = {}
    for name, changes in SETS.items():
        truth = make_videos(folder / name, count, seed=given.seed, seconds=seconds, **changes)
        tables[name] = rows = measure(model, folder / name, truth)
        actions = sum(map(len, truth.values()))
        show(rows, f"{model.info['name']}, something happens {name}: {count} videos, {actions} actions")
    facts = machine(folder) | {"threads": given.threads or cores(), "videos": count, "seed": given.seed}
    write_json(given.out, {"machine": facts, "model": model.info["name"], "sets": tables})
    log.info("wrote %s; the videos are in %s", given.out, folder)


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        sys.exit(f"error: {error}")
