"""Searches on a real Ray: what remains is run, what breaks is told, and time ends where it is used up."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.cluster.record import Rates, Record
from vidpred.cluster.connect import connected
from vidpred.cluster.contract import Point, Range, Reporter, Search, Spent
from vidpred.cluster.search import run_search
from vidpred.training.peers import Peers

pytestmark = [
    pytest.mark.timeout(600),
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::ResourceWarning"),
]


def descend(point: Point, report: Reporter, peers: Peers) -> None:  # noqa: ARG001 - it has none
    """A loss that falls by the rate each step; what was saved is gone on from."""
    found = report.resume_from()
    step, loss = json.loads((found / "state").read_text()) if found else (0, 10.0)
    while step < 8:
        time.sleep(0.05)
        step, loss = step + 2, loss - point["train"]["rate"]
        state = json.dumps([step, loss])
        report({"step": step, "loss": loss}, lambda folder, state=state: (folder / "state").write_text(state))


SEARCH = Search(
    name="search", storage=Path(), metric="loss", max_steps=8, grace_steps=2, scheduler="fifo", gpus_per_trial=0
)


@pytest.fixture(scope="module")
def ray() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("RAY_ADDRESS", raising=False)
        with connected():
            yield


@pytest.mark.usefixtures("ray")
def test_what_remains_is_run_and_ends_as_if_nothing_had_been_broken_off(tmp_path: Path) -> None:
    whole = Record()
    outcome = run_search(replace(SEARCH, storage=tmp_path / "whole", trials=3), Rates(9), descend, listener=whole)
    assert outcome.why == "trials"
    assert whole.statuses() == dict.fromkeys(range(3), "finished")
    assert whole.used.seconds > 0
    assert whole.trials[0]["reports"][-1]["seconds"] >= 0.2
    assert whole.trials[0]["reports"][0]["node_id"]

    def break_off(event: str, number: int) -> None:
        if (event, number) == ("reported", 1) and len(broken.trials[1]["reports"]) == 2:
            raise KeyboardInterrupt

    broken = Record(break_off)
    search = replace(SEARCH, storage=tmp_path / "broken", trials=2)
    with pytest.raises(KeyboardInterrupt):
        run_search(search, Rates(9), descend, listener=broken)
    assert broken.statuses()[1] == "interrupted"
    before = Path(broken.trials[1]["checkpoint"])

    copies = set(Path(tempfile.gettempdir()).glob("checkpoint_tmp_*"))  # Ray's
    rest, suggester = Record(), Rates(9)
    rest.trials = json.loads(
        json.dumps(broken.trials), object_hook=lambda d: {int(k) if k.isdigit() else k: v for k, v in d.items()}
    )
    run_search(replace(search, trials=3), suggester, descend, listener=rest, past=rest.past())
    assert rest.statuses() == whole.statuses()
    assert rest.figures() == whole.figures()
    assert ("started", 0) not in rest.events or broken.statuses()[0] == "interrupted"
    assert sorted(suggester.learnt) == [0, 1, 2]
    assert not before.exists()  # its folder went when the trial had saved in another
    assert set(Path(tempfile.gettempdir()).glob("checkpoint_tmp_*")) <= copies


@pytest.mark.usefixtures("ray")
def test_what_a_trial_raises_is_its_reason_and_the_others_go_on(tmp_path: Path) -> None:
    def trial(point: Point, report: Reporter, peers: Peers) -> None:
        rate = point["train"]["rate"]
        if rate == 1:
            descend(point, report, peers)
        if rate == 0.1:
            raise MemoryError
        if rate == pytest.approx(0.01):
            report({"step": 2, "loss": 1.0}, lambda _: None)
            raise ValueError("not\nso")

    record = Record()
    run_search(replace(SEARCH, storage=tmp_path), Rates(4), trial, listener=record)
    assert record.statuses() == {0: "finished", 1: "failed", 2: "failed", 3: "failed"}
    assert record.reasons[1].startswith("out of memory: lower train.batch_size")
    assert record.reasons[2] == "ValueError: not so"
    assert record.reasons[3] == "it ended without a report"
    assert "ValueError: not" in record.tracebacks[2]


@pytest.mark.usefixtures("ray")
def test_time_ends_a_search_and_more_of_it_goes_on(tmp_path: Path) -> None:
    def slow(_: Point, report: Reporter, __: Peers) -> None:
        found = report.resume_from()
        for step in range(int((found / "step").read_text()) + 1 if found else 1, 9):
            report({"step": step, "loss": 0.0}, lambda folder, step=step: (folder / "step").write_text(str(step)))
            while step == 4 and not (tmp_path / "go-on").exists():
                time.sleep(0.1)

    record = Record()
    search = replace(SEARCH, storage=tmp_path, max_seconds=1.0, trials=1, grace_steps=1)
    while not record.trials.get(0, {}).get("reports"):  # on a busy machine Ray may need longer than that to begin
        outcome = run_search(search, Rates(9), slow, listener=record, past=record.past(), spent=Spent())
        search = replace(search, max_seconds=2 * (search.max_seconds or 1))
    assert outcome.why == "minutes"
    assert record.statuses() == {0: "interrupted"}
    assert record.reasons[0] == "the minutes are used up"
    (tmp_path / "go-on").touch()
    more = replace(search, max_seconds=None)
    assert run_search(more, Rates(9), slow, listener=record, past=record.past(), spent=record.used).why == "trials"
    assert record.statuses() == {0: "finished"}
    assert [step for step, _ in record.figures()[0]] == list(range(1, 9))


@pytest.mark.usefixtures("ray")
def test_what_the_listener_raises_ends_the_search(tmp_path: Path) -> None:
    class Full(OSError):
        pass

    def full(event: str, _: int) -> None:
        if event == "reported":
            raise Full("no space left")

    with pytest.raises(Full, match="no space left"):
        run_search(replace(SEARCH, storage=tmp_path), Rates(1), descend, listener=Record(full))


@pytest.mark.slow
@pytest.mark.usefixtures("ray")
@pytest.mark.parametrize("scheduler", ["pbt", "pb2"])
def test_a_population_learns_and_goes_on_as_if_unbroken(scheduler: str, tmp_path: Path) -> None:
    mutations = {"train.rate": Range(1e-4, 1.0, log=True)}
    search = replace(SEARCH, scheduler=scheduler, trials=4, mutations=mutations)  # type: ignore[arg-type]
    whole = Record()
    run_search(replace(search, storage=tmp_path / "whole"), Rates(4), descend, listener=whole)
    assert set(whole.statuses().values()) == {"finished"}
    changes = [number for event, number in whole.events if event == "changed"]
    assert len(changes) >= 2
    last = {number: trial["reports"][-1]["loss"] for number, trial in whole.trials.items()}
    assert last[3] < 9.99  # its own rate would not have brought it there

    def break_off(event: str, number: int) -> None:
        if (event, number) == ("reported", 1) and len(broken.trials[1]["reports"]) == 2:
            raise KeyboardInterrupt

    broken = Record(break_off)
    with pytest.raises(KeyboardInterrupt):
        run_search(replace(search, storage=tmp_path / "broken"), Rates(4), descend, listener=broken)
    rest = Record()
    rest.trials = broken.trials
    run_search(replace(search, storage=tmp_path / "broken"), Rates(4), descend, listener=rest, past=rest.past())
    ended = {number: trial["reports"][-1]["loss"] for number, trial in rest.trials.items()}
    if scheduler == "pbt":
        assert ended == pytest.approx(last)
    else:  # its draws depend on who comes to a turn last
        assert set(rest.statuses().values()) == {"finished"}
        assert ended[3] < 9.99


@pytest.mark.slow
@pytest.mark.usefixtures("ray")
def test_a_member_that_fails_does_not_keep_the_population_waiting(tmp_path: Path) -> None:
    def trial(point: Point, report: Reporter, peers: Peers) -> None:
        if point["train"]["rate"] == pytest.approx(0.01):
            time.sleep(2)
            raise ValueError("no")
        descend(point, report, peers)

    record = Record()
    search = replace(SEARCH, scheduler="pbt", trials=4, mutations={"train.rate": Range(1e-4, 1.0, log=True)})
    run_search(replace(search, storage=tmp_path), Rates(4), trial, listener=record)
    assert record.statuses() == {0: "finished", 1: "finished", 2: "failed", 3: "finished"}
