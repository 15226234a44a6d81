"""params.yaml as a user writes it: what is impossible is one line that names the place."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from vidpred.config import load_params
from vidpred.errors import UserError


@pytest.mark.parametrize("section", ["split", "tune", "train"])
@pytest.mark.parametrize("seed", [-1, 2**63])
def test_seeds_that_no_generator_takes_are_told(tmp_path: Path, root: Path, section: str, seed: int) -> None:
    values = yaml.safe_load((root / "params.yaml").read_text())
    values[section]["seed"] = seed
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(values))
    with pytest.raises(UserError, match=rf"params\.yaml: {section}\.seed: Input should be "):
        load_params(tmp_path / "params.yaml")
