"""What only some classifiers promise: what they see of time, blocks that are inserted, features that stay."""

from __future__ import annotations

import dataclasses
import statistics
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tests.models.clips import NAMES, TASK, clips, made, optimise, score
from vidpred.errors import UserError
from vidpred.models import zoo
from vidpred.models.files import load_model, save_model
from vidpred.types import Classifier, Model, Predictor, Task

SPATIOTEMPORAL = {
    "c3d": "stage2",
    "slow_fusion": "stage2",
    "i3d": "stage3",
    "two_stream_i3d": "stage3",
    "slowfast": "stage2",
}
"""3D networks and a stage of each."""


class TestZoo:
    def test_a_name_may_be_of_both_kinds(self) -> None:
        both = set(NAMES) & set(zoo.names())
        assert {"late_fusion", "two_stream", "conv_rnn", "slowfast"} <= both
        for kind, sort in (("predict", Predictor), ("classify", Classifier)):
            assert isinstance(zoo.build("slowfast", {}, zoo.PLAIN_TASKS[kind], Model), sort)
            assert zoo.is_trained("slowfast", kind)

    @pytest.mark.parametrize(
        ("name", "kind", "complaint"),
        [
            ("c3d", "predict", "c3d classifies clips and does nothing else"),
            ("copy_last", "classify", "copy_last predicts and does nothing else"),
            ("c3", "classify", "did you mean 'c3d'"),
            ("c3d", "clasify", "did you mean 'classify'"),
        ],
    )
    def test_a_wrong_name_is_told(self, name: str, kind: str, complaint: str) -> None:
        with pytest.raises(UserError, match=complaint):
            zoo.module(name, kind)

    def test_a_task_needs_two_classes(self) -> None:
        with pytest.raises(UserError, match="two classes or more, and the task has 1"):
            made("c3d", task=dataclasses.replace(TASK, classes=("one",)))

    def test_a_model_of_the_other_kind_is_not_loaded(self, tmp_path: Path) -> None:
        save_model(tmp_path, made("c3d"), name="c3d", config={}, task=TASK, info={})
        with pytest.raises(UserError, match=r"classifies \(c3d\): give one that predicts, or use `vidpred classify "):
            load_model(tmp_path)
        assert isinstance(load_model(tmp_path, Model)[0], Classifier)

    def test_a_model_that_predicts_says_nothing_of_classes(self, tmp_path: Path) -> None:
        task = zoo.PLAIN_TASKS["predict"]
        said = save_model(tmp_path, zoo.build("conv2d", {}, task), name="conv2d", config={}, task=task, info={})
        assert "classes" not in said["task"]
        assert Task(**said["task"]) == task
        with pytest.raises(UserError, match="predicts"):
            load_model(tmp_path, Classifier)


class TestOrder:
    @pytest.mark.parametrize("config", [{"head": "pool"}, {"compare": "frames"}])
    def test_late_fusion_has_other_ways_to_join(self, config: dict[str, object]) -> None:
        model = made("late_fusion", config)
        assert optimise(model) == {parameter for parameter, _ in model.named_parameters()}

    def test_pooled_late_fusion_does_not_see_the_frames_order(self) -> None:
        for config in ({"head": "pool"}, {"variant": "toy"}):
            model = made("late_fusion", config)
            optimise(model)
            clip = clips()
            shuffled = clip[:, torch.randperm(8)]
            with torch.no_grad():
                torch.testing.assert_close(model(shuffled).logits, model(clip).logits, rtol=0, atol=1e-5)

    def test_single_frame_does_not_either_and_late_fusion_fc_does(self) -> None:
        clip = clips()
        backwards = clip.flip(1)
        models = {name: made(name) for name in ("single_frame", "late_fusion")}
        changed = {}
        for name, model in models.items():
            optimise(model)
            model.eval()
            with torch.no_grad():
                changed[name] = float((model(backwards).logits - model(clip).logits).abs().max())
        assert changed["single_frame"] < 1e-5 < 1e-3 < changed["late_fusion"]

    def test_averaged_scores_are_the_mean_of_the_parts_beliefs(self) -> None:
        said = made("single_frame").train()(clips())
        assert len(said.auxiliary) == 8
        beliefs = torch.stack([logits.softmax(-1) for logits in said.auxiliary])
        torch.testing.assert_close(said.logits.softmax(-1), beliefs.mean(dim=0))


def flashes(moment: int, batch: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Grey clips (B, 10, 3, 16, 16) that flash blue, then orange, or the reverse; the second at `moment`. And which."""
    clip = 0.5 + 0.1 * torch.randn(batch, 10, 3, 16, 16, generator=generator)
    truth = torch.randint(0, 2, (batch,), generator=generator)
    colours = torch.tensor([[-0.4, -0.3, 0.4], [0.4, 0.0, -0.4]])[:, :, None, None]
    for frames, first in zip(clip, truth, strict=True):
        frames[moment - 1] += colours[first]
        frames[moment] += colours[1 - first]
    return clip, truth


FLASHING = Task(context=10, horizon=0, height=16, width=16, kind="classify", classes=("blue, orange", "orange, blue"))


def right_at(name: str, seed: int, moments: tuple[int, ...]) -> list[float]:
    """Trained on flashes at moment 3: the share that a network has right of flashes at others."""
    torch.manual_seed(seed)
    model = zoo.build(name, {}, FLASHING, Classifier)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    generator = torch.Generator().manual_seed(seed)
    for _ in range(40):
        clip, truth = flashes(3, 16, generator)
        optimizer.zero_grad()
        F.cross_entropy(model(clip).logits, truth).backward()
        optimizer.step()
    model.eval()
    found = []
    with torch.no_grad():
        for moment in moments:
            clip, truth = flashes(moment, 100, generator)
            found.append(float((model(clip).logits.argmax(1) == truth).float().mean()))
    return found


@pytest.mark.parametrize("name", ["c3d", "slow_fusion", "i3d"])
def test_what_a_3d_network_learned_of_one_moment_it_knows_of_another(name: str) -> None:
    assert min(right_at(name, 0, (3, 7))) >= 0.95


def test_what_early_fusion_learned_of_one_moment_it_does_not_know_of_another() -> None:
    """Weights that no training has touched decide there: each network has a bias of its own, the middle one counts."""
    found = [right_at("early_fusion", seed, (3, 7)) for seed in range(8)]
    assert min(here for here, _ in found) >= 0.95
    assert statistics.median(there for _, there in found) <= 0.6


@pytest.mark.parametrize("name", SPATIOTEMPORAL)
class TestNonLocal:
    def test_a_block_just_inserted_changes_nothing_and_learns(self, name: str) -> None:
        plain = made(name)
        with_block = made(name, {"nonlocal_after": [SPATIOTEMPORAL[name]]})
        missing, unexpected = with_block.load_state_dict(plain.state_dict(), strict=False)
        assert not unexpected
        assert missing
        assert all("attend" in parameter for parameter in missing)
        with torch.no_grad():
            before, after = (score(model.eval(), clips()).logits for model in (plain, with_block))
        torch.testing.assert_close(after, before, rtol=0, atol=1e-5)
        assert set(missing) <= optimise(with_block)

    def test_a_stage_that_is_not_there_is_named(self, name: str) -> None:
        with pytest.raises(UserError, match=f"{name} has no stage 'stage9' for nonlocal_after: .*there are stage1"):
            made(name, {"nonlocal_after": "stage9"})

    def test_stages_may_be_a_list_or_a_line(self, name: str) -> None:
        line, listed = (
            zoo.config_of(name, {"nonlocal_after": stages}, "classify")
            for stages in ("stage1, stage2", ["stage1", "stage2"])
        )
        assert line == listed


class TestRecurrent:
    @pytest.mark.parametrize("features", ["2d", "3d"])
    @pytest.mark.parametrize("outputs", ["many_to_one", "many_to_many"])
    def test_cnn_lstm_reads_both_kinds_of_features(self, features: str, outputs: str) -> None:
        model = made("cnn_lstm", {"features": features, "outputs": outputs})
        assert optimise(model) == {parameter for parameter, _ in model.named_parameters()}
        assert len(score(model.train(), clips()).auxiliary) == (8 if outputs == "many_to_many" else 0)

    def test_frozen_features_stay_as_they_are(self) -> None:
        model = made("cnn_lstm", {"frozen": True})
        before = {name: tensor.clone() for name, tensor in model.look.state_dict().items()}
        reached = optimise(model)
        assert reached
        assert not any(name.startswith("look.") for name in reached)
        assert all(torch.equal(tensor, before[name]) for name, tensor in model.look.state_dict().items())
        assert zoo.parameters(model) < sum(p.numel() for p in model.parameters())

    @pytest.mark.parametrize("cell", ["rnn", "gru", "lstm"])
    def test_conv_rnn_has_three_cells(self, cell: str) -> None:
        model = made("conv_rnn", {"cell": cell})
        assert optimise(model) == {parameter for parameter, _ in model.named_parameters()}
