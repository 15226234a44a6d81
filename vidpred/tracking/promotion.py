"""Who becomes champion: by the gate, by a person who says why, or back again.

In: a version of the registry and, for the gate, this project's test clips. Out: aliases moved, each move written down.
"""

from __future__ import annotations

import json
import logging
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from vidpred import workspace
from vidpred.errors import UserError
from vidpred.models.files import INFO, WEIGHTS, load_model
from vidpred.tracking import store
from vidpred.tracking.aliases import (
    CHALLENGER,
    CHAMPION,
    ROLLED_BACK_TAG,
    Move,
    challenge,
    crown,
    dethrone,
    roll_back,
    settle,
    who,
)
from vidpred.tracking.artifacts import fetch
from vidpred.tracking.download import bring, resolve
from vidpred.tracking.gate import Bench, Decision, decide
from vidpred.tracking.meant import not_registered, other_name
from vidpred.tracking.opening import called
from vidpred.tracking.package import SEEN
from vidpred.training.figures import verdict
from vidpred.types import Model

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

log = logging.getLogger(__name__)

DECISION_TAG = "vidpred.decision"
REASON_TAG = "vidpred.reason"
AGAINST_TAG = "vidpred.against"
"""The champion that a version was held against, as JSON."""

_PATIENCE_SECONDS = 60


class Outcome(NamedTuple):
    """What became of a version."""

    uri: str
    """`models:/NAME/VERSION`."""
    champion: bool
    """Whether it is the champion now."""
    before: str | None
    """Version that was champion, if one was; the same one: nothing is changed."""
    reason: str
    """In words."""


def promote(model: str, *, judge: Callable[[Path], Bench] | None = None, reason: str = "") -> Outcome:
    """Makes a version champion if it earns it, or by force.

    Args:
        model: `models:/NAME/VERSION` or `models:/NAME@ALIAS`.
        judge: Scores the version's folder (weights, description and, if there, `seen.json`) on the clips that decide;
            None: by force, whatever the gate says.
        reason: Why, by force.

    Raises:
        UserError: there is no such version, it is damaged, cannot be judged here, or no reason is given.
    """
    if judge is None and not reason.strip():
        raise UserError("--force overrules the gate: say why, with --reason")
    store.set_defaults(patience_seconds=_PATIENCE_SECONDS)  # the first to say it is heard
    found = resolve(model)
    if found.name is None or found.version is None:
        raise UserError(not_registered(model))
    name, uri = found.name, f"models:/{found.name}/{found.version}"
    client = store.connect(patience_seconds=_PATIENCE_SECONDS)
    with alone(), store.explained(f"{uri} was not promoted"):
        version = client.get_model_version(name, found.version)
        present, moves = settle(client, name)
        before = None if present is None else str(present.version)
        if before == found.version:
            return Outcome(uri, True, before, "it is the champion already")
        _usable(client)(version)
        if judge is None:
            decision = Decision(CHAMPION, f"it was made champion by {who()}, not by the gate: {reason.strip()}")
            crown(client, version, how="forced", why=reason.strip(), by=who(), moves=moves, before=before)
        else:
            decision = against_champion(client, present, _judged(judge, found.source, uri))
            apply(client, version, decision, present=present, moves=moves)
        for tag, value in decision_tags(decision).items():
            client.set_model_version_tag(name, found.version, tag, value[:5000])
    return Outcome(uri, decision.alias == CHAMPION, before, decision.reason)


def rollback(name: str, *, reason: str = "") -> tuple[str | None, str]:
    """Makes the champion before the present one champion again; done again, the one before that.

    Args:
        name: Of the registered model.
        reason: Why, if told.

    Returns:
        Number of the version that was champion, if one was, and of the one that is.

    Raises:
        UserError: there is no such model, or no champion before.
    """
    if not store.exists():  # asking would make it
        raise UserError(f"{name} cannot be rolled back: there is no registry in {store.tracking_uri()} yet")
    client = store.connect(patience_seconds=_PATIENCE_SECONDS)
    with store.explained("the registry cannot be searched"):
        known = [model.name for model in store.every(client.search_registered_models)]
    if name not in known:
        where = store.display(store.tracking_uri())
        raise UserError(f"{name} is not in {where}: {other_name(name, known)}")
    with alone(), store.explained(f"{name} was not rolled back"):
        return roll_back(client, name, why=reason.strip(), by=who(), usable=_usable(client))


def _usable(client: MlflowClient) -> Callable[[ModelVersion], None]:
    """A check whether a version can be loaded: a champion that cannot is of no use, whoever wants it."""

    def check(version: ModelVersion) -> None:
        source = str(client.get_model_version_download_uri(version.name, version.version))
        uri = f"models:/{version.name}/{version.version}"
        folder = bring(source, uri)
        with called(uri, folder):
            load_model(folder, Model)

    return check


@contextmanager
def alone() -> Iterator[None]:
    """Keeps others on this machine from moving aliases meanwhile; outside a project there is no lock for it."""
    home = workspace.home_or_none()
    if home is None:
        yield
        return
    with workspace.locked(home / "register"):
        yield


def decision_tags(decision: Decision) -> dict[str, str]:
    """What a version's tags say of a decision."""
    return {
        DECISION_TAG: decision.alias or "none",
        REASON_TAG: decision.reason,
        AGAINST_TAG: json.dumps(decision.champion),
    }


def _judged(judge: Callable[[Path], Bench], source: str, uri: str) -> Bench:
    with tempfile.TemporaryDirectory(prefix="vidpred-") as temporary:
        folder = Path(temporary)
        fetch(source, folder, {WEIGHTS: True, INFO: True, SEEN: False})
        try:
            return judge(folder)
        except UserError as error:
            raise UserError(f"{uri} is not judged here: {str(error).replace(f'{folder}/', '')}") from None


def decide_again(
    client: MlflowClient,
    version: ModelVersion | None,
    present: ModelVersion | None,
    moves: Sequence[Move],
    bench: Bench,
) -> Decision:
    """The gate's verdict on a version that may have been judged before.

    Args:
        client: Of the store.
        version: None: it is not registered yet.
        present: The champion; None: there is none.
        moves: As `settle` gives them.
        bench: The version's scores.
    """
    if version is not None:
        if present is not None and present.version == version.version:
            return _again(version, moves[-1], bench)
        if ROLLED_BACK_TAG in version.tags:
            return Decision(None, version.tags[ROLLED_BACK_TAG])
    return against_champion(client, present, bench)


def against_champion(client: MlflowClient, present: ModelVersion | None, bench: Bench) -> Decision:
    """The gate's verdict on a version that is not the champion; the champion's files are fetched for it.

    Args:
        client: Of the store.
        present: The champion; None: there is none.
        bench: The candidate.
    """
    if present is None or not verdict(bench.metrics).beats:
        return decide(bench, None)
    called = f"the champion (version {present.version})"
    with tempfile.TemporaryDirectory(prefix="vidpred-") as temporary:
        folder = Path(temporary)
        try:
            source = client.get_model_version_download_uri(present.name, present.version)
            fetch(source, folder, {WEIGHTS: True, INFO: True, SEEN: False})
        except store.StoreError:
            raise
        except UserError as error:
            log.warning("%s: %s", called, error)  # it is not there any more: `decide` finds the folder empty
        return decide(bench, folder, called=called)


def _again(champion: ModelVersion, last: Move, bench: Bench) -> Decision:
    """What the present champion keeps its alias for, if it does: people's decisions stand until people change them."""
    if last.how == "forced":
        return Decision(CHAMPION, f"it was made champion by {last.who}, not by the gate: {last.why}")
    if last.how == "rollback":
        return Decision(CHAMPION, f"it was made champion again by {last.who}, who rolled back from {last.before}")
    by_gate = champion.tags.get(DECISION_TAG) == CHAMPION
    if last.how == "hand" or not by_gate:
        return Decision(CHAMPION, "it was made champion by hand")
    if not verdict(bench.metrics).beats:
        return decide(bench, None)
    try:
        against = dict(json.loads(champion.tags[AGAINST_TAG]))
    except (KeyError, ValueError, TypeError, RecursionError):  # somebody has changed it
        against = {}
    return Decision(CHAMPION, champion.tags.get(REASON_TAG, "it is the champion"), against)


def apply(
    client: MlflowClient,
    version: ModelVersion,
    decision: Decision,
    *,
    present: ModelVersion | None,
    moves: Sequence[Move],
) -> None:
    """Moves aliases as the gate decided: a version has one at the most.

    Args:
        client: Of the store.
        version: That was judged.
        decision: On it.
        present: The champion until now.
        moves: As `settle` gives them.
    """
    is_champion = present is not None and present.version == version.version
    if decision.alias == CHAMPION:
        if is_champion:
            challenge(client, version, wanted=False)  # by hand it may have got both
            return
        before = None if present is None else str(present.version)
        crown(client, version, how="gate", why=decision.reason, by=who(), moves=moves, before=before)
        return
    if is_champion:
        log.warning("models:/%s/%s is champion no more: %s", version.name, version.version, decision.reason)
        dethrone(client, version, why=decision.reason, by=who(), moves=moves)
    challenge(client, version, wanted=decision.alias == CHALLENGER)
