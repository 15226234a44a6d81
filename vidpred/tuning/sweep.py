"""The sweep: the search for a model, found again by its key, gone on with, and told of.

In: shards, split, params.yaml. Out: `trials.parquet`, `best.yaml`, figures for a summary. What is on record under the
key decides what remains to be done; where that is nothing, Ray is not even started.
"""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from vidpred.cluster.contract import ENDED, Search
from vidpred.cluster.search import run_search
from vidpred.config import Params
from vidpred.data.clips import task_of
from vidpred.data.shards import Shards
from vidpred.errors import UserError
from vidpred.models.files import INFO, WEIGHTS, read_info
from vidpred.tracking.background import Background, mirrored
from vidpred.tracking.download import download
from vidpred.tracking.runs import Tracker
from vidpred.tracking.trials import SweepRuns
from vidpred.tuning import results
from vidpred.tuning.driver import Driver, read_state
from vidpred.tuning.lease import held
from vidpred.tuning.ledger import Ledger
from vidpred.tuning.live import show_trials, shown
from vidpred.tuning.pareto import front_of
from vidpred.tuning.plan import Plan, planned
from vidpred.tuning.trial import Trial
from vidpred.workspace import atomic, write_json

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Place:
    """Where a sweep reads and writes."""

    shards: Path
    """Folder of frames."""
    split: Path
    """Folder."""
    out: Path
    """Folder for `trials.parquet`, written anew."""
    best: Path
    """best.yaml."""
    storage: Path
    """Folder of all sweeps; this one's is named by its key."""


def sweep(
    place: Place,
    params: Params,
    *,
    key: str,
    connect: Callable[[], AbstractContextManager[None]],
    retry_failed: bool = False,
    wait: bool = False,
) -> dict[str, Any]:
    """Runs what remains of the sweep and writes what came of it; returns figures for a summary.

    Args:
        place: Where.
        params: All of params.yaml.
        key: Of the stage.
        connect: Inside, Ray is there; not called where nothing remains to be done.
        retry_failed: Whether trials that failed are tried again.
        wait: For another process that runs this sweep, instead of being refused.

    Raises:
        UserError: another process runs this sweep, the space is impossible, the model to begin with is not there or
            another than before, or no trial came to a result.
    """
    folder = place.storage / key
    task = task_of(Shards(place.shards), params.task, place.split)
    plan = planned(params, task, name=key, storage=place.storage, best=place.best)
    with held(folder, wait=wait) as lease:
        ledger = Ledger(folder, permit=lease.check, mend=True)
        ledger.broken_off()
        begin = begun_with(params.train.init, folder)
        if retry_failed:
            _retry(ledger)
        with tracked(folder, key, params=told_of(params), permit=lease.check) as mirror:
            mirror.touch(ledger.entries)  # what an earlier process could not send
            if remains(ledger, plan.search):
                trial = Trial(shards=place.shards.resolve(), split=place.split.resolve(), params=params, begin=begin)
                with connect():
                    _search(plan, trial, ledger, mirror)
            else:
                _tell_nothing_remains(ledger, plan.search)
            trials = results.table(ledger, limit=plan.search.trials)
            summary = results.write(trials, key=key, out=place.out, best=place.best, costs=folder / "costs.parquet")
            if len(params.tune.objectives) > 1:
                summary["front"] = front_of(trials, results.objectives_of(params.tune.objectives, params.task.kind))
            if begin is not None:
                told = read_info(begin)
                summary["init"] = {name: told[name] for name in ("name", "weights_sha256")}
            shutil.copyfile(place.best, folder / "best.yaml")
            write_json(folder / "summary.json", summary)
            mirror.last = partial(tell_result, folder)
    show_trials(trials)
    return summary


def remains(ledger: Ledger, search: Search) -> bool:
    """Whether there is something left to be done."""
    spent = ledger.spent
    for limit, used in ((search.max_seconds, spent.seconds), (search.max_gpu_seconds, spent.gpu_seconds)):
        if limit is not None and used >= limit:
            return False
    if ledger.pending(search.trials):
        return True
    return not ledger.exhausted and (search.trials is None or ledger.count_below(search.trials) < search.trials)


def begun_with(init: str | None, folder: Path) -> Path | None:
    """The model that trials begin with, as a copy in the sweep's folder, which all its workers reach; None: at random.

    Args:
        init: `train.init`.
        folder: Of the sweep.

    Raises:
        UserError: there is no such model, or it has other weights than when the sweep began.
    """
    if init is None:
        return None
    found, kept = download(init), folder / "init"
    weights = str(read_info(found)["weights_sha256"])
    if (kept / INFO).is_file():
        if (began := str(read_info(kept)["weights_sha256"])) != weights:
            raise UserError(
                f"train.init: {init} has other weights ({weights[:12]}…) than when this sweep began ({began[:12]}…): "
                "name the version that it began with, or another one, which makes a new sweep"
            )
        return kept.resolve()
    kept.mkdir(parents=True, exist_ok=True)
    for name in (WEIGHTS, INFO):  # the description last: where it is, the copy is whole
        with atomic(kept / name) as part:
            shutil.copyfile(found / name, part)
    return kept.resolve()


def told_of(params: Params) -> dict[str, Any]:
    """What MLflow is told of a sweep as a whole; what is searched is told with each trial."""
    return {"tune": params.tune.model_dump(mode="json", exclude={"models"})}


@contextmanager
def tracked(
    folder: Path, key: str, *, params: Mapping[str, object], permit: Callable[[], None]
) -> Iterator[Background]:
    """Inside, the sweep of a folder is mirrored in MLflow; its run ends as the block does."""
    parent = Tracker(
        stage="tune", key=key, params=params, tags={}, parent=None, required=True, note=folder / "run.json"
    )
    with mirrored(SweepRuns(parent, key, partial(read_state, folder)), permit=permit) as mirror:
        yield mirror


def tell_result(folder: Path, run: Tracker) -> None:
    """Tells the sweep's own run which configuration is best, if that is known yet."""
    if not (folder / "summary.json").is_file():
        return
    summary = json.loads((folder / "summary.json").read_text())
    run.metrics(summary["trials"], {name: value for name, value in summary["best"].items() if name.startswith("val_")})
    run.artifact(folder / "best.yaml")


def _retry(ledger: Ledger) -> None:
    again = ledger.retry_failed()
    if again:
        log.info("tried again: trial %s", ", ".join(map(str, again)))
    else:
        log.info("no trial of this sweep has failed%s", "" if ledger.entries else ": it has not been run yet")


def _tell_nothing_remains(ledger: Ledger, search: Search) -> None:
    log.info("the sweep %s has been run already: its results are written from its record", ledger.folder.name)
    if pending := ledger.pending(search.trials):
        log.warning("its time is used up; %d trials would go on with a larger budget", len(pending))


def _search(plan: Plan, trial: Trial, ledger: Ledger, mirror: Background) -> None:
    search = plan.search
    past = ledger.past(search.trials)
    if past:
        ended = sum(one.status in ENDED for one in past)
        log.info("going on with the sweep %s: %d of its trials have ended", search.name, ended)
    with shown(ledger, steps=search.max_steps, trials=search.trials) as board:
        try:
            outcome = run_search(
                search, plan.suggester, trial, listener=Driver(ledger, mirror, board), past=past, spent=ledger.spent
            )
        finally:
            with suppress(UserError):  # the sweep is not ours any more
                mirror.touch(ledger.broken_off())
    ledger.note(spent=outcome.spent, exhausted=outcome.why == "points")
