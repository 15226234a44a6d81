"""`vidpred ui` says at once why it cannot serve."""

from __future__ import annotations

import socket
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
