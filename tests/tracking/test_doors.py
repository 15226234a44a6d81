"""A server that answers anybody is found by asking it, wherever its address comes from."""

from __future__ import annotations

import os

import mlflow
import pytest

from vidpred.commands import exposure
from vidpred.tracking.server import answers_anybody, version

# MLflow uses parts of SQLAlchemy that are to go
pytestmark = pytest.mark.filterwarnings(r"ignore::DeprecationWarning:mlflow\..*")


def test_an_open_server_is_told_where_others_reach_it(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert answers_anybody(server)
    assert version(server) == mlflow.__version__
    assert list(exposure.mlflow_address(server)) == []  # on loopback, nobody else does
    monkeypatch.setattr(exposure, "is_loopback", lambda _host: False)
    texts = [finding.text for finding in exposure.mlflow_address(server)]
    assert any("answers whoever asks" in text and "--app-name basic-auth" in text for text in texts)


def test_an_open_server_of_this_machine_is_found_by_its_process(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    port = server.rpartition(":")[2]
    monkeypatch.setattr(exposure, "from_elsewhere", lambda ip: ip == "127.0.0.1")
    found = [finding.text for finding in exposure.listeners() if f":{port} " in finding.text]
    assert found
    assert all(f"listens on 127.0.0.1:{port} and answers whoever asks" in text for text in found)
    assert os.getpid() not in [int(text.split()[1]) for text in found]
