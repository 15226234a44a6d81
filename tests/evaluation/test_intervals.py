"""Gains and their intervals, against cases done by hand."""

from __future__ import annotations

import numpy as np
import pytest

from vidpred.evaluation.evaluate import headline
from vidpred.evaluation.intervals import FLOOR, beats, paired_gain, why_not


def test_pooled_weighs_windows_and_macro_groups() -> None:
    mine = np.array([10.0] * 9 + [40.0])
    other = np.array([20.0] * 9 + [40.0])
    groups = np.array(["a"] * 9 + ["b"])
    gain = paired_gain(mine, other, groups)
    assert gain["pooled"] == pytest.approx(1 - 13 / 22)
    assert gain["macro"] == pytest.approx(1 - np.sqrt((10 + FLOOR) / (20 + FLOOR)))
    assert gain["units"] == 2


def test_a_gain_on_many_groups_is_a_claim_and_on_few_it_is_not() -> None:
    rng = np.random.default_rng(1)
    other = rng.uniform(20, 40, 300)
    mine = other * rng.uniform(0.6, 0.9, 300)
    many = paired_gain(mine, other, np.arange(300) % 30)
    few = paired_gain(mine, other, np.arange(300) % 5)
    assert beats(many)
    assert why_not(many) == ""
    low, high = many["pooled_interval"]
    assert 0.2 < low < many["pooled"] < high < 0.3
    assert not beats(few)
    assert "judged by 5" in why_not(few)


def test_no_difference_is_no_claim() -> None:
    rng = np.random.default_rng(2)
    other = rng.uniform(20, 40, 300)
    gain = paired_gain(other + rng.normal(0, 1, 300), other, np.arange(300) % 30)
    assert not beats(gain)
    assert "holds zero" in why_not(gain)
    worse = paired_gain(other * 1.2, other, np.arange(300) % 30)
    assert "worse" in why_not(worse)


def test_one_good_video_among_bad_ones_is_no_claim() -> None:
    groups = np.repeat(np.arange(25), 4)
    other = np.full(100, 10.0)
    mine = np.where(groups == 0, 0.1, 10.2)
    other[groups == 0] = 100
    gain = paired_gain(mine, other, groups)
    assert gain["pooled"] > 0.2
    assert not beats(gain)


def test_frozen_videos_do_not_divide_by_zero() -> None:
    gain = paired_gain(np.zeros(40), np.zeros(40), np.arange(40) % 20)
    assert gain["pooled"] == gain["macro"] == 0


@pytest.mark.parametrize("copied", [0.0, 1e-7, 0.05])
def test_where_nothing_moves_there_is_no_gain_and_no_loss_but_words(copied: float) -> None:
    gain = paired_gain(np.full(60, 12.0), np.full(60, copied), np.arange(60) % 30)
    assert gain["still"]
    assert [gain["pooled"], gain["macro"], *gain["pooled_interval"], *gain["macro_interval"]] == [0] * 6
    assert not beats(gain)
    assert why_not(gain) == "nothing moves in these windows, so there is nothing to gain"


def test_draws_of_nothing_but_frozen_videos_have_bounded_gains() -> None:
    groups = np.arange(30)
    copied = np.where(groups == 0, 30.0, 1e-9)  # a third of the draws have no moving video
    gain = paired_gain(np.full(30, 1.0), copied, groups)
    assert not gain["still"]
    assert min(gain["pooled_interval"]) >= 1 - 1.0 / FLOOR


def test_blocks_are_drawn_within_videos() -> None:
    # two videos that differ much: drawing whole videos is uncertain, drawing stretches of both is not
    rng = np.random.default_rng(3)
    videos = np.repeat(["a", "b"], 60)
    blocks = np.array([f"{v}{i // 5}" for i, v in enumerate(videos)])
    other = np.where(videos == "a", 10.0, 60.0)
    mine = other * np.where(videos == "a", 0.9, 0.5) * rng.uniform(0.95, 1.05, 120)
    gain = paired_gain(mine, other, videos, blocks=blocks)
    assert gain["units"] == 24
    low, high = gain["macro_interval"]
    assert high - low < 0.05
    assert gain["macro"] == pytest.approx(1 - np.sqrt(0.9 * 0.5), abs=0.02)


def test_the_same_draws_every_time() -> None:
    rng = np.random.default_rng(4)
    mine, other = rng.uniform(1, 2, (2, 50))
    assert paired_gain(mine, other, np.arange(50)) == paired_gain(mine, other, np.arange(50))


def test_a_distance_in_another_unit_has_the_same_gain() -> None:
    rng = np.random.default_rng(5)
    other = rng.uniform(20, 40, 100)
    mine = other * rng.uniform(0.4, 0.6, 100)
    grey = paired_gain(mine, other, np.arange(100) % 25)
    share = paired_gain(mine / 765, other / 765, np.arange(100) % 25, floor=FLOOR / 765)
    assert share["pooled"] == pytest.approx(grey["pooled"])
    assert share["macro"] == pytest.approx(grey["macro"])


def test_a_single_group_is_told_in_the_singular() -> None:
    assert "judged by 1 group or stretch of time" in why_not(paired_gain([1.0, 2.0], [4.0, 4.0], ["a", "a"]))


@pytest.mark.parametrize(("copied", "gain"), [(10.0, {"gain": 0.5, "gain_at_least": 0.5}), (0.0, {})])
def test_headline_is_a_few_figures_and_no_gain_where_nothing_moves(copied: float, gain: dict[str, float]) -> None:
    test = {n: {"perceptual_distance": d, "psnr_db": 20.0, "ssim": 0.9} for n, d in (("m", 5.0), ("copy_last", copied))}
    over = paired_gain(np.full(40, 5.0), np.full(40, copied), np.arange(40))
    told = headline({"model": {"name": "m"}, "test": test, "over_copy_last": over})
    assert told == {"pd": 5.0, "pd_copy_last": copied, "psnr_db": 20.0, "ssim": 0.9} | gain
