"""Downloads that other libraries do for us: objects of S3 by fsspec, pages of videos by yt-dlp."""

from __future__ import annotations

import hashlib
import importlib.util
import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from tests.data.bad_server import MEDIA, OTHER, BadServer, serving
from vidpred.config import FetchParams
from vidpred.data.download import Download, DownloadError, Item, download, download_all
from vidpred.data.transfer import sites
from vidpred.data.transfer.notes import key_of


@pytest.fixture
def settings() -> FetchParams:
    return FetchParams(
        source="list.txt", allow_private=True, tries=2, timeout_seconds=5, max_bytes=1_000_000, free_bytes=0
    )


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A bucket of an S3 server on loopback, as boto3 sees it."""
    import boto3
    import s3fs
    from moto.server import ThreadedMotoServer

    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
    s3fs.S3FileSystem.clear_instance_cache()  # they remember the last server
    made = boto3.resource("s3").create_bucket(Bucket="clips")
    yield made
    s3fs.S3FileSystem.clear_instance_cache()
    server.stop()


@pytest.mark.slow
def test_objects_of_s3(tmp_path: Path, bucket: Any, settings: FetchParams) -> None:
    bucket.put_object(Key="a b/café.GIF", Body=MEDIA)
    bucket.put_object(Key="page.gif", Body=b"<!doctype html>")
    bucket.put_object(Key="large.gif", Body=MEDIA * 4)
    bucket.put_object(Key="none.gif", Body=b"")
    bucket.put_object(Key="set.tar.gz", Body=MEDIA)
    names = ("a b/café.GIF", "page.gif", "large.gif", "none.gif", "missing.gif", "a b")
    items = [Item(f"s3://clips/{name}") for name in names]
    items += [
        Item("s3://clips/set.tar.gz", media=False),
        Item("s3://nobody/x.gif"),
        Item("s3://clips/a::file:///etc/passwd"),
    ]
    outcomes = download_all(items, tmp_path, settings, pause_seconds=0.01)
    good, packed = outcomes[0], outcomes[6]
    assert isinstance(good, Download)
    assert isinstance(packed, Download)
    assert (good.path.read_bytes(), good.suffix, good.sha256) == (MEDIA, ".gif", hashlib.sha256(MEDIA).hexdigest())
    assert packed.suffix == ".tar.gz"
    failed = [str(outcome) for outcome in outcomes if isinstance(outcome, DownloadError)]
    assert failed == [
        "web page: HTML, not a file",
        "too large: more than 1000000 bytes",
        "empty: no bytes",
        "http 404: no such object",
        "http 404: a folder, not an object",
        "http 404: no such object",
        "http 404: no such object",
    ]

    # what is there is not asked for again; a change is seen
    bucket.put_object(Key="a b/café.GIF", Body=OTHER)
    assert download(items[0].url, tmp_path, settings) == good
    good.path.unlink()
    with pytest.raises(DownloadError, match=r"^changed: "):
        download(items[0].url, tmp_path, settings)


@pytest.mark.slow
@pytest.mark.parametrize("same", [True, False])
def test_an_object_is_gone_on_with_if_it_is_the_same(
    tmp_path: Path, bucket: Any, settings: FetchParams, monkeypatch: pytest.MonkeyPatch, same: bool
) -> None:
    from vidpred.data.transfer import objects
    from vidpred.data.transfer.part import Part

    monkeypatch.setattr(objects, "_BLOCK_BYTES", 50_000)
    bucket.put_object(Key="a.gif", Body=MEDIA)
    write, began_at = Part.write, []

    def broken(part: Part, block: bytes) -> None:
        write(part, block)
        if part.size > 120_000:
            raise OSError("the line went dead")

    with monkeypatch.context() as dying:
        dying.setattr(Part, "write", broken)
        with pytest.raises(DownloadError, match=r"^connection: OSError: the line went dead$"):
            download("s3://clips/a.gif", tmp_path, settings.model_copy(update={"tries": 1}))
    if not same:
        bucket.put_object(Key="a.gif", Body=OTHER)

    def noted(part: Part, block: bytes) -> None:
        began_at.append(part.size)
        write(part, block)

    monkeypatch.setattr(Part, "write", noted)
    done = download("s3://clips/a.gif", tmp_path, settings)
    assert done.path.read_bytes() == (MEDIA if same else OTHER)
    assert began_at[0] == (150_000 if same else 0)


def test_a_driver_that_is_missing_is_one_line(tmp_path: Path, settings: FetchParams) -> None:
    if importlib.util.find_spec("gcsfs"):
        pytest.skip("gcsfs is installed here")
    with pytest.raises(DownloadError, match=r"^driver: gs:// needs pip install gcsfs$"):
        download("gs://clips/a.gif", tmp_path, settings)


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[BadServer]:
    """A server whose URLs are taken for pages of videos."""
    pytest.importorskip("yt_dlp", reason="yt-dlp is not installed: pip install 'vidpred[youtube]'")
    monkeypatch.setattr(sites, "SITES", ("127.0.0.1",))
    with serving() as running:
        running.body = b"\0\0\0\x20ftypisom" + MEDIA
        yield running


@pytest.mark.slow
def test_pages_of_videos(tmp_path: Path, site: BadServer, settings: FetchParams) -> None:
    names = ("video/clip.mp4", "status/404.mp4", "page.html", "endless.mp4", "drops.mp4", "stalls.mp4")
    items = [Item(f"{site.url}/{name}") for name in names]
    hurried = settings.model_copy(update={"timeout_seconds": 1, "at_once": 2})
    outcomes = download_all(items, tmp_path, hurried, pause_seconds=0.01)
    good = outcomes[0]
    assert isinstance(good, Download)
    assert (good.path.read_bytes(), good.suffix) == (site.body, ".mp4")
    told = [str(outcome) for outcome in outcomes[1:]]
    assert told[0].startswith("http 404: [generic] 404: ")
    assert told[1] == f"yt-dlp: Unsupported URL: {site.url}/page.html"
    assert told[2] == "too large: more than 1000000 bytes"
    assert [(outcome.split(":")[0], outcome[-9:]) for outcome in told[3:]] == [
        ("connection", "(2 tries)"),
        ("timeout", "(2 tries)"),
    ]
    assert site.count("/drops.mp4") >= 2
    assert {path.suffix for path in tmp_path.iterdir()} == {"", ".json"}  # nothing else is left

    # another yt-dlp may do better
    site.asked.clear()
    assert [str(outcome) for outcome in download_all(items[1:4], tmp_path, hurried)] == told[:3]
    assert not site.asked
    note = tmp_path / f"{key_of(items[2])}.json"
    note.write_text(note.read_text().replace(version("yt-dlp"), "2020.1.1"))
    assert str(download_all(items[2:3], tmp_path, hurried)[0]) == told[1]
    assert site.asked


@pytest.mark.slow
def test_a_site_is_held_to_the_same_rules(tmp_path: Path, site: BadServer, settings: FetchParams) -> None:
    url = f"{site.url}/video/clip.mp4"
    with pytest.raises(DownloadError, match=r"^private address: fetch.allow_private is false$"):
        download(url, tmp_path, settings.model_copy(update={"allow_private": False}))
    assert not site.connections
    begun = time.monotonic()
    with pytest.raises(DownloadError, match=r"^timeout: took longer than 3 s$"):
        download(f"{site.url}/drips.mp4", tmp_path, settings.model_copy(update={"total_seconds": 3}))
    assert time.monotonic() - begun < 10
    assert {path.suffix for path in tmp_path.iterdir()} == {".json"}


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://www.youtube.com/watch?v=x", True),
        ("https://youtu.be/x", True),
        ("HTTPS://VIMEO.com./1", True),
        ("https://notyoutube.com/x", False),
        ("https://youtube.com.example.org/x", False),
        ("https://example.org/youtube.com/x", False),
        ("ftp://youtube.com/x", False),
        ("http://[::1", False),
    ],
)
def test_which_urls_are_pages_of_videos(url: str, expected: bool) -> None:
    assert sites.is_site(url) == expected
