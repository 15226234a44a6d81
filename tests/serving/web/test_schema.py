"""The API keeps to its own description, whatever it is sent, and nothing makes it break."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest
import schemathesis
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from schemathesis.specs.openapi.schemas import OpenApiSchema

from tests.serving.web.conftest import listening
from vidpred.serving.web.app import make_app
from vidpred.serving.web.settings import Limits, Settings

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]


@pytest.fixture(scope="module")
def schema(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenApiSchema]:
    """Of a running server."""
    limits = Limits(max_bytes=200_000, max_frames=3, waiting=2)
    app = make_app(Settings(models=(str(model),), limits=limits), scratch=tmp_path_factory.mktemp("scratch"))
    with listening(app) as url:
        yield schemathesis.openapi.from_url(f"{url}/openapi.json")


@pytest.mark.parametrize(
    ("method", "path", "examples"),
    [
        ("POST", "/api/predict", 40),
        ("POST", "/api/classify", 10),
        ("GET", "/api/models", 5),
        ("GET", "/api/card", 10),
        ("GET", "/api/card/picture", 10),
        ("GET", "/api/leaderboard", 5),
        ("GET", "/healthz", 5),
        ("GET", "/metrics", 5),
    ],
)
def test_the_api_is_as_it_says(schema: OpenApiSchema, method: str, path: str, examples: int) -> None:
    @hypothesis.given(case=schema[path][method].as_strategy())
    @hypothesis.settings(
        max_examples=examples, deadline=None, derandomize=True, database=None,
        suppress_health_check=list(hypothesis.HealthCheck),
    )  # fmt: skip
    def holds(case: schemathesis.Case) -> None:
        case.call_and_validate(checks=CHECKS, timeout=60)

    holds()


def test_every_route_is_tried_above(schema: OpenApiSchema) -> None:
    tried = {
        "/api/predict",
        "/api/classify",
        "/api/models",
        "/api/card",
        "/api/card/picture",
        "/api/leaderboard",
        "/healthz",
        "/metrics",
    }
    assert set(schema.raw_schema["paths"]) == tried
