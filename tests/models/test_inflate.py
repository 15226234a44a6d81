"""Inflation: of a repeated frame, the network of clips says what that of images says; weights come from disk."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from vidpred.errors import UserError
from vidpred.models import zoo
from vidpred.models.blocks.backbones import KINDS, Backbone
from vidpred.models.blocks.images import ImageNetwork
from vidpred.models.blocks.inflate import inflate
from vidpred.models.blocks.pretrained import load_pretrained
from vidpred.models.blocks.resnet import ResNet
from vidpred.models.blocks.vgg import Vgg16
from vidpred.types import Classifier, Task

TASK = Task(context=8, horizon=0, height=64, width=64, kind="classify", classes=("left", "right", "up"))


def lively(network: nn.Module) -> None:
    """Norms that have seen something."""
    for module in network.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            assert module.running_mean is not None
            assert module.running_var is not None
            module.running_mean.normal_(0, 0.2)
            module.running_var.uniform_(0.5, 1.5)


def make(name: str) -> ImageNetwork:
    """With five classes; VGG's linear layers are small."""
    return (Vgg16(3, 5, hidden=32) if name == "vgg16" else KINDS[name].make(3, 5, 8)).eval()


@pytest.fixture(scope="module")
def networks() -> dict[str, ImageNetwork]:
    """One of each, in eval mode."""
    torch.manual_seed(0)
    made = {name: make(name) for name in KINDS}
    for network in made.values():
        lively(network)
    return made


@pytest.mark.parametrize("name", KINDS)
@torch.no_grad()
def test_a_repeated_frame_is_scored_as_the_frame(name: str, networks: dict[str, ImageNetwork]) -> None:
    frame = torch.randn(1, 3, 64, 64)
    flat = networks[name](frame)
    deep = make(name)
    deep.load_state_dict(networks[name].state_dict())
    inflate(deep, KINDS[name].plan, "replicate")
    said = deep(frame[:, :, None].expand(-1, -1, 8, -1, -1))
    scale = max(1.0, float(flat.abs().max()))
    torch.testing.assert_close(said / scale, flat / scale, rtol=0, atol=1e-5)


@torch.no_grad()
def test_zeros_beyond_the_ends_do_change_it(networks: dict[str, ImageNetwork]) -> None:
    frame = torch.randn(1, 3, 64, 64)
    deep = make("small")
    deep.load_state_dict(networks["small"].state_dict())
    inflate(deep, KINDS["small"].plan, "zeros")
    said = deep(frame[:, :, None].expand(-1, -1, 8, -1, -1))
    assert (said - networks["small"](frame)).abs().max() > 1e-3


class TestPretrained:
    @pytest.fixture
    def file(self, networks: dict[str, ImageNetwork], tmp_path: Path) -> Path:
        """ResNet-50's weights, as somebody else would have saved them."""
        path = tmp_path / "resnet50.safetensors"
        save_file({name: tensor.contiguous() for name, tensor in networks["resnet50"].state_dict().items()}, path)
        return path

    def test_the_published_names_are_ours(self, networks: dict[str, ImageNetwork]) -> None:
        names = {name: set(network.state_dict()) for name, network in networks.items()}
        assert {
            "conv1.weight",
            "bn1.running_var",
            "layer1.0.downsample.1.bias",
            "layer4.2.conv3.weight",
            "fc.bias",
        } <= (names["resnet50"])
        assert {"features.0.weight", "features.28.bias", "pre_logits.fc1.weight", "head.fc.bias"} <= names["vgg16"]
        assert {
            "conv1.conv.weight",
            "conv3.bn.running_mean",
            "inception3a.branch1.conv.weight",
            "inception4e.branch2.1.bn.bias",
            "inception5b.branch4.1.conv.weight",
        } <= names["inception_v1"]

    @torch.no_grad()
    def test_i3d_begins_with_them(self, file: Path, networks: dict[str, ImageNetwork]) -> None:
        config = {"backbone": "resnet50", "pretrained": str(file), "pad_time": "replicate"}
        model = zoo.build("i3d", config, TASK, Classifier).eval()
        flat = networks["resnet50"]
        frame = torch.rand(1, 3, 64, 64)
        normal = (frame - torch.tensor(flat.mean)[:, None, None]) / torch.tensor(flat.std)[:, None, None]
        features = flat.drop(normal)  # type: ignore[operator]
        for stage in flat.widths:
            features = flat.stage(stage, features)
        maps = model.net.maps(frame[:, :, None].expand(-1, -1, 8, -1, -1))  # type: ignore[union-attr,operator]
        assert maps.shape[2] == 4
        torch.testing.assert_close(maps.mean(dim=2), features, rtol=1e-4, atol=1e-4)

    @torch.no_grad()
    def test_flow_gets_the_mean_over_colours(self, file: Path) -> None:
        net = Backbone("x", "resnet50", 2, 3, over_time=True, pretrained=str(file)).net
        weight: Tensor = load_file(file)["conv1.weight"]
        mean = weight.mean(dim=1)
        torch.testing.assert_close(net.conv1.weight[:, 0].sum(dim=1), mean)  # type: ignore[union-attr,index,operator]
        torch.testing.assert_close(net.conv1.weight[:, 1].sum(dim=1), mean)  # type: ignore[union-attr,index,operator]

    def test_the_model_that_comes_of_it_does_not_need_the_file(self, file: Path, tmp_path: Path) -> None:
        from vidpred.models.files import load_model, save_model

        config = {"backbone": "resnet50", "pretrained": str(file)}
        model = zoo.build("cnn_lstm", {**config, "frozen": True}, TASK, Classifier)
        save_model(tmp_path / "m", model, name="cnn_lstm", config={**config, "frozen": True}, task=TASK, info={})
        file.unlink()
        loaded, info = load_model(tmp_path / "m", Classifier)
        assert info["config"]["pretrained"] == ""
        assert torch.equal(loaded.look.net.conv1.weight, model.look.net.conv1.weight)  # type: ignore[union-attr,arg-type]

    @pytest.mark.parametrize(
        ("damage", "complaint"),
        [
            ("gone", "cannot be read as safetensors"),
            ("text", "cannot be read as safetensors"),
            ("lacks", r"lacks layer2.0.bn1.bias and 1 more: give a file of ResNet-50's weights under timm's names"),
            ("shape", r"conv1.weight is 8x3x3x3, not 8x3x7x7"),
            ("more", r"has layer5.weight, which the network has not"),
        ],
    )
    def test_what_does_not_fit_is_named_in_one_line(self, tmp_path: Path, damage: str, complaint: str) -> None:
        network = ResNet(3, 5, width=8)
        tensors, file = network.state_dict(), tmp_path / "weights.safetensors"
        if damage == "lacks":
            del tensors["layer2.0.bn1.bias"], tensors["layer2.0.bn1.weight"]
        if damage == "shape":
            tensors["conv1.weight"] = torch.zeros(8, 3, 3, 3)
        if damage == "more":
            tensors["layer5.weight"] = torch.zeros(1)
        save_file(tensors, file)
        if damage == "gone":
            file.unlink()
        if damage == "text":
            file.write_text("not weights")
        with pytest.raises(UserError, match=complaint) as told:
            load_pretrained(network, str(file), what="ResNet-50's weights under timm's names", first="conv1.weight")
        assert "\n" not in str(told.value)

    def test_the_small_network_has_no_published_weights(self, file: Path) -> None:
        with pytest.raises(UserError, match="no published weights of backbone small"):
            zoo.build("i3d", {"pretrained": str(file)}, TASK)
