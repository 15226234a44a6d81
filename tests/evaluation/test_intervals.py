"""Gains and their intervals, against cases done by hand."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import numpy as np
import pytest

from benchmarks.claims import no_difference
from vidpred.evaluation.evaluate import headline
from vidpred.evaluation.intervals import FLOOR, MIN_UNITS, beats, paired_difference, paired_gain, why_not
from vidpred.training.figures import interval_of


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


def test_a_single_group_has_no_interval() -> None:
    alone = paired_gain([1.0, 2.0], [4.0, 4.0], ["a", "a"])
    assert interval_of(alone) is None
    assert interval_of(paired_gain([1.0, 2.0], [4.0, 4.0], ["a", "b"]), "macro") == pytest.approx((0.5, 0.75), abs=0.03)
    test = {n: {"perceptual_distance": d, "psnr_db": 20.0, "ssim": 0.9} for n, d in (("m", 1.5), ("copy_last", 4.0))}
    told = headline({"model": {"name": "m"}, "test": test, "over_copy_last": alone, "beats_copy_last": False})
    assert told["gain"] == 0.625
    assert "gain_at_least" not in told


def test_a_single_group_is_told_in_the_singular() -> None:
    assert "judged by 1 group or stretch of time" in why_not(paired_gain([1.0, 2.0], [4.0, 4.0], ["a", "a"]))


@pytest.mark.parametrize(("copied", "gain"), [(10.0, {"gain": 0.5, "gain_at_least": 0.5}), (0.0, {})])
def test_headline_is_a_few_figures_and_no_gain_where_nothing_moves(copied: float, gain: dict[str, float]) -> None:
    test = {n: {"perceptual_distance": d, "psnr_db": 20.0, "ssim": 0.9} for n, d in (("m", 5.0), ("copy_last", copied))}
    over = paired_gain(np.full(40, 5.0), np.full(40, copied), np.arange(40))
    told = headline({"model": {"name": "m"}, "test": test, "over_copy_last": over, "beats_copy_last": beats(over)})
    assert told == {"pd": 5.0, "pd_copy_last": copied, "psnr_db": 20.0, "ssim": 0.9} | gain


def middle(statistic: Callable[[np.ndarray], float], draws: list[list[int]]) -> list[float]:
    """The interval of a statistic over every draw there is, each as likely as any other."""
    values = [statistic(np.array(draw)) for draw in draws]
    return [float(np.quantile(values, q, method="inverted_cdf")) for q in (0.025, 0.975)]


MINE = np.array([8.0, 9.0, 20.0, 30.0, 5.0])
OTHER = np.array([10.0, 12.0, 25.0, 20.0, 9.0])
GROUPS = np.array(["a", "a", "b", "b", "c"])


def test_group_intervals_are_those_of_all_draws() -> None:
    of = [np.flatnonzero(g == GROUPS) for g in "abc"]
    draws = [list(draw) for draw in product(range(3), repeat=3)]

    def pooled(draw: np.ndarray) -> float:
        windows = np.concatenate([of[g] for g in draw])
        return 1 - MINE[windows].mean() / OTHER[windows].mean()

    def macro(draw: np.ndarray) -> float:
        ratios = [(MINE[of[g]].mean() + FLOOR) / (OTHER[of[g]].mean() + FLOOR) for g in draw]
        return 1 - np.prod(ratios) ** (1 / 3)

    gain = paired_gain(MINE, OTHER, GROUPS)
    assert gain["pooled_interval"] == pytest.approx(middle(pooled, draws))
    assert gain["macro_interval"] == pytest.approx(middle(macro, draws))
    difference = paired_difference(MINE, OTHER, GROUPS)

    def pooled_difference(draw: np.ndarray) -> float:
        windows = np.concatenate([of[g] for g in draw])
        return float((MINE - OTHER)[windows].mean())

    def macro_difference(draw: np.ndarray) -> float:
        return float(np.mean([(MINE - OTHER)[of[g]].mean() for g in draw]))

    assert difference["pooled_interval"] == pytest.approx(middle(pooled_difference, draws))
    assert difference["macro_interval"] == pytest.approx(middle(macro_difference, draws))
    assert difference["pooled"] == pytest.approx((-2 - 3 - 5 + 10 - 4) / 5)
    assert difference["macro"] == pytest.approx((-2.5 + 2.5 - 4) / 3)
    assert difference["units"] == 3


LONG_MINE = np.array([8.0, 9.0, 20.0, 30.0, 5.0, 7.0, 14.0, 11.0])
LONG_OTHER = np.array([10.0, 12.0, 25.0, 20.0, 9.0, 8.0, 10.0, 21.0])
APART = LONG_MINE - LONG_OTHER


def test_block_intervals_are_those_of_all_draws_of_one_fewer_within_groups() -> None:
    groups = np.array(list("aaabbb"))
    blocks = np.array(["0a", "1a", "2a", "0b", "1b", "2b"])  # one window a block
    draws = [[*a, *b] for a in product((0, 1, 2), repeat=2) for b in product((3, 4, 5), repeat=2)]
    mine, other = LONG_MINE[:6], LONG_OTHER[:6]

    def macro(draw: np.ndarray) -> float:
        return 1 - np.prod([(mine[d].mean() + FLOOR) / (other[d].mean() + FLOOR) for d in (draw[:2], draw[2:])]) ** 0.5

    gain = paired_gain(mine, other, groups, blocks=blocks)
    assert gain["pooled_interval"] == pytest.approx(middle(lambda d: 1 - mine[d].mean() / other[d].mean(), draws))
    assert gain["macro_interval"] == pytest.approx(middle(macro, draws))
    difference = paired_difference(mine, other, groups, blocks=blocks)
    assert difference["pooled_interval"] == pytest.approx(middle(lambda d: float(APART[d].mean()), draws))
    assert difference["macro_interval"] == difference["pooled_interval"]  # of two videos of one length
    assert difference["units"] == gain["units"] == 6


def test_videos_of_few_blocks_are_drawn_whole_among_each_other() -> None:
    groups = np.array(list("aaabccde"))
    blocks = np.array(["0a", "1a", "2a", "0b", "0c", "1c", "0d", "0e"])
    few = [[3], [4, 5], [6], [7]]
    draws = [[*a, *whole] for a in product((0, 1, 2), repeat=2) for whole in product(range(4), repeat=3)]

    def of_all(draw: np.ndarray) -> float:
        windows = np.concatenate([few[i] for i in draw[2:]])
        total = 3 * APART[draw[:2]].mean() + 4 / 3 * APART[windows].sum()  # each keeps its weight
        return float(total / (3 + 4 / 3 * len(windows)))

    def of_videos(draw: np.ndarray) -> float:
        return float((APART[draw[:2]].mean() + 4 * np.mean([APART[few[i]].mean() for i in draw[2:]])) / 5)

    difference = paired_difference(LONG_MINE, LONG_OTHER, groups, blocks=blocks)
    assert difference["pooled_interval"] == pytest.approx(middle(of_all, draws), abs=0.05)
    assert difference["macro_interval"] == pytest.approx(middle(of_videos, draws), abs=0.05)
    assert difference["units"] == 7


def test_a_single_video_of_few_blocks_takes_the_shortest_of_the_others_along() -> None:
    apart = np.array([1.0, 1.0, 1.0, 2.0, 2.0, 2.0, 8.0, 4.0])
    groups, blocks = list("aaabbbbc"), ["0a", "1a", "2a", "0b", "1b", "2b", "3b", "0c"]
    difference = paired_difference(apart, np.zeros(8), groups, blocks=blocks)
    assert difference["units"] == 6  # four blocks of b, and a and c as one each
    assert difference["macro_interval"] == pytest.approx([(1 + 1 + 2) / 3, (4 + 4 + 6) / 3])


def test_enough_videos_are_drawn_whole_whatever_their_blocks() -> None:
    rng = np.random.default_rng(7)
    videos = np.repeat(np.arange(MIN_UNITS), 6)
    blocks = np.arange(6 * MIN_UNITS) // 2
    other = rng.uniform(20, 40, len(videos))
    mine = other * rng.uniform(0.6, 0.9, MIN_UNITS)[videos]
    assert paired_gain(mine, other, videos, blocks=blocks) == paired_gain(mine, other, videos)


@pytest.mark.parametrize(
    ("videos", "correlation"),
    [([1] * 30, 0), ([3] * 11, 0), ([10] * 3, 0), ([2] * 40, 0.4), ([1] * 15 + [10] * 2, 0)],
    ids=["30x1", "11x3", "3x10", "40x2", "15x1 and 2x10"],
)
def test_where_neither_is_better_a_claim_is_rare(videos: list[int], correlation: float) -> None:
    claims = sum(beats(no_difference(videos, correlation=correlation, seed=s)) for s in range(160))
    assert claims < 8  # 5 %


@pytest.mark.parametrize("spread", [0.7, 1.5])
def test_intervals_over_groups_hold_a_gain_of_nothing_some_nine_times_in_ten(spread: float) -> None:
    held = np.zeros(2)
    for seed in range(200):
        rng = np.random.default_rng(seed)
        groups = np.repeat(np.arange(30), 3)
        level = rng.lognormal(2.5, spread, 30)[groups] * rng.lognormal(0, 0.3, 90)
        ratio = np.exp(rng.normal(0, 0.1, 30)[groups] + rng.normal(0, 0.05, 90))
        gain = paired_gain(level * ratio**0.5, level / ratio**0.5, groups)
        held += [low <= 0 <= high for low, high in (gain["pooled_interval"], gain["macro_interval"])]
    assert (held >= 170).all()


def test_pairing_cancels_what_both_models_find_hard() -> None:
    rng = np.random.default_rng(6)
    psnr = rng.uniform(15, 45, 200)
    better = psnr + rng.normal(0.5, 0.2, 200)
    low, high = paired_difference(better, psnr, np.arange(200) % 40)["pooled_interval"]
    assert 0.4 < low < 0.5 < high < 0.6
    assert high - low < 0.1  # unpaired it would be some 3.4 dB


def test_the_interval_holds_the_true_difference_nineteen_times_in_twenty() -> None:
    held = 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        groups = np.repeat(np.arange(30), 4)
        apart = 1.0 + rng.normal(0, 0.5, 30)[groups] + rng.normal(0, 0.3, 120)
        low, high = paired_difference(apart, np.zeros(120), groups, seed=seed)["pooled_interval"]
        held += low <= 1.0 <= high
    assert 52 <= held <= 60


def test_windows_without_a_score_are_left_out_of_differences() -> None:
    mine = np.array([1.0, np.nan, 3.0, np.nan])
    difference = paired_difference(mine, [0.5, 0.5, np.nan, 0.5], ["a", "a", "b", "c"])
    assert difference["pooled"] == difference["macro"] == 0.5
    assert difference["units"] == 1
    with pytest.raises(ValueError, match="no window has a score of both"):
        paired_difference([np.nan], [1.0], ["a"])


def test_a_block_of_two_groups_is_an_error() -> None:
    with pytest.raises(ValueError, match="a block lies in several groups"):
        paired_gain([1.0, 2.0], [3.0, 4.0], ["a", "b"], blocks=["x", "x"])
