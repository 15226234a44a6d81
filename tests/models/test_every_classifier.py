"""What holds for every classifier of the zoo, those to come included."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from tests.models.clips import NAMES, SMALL, TASK, clips, made, optimise, score, tried
from vidpred.config import ModelSpace, UniformSpace
from vidpred.errors import UserError
from vidpred.models import zoo
from vidpred.models.files import load_model, save_model
from vidpred.types import Classifier, Task


@pytest.mark.parametrize(("name", "config"), SMALL, ids=["-".join([name, *config.values()]) for name, config in SMALL])
class TestEveryClassifier:
    def test_scores_every_class_of_frames_of_odd_sizes(self, name: str, config: dict[str, object]) -> None:
        model = made(name, config)
        assert isinstance(model, Classifier)
        said = score(model, clips(height=37, width=23))
        assert said.logits.shape == (2, 3)
        assert said.logits.dtype == torch.float32
        assert all(logits.shape == (2, 3) and logits.isfinite().all() for logits in (said.logits, *said.auxiliary))

    def test_three_steps_reach_every_parameter_and_lower_the_loss(self, name: str, config: dict[str, object]) -> None:
        model = made(name, config)
        truth = torch.tensor([0, 2])
        model.train()
        before = F.cross_entropy(score(model, clips()).logits, truth)
        assert optimise(model, 8) == {parameter for parameter, _ in model.named_parameters()}
        assert F.cross_entropy(score(model.train(), clips()).logits, truth) < before

    def test_a_clip_s_scores_are_its_own_and_repeatable(self, name: str, config: dict[str, object]) -> None:
        model = made(name, config)
        optimise(model)
        model.eval()
        clip = clips(4)
        together = score(model, clip)
        assert together.auxiliary == ()
        assert torch.equal(score(model, clip).logits, together.logits)
        alone = torch.cat([score(model, one).logits for one in clip.split(1)])
        torch.testing.assert_close(alone, together.logits, rtol=1e-4, atol=1e-5)

    def test_comes_back_from_disk_as_it_went(self, name: str, config: dict[str, object], tmp_path: Path) -> None:
        model = made(name, config)
        optimise(model)
        said = save_model(tmp_path, model, name=name, config=config, task=TASK, info={"data_id": "d"})
        loaded, info = load_model(tmp_path, Classifier)
        assert info["task"] == said["task"] | {"classes": ["left", "right", "up"]}
        assert Task(**info["task"]) == TASK
        assert not loaded.training
        assert torch.equal(score(loaded, clips()).logits, score(model.eval(), clips()).logits)

    def test_the_same_seed_gives_the_same_weights_after_the_same_steps(
        self, name: str, config: dict[str, object]
    ) -> None:
        first, second = made(name, config), made(name, config)
        for model in (first, second):
            torch.manual_seed(5)  # of dropout
            optimise(model)
        assert all(
            torch.equal(a, b) for a, b in zip(first.state_dict().values(), second.state_dict().values(), strict=True)
        )

    def test_learns_four_clips_by_heart(self, name: str, config: dict[str, object]) -> None:
        model = made(name, config)
        clip, truth = clips(4, height=16, width=16), torch.tensor([0, 2, 1, 2])
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
        for _ in range(40):
            said = score(model.train(), clip)
            optimizer.zero_grad()
            loss = F.cross_entropy(said.logits, truth)
            loss.backward()
            optimizer.step()
        assert loss < 0.7 * math.log(3)

    def test_a_single_clip_trains(self, name: str, config: dict[str, object]) -> None:
        said = score(made(name, config).train(), clips(1))
        F.cross_entropy(said.logits, torch.tensor([1])).backward()
        assert said.logits.isfinite().all()

    @pytest.mark.parametrize(("height", "width"), [(1, 1), (7, 9), (40, 33)])
    def test_frames_of_another_size_are_scored(
        self, name: str, config: dict[str, object], height: int, width: int
    ) -> None:
        model = made(name, config).eval()
        assert score(model, clips(1, height=height, width=width)).logits.isfinite().all()

    def test_weights_in_torch_s_own_layout_say_the_same(self, name: str, config: dict[str, object]) -> None:
        model = made(name, config).eval()
        with torch.no_grad():
            before = score(model, clips()).logits
            for weight in model.parameters():
                weight.data = weight.data.contiguous()
            torch.testing.assert_close(score(model, clips()).logits, before, rtol=1e-4, atol=1e-5)

    def test_a_gpu_gives_nearly_the_same(
        self, name: str, config: dict[str, object], require: Callable[[str], str]
    ) -> None:
        device = require("cuda")
        model = made(name, config)
        optimise(model)
        model.eval()
        with torch.no_grad():
            here = score(model, clips()).logits
            there = score(model.to(device), clips().to(device)).logits
        # a GPU may multiply in TensorFloat-32, with ten bits
        torch.testing.assert_close(there.cpu().softmax(-1), here.softmax(-1), rtol=0, atol=0.02)

    @pytest.mark.parametrize("length", [1, 2, 3, 13])
    def test_another_length_works_or_is_refused_in_words(
        self, name: str, config: dict[str, object], length: int
    ) -> None:
        model = made(name, config).eval()
        if model.needs_flow and length == 1:
            return  # there is no flow
        found = tried(model, clips(1, length=length))
        if isinstance(found, str):
            assert re.search(rf"^{name} .*got {length}\b", found)
        else:
            assert found.shape == (1, 3)
            assert found.isfinite().all()

    def test_bfloat16_changes_little(self, name: str, config: dict[str, object]) -> None:
        model = made(name, config)
        optimise(model)
        model.eval()
        with torch.no_grad():
            exact = score(model, clips()).logits
            with torch.autocast("cpu", dtype=torch.bfloat16):
                rough = score(model, clips()).logits
        assert rough.dtype == torch.float32
        torch.testing.assert_close(rough.softmax(-1), exact.softmax(-1), rtol=0, atol=0.05)


@pytest.mark.parametrize("name", NAMES)
class TestEverySearchSpace:
    def test_every_value_builds_and_the_default_is_among_them(self, name: str) -> None:
        space = ModelSpace.model_validate(zoo.search(name, "classify"))
        default = zoo.config_of(name, {}, "classify")
        for field, values in space.config.items():
            assert isinstance(values, list)
            assert len(set(values)) == len(values) > 1
            assert getattr(default, field) in values
            for value in values:
                assert zoo.parameters(made(name, {field: value})) > 0
        assert "learning_rate" in space.train, f"SEARCH of {name} says nothing of its learning rate"
        rates = space.train["learning_rate"]
        assert isinstance(rates, UniformSpace)
        assert rates.low <= 1e-3 <= 3e-3 <= rates.high

    def test_an_unknown_field_gets_the_nearest(self, name: str) -> None:
        for field in dataclasses.fields(zoo.config_of(name, {}, "classify")):
            with pytest.raises(UserError, match=f"did you mean '{field.name}'"):
                zoo.config_of(name, {f"{field.name}_": 1}, "classify")

    def test_impossible_values_and_changed_papers_are_refused(self, name: str) -> None:
        with pytest.raises(UserError, match="no config field 'nothing_like_it'"):
            made(name, {"nothing_like_it": 1})
        default = zoo.config_of(name, {}, "classify")
        for field in (field for field in ("width", "filters") if hasattr(default, field)):
            with pytest.raises(UserError, match=f"{name}: {field}"):
                made(name, {field: 0})
            for variant in (one for one in zoo.variants(name, "classify") if one != "default"):
                with pytest.raises(UserError, match=f"{field} of variant {variant} are its source's"):
                    made(name, {"variant": variant, field: getattr(default, field) + 8})
