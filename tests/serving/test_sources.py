"""What can be named: globs, lists, standard input; and where results go."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.serving.clips import clip
from vidpred.data import encode
from vidpred.errors import UserError
from vidpred.serving import sources
from vidpred.serving.predict import predict_files
from vidpred.serving.sources import collect


class _Piped(io.TextIOWrapper):
    """Standard input or output with bytes behind it."""

    def __init__(self, content: bytes = b"") -> None:
        super().__init__(io.BytesIO(content))


@pytest.fixture
def clips(folder: Path) -> Path:
    """A folder of four."""
    for name in ("a.gif", "b.GIF", "deep/c.gif", "deep/d.mp4"):
        (folder / "clips" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "clips" / name).write_bytes(b"x")
    (folder / "clips/notes.txt").write_text("not meant")
    (folder / "spare").mkdir()
    return folder / "clips"


def names(found: sources.Sources) -> list[str]:
    """Without folders."""
    return [source.path.name for source in found.files]


def test_globs_match_files_and_folders(clips: Path) -> None:
    spare = Path("spare")
    for pattern, wanted in {
        "clips/*.gif": ["a.gif"],
        "clips/**/*.gif": ["a.gif", "c.gif"],
        "clips/*": ["a.gif", "b.GIF", "c.gif", "d.mp4", "notes.txt"],  # what is named is meant
        "clip?": ["a.gif", "b.GIF", "c.gif", "d.mp4"],
        f"{clips.resolve()}/[ab].*": ["a.gif", "b.GIF"],
    }.items():
        found = collect([Path(pattern)], listed=None, folder=spare)
        assert names(found) == wanted
        assert found.several == (len(wanted) > 1)
        assert not found.problems
    (clips / "[1].gif").write_bytes(b"x")  # a name that looks like a glob
    assert names(collect([clips / "[1].gif"], listed=None, folder=spare)) == ["[1].gif"]
    found = collect([clips / "*.webm", Path("x" * 300 + ".gif"), clips, clips / "a.gif"], listed=None, folder=spare)
    assert found.problems[0].endswith("*.webm: no file matches it")
    assert "cannot be read: File name too long" in found.problems[1]
    assert names(found) == ["[1].gif", "a.gif", "b.GIF", "c.gif", "d.mp4"]  # each once


@pytest.mark.parametrize("written", ["clips/a.gif\nclips/deep\n\n", "clips/a.gif\0clips/deep\0"])
@pytest.mark.usefixtures("clips")
def test_a_list_of_paths(written: str, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("list.txt").write_text(written)
    assert names(collect([], listed=Path("list.txt"), folder=Path("spare"))) == ["a.gif", "c.gif", "d.mp4"]
    monkeypatch.setattr(sys, "stdin", _Piped(written.encode()))
    assert names(collect([], listed=Path("-"), folder=Path("spare"))) == ["a.gif", "c.gif", "d.mp4"]


def test_a_clip_through_a_pipe(folder: Path, model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    encode.write_gif(folder / "cat.gif", clip(8), 10)
    content = (folder / "cat.gif").read_bytes()
    monkeypatch.setattr(sys, "stdin", _Piped(content))
    assert predict_files(model, [Path("-")], frames=2) == 0
    assert Path("stdin-predicted.gif").is_file()
    monkeypatch.setattr(sys, "stdin", _Piped(content))
    monkeypatch.setattr(sys, "stdout", out := _Piped())
    assert predict_files(model, [Path("-")], frames=2, output=Path("-"), kind="npy") == 0
    (folder / "out.npy").write_bytes(out.buffer.getvalue())  # type: ignore[attr-defined]
    assert (np.load(folder / "out.npy") == clip(10)[8:]).all()


def test_a_pipe_that_gives_nothing_or_too_much(
    model: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(sys, "stdin", _Piped())
    assert predict_files(model, [Path("-")], frames=2) == 1
    assert "standard input: empty file" in caplog.text
    monkeypatch.setattr(sys, "stdin", _Piped(b"GIF89a" + bytes(3000)))
    assert predict_files(model, [Path("-")], frames=2) == 1
    assert "standard input: not a GIF or video" in caplog.text
    monkeypatch.setattr(sys, "stdin", _Piped(bytes(3000)))
    monkeypatch.setattr(sources, "STDIN_BYTES", 2000)
    with pytest.raises(UserError, match="standard input gives more than"):
        predict_files(model, [Path("-")], frames=2)


def test_names_that_make_no_sense(clips: Path, model: str) -> None:
    for told, inputs, options in (
        ("no clips: name GIFs", [], {}),
        ("can be read once only", [Path("-")], {"files_from": Path("-")}),
        ("--files-from none.txt cannot be read: No such file", [], {"files_from": Path("none.txt")}),
        ("--format webm: frames are written as .gif, .mp4, .png or .npy", [clips / "a.gif"], {"kind": "webm"}),
        ("is no .png as --format says", [clips / "a.gif"], {"kind": "png", "output": Path("out.gif")}),
        ("--output - is standard output, but several clips", [clips], {"output": Path("-")}),
    ):
        with pytest.raises(UserError, match=told):
            predict_files(model, inputs, frames=1, **options)  # type: ignore[arg-type]


def test_an_address_is_told_what_to_do_with(folder: Path) -> None:
    for url in ("https://example.org/cat.gif", "s3://bucket/cat.gif"):
        (problem,) = collect([Path(url)], listed=None, folder=folder).problems
        assert problem.startswith(f"{url} is an address, and only files are read: "), problem
    assert (
        "`curl -sL https://example.org/cat.gif | vidpred predict MODEL -`"
        in (collect([Path("https://example.org/cat.gif")], listed=None, folder=folder).problems[0])
    )
