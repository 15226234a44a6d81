"""A place that many machines reach: whole files or none, finished shards that are verified, errors in one line."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from moto.server import ThreadedMotoServer

from vidpred.data.launch import Stopped
from vidpred.data.shards import Shards
from vidpred.data.storage import Storage, fetch_shards, push_shards
from vidpred.errors import UserError


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    """An S3 server on loopback with a bucket."""
    import boto3

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    address = f"http://{host}:{port}"
    keys = {"aws_access_key_id": "test", "aws_secret_access_key": "test", "region_name": "us-east-1"}
    boto3.client("s3", endpoint_url=address, **keys).create_bucket(Bucket="clips")
    yield address
    server.stop()


@pytest.fixture(params=["folder", "s3"])
def url(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both kinds of places."""
    if request.param == "folder":
        return str(tmp_path / "place")
    monkeypatch.setenv("AWS_ENDPOINT_URL", request.getfixturevalue("s3"))
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    return f"s3://clips/{tmp_path.name}"


def test_files_go_and_come(url: str, tmp_path: Path) -> None:
    place, file = Storage(url), tmp_path / "file"
    assert place.sizes("files", ["a.gif", "b.gif"]) == {}
    file.write_bytes(b"123")
    place.put(file, "files/a.gif")
    assert place.sizes("files", ["a.gif", "b.gif"]) == {"a.gif": 3}
    file.write_bytes(b"12345")
    Storage(url).put(file, "files/a.gif")  # another machine's
    many = [f"{number}.gif" for number in range(300)]  # asked for by a listing
    assert place.sizes("files", [*many, "a.gif"]) == {"a.gif": 5}
    place.get("files/a.gif", tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == b"12345"
    with pytest.raises(UserError, match=r"reading files/b.gif failed \(.+\): check the (folder|URL)"):
        place.get("files/b.gif", tmp_path / "other")
    assert not list(tmp_path.glob("*other*"))
    assert not list(tmp_path.glob(".*other*"))


def test_transfers_end_when_they_are_told_to(url: str, tmp_path: Path) -> None:
    place, file = Storage(url), tmp_path / "file"
    file.write_bytes(bytes(100))

    def send(number: int) -> None:
        if number == 3:
            raise KeyboardInterrupt
        place.put(file, f"files/{number}")

    with pytest.raises(KeyboardInterrupt):
        place.each(send, range(40))
    assert len(Storage(url).sizes("files", [str(number) for number in range(40)])) < 39
    with pytest.raises(Stopped):
        place.put(file, "files/later")


def test_shards_are_pushed_and_fetched_whole(url: str, digits: Path, tmp_path: Path) -> None:
    there = push_shards(digits / "shards", url)
    ours = Shards(digits / "shards")
    assert there == f"{url}/shards/{ours.data_id}"
    theirs = fetch_shards(there, tmp_path / "theirs")
    assert theirs.data_id == ours.data_id
    assert theirs.clips == ours.clips
    np.testing.assert_array_equal(theirs.frames(3, 0, 8), ours.frames(3, 0, 8))
    names = sorted(path.name for path in (digits / "shards").iterdir())
    assert sorted(path.name for path in (tmp_path / "theirs").iterdir()) == names

    # a file that was damaged here is brought again, the others are left
    shard = tmp_path / "theirs" / "frames-0000.npy"
    other = (tmp_path / "theirs" / "frames-0001.npy").stat().st_mtime_ns
    shard.write_bytes(shard.read_bytes()[:-1] + b"?")
    fetch_shards(there, tmp_path / "theirs").verify()
    assert (tmp_path / "theirs" / "frames-0001.npy").stat().st_mtime_ns == other
    assert push_shards(digits / "shards", url) == there


def test_what_was_damaged_in_the_place_is_refused(digits: Path, tmp_path: Path) -> None:
    there = Path(push_shards(digits / "shards", str(tmp_path / "place")))

    shard = there / "frames-0000.npy"
    good = shard.read_bytes()
    shard.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    with pytest.raises(UserError, match=r"frames-0000.npy is not what meta.json says: delete it, then push"):
        fetch_shards(str(there), tmp_path / "a")
    with pytest.raises(UserError, match="holds no finished shards"):
        Shards(tmp_path / "a")
    push_shards(digits / "shards", str(tmp_path / "place"))  # of the same size: left as it is
    with pytest.raises(UserError, match="delete it"):
        fetch_shards(str(there), tmp_path / "a")
    shard.write_bytes(good[:-9])  # as an upload that was broken off leaves it
    push_shards(digits / "shards", str(tmp_path / "place"))
    fetch_shards(str(there), tmp_path / "a")

    index = pq.read_table(there / "index.parquet")
    pq.write_table(index.slice(1), there / "index.parquet")
    with pytest.raises(UserError, match=r"index.parquet does not belong to data_id \w+: push"):
        fetch_shards(str(there), tmp_path / "a")

    meta = json.loads((there / "meta.json").read_text())
    meta["shards"] = {"../../away.npy": {"sha256": "0" * 64, "frames": 1}}
    (there / "meta.json").write_text(json.dumps(meta))
    with pytest.raises(UserError, match=r"meta.json is none of this vidpred's"):
        fetch_shards(str(there), tmp_path / "b")
    assert not list((tmp_path / "b").iterdir())


def test_what_cannot_be_is_told_in_one_line(digits: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="gopher://place: Protocol not known: gopher; give a folder, or a URL"):
        Storage("gopher://place")
    with pytest.raises(UserError, match=r"abfs://place: Install adlfs to access Azure"):
        Storage("abfs://place")
    (tmp_path / "file").touch()
    with pytest.raises(
        UserError, match=r"file: looking into shards/.+ failed \(.*Not a directory.*\): check the folder"
    ):
        push_shards(digits / "shards", str(tmp_path / "file"))
    shutil.copytree(digits / "shards", tmp_path / "unfinished")
    (tmp_path / "unfinished/meta.json").unlink()
    with pytest.raises(UserError, match="holds no finished shards"):
        push_shards(tmp_path / "unfinished", str(tmp_path / "place"))


def test_a_place_that_refuses_is_told_in_one_line(s3: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    (tmp_path / "file").write_bytes(b"1")
    with pytest.raises(
        UserError, match=r"s3://nowhere/a: writing files/1 failed \(.*bucket does not exist.*\): check the URL"
    ):
        Storage("s3://nowhere/a/").put(tmp_path / "file", "files/1")
