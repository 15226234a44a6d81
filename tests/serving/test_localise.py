"""Long videos through `vidpred classify`: what a model that knows its classes finds, printed, drawn and written.

The classifier here is no trained one: it tells by the mean colour of its frames, so that all it says can be foreseen.
"""

from __future__ import annotations

import csv
import itertools
import json
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from typer.testing import CliRunner

from vidpred.cli import app
from vidpred.data import launch
from vidpred.data.encode import write_video
from vidpred.errors import UserError
from vidpred.evaluation.annotations import named, read_truth, write_truth
from vidpred.evaluation.detections import Span, judged, mean_of
from vidpred.serving import localise as long
from vidpred.serving.classify import ClipClassifier
from vidpred.serving.timeline import clock, subtitles
from vidpred.types import Classifier, Scores, Task

CLASSES = ("background", "blue", "green", "red")
TASK = Task(context=4, horizon=0, height=16, width=16, kind="classify", interval=2, classes=CLASSES)
FPS = 10
ACTIONS = [("red", 30, 55), ("green", 80, 100), ("red", 130, 160), ("blue", 190, 215)]


class ByColour(Classifier):
    """Says which channel stands out; of grey frames that they are background."""

    def __init__(self) -> None:
        super().__init__()
        self.unused = nn.Parameter(torch.zeros(1))

    def forward(self, clip: Tensor, flow: Tensor | None = None) -> Scores:
        red, green, blue = clip.mean(dim=(1, 3, 4)).unbind(dim=1)
        low = torch.minimum(torch.minimum(red, green), blue)
        return Scores(torch.stack([torch.full_like(red, 0.2), blue - low, green - low, red - low], dim=1) * 12)


@pytest.fixture
def model() -> ClipClassifier:
    return ClipClassifier(ByColour(), {"task": vars(TASK), "fps": float(FPS), "fit": "crop"})


@pytest.fixture
def known(tmp_path: Path) -> str:
    """A folder that is taken for a model's."""
    (tmp_path / "model").mkdir()
    (tmp_path / "model/model.json").write_text("{}")
    return str(tmp_path / "model")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`match.mp4`, 24 s: grey, and now and then one of the colours; and its truth."""
    out = tmp_path_factory.mktemp("long")
    frames = np.full((240, 16, 16, 3), 90, np.uint8)
    for label, first, end in ACTIONS:
        channel = ("red", "green", "blue").index(label)
        frames[first:end, ..., channel] += 100
    write_video(out / "match.mp4", frames, FPS)
    write_truth(out / "truth.csv", {"match": [Span(a / FPS, b / FPS, label) for label, a, b in ACTIONS]})
    return out


@pytest.mark.parametrize("way", ["sliding", "proposals"])
@pytest.mark.parametrize("part_seconds", [1.5, 30.0])
def test_what_happens_is_found_when_it_does(
    model: ClipClassifier, folder: Path, way: str, part_seconds: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(long.Source.__init__, "__kwdefaults__", {
        **(long.Source.__init__.__kwdefaults__ or {}), "part_seconds": part_seconds,
    })  # fmt: skip
    found = long.localise(model, long.opened(model, folder / "match.mp4"), way)
    truth = read_truth(folder / "truth.csv")["match"]
    assert found.frames == 240
    assert found.curves.shape == (240, 4)
    told = judged({"match": found.spans}, {"match": truth})
    assert mean_of(told[0.7]) == 1
    assert [span.label for span in found.told(0.3)] == ["red", "green", "red", "blue"]
    if way == "proposals":
        everywhere = long.localise(model, long.opened(model, folder / "match.mp4"), "sliding").windows
        assert found.windows < 0.75 * everywhere
    numbers = [number for number, _ in found.pictures]
    assert numbers[0] == 0
    assert len({b - a for a, b in itertools.pairwise(numbers)}) == 1


@pytest.mark.parametrize("way", ["sliding", "proposals"])
def test_nothing_is_found_where_nothing_happens(
    model: ClipClassifier, known: str, tmp_path: Path, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_video(tmp_path / "grey.mp4", np.full((90, 16, 16, 3), 90, np.uint8), FPS)
    monkeypatch.setattr(ClipClassifier, "load", lambda *_, **__: model)
    asked = ["classify", known, str(tmp_path / "grey.mp4"), "--localise", way]
    done = CliRunner().invoke(app, [*asked, "-o", str(tmp_path / "out")])
    assert done.exit_code == 0, done.output
    assert "0 segments" in done.stdout
    assert "nothing that is at least 40 % sure" in done.stdout
    assert (tmp_path / "out/grey.srt").read_text() == ""
    with Image.open(tmp_path / "out/grey.png") as picture:
        assert picture.size[0] == 1280


def test_windows_across_parts_are_those_of_the_whole(model: ClipClassifier, folder: Path) -> None:
    def scored(part_seconds: float, wanted: np.ndarray | None = None) -> long._Scored:
        source = long.Source(
            folder / "match.mp4", height=16, width=16, ffmpeg=launch.any_ffmpeg(), fps=FPS, part_seconds=part_seconds
        )
        frames = None if wanted is None else np.unique((wanted[:, None] + np.arange(model.span)).ravel())
        return long._score(model, source.parts(frames), stride=3, wanted=wanted)

    whole, parts = scored(60), scored(0.5)
    assert whole.starts.tolist() == [*range(0, 234, 3), 240 - model.span]
    np.testing.assert_array_equal(whole.starts, parts.starts)
    np.testing.assert_allclose(whole.scores, parts.scores, atol=1e-6)
    some = np.array([3, 6, 33, 150, 153])
    np.testing.assert_allclose(scored(0.5, some).scores, whole.scores[some // 3], atol=1e-6)


def test_the_command_prints_draws_and_writes(
    model: ClipClassifier, known: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ClipClassifier, "load", lambda *_, **__: model)
    asked = [known, str(folder / "match.mp4"), "--threshold", "0.3", "--truth", str(folder / "truth.csv")]
    done = CliRunner().invoke(app, ["classify", *asked, "-o", str(tmp_path / "out")])
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    assert lines[0].endswith("match.mp4: 0:24.0 long, 4 segments")
    assert [line.split()[2] for line in lines[2:6]] == ["red", "green", "red", "blue"]
    assert lines[-1].split() == ["mAP", "100.0", "100.0", "100.0"]
    with Image.open(tmp_path / "out/match.png") as picture:
        assert picture.size[0] == 1280
    results = json.loads((tmp_path / "out/match.json").read_text())["results"]["match"]
    assert {"label", "score", "segment"} == set(results[0])
    # a player shows them: ffmpeg reads the file and gives the same words at the same times
    srt = tmp_path / "out/match.srt"
    read = subprocess.run(
        [str(launch.any_ffmpeg()), "-v", "error", "-i", str(srt), "-f", "srt", "-"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert read.stdout.split() == srt.read_text().split()
    assert read.stdout.count(" --> ") == 4

    (folder / "again.mp4").write_bytes((folder / "match.mp4").read_bytes())
    all_of_them = tmp_path / "new/all.json"
    done = CliRunner().invoke(app, ["classify", *asked[:2], str(folder / "again.mp4"), "-o", str(all_of_them)])
    assert done.exit_code == 0, done.output
    found = json.loads(all_of_them.read_text())["results"]
    assert found["match"] == found["again"] == results

    done = CliRunner().invoke(app, ["classify", *asked, "--json", "--localise", "proposals"])
    first, last = (json.loads(line) for line in done.stdout.splitlines())
    assert [segment["class"] for segment in first["segments"]] == ["red", "green", "red", "blue"]
    assert last["tiou"]["0.5"]["map"] == 1
    done = CliRunner().invoke(
        app, ["classify", *asked[:2], "--threshold", "1", "-o", str(all_of_them.with_suffix(".csv"))]
    )
    assert [row["class"] for row in csv.DictReader(all_of_them.with_suffix(".csv").read_text().splitlines())] == [""]
    (misspelt := tmp_path / "truth.csv").write_text((folder / "truth.csv").read_text().replace("green", "grene"))
    done = CliRunner().invoke(app, ["classify", *asked[:4], "--truth", str(misspelt)])
    assert done.exit_code == 0, done.output
    assert " ".join(done.output.split()).count("the truth names grene, and the model has no such class") == 1
    done = CliRunner().invoke(app, ["classify", known, str(folder / "match.mp4"), "--localise", "none"])
    assert done.stdout.startswith(f"{folder / 'match.mp4'}: ")
    assert "segments" not in done.stdout


def test_what_is_asked_wrongly_is_told_before_any_work(
    known: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ClipClassifier, "load", lambda *_, **__: pytest.fail("too late"))
    video, other = str(folder / "match.mp4"), tmp_path / "more/match.mp4"
    other.parent.mkdir()
    other.write_bytes(Path(video).read_bytes())
    (listed := tmp_path / "listed.txt").write_text(video)
    for said, *options in (
        (r"written as .png, subtitles as .srt", "-o", "a.txt"),
        ("a table of all as .csv; a folder, such as a/, gets the first three", "-o", "a.txt"),
        ("one file for 2 videos: name a folder", "-o", "a.srt", str(other)),
        ("one file for what may be several videos: name a folder", "-o", "a.srt", "--files-from", str(listed)),
        ("two videos are called match", "-o", "out", str(other)),
        ("two videos are called match", "-o", "all.json", str(other)),
        ("leave one of them out", "-o", "a.srt", "--localise", "none"),
        ("cannot be read: No such file", "--truth", "none.csv"),
    ):
        done = CliRunner().invoke(app, ["classify", known, video, *options])
        assert isinstance(done.exception, UserError)
        assert said in str(done.exception)


def test_a_short_video_and_an_unknown_truth_are_told(model: ClipClassifier, tmp_path: Path) -> None:
    write_video(tmp_path / "short.gif", np.zeros((5, 16, 16, 3), np.uint8), FPS)
    source = long.opened(model, tmp_path / "short.gif")
    assert not long.is_long(model, source)
    with pytest.raises(UserError, match="5 frames, and the model looks at 7"):
        long.localise(model, source)
    with pytest.raises(UserError, match="there are sliding, proposals"):
        long.localise(model, source, "slidin")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("video,start,end\na,1,2\n", "no column label"),
        ("video,start,end,label\na,1,2,x\na,3,3,x\n", "line 3: from 3 to 3 s is no stretch"),
        ("video,start,end,label\na,soon,2,x\n", "line 2: start 'soon'"),
        ("video,start,end,label\na,1,2,\n", "line 2: it has no label"),
    ],
)
def test_a_truth_that_is_none_is_told(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "truth.csv").write_text(text)
    with pytest.raises(UserError, match=said):
        read_truth(tmp_path / "truth.csv")


def test_truth_as_activitynet_has_it(tmp_path: Path) -> None:
    database = {"v_match": {"annotations": [{"segment": [1, 2.5], "label": "goal"}]}, "still": {"annotations": []}}
    (tmp_path / "truth.json").write_text(json.dumps({"database": database}))
    truth = read_truth(tmp_path / "truth.json")
    assert named(truth, Path("videos/match.mp4")) == [Span(1, 2.5, "goal")]
    assert named(truth, Path("still.avi")) == []
    assert named(truth, Path("other.avi")) is None
    write_truth(tmp_path / "again.csv", truth)
    assert read_truth(tmp_path / "again.csv") == truth
    (tmp_path / "truth.json").write_text("[]")
    with pytest.raises(UserError, match="not as ActivityNet's annotations are"):
        read_truth(tmp_path / "truth.json")


def test_times_for_people_and_players() -> None:
    assert [clock(s) for s in (0, 7.25, 59.97, 3600, 4327.5)] == [
        "0:00.0",
        "0:07.2",
        "1:00.0",
        "1:00:00.0",
        "1:12:07.5",
    ]
    assert clock(75, digits=0) == "1:15"
    told = subtitles([Span(0.5, 3661.0406, "a --> b\n\nc", 0.876)])
    assert told == "1\n00:00:00,500 --> 01:01:01,041\na -> b c (88 %)\n"
