"""What a sweep tried: its trials with every setting that varied, complete with defaults, and which of them won.

In: the table of trials as `tune` writes it (docs/tuning.md), params.yaml. Out: `Tried`, from which tables, charts and
the importance of settings are made.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from vidpred.errors import UserError
from vidpred.models import zoo
from vidpred.report.sweep_costs import whole_steps

LOG_RATIO = 30
"""Positive numbers that are so many times apart are shown by their logarithm, also where the space does not say so."""


@dataclass(frozen=True)
class Setting:
    """A field that trials of a model were given."""

    place: str
    """`config.width`, `train.learning_rate`."""
    values: pd.Series[Any]
    """Of each trial, by its number."""
    log: bool
    """Whether it is drawn, and distances are taken, by the logarithm."""

    @property
    def name(self) -> str:
        """`width`."""
        return self.place.partition(".")[2]

    @property
    def varied(self) -> bool:
        """Whether it has more than one value."""
        return self.values.map(repr).nunique() > 1

    @cached_property
    def levels(self) -> list[Any] | None:
        """The values of one that is no number, in order; None: it is a number."""
        if all(isinstance(v, int | float) and not isinstance(v, bool) for v in self.values):
            return None
        return sorted(set(self.values), key=lambda v: (isinstance(v, str), str(v)))

    @cached_property
    def scale(self) -> pd.Series[float]:
        """Every value as a number: its level, its logarithm or itself."""
        if self.levels is not None:
            places = {level: float(i) for i, level in enumerate(self.levels)}
            return pd.Series([places[v] for v in self.values], self.values.index, dtype=float)
        numbers = self.values.astype(float)
        return numbers.map(math.log10) if self.log else numbers

    def apart(self, trial: int) -> pd.Series[float]:
        """How far every trial is from one, from 0 to 1: by the range, or whether it is the same at all."""
        if self.levels is not None:
            same = self.values[trial]
            return pd.Series([float(value != same) for value in self.values], index=self.values.index)
        at = self.scale.to_numpy(np.float64)
        apart = np.abs(at - float(self.scale[trial])) / (float(np.ptp(at)) or 1.0)
        return pd.Series(apart, index=self.scale.index)

    def told(self, trial: int) -> str:
        """A value as short text."""
        return short(self.values[trial])


@dataclass(frozen=True)
class Tried:
    """A sweep.

    `trials` has a row a trial, by its number: model, status (finished, stopped, failed, interrupted), error, step,
    perceptual_distance, operations …
    """

    trials: pd.DataFrame
    curves: Mapping[int, NDArray[np.float64]]
    """Of each trial: (reports, 2) of step, or per cent of its way, and PD."""
    drawn: Mapping[str, Sequence[Setting]]
    """Of each model every setting that a trial was given."""
    by_share: bool
    """Whether trials have unlike numbers of steps, as at equal time: then curves go by shares."""

    @cached_property
    def settings(self) -> dict[str, list[Setting]]:
        """Of each model the settings that varied among its trials."""
        return {m: [one for one in drawn if one.varied] for m, drawn in self.drawn.items()}

    @cached_property
    def models(self) -> list[str]:
        """The one with the best trial first, those without a result last."""
        best = self.ranked.groupby("model", sort=False)["perceptual_distance"].min()
        return [*best.index, *(m for m in dict.fromkeys(self.trials["model"]) if m not in best.index)]

    @cached_property
    def ranked(self) -> pd.DataFrame:
        """Trials that came to a result, best first; of two alike the one with the lower number."""
        good = self.trials[self.trials["perceptual_distance"].notna() & (self.trials["status"] != "failed")]
        return good.sort_values("perceptual_distance", kind="stable")

    @property
    def best(self) -> int:
        """The trial that won."""
        return self.numbers[0]

    @cached_property
    def numbers(self) -> list[int]:
        """Of the trials that came to a result, best first."""
        return [int(number) for number in self.ranked["trial"]]

    @property
    def winner(self) -> str:
        """The model of the trial that won."""
        return self.model_of(self.best)

    def model_of(self, trial: int) -> str:
        """The model of a trial."""
        return str(self.trials.loc[trial, "model"])

    @property
    def common(self) -> str:
        """`common_step` in words."""
        return f"{self.common_step} % of their way" if self.by_share else f"step {self.common_step}"

    @cached_property
    def common_step(self) -> int:
        """The last step, or share, to which two trials in three came: where most can be compared as equals."""
        lasts = sorted((curve[-1, 0] for curve in self.curves.values() if len(curve)), reverse=True)
        bound = lasts[(2 * len(lasts) - 1) // 3]
        return int(max(step for curve in self.curves.values() for step in curve[:, 0] if step <= bound))

    def at(self, step: int) -> pd.Series[float]:
        """The PD of each trial at a step; those that did not come there, or have no number there, are left out."""
        found = {n: curve[curve[:, 0] == step, 1] for n, curve in self.curves.items()}
        known = {n: float(values[-1]) for n, values in found.items() if len(values) and np.isfinite(values[-1])}
        return pd.Series(known, dtype=float)


def tried(trials: pd.DataFrame, params: Mapping[str, Any]) -> Tried:
    """Reads the table of trials.

    Args:
        trials: As `tune` writes it.
        params: params.yaml; of `train` come the values of what a trial did not change.

    Raises:
        UserError: no trial came to a result.
    """
    rows = trials.set_index("trial", drop=False).sort_index()
    if not (rows["perceptual_distance"].notna() & (rows["status"] != "failed")).any():
        raise UserError("no trial of the sweep came to a result: `dvc repro --force tune` runs it again")
    tune = params["tune"]
    rows["steps"] = whole_steps(rows, int(tune["steps"]))
    by_share, turns = rows["steps"].nunique() > 1, math.ceil(tune["steps"] / tune.get("grace_steps", 1))
    curves = {}
    for number, text, steps in zip(rows["trial"], rows["curve"], rows["steps"], strict=True):
        curve = np.array([[s, np.nan if d is None else d] for s, d in json.loads(text)], float).reshape(-1, 2)
        if by_share:  # trials report at the same shares, but for rounding
            curve[:, 0] = np.round(100 * np.round(curve[:, 0] / steps * turns) / turns)
        curves[int(number)] = curve
    settings = {
        str(model): _drawn(str(model), of_model, params) for model, of_model in rows.groupby("model", sort=False)
    }
    return Tried(rows, curves, settings, by_share)


def _drawn(model: str, trials: pd.DataFrame, params: Mapping[str, Any]) -> list[Setting]:
    """Fields that a model's trials were given, complete with defaults."""
    given = {
        "config": {n: _flat(json.loads(text)) for n, text in trials["config"].items()},
        "train": {n: _flat(json.loads(text)) for n, text in trials["train"].items()},
    }
    kind = params.get("task", {}).get("kind", "predict")
    defaults = {"config": _flat(asdict(zoo.config_of(model, {}, kind))), "train": _flat(params["train"])}
    found = []
    for part, of_trials in given.items():
        for name in sorted({name for fields in of_trials.values() for name in fields}):
            usual = defaults[part].get(name, 0 if name.startswith("loss.") else None)
            values = pd.Series([fields.get(name, usual) for fields in of_trials.values()], trials.index, dtype=object)
            place = f"{part}.{name}"
            found.append(Setting(place, values, _by_logarithm(values, model, place, params)))
    return found


def _by_logarithm(values: pd.Series[Any], model: str, place: str, params: Mapping[str, Any]) -> bool:
    if not all(isinstance(v, int | float) and not isinstance(v, bool) and v > 0 for v in values):
        return False
    space: Any = params["tune"].get("models", {}).get(model) or zoo.search(
        model, params.get("task", {}).get("kind", "predict")
    )
    part, _, name = place.partition(".")  # `loss.gdl` is one name
    for key in (part, name):
        space = space.get(key, {}) if isinstance(space, Mapping) else {}
    declared = isinstance(space, Mapping) and bool(space.get("log"))
    return declared or max(values) / min(values) >= LOG_RATIO


def _flat(fields: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    """Nested fields by dotted names; lists as text."""
    found: dict[str, Any] = {}
    for name, value in fields.items():
        if isinstance(value, Mapping):
            found |= _flat(value, f"{before}{name}.")
        else:
            found[before + name] = json.dumps(value) if isinstance(value, list | tuple) else value
    return found


def short(value: object) -> str:
    """A value in three digits."""
    return f"{value:.3g}" if isinstance(value, float) else str(value)
