"""What `vidpred serve` serves where nobody names a model."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from vidpred.commands.serve import default_models
from vidpred.errors import UserError


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("params.yaml", "dvc.yaml"):
        (tmp_path / name).write_text("")
    (tmp_path / "models/trained").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("VIDPRED_HOME", str(tmp_path / "runs"))
    return tmp_path


def test_what_was_trained_here_is_served_where_there_is_no_champion(
    project: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert default_models() == (str(project / "models/trained"),)
    assert "serving models/trained" in caplog.text


@pytest.mark.usefixtures("project")
def test_a_registry_that_does_not_answer_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:  # bound, but nobody listens
        taken.bind(("127.0.0.1", 0))
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{taken.getsockname()[1]}")
        with pytest.raises(UserError, match=r"nothing listens there.*`vidpred serve models/trained`"):
            default_models()
