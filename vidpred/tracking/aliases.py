"""Who holds `champion`, and who held it before: every move is written down, so that it can be undone.

A move is a tag of the registered model, `vidpred.champion.<number>.<random>`, with JSON: which version since, which
before, how, who, why and when. Tags are only ever added. An alias that was moved elsewhere, such as in MLflow's own
page, is respected: the move is written down when it is noticed, and told.
"""

from __future__ import annotations

import json
import logging
import os
import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, Literal, get_args

from vidpred.errors import UserError
from vidpred.tracking.entries import user
from vidpred.tracking.store import StoreError, every

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

log = logging.getLogger(__name__)

CHAMPION: Final = "champion"
CHALLENGER: Final = "challenger"
ROLLED_BACK_TAG = "vidpred.rolled_back"
"""Of a version: who took its alias away, when and why. The gate does not give it back by itself."""

How = Literal["gate", "forced", "rollback", "hand", "lost", "found"]
_HOW = {
    "gate": "by the gate",
    "forced": "by force",
    "rollback": "by a rollback",
    "hand": "by hand",
    "lost": "judged anew",
    "found": "before this was written down",
}
_MOVE_TAG = "vidpred.champion."
_LONGEST = 2000


@dataclass(frozen=True)
class Move:
    """One change of the champion."""

    version: str | None
    """The champion since; None: there was none."""
    before: str | None
    """The one before."""
    how: How
    """`lost`: judged anew, it did not beat copying any more. `found`: it was champion when the first move was noted."""
    who: str
    why: str
    at: str
    """UTC, as ISO 8601."""


def who() -> str:
    """The person at work: the user of the server where one is told, else that of the machine."""
    return os.environ.get("MLFLOW_TRACKING_USERNAME", "").strip() or user()


def now() -> str:
    """UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def by_alias(client: MlflowClient, name: str, alias: str) -> ModelVersion | None:
    """The version that holds an alias; None: nobody, or there is no such model."""
    from mlflow.exceptions import MlflowException

    try:
        return client.get_model_version_by_alias(name, alias)
    except MlflowException as error:
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            return None
        raise


def history(client: MlflowClient, name: str) -> list[Move]:
    """The moves of a registered model's champion, oldest first."""
    return moves_in(client.get_registered_model(name).tags)


def moves_in(tags: Mapping[str, str]) -> list[Move]:
    """The moves among a registered model's tags, oldest first; what is none of ours is passed over."""
    found = []
    for key in sorted(key for key in tags if key.startswith(_MOVE_TAG)):
        try:
            told = json.loads(tags[key])
            move = Move(**{field: told[field] for field in Move.__dataclass_fields__})
        except (ValueError, KeyError, TypeError, RecursionError):
            continue
        if move.how in get_args(How):
            found.append(move)
    return found


def line_of(moves: Iterable[Move]) -> list[str]:
    """The champions as a line in which a rollback goes back, oldest first; the last is the present one, if there is."""
    line: list[str] = []
    for move in moves:
        if move.how == "rollback" and move.version in line:
            while line[-1] != move.version:
                line.pop()
        elif move.how == "lost" and line and line[-1] == move.before:
            line.pop()
        elif move.version is not None and (not line or line[-1] != move.version):
            line.append(move.version)
    return line


def settle(client: MlflowClient, name: str) -> tuple[ModelVersion | None, list[Move]]:
    """The present champion and all moves, after a move that was made elsewhere has been written down and told.

    Args:
        client: Of the store.
        name: Of a registered model that need not be there.
    """
    from mlflow.exceptions import MlflowException

    try:
        moves = history(client, name)
    except MlflowException as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":
            return None, []
        raise
    present = by_alias(client, name, CHAMPION)
    version = None if present is None else str(present.version)
    known = moves[-1].version if moves else None
    if version != known:
        how: How = "hand" if moves else "found"
        if moves:
            was = f"version {known}" if known else "nobody"
            log.warning(
                "models:/%s@%s was moved by hand: it is %s, and was %s when last noted",
                name, CHAMPION, f"version {version}" if version else "taken away", was,
            )  # fmt: skip
        moves.append(_note(client, name, moves, Move(version, known, how, "unknown", "", now())))
    return present, moves


def crown(
    client: MlflowClient,
    version: ModelVersion,
    *,
    how: How,
    why: str,
    by: str,
    moves: Sequence[Move],
    before: str | None,
) -> None:
    """Makes a version the champion, and writes it down.

    Args:
        client: Of the store.
        version: Not the champion yet.
        how: Who decided.
        why: In words.
        by: Of a person.
        moves: All so far, as `settle` gives them.
        before: Number of the present champion, if there is one.
    """
    name, number = version.name, str(version.version)
    client.set_registered_model_alias(name, CHAMPION, number)
    _drop(client, version, CHALLENGER)
    move = _note(client, name, moves, Move(number, before, how, by, why, now()))
    told = {"how": _HOW[how], "by": by, "why": why, "at": move.at, "from": before or "none"}
    for key, value in told.items():
        client.set_model_version_tag(name, number, f"vidpred.promoted_{key}", value[:_LONGEST])
    if ROLLED_BACK_TAG in version.tags:
        client.delete_model_version_tag(name, number, ROLLED_BACK_TAG)


def dethrone(client: MlflowClient, version: ModelVersion, *, why: str, by: str, moves: Sequence[Move]) -> None:
    """Takes the alias from the champion, which does not earn it any more; nobody has it then."""
    _drop(client, version, CHAMPION)
    _note(client, version.name, moves, Move(None, str(version.version), "lost", by, why, now()))


def challenge(client: MlflowClient, version: ModelVersion, *, wanted: bool) -> None:
    """Gives a version that is not the champion the alias `challenger`, or sees to it that it has none."""
    if wanted:
        client.set_registered_model_alias(version.name, CHALLENGER, version.version)
    else:
        _drop(client, version, CHALLENGER)


def roll_back(
    client: MlflowClient, name: str, *, why: str, by: str, usable: Callable[[ModelVersion], None]
) -> tuple[str | None, str]:
    """Makes the champion before the present one champion again.

    Args:
        client: Of the store.
        name: Of the registered model.
        why: In words, if told.
        by: Of a person.
        usable: Raises a `UserError` for a version that cannot be used, which is passed over.

    Returns:
        Number of the version that was champion, if there was one, and of the one that is.

    Raises:
        UserError: there was none before it, or none that is still there.
    """
    present, moves = settle(client, name)
    was = None if present is None else str(present.version)
    line = line_of(moves)
    earlier = line[:-1] if was is not None else line
    there = {str(v.version): v for v in every(client.search_model_versions, f"name = '{name}'")}
    gone = [number for number in earlier if number not in there]
    if gone:
        were = f"version {gone[0]} of {name} was" if len(gone) == 1 else f"versions {', '.join(gone)} of {name} were"
        log.warning("%s champion once, and deleted since", were)
    target = None
    for number in reversed([number for number in earlier if number in there]):
        try:
            usable(there[number])
        except StoreError:
            raise
        except UserError as error:
            log.warning("version %s of %s is passed over: %s", number, name, error)
            continue
        target = there[number]
        break
    if target is None:
        now_is = f"version {was} is the first champion" if was else "there has been no champion"
        raise UserError(f"models:/{name} cannot be rolled back: {now_is} that is known and can be used")
    crown(client, target, how="rollback", why=why, by=by, moves=moves, before=was)
    if was is not None:
        reason = f"rolled back to version {target.version} by {by} on {now()}" + (f": {why}" if why else "")
        client.set_model_version_tag(name, was, ROLLED_BACK_TAG, reason[:_LONGEST])
    return was, str(target.version)


def _drop(client: MlflowClient, version: ModelVersion, alias: str) -> None:
    """Takes an alias away from a version, if it is the one that has it."""
    holder = by_alias(client, version.name, alias)
    if holder is not None and holder.version == version.version:
        client.delete_registered_model_alias(version.name, alias)


def _note(client: MlflowClient, name: str, moves: Sequence[Move], move: Move) -> Move:
    # the random part keeps two machines that move it at once from writing over each other's note
    key = f"{_MOVE_TAG}{len(moves) + 1:06d}.{secrets.token_hex(3)}"
    client.set_registered_model_tag(name, key, json.dumps(asdict(move)))
    return move
