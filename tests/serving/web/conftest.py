"""A small model that is right about small clips, clients of servers in a thread, and servers of their own."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import torch
import uvicorn
from starlette.types import ASGIApp

from vidpred.models import zoo
from vidpred.models.files import save_model
from vidpred.serving.web.app import make_app
from vidpred.serving.web.drawing import gif
from vidpred.serving.web.settings import Settings
from vidpred.types import Task

SIDE = 32
CONTEXT = 3
TOKEN = "a token that is long enough"
Make = Callable[..., httpx.Client]


def clip(length: int, *, height: int = SIDE, width: int = SIDE) -> np.ndarray:
    """uint8 (length, height, width, 3): a white square on black that moves to the right, one pixel a frame."""
    frames = np.zeros((length, height, width, 3), np.uint8)
    for i in range(length):
        frames[i, 8:16, 2 + i : 10 + i] = 255
    return frames


def moving(folder: Path, step: int = 1, **told: object) -> Path:
    """A model that moves everything to the right: by one pixel, or by none."""
    task = Task(context=CONTEXT, horizon=1, height=SIDE, width=SIDE)
    model = zoo.build("conv2d", {"variant": "seed"}, task)
    kernel, bias = model.parameters()
    with torch.no_grad():
        kernel.zero_()
        bias.zero_()
        for colour in range(3):
            kernel[colour, (CONTEXT - 1) * 3 + colour, 1, 1 - step] = 1
    info = {"data_id": "d", "fps": 10.0, **told}
    save_model(folder, model, name="conv2d", config={"variant": "seed"}, task=task, info=info)
    return folder


def with_card(folder: Path) -> None:
    """Puts a card beside a model, as short as one may be."""
    weights = json.loads((folder / "model.json").read_text())["weights_sha256"]
    part = {"clips": 2, "frames": 20, "groups": 2}
    gain = {
        "beats": True, "pooled": 0.5, "macro": 0.5, "pooled_interval": [0.4, 0.6], "macro_interval": [0.4, 0.6],
        "units": 30, "why_not": "",
    }  # fmt: skip
    task = {"kind": "predict", "context": CONTEXT, "horizon": 1, "interval": 1, "height": SIDE, "width": SIDE}
    test = {"windows": 9, "baseline": "copy_last", "metrics": {"conv2d": {"perceptual_distance": 3.0}}}
    card = {
        "model": "conv2d", "weights_sha256": weights, "parameters": 10, "operations": 10, "vidpred": "0.1.0",
        "task": task | {"fps": 10.0, "fit": "crop"}, "data": part | {"data_id": "d", "seconds": 9.0, "sources": 2},
        "licences": [], "split": {"kind": "group", "train": part, "val": part, "test": part},
        "test": test | {"gains": {"copy_last": gain}}, "rollout": None, "motion": [], "limits": ["small clips only"],
    }  # fmt: skip
    (folder / "card.json").write_text(json.dumps(card))


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of a model that is right about `clip`."""
    return moving(tmp_path_factory.mktemp("models") / "moving")


@pytest.fixture(scope="session")
def cat() -> bytes:
    """A GIF of 12 frames."""
    return gif(clip(12), 10)


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    """What the app under test writes to."""
    folder = tmp_path / "scratch"
    folder.mkdir()
    return folder


@pytest.fixture
def settings(model: Path) -> Settings:
    """Those of a server for this machine."""
    return Settings(models=(str(model),), poll_seconds=3600)


@contextmanager
def listening(app: ASGIApp) -> Iterator[str]:
    """Serves an app on loopback, from a thread; gives its address."""
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, access_log=False, server_header=False, ws="none"))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        while not server.started and thread.is_alive():
            time.sleep(0.01)
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()


@pytest.fixture
def make(settings: Settings, scratch: Path) -> Iterator[Make]:
    """`make(token=…, limits={"waiting": 1})` gives a client of a server with these settings changed."""
    with ExitStack() as stack:

        def made(
            *, limits: dict[str, float] | None = None, host: str = "127.0.0.1:8000", **changes: Any
        ) -> httpx.Client:
            chosen = replace(settings, **changes, limits=replace(settings.limits, **(limits or {})))
            url = stack.enter_context(listening(make_app(chosen, scratch=scratch)))
            headers = {"Host": host}
            return stack.enter_context(
                httpx.Client(base_url=url, headers=headers, trust_env=False, follow_redirects=True, timeout=60)
            )

        yield made


@pytest.fixture
def client(make: Make) -> httpx.Client:
    """Of a server as it is by default."""
    return make()


def upload(data: bytes, name: str = "cat.gif") -> dict[str, tuple[str, bytes, str]]:
    """A file as a form sends it."""
    return {"file": (name, data, "application/octet-stream")}


@dataclass
class Server:
    """A real `vidpred serve`."""

    process: subprocess.Popen[str]
    url: str
    lines: list[str]

    def client(self, **options: object) -> httpx.Client:
        """Of it, without the proxies of the environment."""
        return httpx.Client(base_url=self.url, trust_env=False, timeout=60, **options)  # type: ignore[arg-type]


@contextmanager
def serving(*arguments: str, env: dict[str, str] | None = None, cwd: Path | None = None) -> Iterator[Server]:
    """Starts `vidpred serve` on a free port; ends it, where the test did not."""
    process = subprocess.Popen(
        [sys.executable, "-c", "from vidpred.cli import main; main()", "serve", "--port", "0", *arguments],
        stderr=subprocess.PIPE, text=True, cwd=cwd, env={**os.environ, "OMP_NUM_THREADS": "1", **(env or {})},
    )  # fmt: skip
    assert process.stderr is not None
    lines: list[str] = []
    url = ""
    for line in process.stderr:
        lines.append(line)
        if found := re.search(r"http://[^/]+:(\d+)/", line):
            url = f"http://127.0.0.1:{found[1]}"
            break
    if not url:
        process.wait()
        raise AssertionError("".join(lines))
    reader = threading.Thread(target=lambda: lines.extend(process.stderr or ()), daemon=True)
    reader.start()
    try:
        yield Server(process, url, lines)
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        reader.join(10)
        process.stderr.close()
