"""Named datasets: the catalog's own entries, and what a small dataset like each of them gives."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.data.fetching import Rows, cats, fetched, gif, put, served, tarred, told, zipped
from vidpred.data.catalog import Dataset, read_dataset
from vidpred.errors import UserError

ABOUT = {"title": "Mine", "homepage": "none", "licence": "CC0", "citation": "none"}
NAMES = ("cat_gifs", "kinetics400", "kitti", "kth", "moving_mnist", "sports1m", "tgif", "ucf101")


def catalog(root: Path, name: str) -> dict[str, Any]:
    raw: dict[str, Any] = yaml.safe_load((root / "datasets" / f"{name}.yaml").read_text())
    return raw


def described(path: Path, files: list[dict[str, Any]], **more: Any) -> Path:
    """A dataset's file."""
    path.write_text(json.dumps({"dataset": path.stem, **ABOUT, "files": files, **more}))
    return path


def like(root: Path, name: str, tmp_path: Path, url: str, *, files: int | None = None) -> Path:
    """A dataset of the catalog whose files are on our server, under their own names; it has no checksums."""
    raw = catalog(root, name)
    raw["files"] = [
        {key: value for key, value in file.items() if key not in ("bytes", "sha256", "sha1")}
        | {"url": f"{url}/{file['url'].rpartition('/')[2]}"}
        for file in raw["files"][:files]
    ]
    (tmp_path / f"{name}.yaml").write_text(json.dumps(raw))
    return tmp_path / f"{name}.yaml"


def test_the_catalog_has_what_it_promises(root: Path) -> None:
    found = {path.stem for path in (root / "datasets").glob("*.yaml") if "dataset" in yaml.safe_load(path.read_text())}
    assert found == set(NAMES)
    for name in NAMES:
        data = read_dataset(catalog(root, name))
        assert data.dataset == name
        assert data.licence
        assert data.note
        assert all(file.url.startswith(("http://", "https://")) for file in data.files)


@pytest.mark.parametrize(
    ("name", "clip", "group", "label", "part"),
    [
        ("cat_gifs", "catz/train/1204", "1204", "", "train"),
        ("cat_gifs", "catz/test/7", "7", "", "test"),
        ("ucf101", "UCF101/v_HandstandPushups_g02_c01.avi", "HandstandPushups_g02", "HandstandPushups", ""),
        ("kth", "person15_handwaving_d1_uncomp.avi", "person15", "handwaving", "train"),
        ("kth", "person01_boxing_d4_uncomp.avi", "person01", "boxing", "val"),
        ("kth", "person22_running_d2_uncomp.avi", "person22", "running", "test"),
        ("kitti", "2011_09_26/2011_09_26_drive_0104_sync/image_03/data", "2011_09_26_drive_0104", "", "test"),
        ("kitti", "2011_09_26/2011_09_26_drive_0005_sync/image_03/data", "2011_09_26_drive_0005", "", "val"),
        ("kitti", "2011_09_28/2011_09_28_drive_0001_sync/image_03/data", "2011_09_28_drive_0001", "", "train"),
        ("kinetics400", "https://www.youtube.com/watch?v=---0dWlqevI", "---0dWlqevI", "", ""),
        ("sports1m", "https://www.youtube.com/watch?v=UDqivjS-lpI", "UDqivjS-lpI", "", ""),
    ],
)
def test_the_rules_of_the_catalog(root: Path, name: str, clip: str, group: str, label: str, part: str) -> None:
    rule = read_dataset(catalog(root, name)).told_by(clip)
    assert (rule.get("group", ""), rule.get("label", ""), rule.get("part", "")) == (group, label, part)


def test_kth_parts_are_all_25_people(root: Path) -> None:
    parts = read_dataset(catalog(root, "kth")).parts
    assert sorted(number for numbers in parts.values() for number in numbers) == [f"{n:02d}" for n in range(1, 26)]
    assert {part: len(numbers) for part, numbers in parts.items()} == {"train": 8, "val": 8, "test": 9}


def ucf(web: Path) -> None:
    """Five clips, of which one is in no list, and the lists of three splits."""
    clips = (
        "Surfing_g01_c01",
        "Surfing_g02_c01",
        "HandstandPushups_g01_c01",
        "HandstandPushups_g02_c01",
        "Typing_g01_c01",
    )
    zipped(
        web / "UCF101_videos.zip", {f"UCF101/v_{name}.avi": gif(web / "made.gif", n) for n, name in enumerate(clips)}
    )
    lists = {}
    for split, test in ((1, "g01"), (2, "g02"), (3, "none")):
        lines = [f"{name.split('_')[0]}/v_{name.replace('Handstand', 'HandStand')}.avi" for name in clips[:4]]
        lists[f"ucfTrainTestlist/testlist0{split}.txt"] = "\r\n".join(line for line in lines if test in line).encode()
        lists[f"ucfTrainTestlist/trainlist0{split}.txt"] = "".join(
            f"{line} 12\r\n" for line in lines if test not in line
        ).encode()
    zipped(web / "UCF101TrainTestSplits-RecognitionTask.zip", {"ucfTrainTestlist/classInd.txt": b"1 Typing"} | lists)


@pytest.mark.parametrize(("split", "parts"), [(1, "test train test train"), (2, "train test train test")])
def test_ucf101_with_its_official_splits(root: Path, tmp_path: Path, split: int, parts: str) -> None:
    ucf(tmp_path / "web")
    with served(tmp_path / "web") as (url, _):
        path = like(root, "ucf101", tmp_path, url)
        path.write_text(path.read_text().replace('"split": 1', f'"split": {split}'))
        summary, rows = fetched(path, tmp_path)
    assert summary["fetched"] == 5
    assert told(rows, "group", "label")[3] == (
        "UCF101_videos.zip/UCF101/v_HandstandPushups_g02_c01.avi",
        "HandstandPushups_g02",
        "HandstandPushups",
    )
    assert [row["part"] for row in rows] == [*parts.split(), ""]
    assert {row["licence"] for row in rows} == {catalog(root, "ucf101")["licence"]}


def test_a_split_that_is_not_to_be_had_is_an_error(root: Path, tmp_path: Path) -> None:
    ucf(tmp_path / "web")
    with served(tmp_path / "web") as (url, _):
        path = like(root, "ucf101", tmp_path, url)
        path.write_text(path.read_text().replace('"split": 1', '"split": 4'))
        with pytest.raises(UserError, match=r"does not hold ucfTrainTestlist/testlist04\.txt, .*trainlist04\.txt"):
            fetched(path, tmp_path)
        (tmp_path / "web/UCF101TrainTestSplits-RecognitionTask.zip").unlink()
        with pytest.raises(UserError, match=r"RecognitionTask\.zip: http 404"):
            fetched(path, tmp_path, downloads="others")


def test_the_cat_gifs(root: Path, tmp_path: Path) -> None:
    tarred(tmp_path / "web/catz.tar.gz", cats())
    with served(tmp_path / "web") as (url, _):
        _, rows = fetched(like(root, "cat_gifs", tmp_path, url), tmp_path)
    assert told(rows, "group", "part") == [
        ("catz.tar.gz/catz/test/3", "3", "test"),
        ("catz.tar.gz/catz/train/7", "7", "train"),
        ("catz.tar.gz/catz/train/12", "12", "train"),
    ]


def test_of_kitti_one_camera_is_read(root: Path, tmp_path: Path) -> None:
    drive = "2011_09_26/2011_09_26_drive_0001_sync"
    images = list(cats(folders=["a"]).values())
    files = {f"{drive}/image_0{camera}/data/{n:010d}.png": data for camera in range(4) for n, data in enumerate(images)}
    zipped(tmp_path / "web/2011_09_26_drive_0001_sync.zip", files | {f"{drive}/oxts/data/0000000000.txt": b"1 2"})
    with served(tmp_path / "web") as (url, _):
        summary, rows = fetched(like(root, "kitti", tmp_path, url, files=1), tmp_path)
    assert summary["inputs"] == summary["fetched"] == 1
    assert told(rows, "group", "part") == [
        (f"2011_09_26_drive_0001_sync.zip/{drive}/image_03/data", "2011_09_26_drive_0001", "train")
    ]


def test_tgif_with_its_official_parts(root: Path, tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        gif(tmp_path / f"web/{name}.gif", ord(name))
    with served(tmp_path / "web") as (url, asked):
        gone = f"{url}/gone.gif\ta cat that is no more\n"
        put(
            tmp_path / "web",
            {
                "tgif-v1.0.tsv": "".join(f'{url}/{name}.gif\t"a cat\n' for name in "abbc").encode() + gone.encode(),
                "train.txt": f"{url}/a.gif\n{url}/gone.gif\n".encode(),
                "val.txt": b"\n",
                "test.txt": f"{url}/b.gif\n".encode(),
            },
        )
        summary, rows = fetched(like(root, "tgif", tmp_path, url), tmp_path)
        assert asked["/b.gif"] == 1
    assert told(rows, "part", "status") == [
        (f"{url}/a.gif", "train", "ok"),
        (f"{url}/b.gif", "test", "ok"),
        (f"{url}/b.gif", "test", "ok"),
        (f"{url}/c.gif", "", "ok"),
        (f"{url}/gone.gif", "train", "failed"),
    ]
    assert summary["reasons"] == {"http 404": 1}


def test_lists_with_numbers_for_labels(root: Path, tmp_path: Path) -> None:
    gif(tmp_path / "web/a.gif")
    with served(tmp_path / "web") as (url, _):
        lists = {"train_partition.txt": f"{url}/a.gif 1,0\n", "test_partition.txt": f"{url}/a.gif 7\n{url}/a.gif 0\n"}
        put(
            tmp_path / "web",
            {name: text.encode() for name, text in lists.items()} | {"labels.txt": b"boomerang\nski\n"},
        )
        _, rows = fetched(like(root, "sports1m", tmp_path, url), tmp_path)
    assert [(row["label"], row["part"]) for row in rows] == [("ski", "train"), ("7", "test"), ("boomerang", "test")]


def test_the_lists_of_kinetics(root: Path, tmp_path: Path) -> None:
    gif(tmp_path / "web/watch.gif")
    header = "label,youtube_id,time_start,time_end,split,is_cc\n"
    with served(tmp_path / "web") as (url, _):
        lists = {
            "train.csv": f"{header}laying bricks,---0dWlqevI,19,29,train,0\n",
            "val.csv": f"{header}dancing ballet,--07WQ2iBlw,1,11,validate,0\n",
            "test.csv": f"{header}archery,--0l35AkU68,oh,78,test,0\n",
        }
        put(tmp_path / "web", {name: text.encode() for name, text in lists.items()})
        path = like(root, "kinetics400", tmp_path, url)
        path.write_text(path.read_text().replace("https://www.youtube.com/watch", f"{url}/watch.gif"))
        summary, rows = fetched(path, tmp_path)
    assert summary["reasons"] == {"bad row": 1}
    keys = ("group", "label", "part", "start_seconds", "end_seconds")
    assert told(rows[:2], *keys) == [
        (f"{url}/watch.gif?v=---0dWlqevI", "---0dWlqevI", "laying bricks", "train", 19.0, 29.0),
        (f"{url}/watch.gif?v=--07WQ2iBlw", "--07WQ2iBlw", "dancing ballet", "val", 1.0, 11.0),
    ]


def test_a_downloaded_list_names_no_files_of_this_machine(tmp_path: Path) -> None:
    secret = gif(tmp_path / "secret.gif")
    put(tmp_path / "web", {"a.gif": secret})
    with served(tmp_path / "web") as (url, _):
        put(
            tmp_path / "web",
            {"list.txt": f"{tmp_path}/secret.gif\nsecret.gif\nfile://{tmp_path}/secret.gif\n{url}/a.gif\n".encode()},
        )
        source = described(tmp_path / "mine.yaml", [{"url": f"{url}/list.txt", "use": "list"}])
        summary, _ = fetched(source, tmp_path)
    assert summary == summary | {"fetched": 1, "failed": 3, "reasons": {"no url": 3}}


def served_archive(tmp_path: Path, *seeds: int) -> Path:
    return zipped(tmp_path / "web/a.zip", {f"{seed}.gif": gif(tmp_path / "made.gif", seed) for seed in seeds})


def test_the_first_download_pins_a_file_and_a_change_is_a_failure(tmp_path: Path) -> None:
    data = served_archive(tmp_path, 1, 2).read_bytes()
    gif(tmp_path / "web/b.gif")
    pins = tmp_path / "mine.pins.json"
    with served(tmp_path / "web") as (url, _):
        source = described(tmp_path / "mine.yaml", [{"url": f"{url}/a.zip"}, {"url": f"{url}/b.gif"}])
        _, first = fetched(source, tmp_path)
        assert json.loads(pins.read_text())[f"{url}/a.zip"] == {
            "bytes": len(data),
            "sha256": hashlib.sha256(data).hexdigest(),
        }
        text = pins.read_text()
        assert text.index("/a.zip") < text.index("/b.gif")
        assert fetched(source, tmp_path)[1] == first
        assert pins.read_text() == text

        served_archive(tmp_path, 3)
        # someone else, with the pins and without the downloads
        summary, rows = fetched(source, tmp_path, downloads="theirs")
        assert told(rows, "status") == [(f"{url}/a.zip", "failed"), ("b.gif", "ok")]
        assert summary["reasons"] == {"checksum": 1}
        assert rows[0]["reason"].endswith(f"delete its lines in {pins}")
        assert pins.read_text() == text

        pins.write_text(json.dumps({key: pin for key, pin in json.loads(text).items() if "b.gif" in key}))
        assert [row["name"] for row in fetched(source, tmp_path, downloads="theirs")[1]] == ["a.zip/3.gif", "b.gif"]
        assert len(json.loads(pins.read_text())) == 2


def test_what_is_published_of_a_file_must_hold(tmp_path: Path) -> None:
    data = served_archive(tmp_path, 1).read_bytes()
    sha1 = hashlib.sha1(data).hexdigest()
    sha256 = hashlib.sha256(data).hexdigest()
    wrong = {"bytes": len(data) + 1, "sha1": "0" * 40, "sha256": "0" * 64}
    with served(tmp_path / "web") as (url, _):
        for key, value in {"bytes": len(data), "sha1": sha1, "sha256": sha256}.items():
            source = described(tmp_path / f"right_{key}.yaml", [{"url": f"{url}/a.zip", key: value}])
            assert fetched(source, tmp_path)[0]["fetched"] == 1
            assert source.with_suffix(".pins.json").exists() == (key != "sha256")
            source = described(tmp_path / f"wrong_{key}.yaml", [{"url": f"{url}/a.zip", key: wrong[key]}])
            with pytest.raises(UserError, match=r"none of 1 inputs .* \(checksum: "):
                fetched(source, tmp_path)
            assert not source.with_suffix(".pins.json").exists()
        local = described(tmp_path / "local.yaml", [{"url": "web/a.zip", "sha256": "0" * 64}])
        with pytest.raises(UserError, match=f"checksum: {sha256}, not 0000"):
            fetched(local, tmp_path)


def test_pins_that_cannot_be_read_are_one_line(tmp_path: Path) -> None:
    source = described(tmp_path / "mine.yaml", [{"url": "http://127.0.0.1:9/a.zip"}])
    for text in ("{", "[]", '{"a": 1}', '{"a": {}}'):
        (tmp_path / "mine.pins.json").write_text(text)
        with pytest.raises(UserError, match=r"mine\.pins\.json cannot be read .* delete it"):
            fetched(source, tmp_path)


def test_a_dataset_of_ones_own_may_be_on_this_machine(tmp_path: Path) -> None:
    put(
        tmp_path / "here/clips",
        {"walk-ann-1.gif": gif(tmp_path / "a.gif", 1), "run-bob-1.gif": gif(tmp_path / "a.gif", 2)},
    )
    tarred(
        tmp_path / "here/more.tar",
        {"x/walk-bob-2.gif": gif(tmp_path / "a.gif", 3), "x/odd.gif": gif(tmp_path / "a.gif", 4)},
    )
    (tmp_path / "here/bob.txt").write_text("run-bob-1.gif\n")
    source = described(
        tmp_path / "here/mine.yaml",
        [
            {"url": "clips"},
            {"url": "more.tar"},
            {"url": "gone.tar"},
            {"url": "bob.txt", "use": "splits", "part": "val"},
        ],
        members=r"(?P<label>[a-z]+)-(?P<group>(?P<part>[a-z]+))-\d",
        parts={"test": ["bob"], "train": ["*"]},
    )
    _, rows = fetched(source, tmp_path)
    assert told(rows, "group", "label", "part", "licence") == [
        ("clips/run-bob-1.gif", "bob", "run", "val", "CC0"),
        ("clips/walk-ann-1.gif", "ann", "walk", "train", "CC0"),
        ("more.tar/x/walk-bob-2.gif", "bob", "walk", "test", "CC0"),
        ("more.tar/x/odd.gif", "more.tar/x/odd", "", "", "CC0"),
        ("gone.tar", "gone.tar", "", "", "CC0"),
    ]
    assert rows[4]["reason"] == "no such file"
    assert not (tmp_path / "here/mine.pins.json").exists()


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"licence": None}, "licence is empty: it must be text"),
        ({"licenze": "x"}, "licenze is unknown: did you mean licence?"),
        ({"members": "(?P<a"}, "'(?P<a' is no regular expression"),
        ({"files": []}, "files is []"),
        ({"files": [{"url": "a.zip", "sha256": "12"}]}, 'sha256 is "12": it must be of the form [0-9a-f]{64}'),
        ({"files": [{"url": "a.zip"}, {"url": "a.zip"}]}, "files name a.zip twice"),
        ({"files": [{"url": "a.txt", "use": "splits", "part": "val"}]}, "files hold no clips"),
        ({"files": [{"url": "a.gif"}, {"url": "a.zip", "use": "splits"}]}, "an archive of splits needs `lists`"),
        ({"files": [{"url": "a.gif"}, {"url": "a.txt", "use": "splits"}]}, "a.txt: `part` is missing"),
        (
            {"files": [{"url": "a.gif"}, {"url": "a.zip", "use": "splits", "lists": {"val": ["{split}.txt"]}}]},
            "a.zip: `split` is missing",
        ),
        ({"parts": {"dev": ["a"]}}, "dev is unknown"),
    ],
)
def test_what_is_wrong_with_a_dataset_is_one_line(tmp_path: Path, change: dict[str, Any], complaint: str) -> None:
    raw: dict[str, Any] = {"dataset": "mine", **ABOUT, "files": [{"url": "a.gif"}]} | change
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(raw))
    with pytest.raises(UserError, match=re.escape(complaint)) as error:
        fetched(tmp_path / "mine.yaml", tmp_path)
    assert "\n" not in str(error.value)
    assert str(error.value).startswith(f"fetch.source: {tmp_path / 'mine.yaml'}: ")


def test_a_clip_in_two_parts_is_an_error(tmp_path: Path) -> None:
    gif(tmp_path / "clips/a.gif")
    put(tmp_path, {"train.txt": b"a.gif\n", "test.txt": b"x/A.gif 3\n"})
    files: list[dict[str, Any]] = [{"url": "clips"}]
    files += [{"url": f"{part}.txt", "use": "splits", "part": part} for part in ("train", "test")]
    with pytest.raises(UserError, match=r"test\.txt lists x/A\.gif as test, and another list as train"):
        fetched(described(tmp_path / "mine.yaml", files), tmp_path)


def test_a_dataset_is_frozen(root: Path) -> None:
    data: Dataset = read_dataset(catalog(root, "kth"))
    with pytest.raises(ValueError, match="frozen"):
        data.title = "x"  # type: ignore[misc]


def test_rows_are_in_the_order_of_the_files(tmp_path: Path) -> None:
    def names(rows: Rows) -> list[str]:
        return [row["name"] for row in rows]

    for name in "cab":
        gif(tmp_path / f"web/{name}.gif", ord(name))
    with served(tmp_path / "web") as (url, _):
        source = described(tmp_path / "mine.yaml", [{"url": f"{url}/{name}.gif"} for name in "cab"])
        assert names(fetched(source, tmp_path)[1]) == ["c.gif", "a.gif", "b.gif"]
