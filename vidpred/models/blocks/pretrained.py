"""Weights of published networks of images, from a safetensors file on disk, into our own.

The files' tensors are named as timm names them for `resnet50` and `vgg16`, or torchvision; as torchvision does for
`googlenet`, which timm has not. The layer that gives the scores of other classes is left out.
"""

from __future__ import annotations

from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from vidpred.errors import UserError

HEADS = ("fc.", "head.", "classifier.", "aux1.", "aux2.", "AuxLogits.")
"""What a file may have and we do not want."""
RENAMED = {"classifier.0.": "pre_logits.fc1.", "classifier.3.": "pre_logits.fc2."}
"""torchvision's names for the first two linear layers of VGG, and timm's, where they are convolutions."""


def load_pretrained(network: nn.Module, path: str, *, what: str, first: str) -> None:
    """Copies a file's tensors into a network of images; its own head stays as it is.

    Args:
        network: Names and shapes as in the file, but for the head.
        path: Of a .safetensors file.
        what: Whose weights they must be, for what is said.
        first: Name of the first convolution's weights; where it has not three input channels, the file's are averaged
            over colours, as Wang et al. 2016 (arXiv 1608.00859) do for optical flow.

    Raises:
        UserError: no such file, or a tensor is missing, of another shape, or unknown; names it.
    """
    try:
        found = load_file(Path(path).expanduser())
    except (OSError, SafetensorError) as error:
        raise UserError(f"pretrained: {path} cannot be read as safetensors ({_first_line(error)})") from None
    wanted = {name: tensor for name, tensor in network.state_dict().items() if not name.startswith(HEADS)}
    for theirs, ours in RENAMED.items():
        for end in ("weight", "bias"):
            if theirs + end in found and ours + end in wanted:
                found[ours + end] = _as_convolution(found[theirs + end], wanted[ours + end])
    found = {name: tensor for name, tensor in found.items() if not name.startswith(HEADS)}
    counters = {name for name in wanted if name.endswith("num_batches_tracked")}
    help_ = f"give a file of {what}"
    if missing := sorted(wanted.keys() - found.keys() - counters):
        raise UserError(f"pretrained: {path} lacks {_named(missing)}: {help_}")
    if unknown := sorted(found.keys() - wanted.keys()):
        raise UserError(f"pretrained: {path} has {_named(unknown)}, which the network has not: {help_}")
    if first in found and wanted[first].shape[1] != found[first].shape[1]:
        found[first] = found[first].mean(dim=1, keepdim=True).expand(-1, wanted[first].shape[1], -1, -1)
    for name, tensor in found.items():
        if tensor.shape != wanted[name].shape:
            sizes = f"{_size(tensor)}, not {_size(wanted[name])}"
            raise UserError(f"pretrained: in {path}, {name} is {sizes}: {help_}")
    network.load_state_dict(found, strict=False)


def _as_convolution(linear: Tensor, like: Tensor) -> Tensor:
    """A linear layer's tensor in the shape of a convolution over all that it saw, where the sizes allow."""
    return linear.reshape(like.shape) if linear.numel() == like.numel() else linear


def _named(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"


def _size(tensor: Tensor) -> str:
    return "x".join(str(side) for side in tensor.shape) or "a number"


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
