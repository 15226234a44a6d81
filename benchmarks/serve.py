"""How many uploads `vidpred serve` answers, beside a plain server: `make bench-serve`.

Clients and server share this machine. Each client uploads one real-sized GIF after the other and reads the GIF of five
predicted frames that comes back. Then ten times as many clients come as there are, to see that they are told to come
back, and that a single one is served as before when they have gone. The model is an untrained one, as fast as a trained
one of its kind.
"""

from __future__ import annotations

import argparse
import logging
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
import torch

from benchmarks.clients import Load, form, load
from benchmarks.contest import Row
from benchmarks.material import gifs, real_gifs
from benchmarks.runner import at_least, command, options, publish, workplace
from vidpred.errors import UserError
from vidpred.models import zoo
from vidpred.models.files import save_model
from vidpred.types import Task

log = logging.getLogger(__name__)

OURS = ("-c", "from vidpred.cli import main; main()", "serve", "--port", "0")
PLAIN = ("-m", "benchmarks.plain_server")
_FRAMES = 5
_OVERLOAD = 10
_RATE, _P99, _GROWTH_MIB = 10, 2, 50


@dataclass(frozen=True)
class Setting:
    """How much of everything."""

    folder: Path
    """An empty one."""
    seconds: float = 60
    """Of the load on each server."""
    clients: int = 8
    model: Path | None = None
    """A model's folder; None: an untrained warpmix, 5 frames of context."""
    side: int = 64
    """Rows and columns of its frames: those of the project's params.yaml."""
    real: Path | None = None
    """A folder of GIFs; None: GIFs of 8 frames, 210x160, are made."""


class Running:
    """A server's process."""

    def __init__(self, process: subprocess.Popen[str], url: str) -> None:
        self.url = url
        self._process = psutil.Process(process.pid)

    def processor_seconds(self) -> float:
        """That it has taken so far, its children that have ended included."""
        times = self._process.cpu_times()
        return float(times.user + times.system + times.children_user + times.children_system)

    def memory_mib(self) -> float:
        """That it holds."""
        return float(self._process.memory_info().rss / 2**20)


@contextmanager
def running(*command: str) -> Iterator[Running]:
    """A server, until the block ends.

    Raises:
        UserError: it does not start.
    """
    process = subprocess.Popen([sys.executable, *command], text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    with process:
        try:
            assert process.stdout is not None
            said = []
            for line in process.stdout:
                said.append(line)
                if found := re.search(r"http://\S+?:\d+", line):
                    yield Running(process, found[0])
                    return
            raise UserError(f"the server did not start: {''.join(said[-3:]).strip()}")
        finally:
            process.terminate()


def made_model(folder: Path, side: int) -> Path:
    """An untrained warpmix, 5 → 1."""
    task = Task(context=5, horizon=1, height=side, width=side)
    torch.manual_seed(0)
    model = zoo.build("warpmix", {}, task)
    save_model(folder, model, name="warpmix", config={}, task=task, info={"data_id": "none", "fps": 10.0})
    return folder


def measure(setting: Setting) -> list[Row]:
    """All rows."""
    model = setting.model or made_model(setting.folder / "model", setting.side)
    paths = real_gifs(setting.real) if setting.real else gifs(
        setting.folder / "gifs", 16, frames=8, height=160, width=210
    )  # fmt: skip
    bodies = [form(path.read_bytes(), frames=_FRAMES) for path in paths]
    with running(*OURS, str(model)) as server:
        ours, our_cost, rows = _loaded(server, bodies, setting)
        rows += _overloaded(server, bodies, setting, ours)
    with running(*PLAIN, str(model)) as server:
        load(server.url, bodies, clients=2, seconds=2)
        log.info("a plain server: %d clients, %g s", setting.clients, setting.seconds)
        plain, cost = _timed(server, bodies, setting)
    _all_well(plain, "the plain server")
    told = f"it: {plain.rate:.1f} uploads/s, p50 {_quantile(plain, 50):.2f} s, p99 {_quantile(plain, 99):.2f} s"
    against = "against a plain server: an upload at a time, two processes of ffmpeg each"
    rows[1:1] = [
        Row("plain", f"uploads/s {against}", value=ours.rate / plain.rate, note=told),
        Row("plain", "processor time of an upload, its against ours", value=cost / our_cost, note=f"it: {cost:.0f} ms"),
    ]
    return rows


def _timed(server: Running, bodies: list[bytes], setting: Setting) -> tuple[Load, float]:
    """What clients saw, and the server's processor time an answer, in milliseconds."""
    before = server.processor_seconds()
    seen = load(server.url, bodies, clients=setting.clients, seconds=setting.seconds)
    return seen, 1000 * (server.processor_seconds() - before) / max(1, len(seen.latencies))


def _loaded(server: Running, bodies: list[bytes], setting: Setting) -> tuple[Load, float, list[Row]]:
    load(server.url, bodies, clients=setting.clients, seconds=min(10, setting.seconds))  # pools and caches are filled
    log.info("%d clients, %g s", setting.clients, setting.seconds)
    before = server.memory_mib()
    seen, processor = _timed(server, bodies, setting)
    after = server.memory_mib()
    _all_well(seen, "the server")
    many = f"{setting.clients} clients, {setting.seconds:g} s, GIF of {_FRAMES} predicted frames"
    cost = f"{processor:.0f} ms of processor time each, clients' own not counted"
    return seen, processor, [
        Row("load", f"uploads/s: {many}", value=seen.rate, unit="uploads/s", limit=_RATE, note=cost),
        Row("load", "p50 of the answers", value=_quantile(seen, 50), unit="s"),
        Row("load", "p99 of the answers", value=_quantile(seen, 99), unit="s", limit=_P99, at_least=False),
        Row(
            "load", "growth of the server's memory", value=max(0.0, after - before), unit="MiB", limit=_GROWTH_MIB,
            at_least=False, note=f"{before:.0f} to {after:.0f} MiB",
        ),
    ]  # fmt: skip


def _overloaded(server: Running, bodies: list[bytes], setting: Setting, calm: Load) -> list[Row]:
    clients, seconds = _OVERLOAD * setting.clients, max(4.0, setting.seconds / 4)
    log.info("%d clients, %g s", clients, seconds)
    seen = load(server.url, bodies, clients=clients, seconds=seconds, heed=False)
    _all_well(seen, "the server under overload")
    log.info("one client afterwards")
    alone = load(server.url, bodies, clients=1, seconds=max(2.0, seconds / 3))
    _all_well(alone, "the server after the overload")
    told, served = seen.statuses[429], seen.statuses[200]
    speed = f"{served} answered at {seen.rate:.1f} a second, p99 {_quantile(seen, 99):.2f} s"
    what = f"told to come back (429), of {clients} clients that do not wait"
    note = f"{speed}; memory {server.memory_mib():.0f} MiB"
    return [
        Row("overload", what, value=100 * told / (told + served), unit="%", note=note),
        Row("overload", "uploads/s meanwhile, against the load before", value=seen.rate / calm.rate),
        Row("overload", "p50 of one client afterwards", value=_quantile(alone, 50), unit="s",
            limit=_quantile(calm, 50), at_least=False, note="limit: that of the load before"),
    ]  # fmt: skip


def _quantile(seen: Load, percent: float) -> float:
    return float(np.percentile(seen.latencies, percent))


def _all_well(seen: Load, who: str) -> None:
    if seen.errors or not seen.latencies:
        told = ", ".join(f"{count} times {status or 'nothing'}" for status, count in sorted(seen.statuses.items()))
        raise UserError(f"{who} answered with {told}: the figures are void")


def main() -> None:
    """Reads the options, measures, prints the table."""
    parser = options("serve", __doc__, quick="a few seconds of load: whether it runs")
    parser.add_argument("--seconds", type=float, default=60, help="of the load")
    parser.add_argument("--clients", type=int, default=8, help="at once")
    parser.add_argument("--model", type=Path, help="a model's folder (an untrained warpmix)")
    parser.add_argument("--side", type=int, default=64, help="rows and columns of the untrained one's frames")
    parser.add_argument("--real", type=Path, help="a folder of GIFs in place of made ones")
    command(parser, _run)


def _run(chosen: argparse.Namespace) -> None:
    at_least(chosen, clients=1, seconds=1, side=8)
    with workplace() as folder:
        setting = Setting(
            folder, seconds=3 if chosen.quick else chosen.seconds, clients=chosen.clients, model=chosen.model,
            side=chosen.side, real=chosen.real,
        )  # fmt: skip
        facts = {
            "torch": torch.__version__,
            "clients": setting.clients,
            "model": str(chosen.model or f"warpmix, {chosen.side}x{chosen.side}"),
            "uploads": f"GIFs of {chosen.real}" if chosen.real else "made GIFs of 8 frames, 210x160",
        }
        publish(lambda: measure(setting), folder, out=chosen.out, facts=facts, title="the page's server")


if __name__ == "__main__":
    main()
