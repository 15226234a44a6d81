"""Data to train on."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from tests.conftest import write_digits
from vidpred.config import Params
from vidpred.data.digits import Recipe
from vidpred.training.data import Data, read_data


@pytest.fixture
def data(digits: Path, params: Params) -> Data:
    return read_data(digits / "shards", digits / "split", params)


@pytest.fixture(scope="session")
def bundled(root: Path, params: Params, tmp_path_factory: pytest.TempPathFactory) -> Data:
    """The bundled digits, at their own size."""
    recipe = Recipe.model_validate(yaml.safe_load((root / "datasets/moving_digits.yaml").read_text()))
    folder = write_digits(tmp_path_factory.mktemp("bundled"), recipe)
    return read_data(folder / "shards", folder / "split", params)
