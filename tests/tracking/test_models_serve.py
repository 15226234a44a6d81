"""`mlflow models serve` on a registered version: MLflow's own server answers with what we predict."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import httpx
import numpy as np
import pytest

from tests.tracking.conftest import Project, free_port
from vidpred.serving.predictor import FramePredictor

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(400),
    # MLflow uses parts of SQLAlchemy that are to go
    pytest.mark.filterwarnings(r"ignore::DeprecationWarning:mlflow\..*"),
]


def test_mlflow_serves_what_we_predict(home: Path, project: Project, tmp_path: Path) -> None:
    project.register()
    port = free_port()
    command = [sys.executable, "-m", "mlflow", "models", "serve", "-m", "models:/vidpred@champion"]
    command += ["--env-manager", "local", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    env = os.environ | {"MLFLOW_TRACKING_URI": f"sqlite:///{home / 'mlflow.db'}"}
    env |= {"MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false"}
    env["PATH"] = f"{Path(sys.executable).parent}:{env['PATH']}"  # an activated environment: MLflow runs its uvicorn
    with (tmp_path / "serve.log").open("wb") as told:
        process = subprocess.Popen(command, cwd=tmp_path, env=env, stdout=told, stderr=told, start_new_session=True)
    try:
        deadline = time.monotonic() + 240
        while not answers(f"http://127.0.0.1:{port}/ping"):
            assert process.poll() is None, (tmp_path / "serve.log").read_text()[-2000:]
            assert time.monotonic() < deadline, (tmp_path / "serve.log").read_text()[-2000:]
            time.sleep(0.3)
        clips = np.random.default_rng(0).integers(0, 256, (2, 3, 16, 16, 3), np.uint8)
        asked = {"inputs": clips.tolist(), "params": {"frames": 4}}
        answer = httpx.post(f"http://127.0.0.1:{port}/invocations", json=asked, timeout=60, trust_env=False)
        assert answer.status_code == 200, answer.text[:2000]
        predicted = np.array(answer.json()["predictions"], np.uint8)
        predictor = FramePredictor.load("models:/vidpred@champion")
        assert np.array_equal(predicted, np.stack([predictor.predict(clip, 4) for clip in clips]))
        one = httpx.post(
            f"http://127.0.0.1:{port}/invocations", json={"inputs": clips.tolist()}, timeout=60, trust_env=False
        )
        assert np.array(one.json()["predictions"]).shape == (2, 1, 16, 16, 3)  # its horizon, where nobody says
        wrong = httpx.post(
            f"http://127.0.0.1:{port}/invocations", json={"inputs": clips[:, :2].tolist()}, timeout=60, trust_env=False
        )
        assert wrong.status_code >= 400
        assert "expected uint8 (B, at least 3, 16, 16, 3)" in wrong.text
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def answers(address: str) -> bool:
    """Whether a server is ready."""
    try:
        return httpx.get(address, timeout=2, trust_env=False).status_code == 200
    except httpx.HTTPError:
        return False
