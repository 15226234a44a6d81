"""The files in deploy/: what Ray's launcher and KubeRay would say to them, and the same versions as everywhere."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

LAUNCHED = ("aws", "gcp")
KINDS = {"string": str, "integer": int, "boolean": bool, "number": (int, float)}


@pytest.fixture(scope="module")
def fields() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((Path(__file__).parent / "kuberay_fields.yaml").read_text())
    return found


@pytest.mark.parametrize("cloud", LAUNCHED)
def test_launcher_files_pass_rays_own_validation(root: Path, cloud: str) -> None:
    from ray.autoscaler._private.util import prepare_config, validate_config

    prepared = prepare_config(yaml.safe_load((root / f"deploy/{cloud}.yaml").read_text()))
    validate_config(prepared)
    assert prepared["provider"]["type"] == cloud


@pytest.mark.parametrize("cloud", LAUNCHED)
def test_launched_nodes_want_a_token_and_share_a_home(root: Path, cloud: str) -> None:
    file = yaml.safe_load((root / f"deploy/{cloud}.yaml").read_text())
    for commands in (file["head_start_ray_commands"], file["worker_start_ray_commands"]):
        start = commands[-1]
        assert "RAY_AUTH_MODE=token" in start
        assert "VIDPRED_HOME=/mnt/vidpred" in start
    assert file["file_mounts"]["/home/ubuntu/.ray/auth_token"] == "~/.ray/auth_token"
    assert any("requirements.lock" in command for command in file["setup_commands"])
    assert not {"data", ".", "runs"} & set(file["file_mounts"].values())


@pytest.mark.parametrize("name", ["raycluster", "rayjob", "storage"])
def test_kubernetes_files_name_only_fields_of_the_documentation(root: Path, fields: dict[str, Any], name: str) -> None:
    for document in yaml.safe_load_all((root / f"deploy/kubernetes/{name}.yaml").read_text()):
        assert unknown(document, document["kind"], fields) == []


def test_a_misspelt_field_is_found(root: Path, fields: dict[str, Any]) -> None:
    document = yaml.safe_load((root / "deploy/kubernetes/raycluster.yaml").read_text())
    document["spec"]["headGroupSpec"]["template"]["spec"]["containers"][0]["volumeMount"] = []
    document["spec"]["rayVersion"] = 2.6
    assert unknown(document, "RayCluster", fields) == [
        "RayCluster.spec.rayVersion is no string",
        "RayCluster.spec.headGroupSpec.template.spec.containers.volumeMount",
    ]


def unknown(value: Any, kind: Any, fields: dict[str, Any], where: str = "") -> list[str]:
    """The fields in a document that its kind does not have, or has with another type."""
    where = where or str(kind)
    if kind == "*":
        return [] if isinstance(value, dict) else [f"{where} is no map"]
    if isinstance(kind, list):
        return [found for one in value for found in unknown(one, kind[0], fields, where)]
    if kind in KINDS:
        return [] if isinstance(value, KINDS[kind]) else [f"{where} is no {kind}"]
    known = fields[kind]
    found = []
    for name, inner in value.items():
        below = f"{where}.{name}"
        found += unknown(inner, known[name], fields, below) if name in known else [below]
    return found


@pytest.mark.parametrize("name", ["raycluster", "rayjob"])
def test_kubernetes_clusters_want_a_token_and_have_the_locked_ray(root: Path, name: str) -> None:
    spec = yaml.safe_load((root / f"deploy/kubernetes/{name}.yaml").read_text())["spec"]
    spec = spec.get("rayClusterSpec", spec)
    assert spec["authOptions"] == {"mode": "token"}
    locked = re.search(r"^ray==(\S+)", (root / "requirements.lock").read_text(), re.MULTILINE)
    assert locked
    assert spec["rayVersion"] == locked[1]
    for group in (spec["headGroupSpec"], *spec["workerGroupSpecs"]):
        (container,) = group["template"]["spec"]["containers"]
        assert {"name": "VIDPRED_HOME", "value": "/shared/home"} in container["env"]
        assert {mount["mountPath"] for mount in container["volumeMounts"]} == {"/shared"}


def test_the_image_has_the_locked_versions_and_no_data(root: Path) -> None:
    lines = (root / "deploy/Dockerfile").read_text().splitlines()
    copied = {word for line in lines if line.startswith("COPY ") for word in line.split()[1:-1]}
    assert copied == {"requirements.lock", "pyproject.toml", "README.md", "LICENSE", "vidpred"}
    assert any("-r requirements.lock" in line for line in lines)
