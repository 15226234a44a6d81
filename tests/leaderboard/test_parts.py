"""The parts of a leaderboard that stand alone: where a picture zooms in, which code counts."""

from __future__ import annotations

import re

import numpy as np
import pytest

from vidpred.evaluation.intervals import paired_gain
from vidpred.leaderboard.page import breakable, percent, shade, share, short, speed
from vidpred.leaderboard.pictures import busiest
from vidpred.leaderboard.sources import code_digest
from vidpred.leaderboard.table import gain_of
from vidpred.leaderboard.write import gain_cell
from vidpred.report import charts


def test_pictures_zoom_in_on_what_moves() -> None:
    before = np.zeros((32, 48, 3), np.uint8)
    after = before.copy()
    after[20:28, 30:40] = 255
    left, top = busiest(before, after)
    assert left * 24 <= 30
    assert (left + 1) * 24 >= 40
    assert top * 16 <= 20
    assert (top + 1) * 16 >= 28


def test_only_the_code_that_a_model_runs_counts() -> None:
    one, other = "vidpred.models.predict.conv2d", "vidpred.models.predict.conv3d"
    assert code_digest(one) == code_digest(one)
    assert code_digest(one) != code_digest(other)
    assert code_digest(one, other) == code_digest(other, one)


def test_figures_are_told_briefly() -> None:
    assert [short(n) for n in (7, 999, 1000, 98_000_000, 3e9)] == ["7", "999", "1 k", "98 M", "3 G"]
    assert [speed(v) for v in (None, 0.53, 9.97, 1234.4)] == ["–", "0.5", "10", "1,234"]
    assert [share(v) for v in (None, 0.832, 1.4)] == ["–", "83 %", "140 %"]
    assert breakable("a_b<c") == "a_<wbr>b&lt;c"
    assert percent(-0.123) == "−12.3 %"
    assert percent(None) == "–"
    assert shade(None) == "transparent"
    assert "--good" in shade(0.2)
    assert "--bad" in shade(-0.2)


def test_one_group_alone_has_a_gain_and_no_interval() -> None:
    alone, several = (paired_gain([1.0, 2.0], [4.0, 4.0], groups) for groups in (["a", "a"], ["a", "b"]))
    assert gain_of(alone, "pooled") == (0.625, None)
    assert gain_cell(alone, "pooled", claim=False) == "+62.5 %"
    assert gain_cell(several, "pooled", claim=False) == "+62.5 % (+50.0 % to +75.0 %)"


def test_charts_hold_every_model_and_leave_out_what_has_no_gain() -> None:
    moved = charts.motion_chart({"one": [None, 0.1, 0.2], "two": [0.3, None, -0.1]}, [1.0, 2.0, 3.0], "average")
    for name in ("one", "two", "mean PD of average"):
        assert name in moved
    names = {"one": (1e6, 5.0), "two": (1.01e6, 5.0), "three": (1e9, 5.0)}
    cost = charts.cost_chart(names, {"copy_last": 9.0})
    heights = [float(found[0]) for name in names if (found := re.findall(rf' y="([\d.]+)"[^>]*>{name}<', cost))]
    assert abs(heights[0] - heights[1]) >= 10  # on one place they would be one smudge
    assert heights[0] == pytest.approx(heights[2], abs=0.1)
    assert "copy_last" in cost
