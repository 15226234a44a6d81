"""What `vidpred check` says of models that cannot be what params.yaml asks of them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from vidpred.commands.check_models import check_models
from vidpred.config import load_params
from vidpred.errors import UserError

OURS = Path(__file__).parents[2] / "params.yaml"


def checked(folder: Path, changes: Mapping[str, object]) -> None:
    """Checks the project's params.yaml with some values replaced, named as `dvc exp run -S` names them."""
    values: dict[str, Any] = yaml.safe_load(OURS.read_text())
    for place, value in changes.items():
        *above, last = place.split(".")
        section = values
        for name in above:
            section = section[name]
        section[last] = value
    path = folder / "params.yaml"
    path.write_text(yaml.safe_dump(values, sort_keys=False))
    check_models(path, load_params(path))


CLASSIFY = {
    "task.kind": "classify", "task.context": 8, "transcode.min_frames": 8, "tune.models": {"single_frame": {}},
    "train.augment.flip": "left_right", "train.augment.transpose": False, "train.augment.reverse": False,
}  # fmt: skip
SEARCH = {"convlstm": {"config": {"filters": [8, 16]}, "train": {"learning_rate": {"low": 1e-3, "high": 1e-2}}}}


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"train.model": "warpmix", "train.config": {"width": 16, "frames": 2}, "train.augment.crop": 32},
        {"tune.models": SEARCH, "task.kind": "interpolate", "task.context": 2, "transcode.min_frames": 3},
        {"train.model": "vae_lstm", "train.stage_shares": {"autoencoder": 3, "joint": 1}},
        {"train.init": "models:/vidpred/3"},
        CLASSIFY | {"train.model": "early_fusion", "train.mixup": 0.2, "train.label_smoothing": 0.1},
        CLASSIFY | {"train.augment.reverse": True, "train.augment.labels": {"reverse": {"open": "close"}}},
        {
            "tune.models": {"multiscale": {}},
            "train.model": "multiscale",
            "train.loss": {"l1": 1.0, "adversarial": 0.05},
        },
    ],
)
def test_sound_params_pass_and_draw_no_random_numbers(tmp_path: Path, changes: dict[str, object]) -> None:
    before = torch.random.get_rng_state()
    checked(tmp_path, changes)
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        (
            {"tune.models": SEARCH | {"conv3d": {"train": {"batch_size": {"low": 1, "high": 8}}}}},
            "tune.models.conv3d.train: batch_size is a range, which draws fractions: give a list, such as [8, 16]",
        ),
        (
            {"tune.models": {"conv3d": {"train": {"learning_rate": {"low": -1, "high": 1}}}}},
            "tune.models.conv3d.train: learning_rate is -1.0: it must be more than 0",
        ),
        (
            {"train.model": "vae_lstm", "train.stage_shares": {"autoencodr": 1}},
            "train: train.stage_shares names autoencodr: this model's stages are autoencoder, latent, joint",
        ),
        ({"train.init": "models/elsewhere"}, "train.init: "),
        ({"train.init": "models/trained"}, "train.init: models/trained is what the stage itself writes"),
        (
            {"tune.models": {"vae_lstm": {}}, "tune.steps": 1, "tune.grace_steps": 1},
            "tune.models.vae_lstm: 1 steps are too few for 2 stages (autoencoder, latent): raise tune.steps",
        ),
        (
            {"train.model": "multiscale", "train.loss": {"l1": 1.0, "adversarial": 0.05}},
            "tune.models.warpmix: train.loss has adversarial, and warpmix has no discriminators: take multiscale",
        ),
        ({"train.model": "vae_lstm", "train.augment.crop": 48}, "train: "),
        (
            CLASSIFY | {"train.augment.reverse": True},
            "task.kind classify: train.augment.reverse plays windows backwards, which may make them of another class",
        ),
        (
            CLASSIFY | {"train.augment.flip": "upside_down", "train.augment.labels": {"reverse": {"left": "right"}}},
            "task.kind classify: train.augment.flip (upside_down) turns windows upside down, which may make them of",
        ),
        (CLASSIFY | {"train.model": "warpmix"}, "train.model: warpmix predicts"),
        (
            {
                "tune.models": {"convlstm": {"train": SEARCH["convlstm"]["train"]}},
                "tune.scheduler": "pbt",
                "resources.workers_per_trial": 2,
            },
            "tune.scheduler pbt is for trials of one worker, but resources.workers_per_trial is 2: set it to 1",
        ),
        ({"tune.warm_start": ["gone.yaml"]}, "tune.warm_start names gone.yaml, and there is neither such a file nor a"),
    ],
)
def test_what_a_model_cannot_do_is_told_with_its_place(tmp_path: Path, changes: dict[str, object], told: str) -> None:
    with pytest.raises(UserError) as caught:
        checked(tmp_path, changes)
    assert str(caught.value).startswith(f"{tmp_path / 'params.yaml'}: {told}")
    assert "\n" not in str(caught.value)


def test_names_that_are_no_class_are_told_where_classes_are_known(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    checked(tmp_path, CLASSIFY | {"train.augment.labels": {"left_right": {"lft": "right"}}})
    with pytest.raises(UserError, match=r"no class is called 'lft': did you mean left\?"):
        check_models(path, load_params(path), ("left", "right"))
    checked(tmp_path, CLASSIFY)
    with pytest.raises(UserError, match="mirrors windows, and left would then be another class"):
        check_models(path, load_params(path), ("left", "right"))


def test_no_advice_is_given_that_is_refused_too(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    checked(tmp_path, CLASSIFY | {"train.augment.flip": False})
    values = yaml.safe_load(path.read_text())
    values["train"]["augment"]["flip"] = "upside_down"
    path.write_text(yaml.safe_dump(values, sort_keys=False))
    with pytest.raises(UserError, match=r"upside down, .*: set train\.augment\.flip to false, or say"):
        check_models(path, load_params(path), ("left", "right"))
