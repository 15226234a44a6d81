"""Tables and charts of a sweep: they tell the truth of a few trials, of a thousand, and of none that differ."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from vidpred.errors import UserError
from vidpred.report.charts import inline
from vidpred.report.sweep import CHARTS, write_sweep
from vidpred.report.sweep_costs import costs_table, saved_table
from vidpred.report.sweep_importance import ALL, importances
from vidpred.report.sweep_settings import tried
from vidpred.report.sweep_tables import (
    curves_table,
    front,
    front_table,
    neighbours_table,
    trials_table,
)

PARAMS: dict[str, Any] = {
    "tune": {
        "steps": 90,
        "models": {"warpmix": {"train": {"learning_rate": {"low": 1e-3, "high": 9e-3, "log": True}}}, "convlstm": {}},
    },
    "train": {"learning_rate": 3e-3, "weight_decay": 0.05},
}
FIELD = {"warpmix": ("width", (16, 24, 32)), "convlstm": ("filters", (8, 16)), "conv3d": ("filters", (8, 16))}


def a_sweep(count: int, models: tuple[str, ...] = ("warpmix", "convlstm", "conv3d"), **changes: Any) -> pd.DataFrame:
    """Trials as `tune` writes them: only the learning rate decides how good one is; some stopped, some failed."""
    rng = np.random.default_rng(0)
    rows = []
    for n in range(count):
        model = models[n % len(models)]
        rate = float(np.exp(rng.uniform(np.log(1e-3), np.log(9e-3))))
        field, values = FIELD[model]
        at = (1 + 3 * np.log(rate / 4e-3) ** 2) * (8 + 2 * models.index(model)) * float(np.exp(rng.normal(0, 0.03)))
        curve = [[step, at * (1 + 2 * np.exp(-step / 30))] for step in (30, 60, 90)]
        status = "failed" if n % 17 == 16 else "stopped" if at > 14 and n >= len(models) else "finished"
        curve = curve[: {"failed": n % 2, "stopped": 1}.get(status, 3)]
        first = n < len(models)
        rows.append(
            {
                "trial": n,
                "model": model,
                "config": json.dumps({} if first else {field: int(rng.choice(values))}),
                "train": json.dumps({} if first else {"learning_rate": rate}),
                "status": status,
                "error": "out of memory" if status == "failed" else "",
                "step": curve[-1][0] if curve else 0,
                "perceptual_distance": curve[-1][1] if curve else np.nan,
                "val_copy_last": 40.0,
                "val_gain": 1 - curve[-1][1] / 40 if curve else np.nan,
                "val_psnr_db": 20.0,
                "loss": 0.1,
                "parameters": 1000.0 * (1 + models.index(model)),
                "operations": 1e6 * (1 + models.index(model)) * (1 + n % 3),
                "curve": json.dumps(curve),
            }
            | changes
        )
    return pd.DataFrame(rows)


def written(trials: pd.DataFrame, folder: Path, params: dict[str, Any] = PARAMS) -> dict[str, str]:
    write_sweep(trials, params, folder)
    told = json.loads((folder / "notes.json").read_text())
    notes: dict[str, str] = {name: one["note"] for name, one in told.items()}
    assert set(notes) == set(CHARTS)
    for name in CHARTS:
        svg = (folder / f"{name}.svg").read_text()
        assert (f'aria-label="{notes[name]}"' in svg) is not told[name][
            "drawn"
        ]  # in place of a chart: why there is none
    for name in CHARTS:
        svg = (folder / f"{name}.svg").read_text()
        assert svg.startswith("<?xml")
        assert "var(" not in svg  # a file of its own knows no page
        assert 'fill="#fbfbf9"' in svg
        assert "#fbfbf9" not in inline(svg)
        assert "var(--ink-soft)" in inline(svg)
        assert notes[name].endswith(".")
    return notes


@pytest.mark.parametrize("count", [3, 12])
def test_few_trials_are_all_drawn_and_nothing_is_claimed_of_what_mattered(count: int, tmp_path: Path) -> None:
    notes = written(a_sweep(count), tmp_path)
    assert notes["importance"].startswith("Nothing to be said of what mattered; all models: ")
    assert "A line a trial" in notes["curves"]
    assert len(pd.read_csv(tmp_path / "trials.csv")) == count


def test_one_trial_without_a_choice_says_so(tmp_path: Path) -> None:
    notes = written(a_sweep(1), tmp_path)
    assert notes["parallel"] == "No setting varied: every trial of a model was the same."
    assert "it has no neighbours" in notes["neighbours"]
    assert "nothing to weigh" in notes["front"]
    assert "no trial was stopped early" in notes["saved"]


def test_two_trials_are_told_by_a_table(tmp_path: Path) -> None:
    written(a_sweep(2, ("warpmix",)), tmp_path)
    told = json.loads((tmp_path / "notes.json").read_text())
    assert not any(one["drawn"] for one in told.values())
    assert told["curves"]["note"] == "2 trials with a result: the table says all of them."
    assert len(pd.read_csv(tmp_path / "trials.csv")) == 2


def test_settings_of_a_model_are_drawn_once_there_are_three_trials_of_it(tmp_path: Path) -> None:
    notes = written(a_sweep(7), tmp_path)  # three of warpmix, two of the others
    assert re.search(r"Not drawn: (convlstm, conv3d|conv3d, convlstm)\.$", notes["parallel"])
    assert "convlstm, " not in (tmp_path / "parallel.svg").read_text()


def test_no_trial_with_a_result_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no trial of the sweep came to a result"):
        write_sweep(a_sweep(2, perceptual_distance=np.nan, curve="[]", status="failed"), PARAMS, tmp_path)


def test_a_thousand_trials_stay_small_and_a_failed_one_never_wins(tmp_path: Path) -> None:
    trials = a_sweep(1000)
    trials.loc[16, ["perceptual_distance", "status"]] = [0.001, "failed"]
    notes = written(trials, tmp_path)
    assert "a band is where eight in ten" in notes["curves"]
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) < 600_000
    assert pd.read_csv(tmp_path / "trials.csv")["trial"][0] == tried(trials, PARAMS).best != 16
    assert pd.read_csv(tmp_path / "curves.csv")["trial"].nunique() <= 100


def test_the_same_trials_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_sweep(a_sweep(20), PARAMS, tmp_path / name)
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes(), path.name


def test_the_setting_that_decides_is_found_and_one_that_does_not_is_not() -> None:
    found = {one.group: one for one in importances(tried(a_sweep(90), PARAMS))}
    assert list(found) == [ALL, "warpmix", "convlstm", "conv3d"]
    for group in ("warpmix", "convlstm"):
        shares = found[group].shares
        other = FIELD[group][0]
        assert shares["learning_rate"][1] > 0.1  # the lower end of the interval
        assert shares[other][1] <= 0.02
        assert found[group].explained is not None
        assert found[group].explained > 0.5
    assert {"model", "learning_rate"} <= set(found[ALL].shares)


def test_noise_is_not_explained() -> None:
    trials = a_sweep(60, ("warpmix",))
    rng = np.random.default_rng(1)
    trials["curve"] = [json.dumps([[30, float(np.exp(rng.normal()))]]) for _ in range(60)]
    (one,) = importances(tried(trials, PARAMS))
    assert not one.shares
    assert "cannot be foretold" in one.why_not


def test_what_a_trial_did_not_change_is_its_default() -> None:
    trials = a_sweep(12)
    table = trials_table(tried(trials, PARAMS)).set_index("trial")
    assert table.loc[0, "train.learning_rate"] == 0.003  # of params.yaml
    assert table.loc[0, "config.width"] > 0  # of the model's own config
    assert pd.isna(table.loc[1, "config.width"])  # another model has none


def test_trials_are_compared_at_the_last_step_that_most_came_to() -> None:
    trials = a_sweep(30)
    assert tried(trials, PARAMS).common_step == 30
    whole = trials.assign(curve=json.dumps([[30, 3.0], [60, 2.0], [90, 1.0]]), status="finished")
    assert tried(whole, PARAMS).common_step == 90


def test_neighbours_are_nearest_first_and_of_the_same_model() -> None:
    sweep = tried(a_sweep(120), PARAMS)
    near = neighbours_table(sweep)
    assert near["trial"][0] == sweep.best
    assert near["distance"].is_monotonic_increasing
    assert set(sweep.trials.loc[near["trial"], "model"]) == {"warpmix"}


def test_early_stopping_saves_what_stopped_trials_did_not_train() -> None:
    trials = a_sweep(2, ("warpmix",))
    trials["status"], trials["step"] = ["finished", "stopped"], [90, 30]
    table = saved_table(trials, 90)
    assert table.loc[0, ["steps", "steps_saved", "share_saved"]].tolist() == [120, 60, round(60 / 180, 4)]
    costs = pd.DataFrame({"trial": [0, 1], "cpu_seconds": [90.0, 40.0], "gpu_seconds": [0.0, 0.0], "restarts": [1, 0]})
    told = costs_table(trials, costs, 90)
    assert told.loc[0, ["cpu_seconds", "cpu_seconds_saved", "restarts"]].tolist() == [130, 80, 1]


def test_the_seconds_saved_are_of_each_trials_own_steps() -> None:
    trials = a_sweep(2, ("warpmix",))
    trials["status"], trials["step"], trials["steps"] = ["finished", "stopped"], [90, 50], [90, 200]
    costs = pd.DataFrame({"trial": [0, 1], "cpu_seconds": [90.0, 40.0], "gpu_seconds": [0.0, 0.0], "restarts": [0, 0]})
    assert saved_table(trials, 90).loc[0, "steps_saved"] == 150
    for table in (trials, trials_table(tried(trials, PARAMS))):  # as tune leaves them, and as the report reads them
        assert costs_table(table, costs, 90).loc[0, "cpu_seconds_saved"] == 120


def test_no_trial_of_the_front_is_beaten_in_both() -> None:
    sweep = tried(a_sweep(60), PARAMS)
    numbers = front(sweep, "operations")
    rows = sweep.ranked
    for number in numbers:
        own = rows.loc[number]
        better = (rows["perceptual_distance"] <= own["perceptual_distance"]) & (rows["operations"] <= own["operations"])
        assert list(rows.index[better]) == [number]
    assert set(front_table(sweep)["trial"]) == set(numbers)


def test_a_trial_that_went_astray_does_not_flatten_the_others(tmp_path: Path) -> None:
    trials = a_sweep(9)
    trials.loc[5, "curve"] = json.dumps([[30, 1e9]])
    trials.loc[5, "perceptual_distance"] = 1e9
    written(trials, tmp_path)
    axis = re.findall(r">([\d.]+)</text>", (tmp_path / "curves.svg").read_text())
    assert max(float(text) for text in axis) <= 100


def test_settings_that_are_words_or_nested_are_drawn_too(tmp_path: Path) -> None:
    trials = a_sweep(20, ("warpmix",))
    trials["config"] = [json.dumps({"prior": "consistency" if n % 2 else "none"}) for n in range(20)]
    trials["train"] = [
        json.dumps({"loss": {"gdl": 0.25 * (n % 3)}, "augment": {"flip": n % 2 == 0}}) for n in range(20)
    ]
    written(trials, tmp_path)
    table = pd.read_csv(tmp_path / "trials.csv")
    assert {"config.prior", "train.loss.gdl", "train.augment.flip"} <= set(table.columns)


def test_curves_keep_a_report_without_a_number_out() -> None:
    trials = a_sweep(3)
    trials.loc[1, "curve"] = json.dumps([[30, 5.0], [60, None]])
    table = curves_table(tried(trials, PARAMS))
    assert table[table["trial"] == 1]["step"].tolist() == [30]
