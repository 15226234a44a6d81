"""What all tests share: random state fixed and restored, the root, real clips, servers that may be missing."""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

if TYPE_CHECKING:
    from vidpred.config import Params
    from vidpred.data.digits import Recipe

ROOT = Path(__file__).resolve().parents[1]


def _chromium() -> str | None:
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    return next(filter(None, map(shutil.which, names)), None)


def _postgres() -> str | None:
    packaged = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
    return shutil.which("postgres") or (str(packaged[-1]) if packaged else None)


def _cuda() -> str | None:
    return "cuda" if torch.cuda.is_available() else None


FINDERS: dict[str, Callable[[], str | None]] = {"chromium": _chromium, "postgres": _postgres, "cuda": _cuda}


def pytest_configure() -> None:
    """Ctrl-C works in what tests start, also where a shell ran pytest in the background with SIGINT ignored."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def random_state() -> Iterator[None]:
    """Every test starts from the same random state and leaves none of its own behind."""
    before = random.getstate(), np.random.get_state(), torch.get_rng_state()
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)
    torch.set_num_threads(1)  # threads that wait for each other crawl where cores are shared
    yield
    random.setstate(before[0])
    np.random.set_state(before[1])
    torch.set_rng_state(before[2])


@pytest.fixture(scope="session")
def require() -> Callable[[str], str]:
    """`require("chromium")` gives the path of a program (or the device) that a test needs; without it the test skips,
    or fails where VIDPRED_REQUIRE names it."""

    def find(name: str) -> str:
        found = FINDERS[name]()
        if found:
            return found
        if name in os.environ.get("VIDPRED_REQUIRE", "").split():
            pytest.fail(f"VIDPRED_REQUIRE names {name}, which is not there")
        pytest.skip(f"{name} is not installed here")

    return find


@pytest.fixture(scope="session")
def root() -> Path:
    """The project's root."""
    return ROOT


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """A folder of real clips that stands beside some checkouts; tests on it skip elsewhere."""
    folder = ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"no real clips at {folder.name}: the folder beside the checkout is missing")
    return folder


@pytest.fixture(scope="session")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`shards/` and `split/` of 36 small clips of moving digits, made without ffmpeg: 24 groups, 16 frames of 32x32."""
    from vidpred.data.digits import Recipe

    return write_digits(
        tmp_path_factory.mktemp("digits"),
        Recipe(recipe="moving_digits", size=32, digit=16, frames=16, groups=24, clips_per_group=2, speed=(1.0, 2.5)),
    )


def write_digits(folder: Path, recipe: Recipe) -> Path:
    """`shards/` and `split/` of the clips of a recipe, made without ffmpeg."""
    from sklearn.datasets import load_digits

    from vidpred.config import SplitParams
    from vidpred.data.digits import planned, rendered
    from vidpred.data.shards import RawClip, Shards, write_shards
    from vidpred.data.split import make_split, write_split

    images = load_digits()
    clips = []
    for plan in planned(recipe, images.target):
        frames = rendered(recipe, plan, images.images)
        path = folder / plan.name
        path.write_bytes(frames.tobytes())
        clips.append(
            RawClip(
                source=plan.name,
                sha256=hashlib.sha256(frames.tobytes()).hexdigest(),
                key=hashlib.sha256(frames.tobytes()).hexdigest(),
                number=0,
                group=plan.group,
                label=plan.label,
                fps=10.0,
                motion=float(np.abs(np.diff(frames.astype(int), axis=0)).mean()),
                frames=path,
                length=len(frames),
            )
        )
    side = recipe.size
    write_shards(
        folder / "shards",
        clips,
        [],
        height=side,
        width=side,
        fps=10.0,
        buckets=2,
        parameters={"fit": "crop"},
        ffmpeg="none",
    )
    _, parts = make_split(Shards(folder / "shards").clips, SplitParams(val=0.15, test=0.25), span=6)
    write_split(folder / "split", parts)
    return folder


@pytest.fixture(scope="session")
def params(root: Path) -> Params:
    """The project's own params.yaml."""
    from vidpred.config import load_params

    return load_params(root / "params.yaml")
