"""The data set's card: all that went in adds up, names of strangers stay text, and nothing is loaded."""

from __future__ import annotations

import base64
import hashlib
import io
import re
import subprocess
from collections.abc import Callable
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from vidpred.data.card import SET_ASIDE, duration, render, write_card
from vidpred.data.card_figures import BARS, counted, histogram, moving, reasons, spread_over
from vidpred.data.card_pictures import CLIPS, write_contact_sheet
from vidpred.data.shards import RawClip, Shards, write_shards
from vidpred.errors import UserError

HOSTILE = "<script>alert(\"1\")</script> & 'x' {{ 7 * 7 }}.gif"


def source(name: str, **changes: Any) -> dict[str, Any]:
    """A row of sources.parquet of a file that was kept."""
    row = {
        "name": name, "origin": name, "sha256": "ab" * 32, "bytes": 1000, "group": name, "label": "", "licence": "",
        "part": "", "start_seconds": None, "end_seconds": None, "status": "kept", "reason": "", "clips": 1,
        "frames": 12, "height": 240, "width": 320, "fps": 25.0, "seconds": 1.5, "source_frames": 37,
        "frozen_frames": 2, "freezes": 0, "cuts": 0, "still_clips": 0, "short_clips": 0, "bars": False,
    }  # fmt: skip
    return row | changes


def aside(name: str, status: str, reason: str) -> dict[str, Any]:
    """A row of a file that could not be read, as transcode writes it: without what ffmpeg says of it."""
    row = source(name, status=status, reason=reason, clips=0, frames=0)
    return {key: row[key] for key in list(row)[: list(row).index("height")]}


def shards_of(folder: Path, count: int, *, side: int = 32, noise: bool = False) -> Shards:
    """Clips of a square that moves to the right, or of noise."""
    folder.mkdir(exist_ok=True)
    clips = []
    for i in range(count):
        frames = np.full((12, side, side, 3), 60 + i % 100, np.uint8)
        for t in range(12):
            frames[t, 8:20, 2 + t : 14 + t] = 250
        if noise:
            frames = np.random.default_rng(i).integers(0, 256, frames.shape, np.uint8)
        path = folder / f"{i}.rgb"
        path.write_bytes(frames.tobytes())
        key = hashlib.sha256(str(i).encode()).hexdigest()
        clips.append(
            RawClip(
                source=HOSTILE if i == 0 else f"clips/{i}.gif", sha256=key, key=key, number=0, group=f"g{i // 2}",
                label="", fps=10.0, motion=0.0 if i == 1 else 2.0 + i, frames=path, length=12,
            )
        )  # fmt: skip
    made_with = {"fit": "crop", "freeze_threshold": None}
    write_shards(
        folder / "s", clips, [], height=side, width=side, fps=10.0, buckets=2, parameters=made_with, ffmpeg="7"
    )
    return Shards(folder / "s")


@pytest.fixture
def shards(tmp_path: Path) -> Shards:
    return shards_of(tmp_path / "shards", 5)


SOURCES = [
    *(source(f"clips/{i}.gif", licence="CC-BY-4.0" if i else "") for i in range(5)),
    aside(HOSTILE, "failed", "damaged: <b>moov</b> atom not found"),
    aside("b.gif", "failed", "damaged: other"),
    aside("c.gif", "dropped", "too short: 3 frames, 6 needed"),
    source("d.gif", status="dropped", reason="duplicate: same bytes as clips/0.gif", cuts=3, freezes=1, bars=True),
]
SUMMARY = {"inputs": 9, "kept": 5, "dropped": 2, "failed": 2}
SPEED = {"decoded": 8, "cached": 1, "seconds": 2.0, "frames": 600, "video_seconds": 60.0}


def page(shards: Shards, **changes: Any) -> str:
    asked: dict[str, Any] = {"sources": SOURCES, "shards": shards, "summary": SUMMARY, "throughput": SPEED}
    return render(**asked | changes)


def text_of(html: str) -> str:
    """What a reader sees, in one line."""
    return unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", html.split("</style>", 1)[1])))


def test_what_went_in_adds_up_and_is_told_by_reason(shards: Shards) -> None:
    text = text_of(page(shards))
    assert "9 in = 5 kept + 2 dropped + 2 failed" in text
    assert "damaged failed 2" in text
    assert "too short dropped 1" in text
    assert "duplicate dropped 1" in text
    assert "dropped and failed 4" in text
    assert "5 clips 60 frames of 32×32, 10 a second: 6 s of video, made from 9 inputs." in text


def test_a_lost_source_is_an_error(shards: Shards) -> None:
    with pytest.raises(UserError, match="a source was lost"):
        page(shards, summary=SUMMARY | {"failed": 1})


def test_kinds_of_sources_are_counted(shards: Shards) -> None:
    text = text_of(page(shards))
    assert "CC-BY-4.0 4 " in text.split("Licences")[1]
    assert "unknown 5 " in text.split("Licences")[1]
    assert "320×240 6 " in text
    assert "25 6 " in text.split("Frames per second")[1]
    assert "3 groups" in text
    assert "Labels" not in text
    assert "cuts, where a clip ends 3 1" in text
    assert "sources whose black bars were cut off 1 1" in text
    assert "frames that repeat the one before 12 6" in text


def test_speed_is_told_and_all_else_is_the_same_each_time(shards: Shards) -> None:
    text = text_of(page(shards))
    assert "In 2 s 8 files were decoded: 4 files, 300 frames and 30 s of video a second; 1 file came from the" in text
    nothing = {"decoded": 0, "cached": 9, "seconds": 0.0, "frames": 0, "video_seconds": 0.0}
    assert "Nothing had to be decoded; 9 files came from the cache" in text_of(page(shards, throughput=nothing))
    assert page(shards, throughput=None) == page(shards, throughput=None)
    assert "decoded" not in text_of(page(shards, throughput=None))


def test_names_of_strangers_stay_text(shards: Shards) -> None:
    html = page(shards)
    assert "<script" not in html
    assert "<b>moov" not in html
    assert "{{ 7 * 7 }}" in text_of(html)
    assert "49" not in text_of(html).split("Set aside")[1].split("How it was made")[0]
    long = page(shards, sources=[*SOURCES[:-1], aside("x" * 5000, "dropped", "y" * 5000)])
    assert "x" * 200 not in long
    assert "y" * 200 not in long


def test_only_the_first_files_set_aside_are_named(shards: Shards) -> None:
    many = [*SOURCES[:5], *(aside(f"file{i}.gif", "failed", "HTTP 404") for i in range(1000))]
    text = text_of(page(shards, sources=many, summary={"inputs": 1005, "kept": 5, "dropped": 0, "failed": 1000}))
    assert "HTTP 404 failed 1,000" in text
    assert f"file{SET_ASIDE - 1}.gif" in text
    assert f"file{SET_ASIDE}.gif" not in text
    assert "and 950 more" in text


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.images: list[dict[str, str]] = []
        self.loads: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = {name: value or "" for name, value in attrs}
        if tag == "img":
            self.images.append(named)
        self.loads += [named[name] for name in ("src", "href", "srcset", "data", "poster") if name in named]


def test_first_frames_and_motion_are_shown_and_nothing_is_loaded(shards: Shards) -> None:
    tags = _Tags()
    tags.feed(page(shards))
    assert all(load.startswith("data:") for load in tags.loads)
    assert {image["alt"] for image in tags.images[:5]} == {HOSTILE, *(f"clips/{i}.gif" for i in range(1, 5))}
    assert all("frames" in image["title"] for image in tags.images[:5])
    first, fields = tags.images[0], tags.images[5:]
    with Image.open(io.BytesIO(base64.b64decode(first["src"].split(",")[1]))) as image:
        assert image.size == (32, 32)
        row = next(c for c in range(5) if shards.clips[c].source == first["alt"])
        assert np.abs(np.asarray(image.convert("RGB")).astype(int) - shards.frames(row, 0, 1)[0]).mean() < 12
    assert len(fields) == 4 * 3  # the livelier half of the clips
    dx, dy = (
        np.asarray(Image.open(io.BytesIO(base64.b64decode(fields[i]["src"].split(",")[1]))).convert("L")).astype(int)
        for i in (1, 2)
    )
    assert dx.max() > 200  # everything goes right
    assert abs(dy - 128).mean() < abs(dx - 128).mean() / 3


def test_a_page_of_a_large_set_stays_small(tmp_path: Path) -> None:
    card = tmp_path / "card.html"
    noise = shards_of(tmp_path / "noise", CLIPS + 20, side=96, noise=True)
    many = [*(source(f"{'clip' * 20}{i}.gif", label=f"class {i}") for i in range(80)), *SOURCES]
    summary = {"inputs": 89, "kept": 85, "dropped": 2, "failed": 2}
    write_card(card, sources=many, shards=noise, summary=summary, throughput=None)
    assert 100_000 < card.stat().st_size < 600_000
    assert card.read_text().count('class="sheet"') == 1
    assert f"Of {CLIPS} clips, evenly over all" in card.read_text()


def test_clips_without_sources_and_clips_of_one_frame_are_no_trouble(tmp_path: Path, digits: Path) -> None:
    text = text_of(page(Shards(digits / "shards"), sources=[], summary=dict.fromkeys(SUMMARY, 0)))
    assert "48 clips" in text
    assert "Labels clips" in text
    path = tmp_path / "one.rgb"
    path.write_bytes(bytes(16 * 16 * 3))
    clip = RawClip(
        source="one.gif", sha256="0" * 64, key="0" * 64, number=0, group="g", label="", fps=10.0, motion=0.0,
        frames=path, length=1,
    )  # fmt: skip
    write_shards(tmp_path / "s", [clip], [], height=16, width=16, fps=None, buckets=1, parameters={}, ffmpeg="7")
    one = text_of(page(Shards(tmp_path / "s"), sources=[source("one.gif")], summary=dict(SUMMARY, inputs=9)))
    assert "1 clip 1 frame of 16×16: 0.1 s of video" in one
    assert "How things move" not in one


@pytest.mark.parametrize(
    "values", [[3.0], [0.0], [5.0] * 9, [0.001, 0.002], [1.0, 1e6], list(np.geomspace(0.1, 50, 999))]
)
def test_every_value_is_in_a_bar(values: list[float]) -> None:
    found = histogram(values)
    assert found is not None
    assert sum(found.counts) == len(values)
    assert 1 <= len(found.counts) == len(found.edges) - 1 <= BARS
    assert found.edges[0] <= min(values)
    assert found.beyond == sum(value >= found.edges[-1] for value in values)
    assert np.allclose(np.diff(found.edges), found.edges[1] - found.edges[0])


def test_no_values_no_histogram() -> None:
    assert histogram([]) is None
    assert histogram([float("nan")]) is None


def test_rare_values_are_counted_together() -> None:
    values = ["a"] * 3 + ["b"] * 2 + list("cdef")
    assert counted(values, most=2) == ([("a", 3), ("b", 2)], (4, 4))
    assert counted(values, most=5) == ([("a", 3), ("b", 2), *((x, 1) for x in "cdef")], (0, 0))  # one other: named


def test_reasons_are_counted_without_their_details() -> None:
    rows = [aside("a", "failed", "timed out: after 3 s"), aside("b", "failed", "timed out: after 4 s"), source("c")]
    assert reasons(rows) == [("failed", "timed out", 2)]


def test_rows_are_spread_evenly_and_moving_clips_move(shards: Shards) -> None:
    assert spread_over(5, 60) == [0, 1, 2, 3, 4]
    assert spread_over(1000, 3) == [0, 500, 999]
    assert spread_over(0, 3) == []
    rows = moving(shards.clips, 2)
    assert len(rows) == 2
    assert shards.clips[rows[0]].motion == max(clip.motion for clip in shards.clips)


@pytest.mark.parametrize(
    ("seconds", "told"),
    [(0.1, "0.1 s"), (59.9, "59.9 s"), (61, "1 min 01 s"), (3599.7, "1 h 00 min"), (7500, "2 h 05 min")],
)
def test_durations_are_told_as_people_say_them(seconds: float, told: str) -> None:
    assert duration(seconds) == told


def test_contact_sheet_is_a_picture_of_first_frames(shards: Shards, tmp_path: Path) -> None:
    write_contact_sheet(tmp_path / "sheet.png", shards)
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.size == (5 * (32 + 6) + 6, 32 + 14 + 12)
        assert (np.asarray(sheet)[6:38, 6:38] == shards.frames(0, 0, 1)[0]).all()


def test_browser_shows_every_picture(shards: Shards, require: Callable[[str], str], tmp_path: Path) -> None:
    card = tmp_path / "card.html"
    write_card(card, sources=SOURCES, shards=shards, summary=SUMMARY, throughput=SPEED)
    # the page itself has no script; a copy gets one that says what has been decoded
    probe = tmp_path / "probe.html"
    script = (
        "<script>onload = () => { const all = [...document.images];"
        "const good = all.filter(i => i.complete && i.naturalWidth > 0);"
        "document.title = `decoded ${good.length} of ${all.length}, beyond"
        " ${document.documentElement.scrollWidth - innerWidth}`; }</script>"
    )
    html = card.read_text().replace("default-src 'none'", "default-src 'none'; script-src 'unsafe-inline'")
    probe.write_text(html.replace("</body>", f"{script}</body>"))
    done = subprocess.run(
        [
            require("chromium"), "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
            "--no-first-run", "--hide-scrollbars", f"--user-data-dir={tmp_path / 'profile'}", "--window-size=390,900",
            "--virtual-time-budget=4000", "--dump-dom", probe.as_uri(),
        ],
        capture_output=True, text=True, timeout=90, check=True,
    )  # fmt: skip
    title = re.search(r"<title>decoded (\d+) of (\d+), beyond (-?\d+)</title>", done.stdout)
    assert title, done.stdout[:500]
    assert title[1] == title[2] == "17"
    assert int(title[3]) <= 0, "a phone would scroll sideways"
