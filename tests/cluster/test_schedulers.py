"""Ray's schedulers, fed from a record: they decide as if they had been there."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ray.tune.experiment import Trial

from vidpred.cluster.contract import PastTrial, Range, Search
from vidpred.cluster.population import Population
from vidpred.cluster.schedulers import STOPPING, Watched, has_finished, trial_id, turn_of, turns
from vidpred.errors import UserError

SEARCH = Search(name="x", storage=Path(), metric="loss", max_steps=90, grace_steps=10, reduction_factor=3)


def watched(name: str, past: list[PastTrial] = ()) -> Watched:  # type: ignore[assignment]
    search = replace(SEARCH, scheduler=name)  # type: ignore[arg-type]
    found = Watched(STOPPING[name](search), search)
    found.replay(past)
    return found


def trial(number: int) -> Any:
    return SimpleNamespace(trial_id=trial_id(number), config={"number": number})


def report(scheduler: Watched, number: int, step: int, loss: float) -> str:
    return scheduler.on_trial_result(None, trial(number), {"step": step, "loss": loss})


def past(number: int, losses: list[float], status: str = "stopped") -> PastTrial:
    reports = [{"step": 10 * (i + 1), "loss": loss} for i, loss in enumerate(losses)]
    return PastTrial(number, {}, status, reports)  # type: ignore[arg-type]


def test_turns_are_equal_steps_or_equal_shares_of_a_trial_s_own() -> None:
    assert turns(SEARCH) == 9
    assert [turn_of({"step": step}, SEARCH) for step in (10, 20, 90)] == [1, 2, 9]
    assert [turn_of({"step": step, "steps": 900}, SEARCH) for step in (100, 200, 900)] == [1, 2, 9]
    assert [turn_of({"step": step, "steps": 50}, SEARCH) for step in (6, 12, 50)] == [2, 3, 9]
    uneven = replace(SEARCH, max_steps=25)
    assert [turn_of({"step": step}, uneven) for step in (10, 20, 25)] == [2, 3, 3]
    assert has_finished({"step": 90}, SEARCH)
    assert not has_finished({"step": 90, "steps": 91}, SEARCH)


@pytest.mark.parametrize("name", ["asha", "median"])
def test_a_bad_trial_is_stopped_by_what_is_on_record_alone(name: str) -> None:
    record = [past(n, [float(n)] * 9, "finished") for n in range(4)]
    scheduler = watched(name, record)
    for number, expected in ((4, "STOP"), (5, "CONTINUE")):
        scheduler.on_trial_add(None, trial(number))
        loss = 9.0 if expected == "STOP" else -1.0
        assert report(scheduler, number, 10, loss) == expected
    assert set(scheduler.reasons) == {trial_id(4)}
    assert scheduler.reasons[trial_id(4)].startswith(f"{name}: ")
    assert "step 10" in scheduler.reasons[trial_id(4)]


def test_without_the_record_nobody_would_be_stopped() -> None:
    scheduler = watched("asha")
    scheduler.on_trial_add(None, trial(4))
    assert report(scheduler, 4, 10, 9.0) == "CONTINUE"


def test_a_trial_that_goes_on_is_judged_by_its_last_report_when_that_comes_again() -> None:
    record = [*(past(n, [float(n)] * 9, "finished") for n in range(4)), past(4, [9.0], "running")]
    scheduler = watched("asha", record)
    scheduler.on_trial_add(None, trial(4))
    assert report(scheduler, 4, 10, 9.0) == "STOP"


def test_what_failed_is_no_measure_for_others() -> None:
    scheduler = watched("median", [past(n, [], "failed") for n in range(5)])
    scheduler.on_trial_add(None, trial(9))
    assert report(scheduler, 9, 10, 9.0) == "CONTINUE"
    failed = {"failed": "ValueError", "step": 20, "loss": float("nan")}
    assert scheduler.on_trial_result(None, trial(9), failed) == "STOP"
    scheduler.on_trial_complete(None, trial(9), failed)
    assert not scheduler.reasons


def test_hyperband_s_brackets_go_by_the_number_alone() -> None:
    def stopped(order: list[int]) -> set[int]:
        scheduler, found = watched("hyperband"), set()
        for number in order:
            scheduler.on_trial_add(None, trial(number))
        for number in range(12):  # better ones first: all later ones are bad, where they may be stopped so early
            if report(scheduler, number, 10, float(number)) == "STOP":
                found.add(number)
        return found

    assert stopped(list(range(12))) == stopped(list(reversed(range(12))))
    assert 0 < len(stopped(list(range(12)))) < 11


def test_fifo_stops_nobody() -> None:
    scheduler = watched("fifo", [past(n, [0.0] * 9, "finished") for n in range(4)])
    scheduler.on_trial_add(None, trial(4))
    assert report(scheduler, 4, 10, 9.0) == "CONTINUE"
    assert report(scheduler, 4, 90, 9.0) == "STOP"
    assert not scheduler.reasons


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"mutations": {}}, "nothing to change"),
        ({"workers_per_trial": 2}, "workers_per_trial to 1"),
        ({"scheduler": "pb2", "mutations": {"train.batch_size": [2, 4]}}, "pb2 chooses numbers from ranges"),
    ],
)
def test_an_impossible_population_is_said_so(changes: dict, said: str) -> None:
    search = replace(SEARCH, scheduler="pbt", mutations={"train.learning_rate": Range(0.1, 1)})
    with pytest.raises(UserError, match=said):
        Population(replace(search, **changes))


def test_pb2_searches_logarithmic_ranges_evenly() -> None:
    point = {"model": "m", "config": {}, "train": {"learning_rate": 0.001}}
    search = replace(SEARCH, scheduler="pb2", mutations={"train.learning_rate": Range(1e-4, 1e-2, log=True)})
    population = Population(search)
    assert population.values(point) == {"train.learning_rate": pytest.approx(-3)}
    config = {"point": '{"model": "m", "config": {}, "train": {"learning_rate": 0.001}}', "train.learning_rate": -2.0}
    assert population.point(config)["train"]["learning_rate"] == pytest.approx(0.01)


def test_pb2_keeps_to_the_values_that_there_are() -> None:
    search = replace(SEARCH, scheduler="pb2", mutations={"train.batch_size": Range(4, 12, values=[4, 8, 12])})
    config = {"point": '{"model": "m", "config": {}, "train": {"batch_size": 4}}', "train.batch_size": 8.72}
    assert Population(search).point(config)["train"] == {"batch_size": 8}


def test_pb2_goes_on_with_what_it_had_learnt() -> None:
    rate = "train.learning_rate"
    search = replace(SEARCH, scheduler="pb2", mutations={rate: Range(1e-4, 1e-2, log=True)})

    def point(value: float) -> dict[str, Any]:
        return {"model": "m", "config": {}, "train": {"learning_rate": value}}

    def reports(*losses: float) -> list[dict[str, Any]]:
        return [{"step": 10 * (i + 1), "loss": loss} for i, loss in enumerate(losses)]

    # number 1 went on from 0 at the first turn, with another rate
    change = {"step": 10, "taken_from": 0, "before": point(1e-4), "point": point(1e-3)}
    record = [
        PastTrial(0, point(1e-2), "interrupted", reports(3.0, 2.0)),
        PastTrial(1, point(1e-3), "interrupted", reports(9.0, 2.5), changes=[change]),
        *(PastTrial(number, point(1e-3), "interrupted", reports(4.0)) for number in (2, 3)),
    ]
    population = Population(search)
    population.replay(record)
    members = [
        Trial(
            "x", stub=True, trial_id=trial_id(one.number), config={"number": one.number} | population.values(one.point)
        )
        for one in record
    ]
    waiting = SimpleNamespace(search_alg=None, get_live_trials=lambda: members, get_trials=lambda: members)
    for member in members:
        population.on_trial_add(waiting, member)

    def known() -> set[tuple[str, int, float, float]]:
        data = population._inner.data  # type: ignore[attr-defined]
        assert len(data) == len(data.drop_duplicates())
        return {(str(row["Trial"])[-1], row["Time"], round(row[rate], 6), row["Reward"]) for _, row in data.iterrows()}

    told = {
        ("0", 1, -2.0, -3.0), ("0", 2, -2.0, -2.0), ("1", 1, -4.0, -9.0), ("1", 1, -3.0, -3.0), ("1", 2, -3.0, -2.5),
        ("2", 1, -3.0, -4.0), ("3", 1, -3.0, -4.0),
    }  # fmt: skip
    assert known() == told
    # the last report comes again, and is not learnt twice; the next one is
    population.on_trial_result(waiting, members[0], record[0].reports[-1])
    assert known() == told
    population.on_trial_result(waiting, members[2], {"step": 20, "loss": 3.5})
    assert known() == told | {("2", 2, -3.0, -3.5)}
