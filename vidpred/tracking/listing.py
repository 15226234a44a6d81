"""What a registry holds: a row a version, from its tags. Texts are strangers' and are to be escaped where shown."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from vidpred.errors import UserError
from vidpred.tracking import store
from vidpred.tracking.meant import other_name

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion, RegisteredModel

_PROMOTED = ("how", "by", "why", "at", "from")
_LONGEST = 500
"""Characters of a text."""


def list_versions(name: str | None = None) -> list[dict[str, Any]]:
    """The versions of all registered models, or of one, newest first: name, version, uri, aliases, model, pd, top1,
    gain, gain_interval, baseline, data_id, weights_sha256, created (UTC, ISO 8601), age_seconds, decision, reason,
    promoted; None where a version does not tell.

    Args:
        name: Of the registered model; None: all.

    Raises:
        UserError: there is no such model, or MLflow does not answer.
    """
    if not store.exists():
        return []
    client = store.connect()
    where = store.display(store.tracking_uri())
    with store.explained("the registry cannot be listed"):
        models = {model.name: model for model in store.every(client.search_registered_models)}
        if name is not None and name not in models:
            raise UserError(f"{name} is not in {where}: {other_name(name, models)}")
        rows = []
        for called in sorted(models) if name is None else [name]:
            quote = '"' if "'" in called else "'"
            versions = store.every(client.search_model_versions, f"name = {quote}{called}{quote}")
            aliases = client.get_registered_model(called).aliases  # a search does not give them
            newest_first = sorted(versions, key=lambda v: -int(v.version))
            rows += [_row(models[called], version, aliases) for version in newest_first]
    return rows


def _row(model: RegisteredModel, version: ModelVersion, aliases: Mapping[str, str]) -> dict[str, Any]:
    tags = version.tags
    created = version.creation_timestamp / 1000
    low, high = _number(tags, "gain_low"), _number(tags, "gain_high")
    return {
        "name": model.name,
        "version": int(version.version),
        "uri": f"models:/{model.name}/{version.version}",
        "aliases": sorted(alias for alias, number in aliases.items() if str(number) == str(version.version)),
        "model": _text(tags, "model"),
        "pd": _number(tags, "perceptual_distance"),
        "top1": _number(tags, "top1"),
        "gain": _number(tags, "gain_pooled"),
        "gain_interval": None if low is None or high is None else [low, high],
        "baseline": _baseline(tags),
        "data_id": _text(tags, "data_id"),
        "weights_sha256": _text(tags, "weights_sha256"),
        "created": datetime.fromtimestamp(created, UTC).isoformat(timespec="seconds"),
        "age_seconds": max(0, round(datetime.now(UTC).timestamp() - created)),
        "decision": _text(tags, "decision"),
        "reason": _text(tags, "rolled_back") or _text(tags, "reason"),
        "promoted": {key: told for key in _PROMOTED if (told := _text(tags, f"promoted_{key}")) is not None},
    }


def _text(tags: Mapping[str, str], key: str) -> str | None:
    """One line of a tag, bounded."""
    told = tags.get(f"vidpred.{key}")
    if told is None:
        return None
    return " ".join("".join(c if c.isprintable() else " " for c in told[: 4 * _LONGEST]).split())[:_LONGEST]


def _number(tags: Mapping[str, str], key: str) -> float | None:
    try:
        value = float(tags[f"vidpred.{key}"])
    except (KeyError, ValueError):
        return None
    return value if math.isfinite(value) else None


def _baseline(tags: Mapping[str, str]) -> str | None:
    """The bar, which the name of a figure tells."""
    figures = ("_perceptual_distance", "_top1")
    found = {
        key.removeprefix("vidpred.").removesuffix(figure) for key in tags for figure in figures if key.endswith(figure)
    }
    return next((name for name in sorted(found) if name in ("average", "copy_first", "copy_last", "majority")), None)
