"""A clip in, its future out; and a clear no to all that cannot be."""

from __future__ import annotations

import io
import json
import resource
from base64 import b64decode
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from tests.serving.clips import transparent
from tests.serving.web.conftest import CONTEXT, SIDE, Make, clip, moving, upload, with_card
from vidpred.data import launch, media
from vidpred.evaluation.pictures import GAP, GREEN, GREY
from vidpred.serving.web.drawing import gif


def frames_of(data: bytes, folder: Path, *, height: int = SIDE, width: int = SIDE) -> np.ndarray:
    """Every frame of a GIF or MP4, uint8 (T, H, W, 3)."""
    path = folder / "answer"
    path.write_bytes(data)
    return media.decode(path, height=height, width=width, ffmpeg=launch.ffmpeg_binary())


def unpacked(strip: dict[str, object]) -> np.ndarray:
    """A strip of an answer: uint8 (T, H, W, 3)."""
    picture = np.asarray(Image.open(io.BytesIO(b64decode(str(strip["png"])))))
    return picture.reshape(int(str(strip["count"])), SIDE, SIDE, 3)


def test_a_gif_is_answered_with_a_gif_of_what_follows(client: httpx.Client, cat: bytes, tmp_path: Path) -> None:
    answer = client.post("/api/predict", files=upload(cat))
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "image/gif"
    assert (frames_of(answer.content, tmp_path) == clip(17)[12:]).all()
    assert Image.open(io.BytesIO(answer.content)).info["duration"] == 100


def test_the_clips_own_end_is_kept_back_and_compared(client: httpx.Client, cat: bytes) -> None:
    answer = client.post("/api/predict", files=upload(cat), data={"frames": 4, "compare": True, "format": "json"})
    told = answer.json()
    assert (unpacked(told["known"]) == clip(8)).all()
    assert (unpacked(told["prediction"]) == clip(12)[8:]).all()
    assert (unpacked(told["truth"]) == clip(12)[8:]).all()
    metrics = told["metrics"]
    assert metrics["frames"] == 4
    assert metrics["perceptual_distance"]["model"] == 0
    assert metrics["perceptual_distance"]["gain"] == 1
    assert metrics["perceptual_distance"]["copy_last"] > 1
    assert metrics["psnr_db"]["model"] == 60 > metrics["psnr_db"]["copy_last"]
    assert told["notes"] == []


def test_a_clip_that_is_short_is_compared_as_far_as_it_goes(client: httpx.Client) -> None:
    files = upload(gif(clip(CONTEXT + 2), 10))
    told = client.post("/api/predict", files=files, data={"compare": True, "format": "json"}).json()
    assert (told["known"]["count"], told["prediction"]["count"], told["truth"]["count"]) == (CONTEXT, 5, 2)
    assert told["metrics"]["frames"] == 2
    (note,) = told["notes"]
    assert note.startswith(
        "Only the first 2 of the 5 predicted frames stand beside the truth: the clip has 5 frames, of "
    )


def test_what_is_drawn_tells_seen_from_predicted(client: httpx.Client, cat: bytes, tmp_path: Path) -> None:
    side = SIDE + 2 * GAP
    fields = {"frames": 2, "show": "clip"}
    whole = frames_of(
        client.post("/api/predict", files=upload(cat), data=fields).content, tmp_path, height=side, width=side
    )
    assert [tuple(frame[0, 0]) for frame in whole] == [GREY] * 12 + [GREEN] * 2
    fields = {"frames": 2, "compare": True, "show": "beside"}
    pair = frames_of(
        client.post("/api/predict", files=upload(cat), data=fields).content, tmp_path, height=side, width=2 * side
    )
    assert [tuple(frame[0, -1]) for frame in pair] == [GREY] * 10 + [GREEN] * 2
    film = client.post("/api/predict", files=upload(cat), data={"format": "mp4"})
    assert film.headers["content-type"] == "video/mp4"
    assert len(frames_of(film.content, tmp_path)) == 5


@pytest.mark.parametrize(
    ("data", "name", "told"),
    [
        (b"hello\n" * 100, "text.gif", "text.gif cannot be used: not a GIF or video"),
        (b"", "nothing.gif", "nothing.gif cannot be used: empty file"),
        (gif(clip(12), 10)[:300], "half.gif", "half.gif cannot be used: damaged"),
        (
            gif(clip(2), 10),
            "../../short.gif",
            "short.gif is too short: 2 frames at 10 per second, the model looks at 3",
        ),
    ],
)
def test_what_cannot_be_used_gets_one_clear_line(client: httpx.Client, data: bytes, name: str, told: str) -> None:
    answer = client.post("/api/predict", files=upload(data, name))
    assert answer.status_code == 422
    assert answer.json()["detail"].startswith(told)


@pytest.mark.parametrize(
    ("fields", "status", "code", "told"),
    [
        ({"frames": 0}, 422, "invalid", "`frames` has to be 1 or more, and '0' was given"),
        ({"frames": 31}, 422, "invalid", "`frames` has to be 30 or less, and '31' was given"),
        ({"frames": "many"}, 422, "invalid", "`frames` has to be a whole number"),
        ({"compare": "a\x1bb"}, 422, "invalid", "`compare` has to be `true` or `false`"),
        ({"format": "exe"}, 422, "invalid", "`format` has to be one of 'gif', 'mp4' or 'json', and 'exe' was given"),
        ({"model": "a" * 301}, 422, "invalid", "`model` has to have at most 300 characters"),
        ({"model": "/etc"}, 404, "no_model", "there is no model /etc"),
    ],
)
def test_fields_that_make_no_sense(
    client: httpx.Client, cat: bytes, fields: dict[str, object], status: int, code: str, told: str
) -> None:
    answer = client.post("/api/predict", files=upload(cat), data=fields)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert answer.json()["detail"].startswith(told)


def test_a_body_that_is_no_form_is_told_so(client: httpx.Client) -> None:
    kind = {"Content-Type": "multipart/form-data; boundary=x"}
    assert client.post("/api/predict", content=b"what", headers=kind).json()["code"] in ("bad_request", "invalid")
    bodies: list[dict[str, Any]] = [{"json": {"file": "a"}}, {"data": {"file": "a"}}, {}]
    for body in bodies:
        answer = client.post("/api/predict", **body)
        assert answer.json()["code"] == "invalid"
        assert "`curl -F file=@cat.gif URL/api/predict`" in answer.json()["detail"]


def test_what_no_route_answers_is_told_in_plain_words(client: httpx.Client) -> None:
    assert client.get("/api/predict").json() == {"code": "method", "detail": "this address takes no GET: use POST"}
    assert "there is nothing at this address" in client.get("/api/nothing").json()["detail"]
    assert client.get("/api/card/picture").json()["detail"] == "the parameter `name` is missing"


def test_limits_hold_before_and_while_an_upload_arrives(make: Make, cat: bytes) -> None:
    client = make(limits={"max_bytes": 20_000})
    assert client.post("/api/predict", files=upload(cat)).status_code == 200
    answer = client.post("/api/predict", files=upload(cat + bytes(20_000)))
    assert (answer.status_code, answer.json()["code"]) == (413, "too_large")
    kind = {"Content-Type": "multipart/form-data; boundary=x"}
    streamed = client.post("/api/predict", content=iter([bytes(9000)] * 3), headers=kind)  # does not tell its length
    assert (streamed.status_code, streamed.json()["code"]) == (413, "too_large")
    assert client.post("/login", data={"token": "x" * 20_000}).status_code == 413


def test_large_frames_and_long_clips_are_bounded(make: Make, cat: bytes) -> None:
    small = make(limits={"max_pixels": 900})
    assert "more than 900 pixels" in small.post("/api/predict", files=upload(cat)).json()["detail"]
    short = make(limits={"max_seconds": 0.6})
    told = short.post("/api/predict", files=upload(cat), data={"format": "json"}).json()
    assert told["known"]["count"] == 6
    assert told["notes"] == ["Only the first 0.6 seconds of the clip were read."]


def test_nothing_of_an_upload_stays(client: httpx.Client, cat: bytes, scratch: Path) -> None:
    for data in (cat, b"no video", cat[:200]):
        for kind in ("gif", "mp4", "json"):
            client.post("/api/predict", files=upload(data), data={"format": kind})
    assert list(scratch.iterdir()) == []


def test_a_full_disk_is_told_and_nothing_is_left_on_it(client: httpx.Client, cat: bytes, scratch: Path) -> None:
    large = cat + bytes(200_000)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))  # no file may grow beyond, as on a full disk
    try:
        answer = client.post("/api/predict", files=upload(large))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert (answer.status_code, answer.json()["code"]) == (503, "unable")
    assert list(scratch.iterdir()) == []
    assert client.post("/api/predict", files=upload(large)).status_code == 200


def test_what_shows_through_is_what_it_was_in_training(make: Make, tmp_path: Path) -> None:
    model = moving(tmp_path / "blue", background="#2040c0")
    cat = transparent(tmp_path / "cat.gif").read_bytes()
    told = make(models=(str(model),)).post("/api/predict", files=upload(cat), data={"format": "json"}).json()
    assert tuple(unpacked(told["known"])[0, 1, 1]) == (0x20, 0x40, 0xC0)


def test_the_cards_pictures_are_shown_and_nothing_else_of_the_folder(make: Make, tmp_path: Path) -> None:
    model = moving(tmp_path / "shown")
    client = make(models=(str(model),))
    assert client.get("/api/card/picture?name=card.gif").json()["code"] == "no_picture"  # it has no card
    with_card(model)
    (model / "card.gif").write_bytes(gif(clip(3), 10))
    (model / "card.png").write_bytes(b"<svg onload=alert(1)>")
    answer = client.get("/api/card/picture?name=card.gif")
    assert (answer.headers["content-type"], answer.content[:6]) == ("image/gif", b"GIF89a")
    assert client.get("/api/card").json()["card"]["pictures"] == ["card.gif"]
    assert client.get("/api/card/picture?name=card.png").status_code == 404  # no PNG
    assert client.get("/api/card/picture?name=model.json").status_code == 404


def test_models_card_and_leaderboard_are_told(make: Make, model: Path, tmp_path: Path) -> None:
    board = tmp_path / "leaderboard"
    board.mkdir()
    header = "name,kind,perceptual_distance,psnr_db,ssim,gain_copy_last_pooled,parameters\n"
    (board / "leaderboard.csv").write_text(
        f"{header}copy_last,baseline,30,17,0.7,,0\n<b>mine,trained,9.5,28,0.9,0.7,1e3\n"
    )
    client = make(leaderboard=board)
    (told,) = client.get("/api/models").json()["models"]
    info = json.loads((model / "model.json").read_text())
    assert told["id"].endswith("/moving")
    assert str(model.parent) not in told["id"]  # what folders there are is nobody's business
    assert info["weights_sha256"].startswith(told["weights"])
    assert client.get("/api/card").json() == {"card": None, "model": info}
    rows = client.get("/api/leaderboard").json()["rows"]
    assert [row["name"] for row in rows] == ["<b>mine", "copy_last"]
    assert rows[0]["gain"] == 0.7
    assert make().get("/api/leaderboard").json() == {"rows": []}


def test_metrics_count_what_was_answered(client: httpx.Client, cat: bytes) -> None:
    client.post("/api/predict", files=upload(cat))
    client.post("/api/predict", files=upload(b"text"))
    text = client.get("/metrics").text
    assert 'vidpred_http_requests_total{method="POST",route="/api/predict",status="200"} 1.0' in text
    assert 'vidpred_http_requests_total{method="POST",route="/api/predict",status="422"} 1.0' in text
    assert 'vidpred_batch_size_count{stage="read"} 2.0' in text
    assert "vidpred_queue_depth" in text
    assert 'network="conv2d"' in text
