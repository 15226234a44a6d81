"""An empty current folder, and a model in it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.serving.clips import moving_on


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def model(folder: Path) -> str:
    """A folder of a model that is right about `clip`."""
    return str(moving_on(folder / "model"))
