"""How fast prediction is, beside what one would do instead: `make bench-predict`.

In: GIFs made from a seed, and warpmix at 96x96 as it starts training (weights change no time). Out: a table on stdout,
and the same as JSON. One prediction is timed in this process, commands are processes of their own. Contestants take
turns (A B A B), and what counts is the ratio of neighbouring turns.
"""

from __future__ import annotations

import argparse
import logging
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch

from benchmarks import material
from benchmarks.contest import Row, take_turns, versus
from benchmarks.runner import at_least, command, options, publish, workplace
from vidpred.config import FlowParams
from vidpred.data import encode, launch, media
from vidpred.data.flow import flow_to_previous
from vidpred.errors import UserError
from vidpred.models import zoo
from vidpred.models.files import load_model, save_model
from vidpred.serving.predictor import FramePredictor
from vidpred.training.device import set_threads
from vidpred.types import Task, to_float, to_uint8
from vidpred.workspace import cores

log = logging.getLogger(__name__)

SIDE, CONTEXT = 96, 5
_WARM_MS, _COLD_S, _FOLDER = 50, 8, 5
_SINGLE = 3
"""Single calls in a turn: all of them would take a quarter of an hour."""
ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Setting:
    """How much of everything."""

    folder: Path
    """An empty one."""
    repeats: int = 5
    """Turns of each contestant."""
    predictions: int = 20
    """Of a turn."""
    files: int = 200
    """Of the folder."""
    threads: int = 1
    """Of torch, where it computes for one only."""


def make_model(folder: Path) -> Path:
    """warpmix with its defaults, as it starts training."""
    task = Task(context=CONTEXT, horizon=1, height=SIDE, width=SIDE)
    info = {"data_id": "benchmark", "fps": 10.0, "fit": "crop"}
    save_model(folder, zoo.build("warpmix", {}, task), name="warpmix", config={}, task=task, info=info)
    return folder


def _clip() -> np.ndarray:
    return np.stack(list(material.moving(0, CONTEXT, SIDE, SIDE)))


def warm(setting: Setting) -> list[Row]:
    """One prediction after another, frames in memory on both sides."""
    predictor = FramePredictor.load(make_model(setting.folder / "warm/model"), device="cpu")
    frames = _clip()
    rows = []
    for threads in sorted({1, setting.threads}):
        set_threads(threads)
        for _ in range(3):
            predictor.predict(frames, 1)  # what is done once
        walls, processor = [], []
        for _ in range(setting.repeats * setting.predictions):
            began, used = time.perf_counter(), time.process_time()
            predictor.predict(frames, 1)
            walls.append(1e3 * (time.perf_counter() - began))
            processor.append(1e3 * (time.process_time() - used))
        rows.append(
            Row(
                "warm", f"warpmix, {CONTEXT} → 1 at {SIDE}x{SIDE}, {threads} thread{'s' * (threads > 1)}",
                value=statistics.median(walls), unit="ms", limit=_WARM_MS, at_least=False, low=min(walls),
                high=max(walls), repeats=len(walls),
                note=f"{statistics.median(processor):.3g} ms of processor time, at the least {min(processor):.3g}",
            )
        )  # fmt: skip
    return rows


def plain(setting: Setting) -> list[Row]:
    """Against the network called by hand; and sixteen clips at once against one after the other."""
    set_threads(setting.threads)
    folder = make_model(setting.folder / "plain/model")
    predictor, (model, _) = FramePredictor.load(folder, device="cpu"), load_model(folder)
    frames, known = _clip(), FlowParams()
    many = np.stack([np.roll(frames, i, axis=2) for i in range(16)])

    def by_hand(clip: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            flow = torch.from_numpy(flow_to_previous(clip, method=known.method, preset=known.preset))[None]
            out = model(to_float(torch.from_numpy(clip)[None]), flow).frames
        following: np.ndarray = to_uint8(out[0]).movedim(-3, -1).numpy()
        return following

    if (by_hand(frames) != predictor.predict(frames, 1)).any():
        raise UserError("the network by hand gives other frames: the benchmark is void")

    def singly(_: Path) -> None:
        for _time in range(setting.predictions):
            predictor.predict(frames, 1)

    def hand(_: Path) -> None:
        for _time in range(setting.predictions):
            by_hand(frames)

    def together(_: Path) -> None:
        predictor.predict_batch(many, 1)

    times = take_turns(
        {"predict": singly, "by hand": hand, "batch": together}, setting.repeats, setting.folder / "plain"
    )
    what = f"warpmix at {SIDE}x{SIDE}, {setting.threads} thread{'s' * (setting.threads > 1)}"
    return [
        versus("plain", f"{what}: predict, against the network called by hand", times, "predict", "by hand"),
        versus(
            "plain", f"{what}: predict_batch of 16 clips, against predict for each", times, "batch", "predict",
            scale=16 / setting.predictions,
        ),
    ]  # fmt: skip


def _predict(model: Path, inputs: Sequence[Path], output: Path) -> None:
    """The command, as a user starts it."""
    environment = {k: v for k, v in os.environ.items() if k not in ("MLFLOW_TRACKING_URI", "OMP_NUM_THREADS")}
    done = subprocess.run(
        [sys.executable, "-c", "from vidpred.cli import main; main()", "predict", str(model), *map(str, inputs),
         "--frames", "5", "--output", str(output)],
        cwd=ROOT, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode != 0:
        raise UserError(f"vidpred predict failed: {done.stderr.strip()[-500:]}")


def cold(setting: Setting) -> list[Row]:
    """The command for one GIF from start to end, beside Python that only imports torch."""
    model = make_model(setting.folder / "cold/model")
    (gif,) = material.gifs(setting.folder / "cold/gifs", 1, frames=8, height=160, width=210)

    def torch_alone(_: Path) -> None:
        subprocess.run([sys.executable, "-c", "import torch"], check=True)

    times = take_turns(
        {"predict": lambda own: _predict(model, [gif], own / "out.gif"), "import torch": torch_alone},
        setting.repeats,
        setting.folder / "cold/turns",
    )
    seconds = times["predict"]
    return [
        Row(
            "cold", "vidpred predict for one GIF of 8 frames, 210x160", value=statistics.median(seconds), unit="s",
            limit=_COLD_S, at_least=False, low=min(seconds), high=max(seconds), repeats=len(seconds),
            note=f"importing torch alone takes {statistics.median(times['import torch']):.3g} s",
        )
    ]  # fmt: skip


def folder(setting: Setting) -> list[Row]:
    """A folder in one call, against a call a file; and against a loop in Python, one file after the other."""
    model = make_model(setting.folder / "folder/model")
    made = material.gifs(setting.folder / "folder/made", min(20, setting.files), frames=8, height=160, width=210)
    clips = setting.folder / "folder/clips"
    clips.mkdir()
    for number in range(setting.files):
        shutil.copyfile(made[number % len(made)], clips / f"{number:03d}.gif")

    def one_by_one(own: Path) -> None:
        for number in range(_SINGLE):
            _predict(model, [clips / f"{number:03d}.gif"], own / f"{number}.gif")

    times = take_turns(
        {
            "folder": lambda own: _predict(model, [clips], own / "out"),
            "single calls": one_by_one,
            "loop": partial(_loop, model, clips),
        },
        setting.repeats,
        setting.folder / "folder/turns",
    )
    what = f"vidpred predict for {setting.files} GIFs of 8 frames, 210x160"
    rate = f"{setting.files / statistics.median(times['folder']):.3g} files/s"
    return [
        versus(
            "folder", f"{what}, against a call for each ({_SINGLE} of them, times {setting.files / _SINGLE:.3g})",
            times, "folder", "single calls", limit=_FOLDER, scale=setting.files / _SINGLE, note=rate,
        ),
        versus("folder", f"{what}, start included, against a loop over files in Python", times, "folder", "loop"),
    ]  # fmt: skip


def _loop(model: Path, clips: Path, own: Path) -> None:
    """What one would write: the model once, then decode, predict, write, file by file."""
    predictor = FramePredictor.load(model, device="cpu")
    ffmpeg = launch.any_ffmpeg()
    for path in sorted(clips.iterdir()):
        frames = media.decode(path, height=SIDE, width=SIDE, ffmpeg=ffmpeg, fps=10)
        encode.write_gif(own / path.name, np.concatenate([frames, predictor.predict(frames, 5)]), 10, ffmpeg=ffmpeg)


BENCHMARKS: dict[str, Callable[[Setting], list[Row]]] = {
    "warm": warm,
    "plain": plain,
    "cold": cold,
    "folder": folder,
}


def measure(setting: Setting, names: Sequence[str] = tuple(BENCHMARKS)) -> list[Row]:
    """The rows of some benchmarks."""
    rows = []
    for name in names:
        log.info("%s:", name)
        rows += BENCHMARKS[name](setting)
    return rows


def main() -> None:
    """Reads the options, measures, prints the table."""
    parser = options("predict", __doc__, quick="little of everything: whether it runs, not how fast", only=BENCHMARKS)
    parser.add_argument("--repeats", type=int, default=5, help="turns of each contestant")
    parser.add_argument("--threads", type=int, help="threads of torch in this process (one a core)")
    command(parser, _run)


def _run(chosen: argparse.Namespace) -> None:
    at_least(chosen, repeats=1, threads=1)
    threads = chosen.threads or cores()
    with workplace() as made:
        setting = Setting(made, repeats=chosen.repeats, threads=threads)
        if chosen.quick:
            setting = Setting(made, repeats=1, predictions=2, files=20, threads=threads)
        facts = {"threads": threads, "torch": torch.__version__}
        names = chosen.only or tuple(BENCHMARKS)
        publish(lambda: measure(setting, names), made, out=chosen.out, facts=facts, title="prediction")


if __name__ == "__main__":
    main()
