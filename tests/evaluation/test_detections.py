"""Temporal IoU, doubles, and mAP: counted by hand, and for anything at all by a second way of counting."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vidpred.evaluation.detections import Span, average_precision, bounds, judged, mean_of, overlaps, suppressed


def span(start: float, end: float, score: float = 1.0, label: str = "goal") -> Span:
    return Span(start, end, label, score)


def test_overlap_by_hand() -> None:
    one = bounds([span(0, 4), span(10, 12)])
    other = bounds([span(2, 6), span(0, 4), span(4, 5), span(11, 11.5)])
    np.testing.assert_allclose(overlaps(one, other), [[2 / 6, 1, 0, 0], [0, 0, 0, 0.25]])


def test_the_surest_of_doubles_is_kept() -> None:
    sure, double, beside, another = span(0, 4, 0.9), span(1, 5, 0.8), span(6, 9, 0.3), span(0, 4, 0.5, "foul")
    assert suppressed([double, beside, another, sure], 0.5) == [sure, another, beside]
    assert suppressed([double, beside, another, sure], 0.5, of_class=False) == [sure, beside]
    assert suppressed([double, sure], 0.6) == [sure, double]  # 3 of 5 is not more
    assert suppressed([], 0.5) == []


def test_average_precision_by_hand() -> None:
    truth = [("a", span(0, 10)), ("a", span(20, 30)), ("b", span(0, 10)), ("b", span(50, 60))]
    found = [
        ("a", span(0, 10, 0.9)),  # right
        ("a", span(1, 11, 0.8)),  # a double of the first: wrong, as the first has taken it
        ("b", span(0, 8, 0.7)),  # right: tIoU 0.8
        ("b", span(80, 90, 0.6)),  # wrong
        ("a", span(20, 26, 0.5)),  # tIoU 0.6
    ]
    # precision at the hits 1/1, 2/3, 3/5; none is better later on; 4 are to be found
    assert average_precision(found, truth, 0.5) == pytest.approx((1 + 2 / 3 + 3 / 5) / 4)
    assert average_precision(found, truth, 0.7) == pytest.approx((1 + 2 / 3) / 4)
    # precision 1/2 at the first hit, 2/3 at the second: interpolated 2/3 at both
    late = [("b", span(30, 40, 0.9)), ("a", span(0, 10, 0.8)), ("a", span(20, 30, 0.7))]
    assert average_precision(late, truth, 0.5) == pytest.approx((2 / 3 + 2 / 3) / 4)
    assert average_precision([], truth, 0.5) == 0
    with pytest.raises(ValueError, match="no average precision"):
        average_precision(found, [], 0.5)


def test_what_overlaps_two_takes_the_one_that_it_overlaps_most_and_is_free() -> None:
    truth = [("a", span(0, 4)), ("a", span(3, 9))]
    assert average_precision([("a", span(2.5, 9, 0.9)), ("a", span(0, 5, 0.8))], truth, 0.3) == 1
    # the second overlaps [3, 9] most, which is taken, and [0, 4] enough
    assert average_precision([("a", span(3, 9, 0.9)), ("a", span(0, 9, 0.8))], truth, 0.3) == 1


def test_classes_that_the_truth_does_not_have_count_for_nothing() -> None:
    truth = {"a": [span(0, 4), span(5, 9, label="foul")], "b": []}
    found = {
        "a": [span(0, 4, 0.9), span(0, 4, 0.95, "throw-in")],
        "b": [span(0, 4, 0.3)],  # wrong, but less sure than all that is right
        "c": [span(0, 4, 1.0)],  # of a video that nobody has looked at
    }
    told = judged(found, truth)
    assert list(told) == [0.3, 0.5, 0.7]
    assert told[0.5] == {"foul": 0.0, "goal": 1.0}
    assert mean_of(told[0.5]) == 0.5
    assert mean_of({}) == 0


# ---- for anything at all

TIMES = st.integers(0, 12)
STRETCHES = st.tuples(TIMES, st.integers(1, 6), st.sampled_from("ab"), st.integers(0, 1000))
MANY = st.lists(STRETCHES, max_size=8, unique_by=lambda one: one[3])


def _spans(drawn: list[tuple[int, int, str, int]]) -> list[tuple[str, Span]]:
    return [(video, span(start, start + length, score / 1000)) for start, length, video, score in drawn]


def _counted(found: list[tuple[str, Span]], truth: list[tuple[str, Span]], threshold: Fraction) -> Fraction:
    """Average precision in fractions, with loops: for each rank what is right so far, for each hit the best to come."""

    def shared(one: Span, other: Span) -> Fraction:
        both = Fraction(min(one.end, other.end)) - Fraction(max(one.start, other.start))
        either = Fraction(max(one.end, other.end)) - Fraction(min(one.start, other.start))
        return max(both, Fraction(0)) / either if both > 0 else Fraction(0)

    left, hits = list(enumerate(truth)), []
    for video, one in sorted(found, key=lambda item: item[1].score, reverse=True):
        free = [(shared(one, other), -i, (i, (name, other))) for i, (name, other) in left if name == video]
        best = max(free, key=lambda item: item[:2], default=None)
        hits.append(best is not None and best[0] >= threshold)
        if hits[-1] and best is not None:
            left.remove(best[2])
    precision = [Fraction(sum(hits[: i + 1]), i + 1) for i in range(len(hits))]
    return sum((max(precision[i:]) for i, hit in enumerate(hits) if hit), Fraction(0)) / len(truth)


@settings(deadline=None, max_examples=150)
@given(MANY, st.lists(STRETCHES, min_size=1, max_size=6), st.sampled_from([Fraction(1, 4), Fraction(1, 2)]))
def test_two_ways_of_counting_agree(
    found: list[tuple[int, int, str, int]], truth: list[tuple[int, int, str, int]], threshold: Fraction
) -> None:
    told = average_precision(_spans(found), _spans(truth), float(threshold))
    assert told == pytest.approx(float(_counted(_spans(found), _spans(truth), threshold)))
    assert 0 <= told <= 1


@settings(deadline=None, max_examples=60)
@given(st.lists(STRETCHES, min_size=1, max_size=6), MANY, st.floats(0.05, 1))
def test_the_truth_itself_is_perfect_whatever_less_sure_follows(
    truth: list[tuple[int, int, str, int]], more: list[tuple[int, int, str, int]], threshold: float
) -> None:
    true = _spans(truth)
    found = [(video, one._replace(score=2.0)) for video, one in true] + _spans(more)
    assert average_precision(found, true, threshold) == 1


@settings(deadline=None, max_examples=60)
@given(MANY, st.floats(0.05, 0.95))
def test_what_is_kept_overlaps_nothing_kept_and_what_is_not_a_surer_one(
    drawn: list[tuple[int, int, str, int]], most: float
) -> None:
    spans = [one for _, one in _spans(drawn)]
    kept = suppressed(spans, most)
    shared = overlaps(bounds(kept), bounds(kept)) - np.eye(len(kept))
    assert not (shared > most).any()
    for left_out in set(spans) - set(kept):
        surer = [one for one in kept if one.score > left_out.score]
        assert (overlaps(bounds([left_out]), bounds(surer)) > most).any()
