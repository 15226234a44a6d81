"""A clip in, its classes out, beside a model that predicts: in the API and on the page."""

from __future__ import annotations

import io
from base64 import b64decode
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import numpy as np
import pytest
import torch
from PIL import Image

from tests.serving.web.conftest import SIDE, Make, clip, listening, upload
from tests.serving.web.test_page import QUIET
from vidpred.models import zoo
from vidpred.models.files import save_model
from vidpred.serving.classify import ClipClassifier
from vidpred.serving.web.app import make_app
from vidpred.serving.web.drawing import gif
from vidpred.serving.web.settings import Settings
from vidpred.types import Classifier, Task

if TYPE_CHECKING:
    from playwright.sync_api import Page

CLASSES = ("<b>bold</b>", "dark", *(f"class {i}" for i in range(8)))


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of a model that is nearly sure of the first class, whatever it sees."""
    task = Task(context=4, horizon=0, height=SIDE, width=SIDE, kind="classify", classes=CLASSES)
    torch.manual_seed(0)
    model = zoo.build("single_frame", {"width": 4, "scales": 2, "hidden": 4}, task, Classifier)
    bias = [tensor for tensor in model.parameters() if tensor.shape == (len(CLASSES),)][-1]
    with torch.no_grad():
        bias.copy_(torch.arange(len(CLASSES), 0, -1) * 1.5)
    folder = tmp_path_factory.mktemp("models") / "classes"
    config = {"width": 4, "scales": 2, "hidden": 4}
    save_model(folder, model, name="single_frame", config=config, task=task, info={"data_id": "d", "fps": 10.0})
    return folder


@pytest.fixture
def both(make: Make, model: Path, classifier: Path) -> httpx.Client:
    """A client of a server that predicts and classifies."""
    return make(models=(str(model), str(classifier)))


def test_a_clip_is_told_its_classes(both: httpx.Client, cat: bytes, classifier: Path, tmp_path: Path) -> None:
    answer = both.post("/api/classify", files=upload(cat), data={"windows": 3})
    assert answer.status_code == 200
    told = answer.json()
    assert (told["model"]["kind"], told["model"]["classes"]) == ("classify", list(CLASSES))
    assert (told["frames"], told["windows"]) == (12, 3)
    shares = [one["share"] for one in told["classes"]]
    assert shares == sorted(shares, reverse=True)
    ours = ClipClassifier.load(classifier)
    (tmp_path / "cat.gif").write_bytes(cat)
    expected = ours.scores(ours.read(tmp_path / "cat.gif"), windows=3)
    assert {one["name"]: one["share"] for one in told["classes"]} == pytest.approx(expected, abs=1e-5)
    with Image.open(io.BytesIO(b64decode(told["gif"]))) as moving:
        assert getattr(moving, "n_frames", 1) == 12
    counted = both.get("/metrics").text
    assert 'vidpred_classified_clips_total{model="single_frame"} 1.0' in counted
    assert 'vidpred_stage_seconds_count{stage="classify"} 1.0' in counted


def test_each_task_has_its_own_first_model(both: httpx.Client, cat: bytes) -> None:
    kinds = {one["kind"]: one["id"] for one in both.get("/api/models").json()["models"]}
    assert set(kinds) == {"predict", "classify"}
    assert both.post("/api/predict", files=upload(cat)).status_code == 200
    for path, other in (("predict", "classify"), ("classify", "predict")):
        answer = both.post(f"/api/{path}", files=upload(cat), data={"model": kinds[other]})
        assert (answer.status_code, answer.json()["code"]) == (422, "other_task")
        assert f"ask /api/{other}" in answer.json()["detail"]
    described = both.get("/openapi.json").json()["paths"]["/api/classify"]["post"]
    assert "Classification" in str(described["responses"]["200"])


def test_what_cannot_be_classified_is_told(make: Make, both: httpx.Client, cat: bytes, classifier: Path) -> None:
    answer = make().post("/api/classify", files=upload(cat))
    assert (answer.status_code, answer.json()["code"]) == (404, "no_model")
    short = both.post("/api/classify", files=upload(gif(clip(2), 10)))
    assert short.json() == {
        "code": "too_short",
        "detail": "cat.gif is too short: 2 frames at 10 per second, the model looks at 4: take a longer clip",
    }
    assert both.post("/api/classify", files=upload(b"GIF89a nothing")).json()["code"] == "unreadable"
    large = make(models=(str(classifier),), limits={"max_bytes": 1000}).post("/api/classify", files=upload(cat * 9))
    assert large.status_code == 413


@pytest.fixture(scope="module")
def page(
    require: Callable[[str], str], model: Path, classifier: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Page]:
    """The page of both, which must not complain to the console."""
    executable = require("chromium")
    from playwright.sync_api import sync_playwright

    app = make_app(Settings(models=(str(model), str(classifier))), scratch=tmp_path_factory.mktemp("scratch"))
    with listening(app) as url, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=QUIET)
        opened = browser.new_page(viewport={"width": 1280, "height": 900})
        complaints: list[str] = []
        opened.on("console", lambda message: complaints.append(message.text))
        opened.on("pageerror", lambda error: complaints.append(str(error)))
        opened.goto(url)
        yield opened
        browser.close()
        assert complaints == []


def test_the_page_shows_the_classes(page: Page, cat: bytes) -> None:
    page.locator("#model option").nth(1).wait_for(state="attached")
    assert page.locator("#headline").inner_text() == "See what happens next"
    page.select_option("#model", index=1)
    page.wait_for_function("document.querySelector('#headline').textContent === 'See what a clip shows'")
    assert not page.locator("#frames").is_visible()
    page.set_input_files("#file", {"name": "cat.gif", "mimeType": "image/gif", "buffer": cat})
    page.locator("#classes li").first.wait_for()
    assert page.locator("#classes li").count() == 8
    assert page.locator("#classes li .name").first.inner_text() == "<b>bold</b>"
    assert "2 further classes share" in page.locator("#class-rest").inner_text()
    widths = page.eval_on_selector_all("#classes i", "bars => bars.map(bar => bar.getBoundingClientRect().width)")
    assert widths[0] > 2 * widths[2] > 0
    assert page.evaluate("document.querySelector('#class-clip').naturalWidth") >= SIDE
    assert "/api/classify" in page.locator("#curl").inner_text()
    page.select_option("#model", index=0)  # the same clip, predicted
    page.locator("#result").wait_for()
    assert not page.locator("#told").is_visible()
    assert np.isfinite(float(page.locator("#pd").inner_text()))
