"""A model on disk: what the files say, what damage is told, that nothing else of vidpred is needed."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import vidpred
from tests.models.waves import TASK
from vidpred.errors import UserError
from vidpred.models import zoo
from vidpred.models.files import load_model, save_model
from vidpred.types import Predictor


class TestFiles:
    def save(self, folder: Path) -> Predictor:
        model = zoo.build("conv2d", {"filters": 4, "depth": 2}, TASK)
        info = {"data_id": "abc", "training": {"steps": 3}}
        save_model(folder, model, name="conv2d", config={"filters": 4, "depth": 2}, task=TASK, info=info)
        return model

    def test_says_what_it_is(self, tmp_path: Path) -> None:
        self.save(tmp_path / "a")
        said = json.loads((tmp_path / "a/model.json").read_text())
        assert list(said) == sorted(said)
        assert said["config"] == dataclasses.asdict(zoo.config_of("conv2d", {"filters": 4, "depth": 2}))
        assert said["versions"] == {"torch": str(torch.__version__), "vidpred": vidpred.__version__}
        assert (said["data_id"], said["training"]) == ("abc", {"steps": 3})
        weights = (tmp_path / "a/model.safetensors").read_bytes()
        assert said["weights_sha256"] == hashlib.sha256(weights).hexdigest()
        assert sorted(p.name for p in (tmp_path / "a").iterdir()) == ["model.json", "model.safetensors"]

    def test_same_weights_same_bytes(self, tmp_path: Path) -> None:
        torch.manual_seed(5)
        self.save(tmp_path / "a")
        torch.manual_seed(5)
        self.save(tmp_path / "b")
        for name in ("model.json", "model.safetensors"):
            assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()

    def test_a_changed_byte_is_found(self, tmp_path: Path) -> None:
        self.save(tmp_path)
        weights = bytearray((tmp_path / "model.safetensors").read_bytes())
        weights[-1] ^= 1
        (tmp_path / "model.safetensors").write_bytes(weights)
        with pytest.raises(UserError, match="damaged or of another model"):
            load_model(tmp_path)

    @pytest.mark.parametrize("name", ["model.json", "model.safetensors"])
    def test_a_missing_file_is_named(self, tmp_path: Path, name: str) -> None:
        self.save(tmp_path)
        (tmp_path / name).unlink()
        with pytest.raises(UserError, match=f"{name} cannot be read"):
            load_model(tmp_path)

    @pytest.mark.parametrize(
        ("change", "complaint"),
        [
            ({"name": "conv2e"}, "did you mean 'conv2d'"),
            ({"config": {"filters": 6, "depth": 2}}, "do not fit this version's conv2d"),
            ({"config": {"filterz": 4}}, "did you mean 'filters'"),
            ({"task": {"context": 5}}, "not one that this version knows"),
        ],
    )
    def test_what_cannot_be_built_is_told(self, tmp_path: Path, change: dict[str, object], complaint: str) -> None:
        self.save(tmp_path)
        said = json.loads((tmp_path / "model.json").read_text())
        (tmp_path / "model.json").write_text(json.dumps(said | change))
        with pytest.raises(UserError, match=complaint):
            load_model(tmp_path)

    @pytest.mark.parametrize(("text", "complaint"), [("{", "is not JSON"), ("[]", "lacks name"), ("{}", "lacks name")])
    def test_damaged_json_is_told(self, tmp_path: Path, text: str, complaint: str) -> None:
        self.save(tmp_path)
        (tmp_path / "model.json").write_text(text)
        with pytest.raises(UserError, match=complaint):
            load_model(tmp_path)

    def test_info_may_not_contradict(self, tmp_path: Path) -> None:
        model = zoo.build("copy_last", {}, TASK)
        with pytest.raises(ValueError, match="must not hold config, name"):
            save_model(tmp_path, model, name="copy_last", config={}, task=TASK, info={"name": "x", "config": {}})


def test_models_work_where_nothing_else_of_vidpred_is(tmp_path: Path) -> None:
    here = Path(vidpred.__file__).parent
    for name in ("__init__.py", "types.py", "records.py", "errors.py"):
        (tmp_path / "vidpred").mkdir(exist_ok=True)
        shutil.copy(here / name, tmp_path / "vidpred" / name)
    shutil.copytree(here / "models", tmp_path / "vidpred/models", ignore=shutil.ignore_patterns("__pycache__"))
    code = (
        "import sys, vidpred; from vidpred.models import zoo, files, rollout; from vidpred.types import Task\n"
        "for name in zoo.names(): zoo.build(name, {}, Task(5, 1, 32, 32))\n"
        "heavy = {'pandas', 'cv2', 'mlflow', 'ray', 'pydantic', 'torchmetrics', 'pyarrow'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
        "assert len(zoo.names()) > 6 and vidpred.__file__.startswith(sys.argv[1]), vidpred.__file__"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)],
        cwd=tmp_path,
        env={"PYTHONPATH": str(tmp_path)},
        capture_output=True,
    )
    assert done.returncode == 0, done.stderr.decode()
