"""Gains by how much moves, against cases done by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from vidpred.evaluation.deciles import by_motion_decile


def table(distances: np.ndarray) -> pd.DataFrame:
    places = range(len(distances))
    return pd.DataFrame({"clip": "c", "start": [6 * i for i in places], "perceptual_distance": distances})


def test_windows_are_sorted_by_motion_into_ten_parts() -> None:
    motion = np.random.default_rng(0).permutation(np.arange(1.0, 41.0))
    found = by_motion_decile({"m": table(motion * np.where(motion > 20, 0.5, 0.9)), "copy_last": table(motion)})
    assert found["decile"].tolist() == list(range(1, 11))
    assert found["windows"].tolist() == [4] * 10
    assert found["motion"].tolist() == [2.5 + 4 * i for i in range(10)]
    assert found["gain"].to_numpy() == pytest.approx([0.1] * 5 + [0.5] * 5)
    assert found["perceptual_distance"].iloc[-1] == pytest.approx(19.25)


def test_a_part_in_which_nothing_moves_has_no_gain_and_the_others_keep_theirs() -> None:
    motion = np.array([0.0, 0.01, *range(10, 28)])
    found = by_motion_decile({"m": table(motion / 2 + 0.001), "copy_last": table(motion)})
    assert np.isnan(found["gain"].iloc[0])
    assert found["gain"].iloc[1:].between(0.49, 0.5).all()


def test_few_windows_make_few_parts_and_every_model_has_its_rows() -> None:
    motion = np.array([3.0, 1.0, 2.0])
    found = by_motion_decile({"a": table(motion), "copy_last": table(motion), "b": table(motion / 4)})
    assert found[["model", "decile"]].to_numpy().tolist() == [[m, d] for m in "ab" for d in (1, 2, 3)]
    assert found["gain"].tolist() == [0.0] * 3 + [0.75] * 3


def test_tables_of_other_windows_are_not_compared() -> None:
    with pytest.raises(ValueError, match="m and copy_last were scored on other windows"):
        by_motion_decile({"m": table(np.ones(3)), "copy_last": table(np.ones(4))})
    with pytest.raises(ValueError, match="no table of copy_last: there are m"):
        by_motion_decile({"m": table(np.ones(3))})
