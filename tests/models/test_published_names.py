"""Whose weights the networks of images read: the names and shapes of timm's and torchvision's files, all of them.

They are written down here from the sources of those libraries (timm `resnet.py` and `vgg.py`, torchvision
`googlenet.py` and `vgg.py`), not taken from our own networks.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from vidpred.errors import UserError
from vidpred.models.blocks.backbones import KINDS
from vidpred.models.blocks.images import ImageNetwork
from vidpred.models.blocks.pretrained import load_pretrained
from vidpred.models.blocks.resnet import ResNet
from vidpred.models.blocks.vgg import Vgg16

Shapes = dict[str, tuple[int, ...]]


def norm(name: str, channels: int) -> Shapes:
    of_each = {f"{name}.{part}": (channels,) for part in ("weight", "bias", "running_mean", "running_var")}
    return {**of_each, f"{name}.num_batches_tracked": ()}


def resnet50(width: int = 64) -> Shapes:
    """timm's and torchvision's `resnet50`."""
    found: Shapes = {"conv1.weight": (width, 3, 7, 7), **norm("bn1", width)}
    inputs = width
    for stage, blocks in enumerate((3, 4, 6, 3), start=1):
        inner = width * 2 ** (stage - 1)
        for block in range(blocks):
            at = f"layer{stage}.{block}"
            kernels = ((inner, inputs, 1, 1), (inner, inner, 3, 3), (4 * inner, inner, 1, 1))
            for number, kernel in enumerate(kernels, start=1):
                found |= {f"{at}.conv{number}.weight": kernel, **norm(f"{at}.bn{number}", kernel[0])}
            if block == 0:
                found |= {f"{at}.downsample.0.weight": (4 * inner, inputs, 1, 1)}
                found |= norm(f"{at}.downsample.1", 4 * inner)
            inputs = 4 * inner
    return {**found, "fc.weight": (1000, inputs), "fc.bias": (1000,)}


VGG = {0: 64, 2: 64, 5: 128, 7: 128, 10: 256, 12: 256, 14: 256, 17: 512, 19: 512, 21: 512, 24: 512, 26: 512, 28: 512}
"""Places of the convolutions in `features`, and their channels."""


def vgg16(hidden: int = 4096) -> Shapes:
    """timm's: the first two linear layers are convolutions."""
    found: Shapes = {}
    for inputs, (place, outputs) in zip([3, *VGG.values()], VGG.items(), strict=False):
        found |= {f"features.{place}.weight": (outputs, inputs, 3, 3), f"features.{place}.bias": (outputs,)}
    found |= {"pre_logits.fc1.weight": (hidden, 512, 7, 7), "pre_logits.fc1.bias": (hidden,)}
    found |= {"pre_logits.fc2.weight": (hidden, hidden, 1, 1), "pre_logits.fc2.bias": (hidden,)}
    return {**found, "head.fc.weight": (1000, hidden), "head.fc.bias": (1000,)}


def vgg16_of_torchvision(hidden: int = 4096) -> Shapes:
    """The linear layers are linear, and called otherwise."""
    found = {name: shape for name, shape in vgg16(hidden).items() if name.startswith("features.")}
    for place, sides in {0: (hidden, 512 * 7 * 7), 3: (hidden, hidden), 6: (1000, hidden)}.items():
        found |= {f"classifier.{place}.weight": sides, f"classifier.{place}.bias": sides[:1]}
    return found


def googlenet() -> Shapes:
    """torchvision's, with the two heads that only its training has; timm has none."""

    def unit(name: str, inputs: int, outputs: int, side: int) -> Shapes:
        return {f"{name}.conv.weight": (outputs, inputs, side, side), **norm(f"{name}.bn", outputs)}

    found = unit("conv1", 3, 64, 7) | unit("conv2", 64, 64, 1) | unit("conv3", 64, 192, 3)
    modules = {
        "3a": (192, 64, 96, 128, 16, 32, 32), "3b": (256, 128, 128, 192, 32, 96, 64),
        "4a": (480, 192, 96, 208, 16, 48, 64), "4b": (512, 160, 112, 224, 24, 64, 64),
        "4c": (512, 128, 128, 256, 24, 64, 64), "4d": (512, 112, 144, 288, 32, 64, 64),
        "4e": (528, 256, 160, 320, 32, 128, 128), "5a": (832, 256, 160, 320, 32, 128, 128),
        "5b": (832, 384, 192, 384, 48, 128, 128),
    }  # fmt: skip
    for name, (inputs, alone, before3, after3, before5, after5, after_pool) in modules.items():
        at = f"inception{name}"
        found |= unit(f"{at}.branch1", inputs, alone, 1)
        found |= unit(f"{at}.branch2.0", inputs, before3, 1) | unit(f"{at}.branch2.1", before3, after3, 3)
        found |= unit(f"{at}.branch3.0", inputs, before5, 1) | unit(f"{at}.branch3.1", before5, after5, 3)
        found |= unit(f"{at}.branch4.1", inputs, after_pool, 1)
    for head, inputs in {"aux1": 512, "aux2": 528}.items():
        found |= unit(f"{head}.conv", inputs, 128, 1)
        for layer, sides in {"fc1": (1024, 2048), "fc2": (1000, 1024)}.items():
            found |= {f"{head}.{layer}.weight": sides, f"{head}.{layer}.bias": sides[:1]}
    return {**found, "fc.weight": (1000, 1024), "fc.bias": (1000,)}


@pytest.mark.parametrize(
    ("name", "shapes", "tensors"), [("resnet50", resnet50, 320), ("vgg16", vgg16, 32), ("inception_v1", googlenet, 364)]
)
def test_the_networks_have_their_tensors_and_no_others(name: str, shapes: Callable[[], Shapes], tensors: int) -> None:
    theirs = shapes()
    assert len(theirs) == tensors
    with torch.device("meta"):
        ours = {key: tuple(tensor.shape) for key, tensor in KINDS[name].make(3, 1000, 0).state_dict().items()}
    assert ours == {key: shape for key, shape in theirs.items() if not key.startswith("aux")}


def drawn(shapes: Shapes, path: Path) -> dict[str, Tensor]:
    """A file of such tensors, and what is in it."""
    generator = torch.Generator().manual_seed(0)
    tensors = {
        name: torch.rand(shape, generator=generator) if shape else torch.tensor(3) for name, shape in shapes.items()
    }
    save_file(tensors, path)
    return tensors


def same(network: ImageNetwork, tensors: dict[str, Tensor], heads: tuple[str, ...]) -> None:
    """All weights but the head's are the file's."""
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, tensors[name]) != name.startswith(heads), name


def test_a_file_of_resnet50_s_names_loads(tmp_path: Path) -> None:
    network = ResNet(3, 1000, width=4)
    tensors = drawn(resnet50(4), tmp_path / "w.safetensors")
    load_pretrained(network, str(tmp_path / "w.safetensors"), what="these", first="conv1.weight")
    same(network, tensors, ("fc.",))


def test_a_file_of_googlenet_s_names_loads_and_its_training_heads_are_left_out(tmp_path: Path) -> None:
    network = KINDS["inception_v1"].make(3, 1000, 0)
    tensors = drawn(googlenet(), tmp_path / "w.safetensors")
    load_pretrained(network, str(tmp_path / "w.safetensors"), what="these", first=KINDS["inception_v1"].first)
    same(network, tensors, ("fc.",))


@pytest.mark.parametrize("of_torchvision", [False, True])
def test_files_of_both_libraries_vgg16_load(of_torchvision: bool, tmp_path: Path) -> None:
    network = Vgg16(3, 1000, hidden=4)
    tensors = drawn((vgg16_of_torchvision if of_torchvision else vgg16)(4), tmp_path / "w.safetensors")
    load_pretrained(network, str(tmp_path / "w.safetensors"), what="these", first="features.0.weight")
    if of_torchvision:
        for (place, layer), part in itertools.product({0: "fc1", 3: "fc2"}.items(), ("weight", "bias")):
            ours = f"pre_logits.{layer}.{part}"
            tensors[ours] = tensors[f"classifier.{place}.{part}"].reshape(network.state_dict()[ours].shape)
        tensors |= {f"head.fc.{part}": tensors[f"classifier.6.{part}"] for part in ("weight", "bias")}
    same(network, tensors, ("head.",))


def test_a_linear_layer_of_another_size_is_named(tmp_path: Path) -> None:
    drawn(vgg16_of_torchvision(5), tmp_path / "w.safetensors")
    with pytest.raises(UserError, match=r"pre_logits.fc1.weight is 5x25088, not 4x512x7x7"):
        load_pretrained(Vgg16(3, 2, hidden=4), str(tmp_path / "w.safetensors"), what="these", first="features.0.weight")
