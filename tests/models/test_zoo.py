"""What holds for every model of the zoo, those to come included; and what only one of them promises."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tests.models.waves import TASK, flow_of, moving, optimise, predict
from vidpred.errors import UserError
from vidpred.models import zoo
from vidpred.models.files import load_model, save_model
from vidpred.models.rollout import rollout
from vidpred.types import Task

TRAINED = [name for name in zoo.names() if zoo.is_trained(name)]


def tried(name: str, context: Tensor) -> Tensor | str:
    """What a model built for `TASK` predicts from another context, or why it cannot."""
    model = zoo.build(name, {}, TASK).eval()
    try:
        frames = predict(model, context)
    except UserError as error:
        return str(error)
    assert frames.shape == (len(context), model.steps, *context.shape[2:])
    assert frames.isfinite().all()
    return frames


@pytest.mark.parametrize("name", zoo.names())
class TestEveryModel:
    @pytest.mark.parametrize("horizon", [1, 3])
    def test_gives_frames_of_the_context_s_shape(self, name: str, horizon: int) -> None:
        model = zoo.build(name, {}, dataclasses.replace(TASK, horizon=horizon, height=36, width=28))
        context = torch.rand(2, 5, 3, 36, 28)
        output = model(context, flow_of(context) if model.needs_flow else None)
        assert output.frames.shape == (2, model.steps, 3, 36, 28)
        assert output.frames.dtype == torch.float32
        assert output.frames.isfinite().all()
        assert model.steps in (1, horizon)
        assert all(auxiliary.shape == output.frames.shape for auxiliary in output.auxiliary)
        rolled = rollout(model, context, horizon, flow=flow_of)
        assert rolled.frames.shape == (2, horizon, 3, 36, 28)

    def test_eval_gives_no_auxiliary_and_is_repeatable(self, name: str) -> None:
        model = zoo.build(name, {}, TASK).eval()
        context = moving(5)
        assert model(context, flow_of(context) if model.needs_flow else None).auxiliary == ()
        assert torch.equal(predict(model, context), predict(model, context))

    def test_three_steps_reach_every_parameter(self, name: str) -> None:
        model = zoo.build(name, {}, TASK)
        if not zoo.is_trained(name):
            assert zoo.parameters(model) == 0
            return
        assert optimise(model) == {parameter for parameter, _ in model.named_parameters()}

    def test_comes_back_from_disk_as_it_went(self, name: str, tmp_path: Path) -> None:
        model = zoo.build(name, {}, TASK)
        if zoo.is_trained(name):
            optimise(model)
        save_model(tmp_path, model, name=name, config={}, task=TASK, info={"data_id": "d"})
        loaded, info = load_model(tmp_path)
        assert not loaded.training
        assert info["config"] == dataclasses.asdict(zoo.config_of(name, {}))
        assert Task(**info["task"]) == TASK
        context = moving(5)
        assert torch.equal(predict(loaded, context), predict(model.eval(), context))

    def test_bfloat16_changes_little_and_no_coordinate(self, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
        model = zoo.build(name, {}, TASK)
        if zoo.is_trained(name):
            optimise(model)  # residuals of zero would agree in any precision
        model.eval()
        sampled = []
        grid_sample = F.grid_sample

        def watched(image: Tensor, grid: Tensor, **options: object) -> Tensor:
            sampled.append((image.dtype, grid.dtype, torch.is_autocast_enabled("cpu")))
            return grid_sample(image, grid, **options)  # type: ignore[arg-type]

        context = moving(5)
        with torch.no_grad():
            exact = predict(model, context)
            monkeypatch.setattr(F, "grid_sample", watched)
            with torch.autocast("cpu", dtype=torch.bfloat16):
                rough = predict(model, context)
        assert rough.dtype == torch.float32
        assert (rough - exact).abs().mean() < 0.01
        assert (rough - exact).abs().max() < 0.1
        assert all(seen == (torch.float32, torch.float32, False) for seen in sampled)

    @pytest.mark.parametrize("length", [1, 2, 3, 8])
    def test_another_context_length_works_or_is_refused_in_words(self, name: str, length: int) -> None:
        if name == "warpmix" and length < 3:
            pytest.skip("warpmix breaks on contexts shorter than its frames")
        found = tried(name, torch.rand(1, length, 3, 32, 32))
        if isinstance(found, str):
            assert re.search(rf"^{name} .*(got|has) {length}\b", found)

    @pytest.mark.parametrize(("height", "width"), [(1, 1), (7, 9), (40, 33)])
    def test_another_frame_size_works_or_is_refused_in_words(self, name: str, height: int, width: int) -> None:
        found = tried(name, torch.rand(1, 5, 3, height, width))
        if isinstance(found, str):
            assert re.search(rf"^{name} .*32x32, not {height}x{width}\b", found)

    def test_a_gpu_gives_nearly_the_same(self, name: str, require: Callable[[str], str]) -> None:
        device = require("cuda")
        model = zoo.build(name, {}, TASK)
        if zoo.is_trained(name):
            optimise(model)
        model.eval()
        context = moving(5)
        flow = flow_of(context) if model.needs_flow else None
        with torch.no_grad():
            here = model(context, flow).frames
            there = model.to(device)(context.to(device), None if flow is None else flow.to(device)).frames
        # a GPU may multiply in TensorFloat-32, with ten bits
        torch.testing.assert_close(there.cpu(), here, rtol=0, atol=0.02)

    def test_unknown_field_gets_the_nearest(self, name: str) -> None:
        fields = [field.name for field in dataclasses.fields(zoo.config_of(name, {}))]
        for field in fields:
            with pytest.raises(UserError, match=f"did you mean '{field}'"):
                zoo.config_of(name, {f"{field}_": 1})
        with pytest.raises(UserError, match="no config field 'nothing_like_it'"):
            zoo.build(name, {"nothing_like_it": 1}, TASK)

    def test_channels_last_is_accepted(self, name: str) -> None:
        model = zoo.build(name, {}, TASK).to(memory_format=torch.channels_last)
        assert predict(model, moving(5)).isfinite().all()


@pytest.mark.parametrize(
    ("wrong", "right"), [("convlsmt", "convlstm"), ("CopyLast", "copy_last"), ("conv-3d", "conv3d")]
)
def test_misspelt_name_gets_the_nearest(wrong: str, right: str) -> None:
    with pytest.raises(UserError, match=f"no model is called '{wrong}': did you mean '{right}'"):
        zoo.build(wrong, {}, TASK)


def test_names_are_the_files() -> None:
    assert {"copy_last", "linear", "flow_extrapolation", "flow_gate", "conv2d", "conv3d", "convlstm"} <= set(
        zoo.names()
    )
    assert {"conv2d", "conv3d", "convlstm"} <= set(TRAINED)
    assert not {"copy_last", "linear", "flow_extrapolation", "flow_gate"} & set(TRAINED)


@pytest.mark.parametrize(
    ("name", "config", "complaint"),
    [
        ("conv2d", {"filters": 2.5}, "filters is 2.5: give a whole number"),
        ("conv2d", {"filters": True}, "filters is True: give a whole number"),
        ("conv2d", {"noise": "much"}, "noise is 'much': give a number"),
        ("conv2d", {"noise": float("nan")}, "noise is nan: give a number"),
        ("conv2d", {"noise": -0.1}, "noise is -0.1: give at least 0"),
        ("conv2d", {"depth": 1}, "depth is 1: give at least 2"),
        ("conv2d", {"variant": "sead"}, "variant is 'sead': give one of default, seed, starter"),
        ("conv2d", {"variant": "seed", "filters": 8}, "leave them out"),
        ("conv3d", {"variant": "seed", "depth": 2}, "leave them out"),
        ("convlstm", {"variant": "seed", "fold": 4}, "fold of variant seed"),
        ("convlstm", {"kernel": 4}, "kernel is 4: give an odd number"),
        ("flow_gate", {"prior": 1}, "prior is 1.0: give from 0.001 to 0.999"),
    ],
)
def test_impossible_values_are_named(name: str, config: dict[str, object], complaint: str) -> None:
    with pytest.raises(UserError, match=complaint):
        zoo.build(name, config, TASK)


def test_whole_floats_are_whole_numbers() -> None:
    config = zoo.config_of("conv2d", {"filters": 8.0, "noise": 0})
    assert (dataclasses.asdict(config)["filters"], dataclasses.asdict(config)["noise"]) == (8, 0.0)
    assert isinstance(dataclasses.asdict(config)["filters"], int)


def test_asking_whether_a_model_is_trained_draws_nothing() -> None:
    before = torch.get_rng_state()
    assert zoo.is_trained("conv2d")
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("name", "variant", "count"),
    [("conv2d", "seed", 408), ("conv2d", "starter", 14_467), ("conv3d", "seed", 136), ("convlstm", "seed", 2_133)],
)
def test_the_sources_networks_have_their_sizes(name: str, variant: str, count: int) -> None:
    model = zoo.build(name, {"variant": variant}, dataclasses.replace(TASK, height=96, width=96))
    assert zoo.parameters(model) == count
    assert predict(model, torch.rand(1, 5, 3, 31, 33)).shape == (1, 1, 3, 31, 33)


def test_conv3d_seed_is_torch_s_conv3d_over_colours() -> None:
    model = zoo.build("conv3d", {"variant": "seed"}, TASK)
    reference = torch.nn.Conv3d(5, 1, 3, padding=1)
    weight, bias = model.parameters()
    with torch.no_grad():
        # (1, neighbour·T, 3, 3) to (1, T, neighbour, 3, 3)
        reference.weight.copy_(weight.reshape(1, 3, 5, 3, 3).transpose(1, 2))
        reference.bias.copy_(bias)  # type: ignore[union-attr]
    context = torch.rand(2, 5, 3, 12, 10)
    torch.testing.assert_close(predict(model, context), context[:, -1:] + reference(context))


@pytest.mark.parametrize("name", ["conv2d", "conv3d", "convlstm"])
def test_trained_models_start_as_copy_last_and_learn(name: str) -> None:
    model = zoo.build(name, {}, TASK)
    context = moving(6)[:, :5]
    assert torch.equal(predict(model, context), context[:, -1:])
    optimise(model, steps=60)
    target = moving(6)[:, 5:]
    copied = F.l1_loss(context[:, -1:], target)
    assert F.l1_loss(predict(model.eval(), context), target) < 0.75 * copied


@pytest.mark.parametrize(("name", "length"), [("convlstm", 9), ("convlstm", 2), ("conv3d", 8), ("conv3d", 1)])
def test_other_context_lengths(name: str, length: int) -> None:
    assert predict(zoo.build(name, {}, TASK), torch.rand(2, length, 3, 16, 16)).shape == (2, 1, 3, 16, 16)


@pytest.mark.parametrize(("name", "extra"), [("convlstm", {"layers": 2, "fold": 3}), ("conv3d", {"depth": 1})])
def test_options_build_networks_that_train(name: str, extra: dict[str, object]) -> None:
    model = zoo.build(name, extra, TASK)
    assert optimise(model) == {parameter for parameter, _ in model.named_parameters()}
    assert zoo.parameters(model) != zoo.parameters(zoo.build(name, {}, TASK))


@pytest.mark.parametrize("name", ["conv2d", "conv3d", "convlstm"])
def test_noise_is_drawn_on_the_learned_path_while_training_only(name: str) -> None:
    model = zoo.build(name, {"noise": 0.2}, TASK)
    context = moving(5)
    # the head is zero at the start: noise on the last frame itself would show
    assert torch.equal(predict(model.train(), context), context[:, -1:])
    optimise(model)
    model.train()
    torch.manual_seed(3)
    first, second = predict(model, context), predict(model, context)
    torch.manual_seed(3)
    assert torch.equal(predict(model, context), first)
    assert not torch.equal(first, second)
    assert torch.equal(predict(model.eval(), context), predict(model.eval(), context))


def test_operations_are_multiply_adds_of_one_frame() -> None:
    pixels = 32 * 32
    model = zoo.build("conv2d", {"variant": "seed"}, TASK)
    assert zoo.operations(model, TASK) == 15 * 3 * 9 * pixels
    assert model.training
    four = dataclasses.replace(TASK, horizon=4)
    assert zoo.operations(zoo.build("conv2d", {"variant": "seed"}, four), four) == 15 * 3 * 9 * pixels
    convlstm = zoo.build("convlstm", {"variant": "seed"}, TASK)
    of_input, of_state = 5 * 3 * 24 * 9, 4 * 6 * 24 * 9  # the first state is zero and not convolved
    assert zoo.operations(convlstm, TASK) == (of_input + of_state + 6 * 3 * 9) * pixels
    assert zoo.operations(zoo.build("flow_gate", {}, TASK), TASK) == 0


def test_operations_of_an_lstm_are_counted() -> None:
    small, large = (zoo.operations(zoo.build("vae_lstm", {"hidden": h}, TASK), TASK) for h in (64, 128))
    of_lstm, of_head = 4 * ((32 + 128) * 128 - (32 + 64) * 64), 32 * (128 - 64)
    assert large - small == 5 * (of_lstm + of_head)
