"""The page in Chromium: a clip goes in, frames move, figures stand beside them, files come out."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from tests.serving.web.conftest import TOKEN, clip, listening, moving, with_card
from vidpred.serving.web.app import make_app
from vidpred.serving.web.drawing import gif
from vidpred.serving.web.settings import Settings

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

HEADER = "name,kind,perceptual_distance,psnr_db"
QUIET = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
]


@pytest.fixture(scope="module")
def browser(require: Callable[[str], str]) -> Iterator[Browser]:
    """The Chromium of this machine."""
    executable = require("chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=executable, args=QUIET)
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def url(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Of a server with a leaderboard in which somebody has put HTML."""
    board = tmp_path_factory.mktemp("leaderboard")
    (board / "leaderboard.csv").write_text(
        f"{HEADER}\n<img src=x onerror=alert(1)>,submitted,9.5,28\ncopy_last,baseline,30,17\n"
    )
    settings = Settings(models=(str(model),), leaderboard=board)
    with listening(make_app(settings, scratch=tmp_path_factory.mktemp("scratch"))) as address:
        yield address


@pytest.fixture
def page(browser: Browser, url: str) -> Iterator[Page]:
    """The page, which must not complain to the console: of a policy that it breaks, of an error in a script."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    context.set_default_timeout(30_000)
    opened, complaints = context.new_page(), list[str]()
    opened.on(
        "console", lambda message: complaints.append(message.text) if message.type in ("error", "warning") else None
    )
    opened.on("pageerror", lambda error: complaints.append(str(error)))
    opened.on("dialog", lambda dialog: complaints.append(f"a dialog: {dialog.message}"))
    opened.goto(url)
    opened.wait_for_selector(".example")
    yield opened
    context.close()
    assert [text for text in complaints if "422" not in text] == []


def give(page: Page, data: bytes, name: str = "cat.gif") -> None:
    """Chooses a file."""
    page.set_input_files("#file", {"name": name, "mimeType": "image/gif", "buffer": data})


def drawn(page: Page, panel: str) -> np.ndarray:
    """What a panel's canvas shows: uint8 (H, W, 3)."""
    address = page.evaluate("id => document.querySelector(`#panel-${id} canvas`).toDataURL()", panel)
    return np.asarray(Image.open(io.BytesIO(_decoded(address))).convert("RGB"))


def _decoded(address: str) -> bytes:
    from base64 import b64decode

    return b64decode(address.partition(",")[2])


def go_to(page: Page, frame: int) -> None:
    """Moves the slider as a reader does."""
    page.locator("#time").fill(str(frame))


def test_a_clip_is_predicted_shown_in_step_and_judged(page: Page) -> None:
    give(page, gif(clip(12), 10))
    page.wait_for_selector("#result:not([hidden])")
    before = page.locator("#time").input_value()
    page.wait_for_function("before => document.querySelector('#time').value !== before", arg=before)  # it plays
    page.get_by_role("button", name="Pause").click()
    happened = clip(12)  # 7 seen, 5 predicted
    for frame in (0, 6, 7, 11):
        go_to(page, frame)
        assert (drawn(page, "prediction") == happened[frame]).all()
        assert (drawn(page, "truth") == happened[frame]).all()
        assert (drawn(page, "known") == happened[min(frame, 6)]).all()
    assert page.locator("#time-out").inner_text() == "predicted, 5th of 5"
    assert page.locator("#gain").inner_text() == "+100 %"
    assert page.locator("#psnr").inner_text() == "60.00 dB"
    assert "100 % nearer to the truth" in page.locator("#verdict").inner_text()
    page.get_by_label("where it erred").check()
    assert (drawn(page, "prediction") != happened[11]).any()  # darkened: nothing is wrong anywhere
    with page.expect_download() as download:
        page.get_by_role("link", name="Download GIF").click()
    assert download.value.suggested_filename == "cat-predicted.gif"
    assert Image.open(io.BytesIO(download.value.path().read_bytes())).n_frames == 12
    with page.expect_download() as download:
        page.get_by_role("button", name="Download MP4").click()
    assert download.value.suggested_filename == "cat-predicted.mp4"
    assert download.value.path().read_bytes()[4:8] == b"ftyp"


def test_a_text_file_named_gif_gets_a_clear_message(page: Page) -> None:
    give(page, gif(clip(12), 10))
    page.wait_for_selector("#result:not([hidden])")
    give(page, b"hello\n" * 100, "text.gif")
    page.wait_for_selector("#alert:not(:empty)")
    assert page.get_by_role("alert").inner_text() == "text.gif cannot be used: not a GIF or video."
    assert page.locator("#result").is_hidden()  # it was of another clip
    give(page, gif(clip(12), 10))
    page.wait_for_selector("#result:not([hidden])")
    assert page.locator("#alert").inner_text() == ""


def test_by_keyboard_alone_without_the_truth_and_on_a_phone(browser: Browser, url: str) -> None:
    context = browser.new_context(viewport={"width": 390, "height": 844}, color_scheme="dark", reduced_motion="reduce")
    page = context.new_page()
    page.goto(url)
    page.wait_for_selector(".example")
    page.locator("#compare").focus()
    page.keyboard.press("Space")
    page.locator(".example").nth(3).focus()
    page.keyboard.press("Enter")
    page.wait_for_selector("#result:not([hidden])")
    assert page.locator("#panel-truth").is_hidden()
    assert page.locator("#figures").is_hidden()
    assert page.get_by_role("button", name="Play").is_visible()  # nothing moves by itself
    page.locator("#time").focus()
    page.keyboard.press("Home")
    page.keyboard.press("ArrowRight")
    assert page.locator("#time-out").inner_text() == "seen, 2 of 16"
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("Space")
    assert page.get_by_role("button", name="Pause").is_visible()
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    context.close()


def test_words_from_elsewhere_are_shown_as_words(page: Page) -> None:
    page.wait_for_selector("#board-table tbody tr")
    assert "<img src=x onerror=alert(1)>" in page.locator("#board-table").inner_text()
    page.get_by_text("All that its files say").click()
    assert "weights sha256" in page.locator("#card").inner_text()


def test_the_cards_picture_and_a_long_address_fit_a_phone(browser: Browser, model: Path, tmp_path: Path) -> None:
    pictured = moving(tmp_path / "a-folder-whose-name-is-long" / "and-so-is-that-of-this-one-in-it")
    with_card(pictured)
    (pictured / "card.gif").write_bytes(gif(clip(4, width=64), 10))
    settings = Settings(models=(str(pictured), str(model)))
    with listening(make_app(settings, scratch=tmp_path)) as url:
        context = browser.new_context(viewport={"width": 390, "height": 844})
        page = context.new_page()
        page.goto(url)
        page.wait_for_function("() => document.querySelector('.card-picture img')?.naturalWidth === 64")
        assert "left what happened" in page.locator(".card-picture").inner_text()
        told = page.locator("#model-told").inner_text()
        assert (
            "and-so-is-that-of-this-one-in-it: conv2d, 3 frames of 32 × 32 in" in told
        )  # whole, whatever the box cuts
        assert page.evaluate("document.documentElement.scrollWidth") == 390
        page.locator("#model").select_option(index=1)
        page.wait_for_function("() => !document.querySelector('.card-picture')")
        context.close()


def test_a_token_is_asked_for_once(browser: Browser, model: Path, tmp_path: Path) -> None:
    with listening(make_app(Settings(models=(str(model),), token=TOKEN), scratch=tmp_path)) as url:
        context = browser.new_context()
        page = context.new_page()
        page.goto(url)
        page.get_by_label("Token").fill("a guess")
        page.get_by_role("button", name="Go in").click()
        assert page.get_by_role("alert").inner_text() == "That is not the token."
        page.get_by_label("Token").fill(TOKEN)
        page.keyboard.press("Enter")
        page.wait_for_selector(".example")
        context.close()
