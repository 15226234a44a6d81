"""`vidpred data`: what the shards hold, and that a byte that changed is found."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from vidpred.commands.data import catalog, show, verify
from vidpred.data.shards import RawClip, write_shards
from vidpred.errors import UserError


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of shards as transcode leaves it: three clips of two sources, and one that was set aside."""
    folder = tmp_path_factory.mktemp("shards")
    clips, sources = [], []
    for i, (name, lengths) in enumerate({"[red]cat[/].gif": [8, 6], "dog.gif": [10]}.items()):
        frames = np.random.default_rng(i).integers(0, 256, (sum(lengths), 16, 16, 3), np.uint8)
        (folder / f"{i}.rgb").write_bytes(frames.tobytes())
        key = hashlib.sha256(name.encode()).hexdigest()
        for number, length in enumerate(lengths):
            clips.append(
                RawClip(
                    source=name, sha256=key, key=key, number=number, group=name, label="[bold]pet", fps=10.0,
                    motion=80.0, frames=folder / f"{i}.rgb", first=sum(lengths[:number]), length=length,
                )
            )  # fmt: skip
        sources.append(
            {"name": name, "status": "kept", "reason": "", "clips": len(lengths), "frames": sum(lengths)}
            | {"height": 240, "width": 320, "fps": 25.0, "seconds": 2.0, "cuts": len(lengths) - 1, "licence": "CC0"}
        )
    sources.append({"name": "x.gif", "status": "failed", "reason": "http 404: gone", "clips": 0, "frames": 0})
    made = {"height": 16, "width": 16, "fps": 10.0, "buckets": 2, "parameters": {}, "ffmpeg": "7.0"}
    write_shards(folder / "shards", clips, sources, **made)  # type: ignore[arg-type]
    return folder / "shards"


@pytest.fixture
def shards(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "shards"))


def flip(path: Path, place: int) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


def test_a_whole_folder_is_said_to_be_whole(shards: Path, capsys: pytest.CaptureFixture[str]) -> None:
    verify(shards)
    told = capsys.readouterr().out
    assert told.count("\n") == 1
    assert told.startswith(f"{shards}: whole. ")
    assert "3 clips, 24 frames; 3 inputs = 2 kept + 0 dropped + 1 failed; data_id " in told


def last_pixel(shards: Path) -> str:
    path = sorted(shards.glob("*.npy"))[-1]
    flip(path, -1)
    return rf"{path.name} has changed since it was written"


def cut_short(shards: Path) -> str:
    path = sorted(shards.glob("*.npy"))[0]
    path.write_bytes(path.read_bytes()[:-100])
    return rf"{path.name} is missing or cut short"


def gone(shards: Path) -> str:
    path = sorted(shards.glob("*.npy"))[0]
    path.unlink()
    return rf"{path.name} is missing or cut short"


def another_shard(shards: Path) -> str:
    shutil.copy(sorted(shards.glob("*.npy"))[0], shards / "frames-0099.npy")
    return r"frames-0099\.npy is not in meta\.json"


def another_label(shards: Path) -> str:
    table = pq.read_table(shards / "index.parquet")
    place = table.schema.get_field_index("label")
    pq.write_table(table.set_column(place, "label", pa.array(["x"] * len(table))), shards / "index.parquet")
    return r"index\.parquet is not the one that meta\.json tells of"


def damaged(name: str) -> Callable[[Path], str]:
    def damage(shards: Path) -> str:
        (shards / name).write_bytes(b"{" + (shards / name).read_bytes()[: len((shards / name).read_bytes()) // 2])
        return name.replace(".", r"\.")

    return damage


def other_counts(shards: Path) -> str:
    meta = json.loads((shards / "meta.json").read_text())
    (shards / "meta.json").write_text(json.dumps(meta | {"clips": 4}))
    return r"meta\.json tells of 4 clips, there are 3"


def lost_source(shards: Path) -> str:
    table = pq.read_table(shards / "sources.parquet")
    pq.write_table(table.slice(1), shards / "sources.parquet")
    return r"sources\.parquet tells of \d clips, there are 3"


def no_sources(shards: Path) -> str:
    (shards / "sources.parquet").unlink()
    return r"sources\.parquet cannot be read"


def unfinished(shards: Path) -> str:
    (shards / "meta.json").unlink()
    return "holds no finished shards"


@pytest.mark.parametrize(
    "harm",
    [
        last_pixel, cut_short, gone, another_shard, another_label, other_counts, lost_source, no_sources, unfinished,
        *(pytest.param(damaged(f), id=f"damaged-{f}") for f in ("meta.json", "index.parquet", "sources.parquet")),
    ],
)  # fmt: skip
def test_what_is_not_as_it_was_written_is_named_in_one_line(shards: Path, harm: Callable[[Path], str]) -> None:
    told = harm(shards)
    with pytest.raises(UserError, match=told) as caught:
        verify(shards)
    assert "\n" not in str(caught.value)
    assert "dvc" in str(caught.value)


def test_a_folder_that_is_none_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is no folder"):
        verify(tmp_path / "nothing")


def test_show_tells_what_there_is_and_takes_no_name_for_markup(
    shards: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    show(shards, html=None, contact_sheet=None)
    told = capsys.readouterr().out
    rows = dict(re.findall(r"^(\w+(?: \w+)?) {2,}(.*?) *$", told, re.MULTILINE))
    assert rows["inputs"] == "3 inputs = 2 kept + 0 dropped + 1 failed"
    assert rows["clips"] == "3 of 2 groups"
    assert rows["frames"] == "24 of 16×16, 10 a second"
    assert rows["video"].startswith("2.4 s; clips of 0.62 to 0.98 s")
    assert rows["labels"] == "[bold]pet (3)"
    assert rows["sizes"] == "320×240 (2)"
    assert rows["licences"] == "CC0 (2), unknown (1)"
    assert rows["set aside"] == "1 http 404"
    assert rows["found"] == "1 cuts, where a clip ends"
    assert "parts" not in rows


def test_show_writes_a_card_and_a_contact_sheet(shards: Path, tmp_path: Path) -> None:
    show(shards, html=tmp_path / "card.html", contact_sheet=tmp_path / "sheet.png")
    page = (tmp_path / "card.html").read_text()
    assert "http 404" in page
    assert "[red]cat[/].gif" in page
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.format == "PNG"
    with pytest.raises(UserError, match=r"--html nope/card\.html: there is no folder nope"):
        show(shards, html=Path("nope/card.html"), contact_sheet=None)


def test_catalog_lists_the_datasets_of_the_project(
    root: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(root)
    monkeypatch.setenv("COLUMNS", "200")
    catalog()
    told = capsys.readouterr().out
    for path in root.glob("datasets/*.yaml"):
        assert path.name in told
    assert "moving digits, made here" in told
    row = next(line for line in told.splitlines() if "kitti.yaml" in line)
    assert re.search(r"\d GB", row)
    assert "CC BY-NC-SA 3.0" in row


def test_a_dataset_that_is_wrong_does_not_hide_the_others(
    tmp_path: Path, root: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "params.yaml").touch()
    (tmp_path / "dvc.yaml").touch()
    (tmp_path / "datasets").mkdir()
    (tmp_path / "datasets/a.yaml").write_text("dataset: a\ntitel: A\n")
    (tmp_path / "datasets/b.yaml").write_text("{{")
    shutil.copy(root / "datasets/moving_digits.yaml", tmp_path / "datasets")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "300")
    catalog()
    told = capsys.readouterr().out
    assert "titel is unknown: did you mean title?" in told
    assert "cannot be used: no YAML" in told
    assert "made here" in told
