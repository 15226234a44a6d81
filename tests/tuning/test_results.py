"""What a sweep is told to have found: one that failed is nobody's winner, however near it had come."""

from __future__ import annotations

import pandas as pd
import pytest

from vidpred.errors import UserError
from vidpred.tuning.live import show_trials
from vidpred.tuning.results import best_of


def trials(*rows: tuple[str, float]) -> pd.DataFrame:
    made = [
        {"trial": n, "model": "conv2d", "config": "{}", "train": "{}", "step": 4, "val_gain": 0.1, "status": status}
        | {"perceptual_distance": distance, "error": "out of memory" if status == "failed" else ""}
        for n, (status, distance) in enumerate(rows)
    ]
    return pd.DataFrame(made)


def test_a_trial_that_failed_does_not_win_and_is_not_shown_first(capsys: pytest.CaptureFixture[str]) -> None:
    found = trials(("failed", 1.0), ("stopped", 3.0), ("finished", 2.0))
    assert best_of(found)["trial"] == 2
    show_trials(found)
    shown = capsys.readouterr().err
    assert shown.index("2.00") < shown.index("3.00") < shown.index("out of memory")


def test_where_all_failed_nothing_won() -> None:
    with pytest.raises(UserError, match="no trial came to a result: out of memory"):
        best_of(trials(("failed", 1.0), ("failed", 2.0)))
