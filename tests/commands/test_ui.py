"""`vidpred ui` says at once why it cannot serve."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from vidpred.commands.ui import serve
from vidpred.errors import UserError


def test_a_taken_port_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VIDPRED_HOME", str(tmp_path))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    (tmp_path / "mlflow.db").touch()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match=f"port {port} is in use"):
            serve(port=port)


@pytest.mark.slow
def test_the_page_is_served_quietly_and_ctrl_c_ends_it(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").touch()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    hidden = ("MLFLOW_TRACKING_URI", "PYTHONWARNINGS")
    env = {k: v for k, v in os.environ.items() if k not in hidden} | {"VIDPRED_HOME": str(tmp_path)}
    with subprocess.Popen(
        [sys.executable, "-c", "from vidpred.cli import main; main()", "ui", "--port", str(port)],
        env=env | {"PYTHONPATH": str(Path(__file__).parents[2])},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline().startswith(f"MLflow: http://127.0.0.1:{port} ")
            deadline = time.monotonic() + 200
            while True:
                try:
                    with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=30) as page:
                        assert page.status == 200
                    break
                except urllib.error.URLError:
                    assert time.monotonic() < deadline
                    assert process.poll() is None
                    time.sleep(0.5)
        finally:
            os.killpg(process.pid, signal.SIGINT)  # as a terminal does
        rest = process.communicate(timeout=60)[0]
    assert "Deprecat" not in rest
    assert "Traceback" not in rest
