"""What is seen of training that takes long."""

from __future__ import annotations

import logging

import pytest

from vidpred.training import pace


def test_a_log_hears_of_slow_training_between_validations(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(pace, "QUIET_SECONDS", 0.0)
    with caplog.at_level(logging.INFO), pace.bar(first=100, steps=400, batch_size=8) as tick:
        tick(101, "")
    (line,) = caplog.messages
    assert line.startswith("step 101 of 400, ")
    assert "clips/s, about 0 minutes left" in line


def test_a_log_is_not_flooded(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO), pace.bar(first=0, steps=9, batch_size=8) as tick:
        for step in range(1, 10):
            tick(step, "")
    assert not caplog.messages
