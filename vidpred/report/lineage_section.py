"""The report's section of where its model comes from, hop by hop, each with its hash.

In: what the stages left behind. Out: what lineage.html shows. Only what is the same for the same work: commit, run and
machine differ from time to time, and `vidpred explain` tells of them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any, NamedTuple

from vidpred.report.inputs import Stages


class Hop(NamedTuple):
    """One step of the way back."""

    name: str
    what: str
    hash: str = ""
    hash_of: str = ""


def section(inputs: Stages) -> dict[str, Any]:
    """The hops from the weights to the sources, the model's URI, and how it is used."""
    name, alias = inputs.receipt["name"], inputs.receipt["alias"]
    uri = f"models:/{name}@{alias}" if alias else "models/trained"
    use = {
        "predict": f"vidpred predict {uri} clip.gif --frames 5 -o out.gif",
        "interpolate": f"vidpred predict {uri} clip.gif -o out.gif",
        "classify": f"vidpred classify {uri} clip.gif",
    }
    return {"hops": _hops(inputs), "uri": uri, "use": use[inputs.params["task"].get("kind", "predict")]}


def _hops(inputs: Stages) -> list[Hop]:
    model, training = inputs.model, inputs.model.get("training", {})
    sweep = inputs.params["train"].get("model") is None
    steps = f"step {training['best_step']:,}" if "best_step" in training else "done"
    if "steps" in training:
        steps += f" of {training['steps']:,}"
    return [
        Hop("weights", model["name"], model["weights_sha256"], "model.safetensors, sha256"),
        *_version(inputs.receipt),
        Hop("training", f"{steps}; {'chosen by the sweep' if sweep else 'named in params.yaml'}"),
        Hop("split", f"by {inputs.split['kind']}: {_parts(inputs.split)}"),
        Hop("data", _frames(inputs), model["data_id"], "data_id, over the shards"),
        Hop("sources", _sources(inputs)),
    ]


def _version(receipt: Mapping[str, Any]) -> list[Hop]:
    if not receipt.get("name"):
        return []
    return [Hop("version", f"of {receipt['name']}", receipt["identity"], "weights, name, config, task; sha256")]


def _parts(split: Mapping[str, Any]) -> str:
    return ", ".join(f"{split['clips'][part]:,} clips {part}" for part in ("train", "val", "test"))


def _frames(inputs: Stages) -> str:
    shape = inputs.params["transcode"]
    return f"{inputs.transcode['frames']:,} frames of {shape['height']}×{shape['width']}"


def _sources(inputs: Stages) -> str:
    kept = inputs.sources[inputs.sources["status"] == "kept"]
    told = kept["licence"] if "licence" in kept else [""] * len(kept)
    counted = Counter(str(licence or "").strip() or "licence unknown" for licence in told)
    return "; ".join(f"{count:,} file{'s' * (count != 1)}: {licence}" for licence, count in counted.most_common(8))
