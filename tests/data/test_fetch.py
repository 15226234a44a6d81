"""Inputs from folders, lists, archives and recipes: every one counted, none linked, failures with a reason."""

from __future__ import annotations

import gzip
import hashlib
import json
import logging
import os
import random
import shutil
import socket
import struct
import subprocess
import sys
import time
import zipfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from tests.data.fetching import cats, fetched, gif, image, put, served, tarred, told, zipped
from vidpred.data.fetch import grouped
from vidpred.data.intake import told_by_folders
from vidpred.errors import UserError
from vidpred.workspace import locked


def test_a_folder(tmp_path: Path) -> None:
    clips = tmp_path / "clips"
    first = gif(clips / "b.gif", 1)
    gif(clips / "deep/er/v_Surfing_g17_c06.gif", 2)
    (clips / "a.gif").write_bytes(first)
    (clips / "big.gif").write_bytes(first + b"\0" * 100_000)
    (clips / "notes.txt").write_text("not a clip")
    (clips / ".hidden.gif").write_bytes(first)
    (clips / ".git").mkdir()
    (clips / ".git" / "x.gif").write_bytes(first)
    (clips / "lost.gif").symlink_to(tmp_path / "nowhere")
    (clips / "b.gif").chmod(0o444)
    summary, rows = fetched(clips, tmp_path, max_bytes=100_000)
    reasons = {row["name"]: row["reason"] for row in rows}
    assert list(reasons) == ["a.gif", "b.gif", "big.gif", "deep/er/v_Surfing_g17_c06.gif", "lost.gif", "notes.txt"]
    assert reasons["big.gif"] == "too large: more than 100000 bytes (fetch.max_bytes)"
    assert reasons["lost.gif"] == "cannot be read: it leads nowhere"
    assert reasons["notes.txt"] == "no GIF or video by its name: .txt"
    assert summary["fetched"] == 3
    assert summary["reasons"] == {"cannot be read": 1, "no GIF or video by its name": 1, "too large": 1}
    assert rows[0]["file"] == rows[1]["file"]
    assert (rows[3]["group"], rows[3]["label"]) == ("Surfing_g17", "Surfing")


def test_names_that_are_no_text_are_shown_so(tmp_path: Path) -> None:
    data = gif(tmp_path / "a.gif")
    (tmp_path / "clips").mkdir()
    for name in (b"caf\xe9.gif", b"two\nlines.gif", "\N{SNOWMAN}.gif".encode()):
        (tmp_path / "clips" / os.fsdecode(name)).write_bytes(data)
    _, rows = fetched(tmp_path / "clips", tmp_path)
    assert sorted(told(rows, "group")) == [
        ("caf%E9.gif", "caf%E9"),
        ("two%0Alines.gif", "two%0Alines"),
        ("\N{SNOWMAN}.gif", "\N{SNOWMAN}"),
    ]


def test_one_file_and_a_path_that_begins_at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    gif(tmp_path / "clips" / "a.gif")
    assert told(fetched("~/clips", tmp_path)[1], "group") == [("a.gif", "a")]
    assert told(fetched("~/clips/a.gif", tmp_path)[1], "group") == [("a.gif", "a")]


@pytest.mark.parametrize(
    ("name", "group", "label"),
    [
        ("v_HighJump_g01_c05.gif", "HighJump_g01", "HighJump"),
        ("cats/one.mp4", "cats/one", ""),
        ("set.zip/cats/v1.5/one.mp4", "set.zip/cats/v1.5/one", ""),
        ("https://example.org/a/one.mp4?size=2", "example.org/a/one", ""),
        ("https://example.org/a.zip?key=1/cats/one.mp4", "example.org/a.zip?key=1/cats/one", ""),
        ("https://www.youtube.com/watch?v=UDqivjS-lpI", "www.youtube.com/watch?v=UDqivjS-lpI", ""),
        ("https://example.org/v_Skiing_g23_c01.gif", "Skiing_g23", "Skiing"),
        ("https://example.org", "example.org", ""),
        ("http://[::1", "http://[::1", ""),
    ],
)
def test_groups_come_from_names(name: str, group: str, label: str) -> None:
    assert grouped(name) == (group, label)


@pytest.mark.parametrize(
    ("name", "label", "part"),
    [
        ("one.gif", "", ""),
        ("walk/one.gif", "walk", ""),
        ("more/walk/one.gif", "walk", ""),
        ("train/one.gif", "", "train"),
        ("Train/walk/one.gif", "walk", "train"),
        ("validation/walk/one.gif", "walk", "val"),
        ("walk/test/one.gif", "test", ""),
        ("gifs/v_Skiing_g23_c01.gif", "", ""),  # its name tells: Skiing
        ("test/gifs/v_Skiing_g23_c01.gif", "", "test"),
    ],
)
def test_folders_are_classes_or_parts(name: str, label: str, part: str) -> None:
    facts = told_by_folders(name)
    assert (facts.label, facts.part, facts.group) == (label, part, "")


def test_labels_come_from_folders_and_archives(tmp_path: Path) -> None:
    gif(tmp_path / "clips" / "walk" / "a.gif")
    gif(tmp_path / "clips" / "run" / "b.gif", 1)
    gif(tmp_path / "clips" / "val" / "run" / "v_HighJump_g01_c05.gif", 2)
    with zipfile.ZipFile(tmp_path / "clips.zip", "w") as archive:
        for path in sorted((tmp_path / "clips").rglob("*.gif")):
            archive.write(path, path.relative_to(tmp_path / "clips"))
    expected = {("walk", "a", ""), ("run", "b", ""), ("HighJump", "HighJump_g01", "val")}
    for source in ("clips", "clips.zip"):
        rows = fetched(tmp_path / source, tmp_path)[1]
        assert {(row["label"], row["group"].rpartition("/")[2], row["part"]) for row in rows} == expected


def test_ucf_names_give_the_right_labels_and_groups(tmp_path: Path, shared_data: Path) -> None:
    rows = {row["name"]: row for row in fetched(shared_data / "gifs", tmp_path)[1]}
    assert len(rows) > 30
    for name, row in rows.items():
        if name.startswith("v_"):
            _, label, group, _ = name.split("_")
            assert (row["label"], row["group"]) == (label, f"{label}_{group}")
        else:
            assert (row["label"], row["group"]) == ("", name.removesuffix(".gif"))


def test_sources_that_cannot_be_used_are_one_line(tmp_path: Path) -> None:
    def complaint(source: Path | str) -> str:
        with pytest.raises(UserError) as error:
            fetched(source, tmp_path)
        assert "\n" not in str(error.value)
        return str(error.value)

    (tmp_path / "empty").mkdir()
    (tmp_path / "list.txt").write_text("# nothing\n\n")
    (tmp_path / "list.csv").write_text("url,label\n")
    (tmp_path / "a.yaml").write_text("recipe: cats\n")
    (tmp_path / "b.yaml").write_text("recipe: moving_digits\nsiez: 3\n")
    (tmp_path / "c.yaml").write_text("{")
    (tmp_path / "d.yaml").write_text("- a\n")
    (tmp_path / "e.yaml").write_text("recipe: moving_digits\nseed: -1\n")
    (tmp_path / "f.yaml").write_text("recipe: moving_mnist\nimages: none.gz\n")
    (tmp_path / "x.doc").write_text("")
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "a.doc").write_text("")
    (tmp_path / "broken.zip").write_bytes(b"PK\x03\x04 and no more")
    assert "fetch.source is empty: give a folder" in complaint(" ")
    assert "not found: give a folder" in complaint(tmp_path / "none")
    assert "is an empty folder: put GIFs or videos into it" in complaint(tmp_path / "empty")
    assert "lists nothing" in complaint(tmp_path / "list.txt")
    assert "lists nothing" in complaint(tmp_path / "list.csv")
    assert "recipe: cats is unknown: there are moving_digits, moving_mnist, shapes" in complaint(tmp_path / "a.yaml")
    assert "siez is unknown: did you mean size?" in complaint(tmp_path / "b.yaml")
    assert "cannot be read as YAML" in complaint(tmp_path / "c.yaml")
    assert "is no dataset and no recipe" in complaint(tmp_path / "d.yaml")
    assert "seed is -1: it must be at least 0" in complaint(tmp_path / "e.yaml")
    assert "none.gz cannot be read" in complaint(tmp_path / "f.yaml")
    assert "is of no kind that can be read: give a folder" in complaint(tmp_path / "x.doc")
    assert "none of 1 inputs" in complaint(tmp_path / "texts")
    assert "none of 1 inputs" in complaint(tmp_path / "broken.zip")


def test_a_recipe_gives_the_same_bytes_again(tmp_path: Path) -> None:
    recipe = tmp_path / "small.yaml"
    recipe.write_text(
        "recipe: moving_digits\nsize: 32\ndigit: 16\nframes: 8\ngroups: 4\nclips_per_group: 2\nmp4_share: 0.25\n"
    )
    summary, rows = fetched(recipe, tmp_path)
    assert summary["fetched"] == 8
    assert Counter(Path(row["file"]).suffix for row in rows) == {".gif": 6, ".mp4": 2}
    assert len({row["group"] for row in rows}) == 4
    assert all(row["licence"].startswith("scikit-learn digits") for row in rows)
    assert fetched(recipe, tmp_path)[1] == rows


def test_moving_mnist_from_idx_files(tmp_path: Path) -> None:
    digits = np.random.default_rng(0).integers(0, 255, (12, 28, 28), dtype=np.uint8)
    (tmp_path / "images-idx3-ubyte").write_bytes(struct.pack(">4I", 0x803, 12, 28, 28) + digits.tobytes())
    (tmp_path / "labels-idx1-ubyte").write_bytes(struct.pack(">2I", 0x801, 12) + bytes(range(12)))
    recipe = tmp_path / "mnist.yaml"
    recipe.write_text(
        "recipe: moving_mnist\nimages: images-idx3-ubyte\nlabels: labels-idx1-ubyte\nsequences: 6\nframes: 5\n"
        "groups: 3\n"
    )
    summary, rows = fetched(recipe, tmp_path)
    assert summary["fetched"] == 6
    assert Counter(row["group"] for row in rows) == {"mnist_g0000": 2, "mnist_g0001": 2, "mnist_g0002": 2}
    assert all(np.load(tmp_path / "raw/files" / row["file"]).shape == (5, 64, 64) for row in rows)
    assert fetched(recipe, tmp_path)[1] == rows


def test_a_folder_of_mnist_s_files_gives_moving_mnist(tmp_path: Path) -> None:
    folder = tmp_path / "mnist"
    folder.mkdir()
    for number, (name, count) in enumerate({"train": 300, "t10k": 150}.items()):
        digits = np.random.default_rng(number).integers(0, 255, (count, 28, 28), dtype=np.uint8)
        (folder / f"{name}-images-idx3-ubyte").write_bytes(struct.pack(">4I", 0x803, *digits.shape) + digits.tobytes())
        packed = gzip.compress(struct.pack(">2I", 0x801, count) + bytes([number]) * count)
        (folder / f"{name}-labels-idx1-ubyte.gz").write_bytes(packed)
    (folder / "README.md").write_text("from the web")
    summary, rows = fetched(folder, tmp_path)
    assert (summary["fetched"], summary["failed"]) == (3000, 0)
    assert len({row["group"] for row in rows}) == 200
    assert {row["label"] for row in rows} == {"00", "01", "10", "11"}
    assert np.load(tmp_path / "raw/files" / rows[0]["file"]).shape == (20, 64, 64)
    (folder / "train-images-idx3-ubyte").write_bytes(b"GIF89a")
    with pytest.raises(UserError, match=r"fetch.source: .*train-images-idx3-ubyte is no idx3-ubyte file") as error:
        fetched(folder, tmp_path)
    assert "\n" not in str(error.value)


def test_arrays_give_a_clip_a_video(tmp_path: Path) -> None:
    videos = np.random.default_rng(0).integers(0, 255, (20, 30, 16, 16), dtype=np.uint8)
    (tmp_path / "set").mkdir()
    np.save(tmp_path / "set" / "many.npy", videos)
    np.save(tmp_path / "set" / "one.npy", videos[:, 0])
    np.save(tmp_path / "set" / "floats.npy", videos / 255)
    summary, rows = fetched(tmp_path / "set", tmp_path)
    assert summary == summary | {"fetched": 31, "failed": 1}
    assert rows[0]["reason"].startswith("no video: holds float64")
    assert [row["name"] for row in rows[1:]] == [f"many.npy/{n:02d}" for n in range(30)] + ["one.npy"]
    assert rows[31]["sha256"] == rows[1]["sha256"]
    assert len({row["group"] for row in rows}) == 32
    for number, row in enumerate(rows[1:31]):
        assert (np.load(tmp_path / "raw/files" / row["file"]) == videos[:, number]).all()
    again = zipped(tmp_path / "set.zip", {"a/many.npy": (tmp_path / "set" / "many.npy").read_bytes()})
    assert [row["sha256"] for row in fetched(again, tmp_path)[1]] == [row["sha256"] for row in rows[1:31]]


def test_images_of_a_folder_are_a_clip(tmp_path: Path) -> None:
    files = cats() | {"stray.png": image(0, "png"), "catz/bad/cat_0.jpg": image(1), "catz/bad/cat_1.jpg": b"no image"}
    summary, rows = fetched(put(tmp_path / "set", files), tmp_path)
    assert told(rows, "status", "group") == [
        ("set", "failed", "set"),
        ("catz/bad", "failed", "catz/bad"),
        ("catz/test/3", "ok", "catz/test/3"),
        ("catz/train/12", "ok", "catz/train/12"),
        ("catz/train/7", "ok", "catz/train/7"),
    ]
    assert summary["reasons"] == {"no image": 1, "single image": 1}
    packed = (tmp_path / "raw/files" / rows[4]["file"]).read_bytes()
    assert packed == b"".join(cats(folders=["train/7"]).values())
    assert {Path(row["file"]).suffix for row in rows[2:]} == {".mjpeg"}


@pytest.mark.parametrize("name", ["catz.zip", "catz.tar.gz", "catz.tar"])
def test_images_of_an_archive_are_the_same_clips(tmp_path: Path, name: str) -> None:
    pack = zipped if name.endswith(".zip") else tarred
    members = list(cats().items())
    random.Random(0).shuffle(members)
    extra = {"catz/._cat_0.jpg": b"hidden", "__MACOSX/catz/train/7/cat_0.jpg": b"hidden"}
    _, rows = fetched(pack(tmp_path / name, dict(members) | extra), tmp_path)
    assert [row["name"] for row in rows] == [f"{name}/catz/{f}" for f in ("test/3", "train/7", "train/12")]
    _, whole = fetched(put(tmp_path / "set", cats()), tmp_path)
    assert {Path(row["name"]).name: row["sha256"] for row in rows} == {
        Path(row["name"]).name: row["sha256"] for row in whole
    }


def test_a_clip_that_lacks_an_image_is_none(tmp_path: Path) -> None:
    files = cats(folders=["train/7", "train/12"])
    damaged = zipped(tmp_path / "catz.zip", files)
    data = damaged.read_bytes()
    at = data.index(b"catz/train/7/cat_3.jpg") + 60
    damaged.write_bytes(data[:at] + bytes(byte ^ 255 for byte in data[at : at + 20]) + data[at + 20 :])
    _, rows = fetched(damaged, tmp_path)
    assert told(rows, "status") == [("catz.zip/catz/train/7", "failed"), ("catz.zip/catz/train/12", "ok")]
    assert rows[0]["reason"].startswith("images are missing: cat_3.jpg: damaged")


def test_an_archive_gives_a_row_a_member(tmp_path: Path) -> None:
    one, other = gif(tmp_path / "made/a.gif", 1), gif(tmp_path / "made/b.gif", 2)
    files = {
        "UCF101/v_Surfing_g17_c06.avi": one,
        "UCF101/v_Surfing_g17_c07.avi": other,
        "UCF101/copy.gif": one,
        "UCF101/notes.txt": b"about",
        "../../escaped.gif": one,
        "inner.zip": b"PK",
        "big.gif": b"\0" * 200_000,
    }
    (tmp_path / "set").mkdir()
    for path in (zipped(tmp_path / "set/a.zip", files), tarred(tmp_path / "set/b.tgz", files)):
        summary, rows = fetched(path, tmp_path, max_bytes=100_000)
        assert [row["name"].removeprefix(f"{path.name}/") for row in rows] == list(files)
        assert [row["status"] for row in rows] == ["ok"] * 3 + ["failed"] * 4
        assert (rows[0]["group"], rows[0]["label"]) == ("Surfing_g17", "Surfing")
        assert rows[2]["file"] == rows[0]["file"]
        assert rows[2]["group"] == f"{path.name}/UCF101/copy"
        assert rows[4]["reason"].startswith("climbs out")
        assert rows[5]["reason"] == "archive within an archive"
        assert summary["inputs"] == 7
    _, rows = fetched(tmp_path / "set", tmp_path, max_bytes=100_000)
    assert len(rows) == 14
    assert not list(tmp_path.rglob("escaped*"))


def test_an_archive_that_breaks_off_keeps_what_was_whole(tmp_path: Path) -> None:
    files = {f"{number}.gif": gif(tmp_path / f"made/{number}.gif", number) for number in range(6)} | cats()
    whole = tarred(tmp_path / "a.tar", files).read_bytes()
    (tmp_path / "a.tar").write_bytes(whole[: len(whole) * 2 // 3])
    summary, rows = fetched(tmp_path / "a.tar", tmp_path)
    assert [row["status"] for row in rows[:7]] == ["ok"] * 6 + ["failed"]
    assert rows[6]["name"] == "a.tar"
    assert rows[6]["reason"].startswith("damaged: ")
    assert all(row["reason"].startswith("images are missing: the archive ends early: damaged") for row in rows[7:])
    assert summary["fetched"] == 6
    zipped(tmp_path / "empty.zip", {})
    with pytest.raises(UserError, match=r"none of 1 inputs .* \(no member\)"):
        fetched(tmp_path / "empty.zip", tmp_path)


def test_urls_that_are_none_fail_alone(tmp_path: Path) -> None:
    gif(tmp_path / "mine.gif")
    names = [
        "http://[::1",
        "http://[::1]x/a.gif",
        "https://host:99999999/a.gif",
        "http://xn--a-/a.gif",
        "http:///a.gif",
        "file:///etc/passwd",
    ]
    (tmp_path / "list.txt").write_text("\n".join([*names, "mine.gif"]))
    summary, rows = fetched(tmp_path / "list.txt", tmp_path, allow_private=False)
    assert [row["name"] for row in rows if row["status"] == "failed"] == names
    assert summary["reasons"] == {"no url": 6}
    assert rows[0]["group"] == "http://[::1"
    assert summary["fetched"] == 1


def test_a_list_of_urls_and_paths(tmp_path: Path) -> None:
    gif(tmp_path / "local" / "mine.gif", 3)
    put(tmp_path / "local" / "frames", {f"{n}.png": image(n, "png") for n in range(3)})
    good = gif(tmp_path / "web" / "good.gif")
    put(tmp_path / "web", {"page.gif": b"<!doctype html><p>hello", "set.zip": b""})
    zipped(tmp_path / "web" / "set.zip", {"a/x.gif": good, "a/y.gif": gif(tmp_path / "made/y.gif", 9)})
    np.save(tmp_path / "web" / "many.npy", np.zeros((5, 9, 16, 16), np.uint8))
    (tmp_path / "local" / "none").mkdir()
    with served(tmp_path / "web") as (url, asked):
        (tmp_path / "list.txt").write_text(
            f"# clips\n{url}/good.gif\n\nlocal/mine.gif\n{url}/missing.gif\n{url}/good.gif\nlocal/none.gif\n"
            f"{url}/page.gif\nlocal/frames\nlocal/none\n{url}/set.zip?key=1\n{url}/many.npy\n{url}/set.zip?key=1\nlocal/frames\n"
        )
        summary, rows = fetched(tmp_path / "list.txt", tmp_path)
        assert told(rows, "reason")[:10] == [
            (f"{url}/good.gif", ""),
            ("local/mine.gif", ""),
            (f"{url}/missing.gif", "http 404"),
            (f"{url}/good.gif", ""),
            ("local/none.gif", "no such file"),
            (f"{url}/page.gif", "web page: HTML, not a file"),
            ("local/frames", ""),
            ("local/none", "empty folder"),
            (f"{url}/set.zip?key=1/a/x.gif", ""),
            (f"{url}/set.zip?key=1/a/y.gif", ""),
        ]
        assert [row["name"] for row in rows[10:19]] == [f"{url}/many.npy/{n}" for n in range(9)]
        assert rows[19:] == [*rows[8:10], rows[6]]
        assert rows[0]["file"] == rows[3]["file"] == rows[8]["file"]
        assert rows[9]["group"].endswith("/set.zip?key=1/a/y")
        assert summary["reasons"] == {"empty folder": 1, "http 404": 1, "no such file": 1, "web page": 1}
        assert asked["/good.gif"] == 1
        before = asked.copy()
        assert fetched(tmp_path / "list.txt", tmp_path)[1] == rows
        assert asked == before  # what failed for good is not asked for again
        gif(tmp_path / "web" / "missing.gif", 4)
        assert fetched(tmp_path / "list.txt", tmp_path, retry=["404"])[1][2]["status"] == "ok"
        assert asked - before == {"/missing.gif": 1}


def test_ranges_of_one_video_are_rows_of_one_download(tmp_path: Path) -> None:
    whole = gif(tmp_path / "web" / "long.gif", frames=40)
    with served(tmp_path / "web") as (url, asked):
        (tmp_path / "list.csv").write_text(
            "url,start_seconds,end_seconds,label,group,licence,part\n"
            f"{url}/long.gif,0,1.5,walk,someone,CC0,train\n{url}/long.gif,2,3,run,someone,CC0,test\n"
            f"{url}/long.gif,oh,3,run,someone,CC0,test\n"
        )
        summary, rows = fetched(tmp_path / "list.csv", tmp_path)
    assert asked == {"/long.gif": 1}
    assert summary["reasons"] == {"bad row": 1}
    assert told(rows, "start_seconds", "end_seconds", "label", "group", "licence", "part") == [
        (f"{url}/long.gif", 0.0, 1.5, "walk", "someone", "CC0", "train"),
        (f"{url}/long.gif", 2.0, 3.0, "run", "someone", "CC0", "test"),
        (f"{url}/long.gif", None, None, "", "127.0.0.1/long", "", ""),
    ]
    assert rows[0]["sha256"] == rows[1]["sha256"]
    assert [path.read_bytes() for path in (tmp_path / "raw/files").iterdir()] == [whole]


def test_a_checksum_of_the_list_must_hold(tmp_path: Path) -> None:
    right = hashlib.sha256(gif(tmp_path / "web" / "a.gif")).hexdigest()
    (tmp_path / "web" / "b.gif").write_bytes((tmp_path / "web" / "a.gif").read_bytes())
    with served(tmp_path / "web") as (url, _):
        (tmp_path / "list.tsv").write_text(
            f"path\tsha256\nweb/a.gif\t{right}\nweb/a.gif\t{'0' * 64}\n{url}/a.gif\t{right}\n{url}/b.gif\t{'0' * 64}\n"
            f"{url}/a.gif\t{'1' * 64}\n"
        )
        summary, rows = fetched(tmp_path / "list.tsv", tmp_path)
    assert [row["status"] for row in rows] == ["ok", "failed", "ok", "failed", "failed"]
    assert summary["reasons"] == {"checksum": 3}


def test_failures_that_may_pass_come_with_a_hint(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    gif(tmp_path / "mine.gif")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # nobody listens
        (tmp_path / "list.txt").write_text(f"mine.gif\nhttp://127.0.0.1:{taken.getsockname()[1]}/a.gif\n")
        with caplog.at_level(logging.WARNING):
            summary, _ = fetched(tmp_path / "list.txt", tmp_path)
    assert summary["reasons"] == {"connection": 1}
    assert "vidpred fetch --retry connection" in caplog.text


def test_only_the_first_failures_are_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    gif(tmp_path / "mine.gif")
    (tmp_path / "list.txt").write_text("mine.gif\n" + "".join(f"none-{n}.gif\n" for n in range(50)))
    with caplog.at_level(logging.WARNING):
        assert fetched(tmp_path / "list.txt", tmp_path)[0]["failed"] == 50
    assert caplog.text.count("set aside") == 3
    assert "and 47 more: no such file" in caplog.text


def project(tmp_path: Path, root: Path, source: str) -> dict[str, str]:
    """A project with this source; the environment to run its stages in."""
    text = (root / "params.yaml").read_text().replace("datasets/moving_digits.yaml", source)
    (tmp_path / "params.yaml").write_text(text)
    (tmp_path / "dvc.yaml").write_text("stages: {}\n")
    return os.environ | {"PYTHONPATH": str(root), "VIDPRED_HOME": str(tmp_path / "home")}


def test_a_second_fetch_waits_for_the_first(tmp_path: Path, root: Path) -> None:
    gif(tmp_path / "clips" / "a.gif")
    env = project(tmp_path, root, "clips")
    with locked(tmp_path / "home" / "fetch"):
        process = subprocess.Popen(
            [sys.executable, "-m", "stages.fetch"], cwd=tmp_path, env=env, stderr=subprocess.PIPE, text=True
        )
        assert process.stderr is not None
        assert f"is in use by process {os.getpid()}" in process.stderr.readline()
        assert not (tmp_path / "data").exists()
    with process:
        complaint = process.stderr.read()
    assert process.returncode == 0, complaint
    assert (tmp_path / "data/raw/sources.jsonl").is_file()


def test_the_stage_takes_reasons_to_try_again(tmp_path: Path, root: Path) -> None:
    gif(tmp_path / "clips" / "a.gif")
    (tmp_path / "list.txt").write_text("clips/a.gif\nhttp://127.0.0.1:9/b.gif\n")
    env = project(tmp_path, root, "list.txt")
    command = [sys.executable, "-m", "stages.fetch", "--retry", "404", "--retry", "tiemout"]
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True)
    assert done.returncode == 1
    assert "--retry tiemout: no such reason (did you mean timeout?)" in done.stderr
    done = subprocess.run([*command[:-1], "timeout"], cwd=tmp_path, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "results/fetch/summary.json").read_text())["reasons"] == {"private address": 1}


@pytest.mark.slow
def test_a_killed_fetch_gives_the_same_when_run_again(tmp_path: Path, root: Path) -> None:
    files = {f"clips/{number}.gif": random.Random(number).randbytes(300_000) for number in range(150)}
    tarred(tmp_path / "web" / "a.tar.gz", files | cats())
    with served(tmp_path / "web") as (url, _):
        (tmp_path / "set.yaml").write_text(
            "dataset: mine\ntitle: Mine\nhomepage: none\nlicence: none\ncitation: none\n"
            f"files: [{{url: '{url}/a.tar.gz'}}]\n"
        )
        env = project(tmp_path, root, "set.yaml")
        params = (tmp_path / "params.yaml").read_text().replace("allow_private: false", "allow_private: true")
        (tmp_path / "params.yaml").write_text(params)
        command = [sys.executable, "-m", "stages.fetch"]
        subprocess.run(command, cwd=tmp_path, env=env, check=True, capture_output=True)
        sheet = (tmp_path / "data/raw/sources.jsonl").read_bytes()
        kept = sorted(path.name for path in (tmp_path / "data/raw/files").iterdir())
        pins = (tmp_path / "set.pins.json").read_bytes()
        for number in range(6):
            if number % 2:
                for path in (tmp_path / "home" / "downloads").iterdir():
                    path.unlink()
            shutil.rmtree(tmp_path / "data")
            process = subprocess.Popen(command, cwd=tmp_path, env=env, stderr=subprocess.DEVNULL)
            while not (tmp_path / "data/raw/files").exists():
                time.sleep(0.005)
            time.sleep(random.Random(number).uniform(0, 0.4))
            process.kill()
            process.wait()
        subprocess.run(command, cwd=tmp_path, env=env, check=True, capture_output=True)
    assert (tmp_path / "data/raw/sources.jsonl").read_bytes() == sheet
    assert sorted(path.name for path in (tmp_path / "data/raw/files").iterdir()) == kept
    assert sorted(path.name for path in (tmp_path / "data/raw").iterdir()) == ["files", "sources.jsonl"]
    assert (tmp_path / "set.pins.json").read_bytes() == pins
