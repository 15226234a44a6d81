"""Lists of URLs: what a row may say, and that a bad one costs only itself."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from vidpred.data.lists import BadRow, Entry, ListLayout, read_list
from vidpred.errors import UserError


def read(path: Path, text: str, layout: ListLayout | None = None) -> list[Entry | BadRow]:
    path.write_text(text, encoding="utf-8")
    return list(read_list(path, path.name, suffix=path.suffix, layout=layout))


def bad(path: Path, text: str) -> list[tuple[str, str]]:
    return [(row.name, row.reason) for row in read(path, text) if isinstance(row, BadRow)]


def test_a_text_file_has_a_name_a_line(tmp_path: Path) -> None:
    text = "\ufeff# GIFs\n\nhttps://example.org/a.gif\n  clips/b c.mp4  \r\n# https://example.org/not.gif\n"
    assert read(tmp_path / "a.txt", text) == [Entry(3, "https://example.org/a.gif"), Entry(4, "clips/b c.mp4")]


def test_a_row_says_all_that_is_known_of_a_clip(tmp_path: Path) -> None:
    sha256 = "AB" * 32
    header = "URL,group,label,sha256,start_seconds,end_seconds,licence,part\n"
    row = f'https://example.org/a.mp4,someone,"cats, running",{sha256},1.5,3,CC BY 4.0,val\n'
    (entry, plain) = read(tmp_path / "a.csv", f"{header}{row}https://example.org/b.mp4\n")
    assert entry == Entry(
        line=2,
        name="https://example.org/a.mp4",
        group="someone",
        label="cats, running",
        sha256=sha256.lower(),
        licence="CC BY 4.0",
        part="val",
        start_seconds=1.5,
        end_seconds=3.0,
    )
    assert plain == Entry(3, "https://example.org/b.mp4")


def test_a_tsv_may_have_paths(tmp_path: Path) -> None:
    text = 'path\tlabel\nclips/a.gif\t"quoted" only by chance\n'
    assert read(tmp_path / "a.tsv", text) == [Entry(2, "clips/a.gif", label='"quoted" only by chance')]


def test_tgif_has_no_header(tmp_path: Path) -> None:
    text = (
        "https://38.media.tumblr.com/9f6c/tumblr_500.gif\ta man is glaring.\n"
        'https://38.media.tumblr.com/9ead/tumblr_400.gif\t"a cat tries to catch a mouse, on a tablet\n'
        "https://38.media.tumblr.com/9f43/tumblr_250.gif\ta man dressed in red is dancing.\n"
    )
    entries = read(tmp_path / "tgif-v1.0.tsv", text)
    assert [entry.name[-8:] for entry in entries] == ["_500.gif", "_400.gif", "_250.gif"]
    assert all(isinstance(entry, Entry) and not entry.label for entry in entries)


@pytest.mark.parametrize(
    ("cells", "told"),
    [
        ("http://x/a.gif,abc,,,", "start_seconds 'abc' is no number of seconds"),
        ("http://x/a.gif,-1,,,", "start_seconds '-1' is not a number of seconds from 0 on"),
        ("http://x/a.gif,nan,,,", "start_seconds 'nan' is not"),
        ("http://x/a.gif,,inf,,", "end_seconds 'inf' is not"),
        ("http://x/a.gif,3,2.5,,", "end_seconds 2.5 is not after start_seconds 3"),
        ("http://x/a.gif,,0,,", "end_seconds 0 is not after start_seconds 0"),
        ("http://x/a.gif,,,abc,", "sha256 'abc' is not 64 hexadecimal digits"),
        ("http://x/a.gif,,,,dev", "part 'dev' is none of train, val, test"),
        ("http://x/a.gif,,,,,more", "6 cells where there are 5 columns"),
        (",1,2,,", "no URL or path"),
    ],
)
def test_a_bad_row_is_told_by_its_line(tmp_path: Path, cells: str, told: str) -> None:
    header = "url,start_seconds,end_seconds,sha256,part\nhttp://x/good.gif,,,,\n"
    rows = read(tmp_path / "a.csv", f"{header}{cells}\nhttp://x/better.gif,1,2,,\n")
    assert [type(row) for row in rows] == [Entry, BadRow, Entry]
    assert isinstance(rows[1], BadRow)
    assert rows[1].name == ("line 3" if cells.startswith(",") else "http://x/a.gif")
    assert rows[1].reason.startswith(f"bad row: line 3: {told}")


def test_columns_without_a_meaning_are_told_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        entries = read(tmp_path / "a.csv", "url,views,label,likes\nhttp://x/a.gif,7,cat,1\nhttp://x/b.gif,8,dog,2\n")
    assert [entry.label for entry in entries if isinstance(entry, Entry)] == ["cat", "dog"]
    assert [record.getMessage() for record in caplog.records] == [
        "a.csv: columns that mean nothing here are passed over: views, likes"
    ]


def test_a_list_that_cannot_be_read_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="has no column url or path in its first line \\(name, label\\)"):
        read(tmp_path / "a.csv", "name,label\na,b\n")
    (tmp_path / "b.csv").write_bytes(b"url\n\xff\xfe\n")
    with pytest.raises(UserError, match="cannot be read as text"):
        list(read_list(tmp_path / "b.csv", "b.csv", suffix=".csv"))


def test_a_quotation_mark_too_few_costs_its_own_line_only(tmp_path: Path) -> None:
    rows = read(
        tmp_path / "a.csv", 'url,caption\nhttp://x/1.gif,"a cat\nhttp://x/2.gif,"two, three"\nhttp://x/3.gif,\n'
    )
    assert rows[0] == BadRow("line 2", "bad row: line 2: a quotation mark is not closed in it")
    assert [row.name for row in rows[1:]] == ["http://x/2.gif", "http://x/3.gif"]
    (long, good) = read(tmp_path / "b.csv", f"url\n{'x' * 200_000}\nhttp://x/1.gif\n")
    assert isinstance(long, BadRow)
    assert good.name == "http://x/1.gif"


def test_the_layouts_of_the_catalog(tmp_path: Path) -> None:
    sports = ListLayout(separator=" ", columns=("url", "label"))
    text = "https://www.youtube.com/watch?v=UDqivjS-lpI 168,169\n"
    assert read(tmp_path / "a.txt", text, sports) == [
        Entry(1, "https://www.youtube.com/watch?v=UDqivjS-lpI", label="168,169")
    ]
    kinetics = ListLayout(
        fields={
            "url": "https://www.youtube.com/watch?v={youtube_id}",
            "start_seconds": "{time_start}",
            "end_seconds": "{time_end}",
            "part": "{split}",
        }
    )
    header = "label,youtube_id,time_start,time_end,split,is_cc\n"
    text = f"{header}laying bricks,---0dWlqevI,19,29,train,0\ndancing,,1,2,train,0\n"
    assert read(tmp_path / "b.csv", text, kinetics) == [
        Entry(
            2,
            "https://www.youtube.com/watch?v=---0dWlqevI",
            label="laying bricks",
            part="train",
            start_seconds=19.0,
            end_seconds=29.0,
        ),
        BadRow("line 3", "bad row: line 3: no URL or path"),
    ]
