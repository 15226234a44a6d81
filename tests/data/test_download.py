"""One download from a server with bad manners: every case ends in the right bytes or the right reason."""

from __future__ import annotations

import datetime as dt
import gzip
import hashlib
import ipaddress
import json
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest

from tests.data.bad_server import MEDIA, OTHER, SAME_LENGTH, STEP, BadServer, serving
from vidpred.config import FetchParams
from vidpred.data.download import Download, DownloadError, Item, download, download_all
from vidpred.data.transfer import addresses
from vidpred.data.transfer.notes import key_of
from vidpred.errors import UserError


@pytest.fixture
def server() -> Iterator[BadServer]:
    with serving() as running:
        yield running


@pytest.fixture
def settings() -> FetchParams:
    return FetchParams(
        source="list.txt", allow_private=True, tries=3, timeout_seconds=5, max_bytes=1_000_000, free_bytes=0
    )


@pytest.fixture
def named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every name below .example is this machine."""
    real = socket.getaddrinfo

    def lookup(host: Any, port: Any, *rest: Any, **more: Any) -> Any:
        return real("127.0.0.1" if str(host).endswith(".example") else host, port, *rest, **more)

    monkeypatch.setattr(socket, "getaddrinfo", lookup)


def fetched(url: str, folder: Path, settings: FetchParams) -> Download:
    return download(url, folder, settings, pause_seconds=0.01)


@pytest.mark.parametrize(
    ("path", "ranges"),
    [
        ("/good.gif", [None]),
        ("/drops.gif", [None, f"bytes={STEP}-", f"bytes={2 * STEP}-"]),
        ("/dated.gif", [None, f"bytes={STEP}-", f"bytes={2 * STEP}-"]),
        ("/ignores.gif", [None, f"bytes={STEP}-"]),
        ("/unmarked.gif", [None, None]),
        ("/weak.gif", [None, None]),
        ("/changes.gif", [None, f"bytes={STEP}-"]),
        ("/rude.gif", [None, f"bytes={STEP}-", None]),
        ("/sly.gif", [None, f"bytes={STEP}-", None]),
        ("/416.gif", [None, f"bytes={STEP}-", None]),
        ("/elsewhere.gif", [None, f"bytes={STEP}-", None]),
        ("/chunks.gif", [None, None]),
        ("/shaky.gif", [None, None, None]),
        ("/gzip.gif", [None, None]),
        ("/to/good", [None]),
    ],
)
def test_the_right_bytes_come_in_the_end(
    tmp_path: Path, server: BadServer, settings: FetchParams, path: str, ranges: list[str | None]
) -> None:
    done = fetched(server.url + path, tmp_path, settings)
    body = {"/changes.gif": OTHER, "/rude.gif": SAME_LENGTH, "/sly.gif": OTHER}.get(path, MEDIA)
    assert done.path.read_bytes() == body
    assert (done.sha256, done.bytes, done.suffix) == (hashlib.sha256(body).hexdigest(), len(body), ".gif")
    assert server.ranges(path) == ranges
    assert {headers["accept-encoding"] for _, headers in server.asked} == {"identity"}
    assert sorted(p.name for p in tmp_path.iterdir()) == [done.path.name, f"{done.path.name}.json"]


@pytest.mark.parametrize(
    ("path", "reason", "asked"),
    [
        ("/status/404.gif", "http 404", 1),
        ("/status/403.gif", "http 403", 1),
        ("/status/500.gif", "http 500: (3 tries)", 3),
        ("/page.gif", "web page: HTML, not a file", 1),
        ("/disguised.gif", "web page: HTML, not a file", 1),
        ("/drips-page.gif", "web page: HTML, not a file", 1),
        ("/empty.gif", "empty: no bytes", 1),
        ("/nowhere.gif", "http 302", 1),
        ("/endless.gif", "too large: more than 1000000 bytes", 1),
        ("/huge.gif", "too large: more than 1000000 bytes", 1),
        ("/short.gif", f"length: {len(MEDIA)} of {len(MEDIA) + 50} bytes came (3 tries)", 3),
        ("/long.gif", f"length: more than the {len(MEDIA) - 50} bytes announced came (3 tries)", 3),
        ("/long-and-open/small.gif", "length: more than the 1000 bytes announced came (3 tries)", 3),
        ("/long-and-open/two.gif", "length: more than the 1000 bytes announced came (3 tries)", 3),
        ("/long-and-open/large.gif", "length: more than the 1000 bytes announced came (3 tries)", 3),
        ("/gzip-cut.gif", "length: the packed body is cut short (3 tries)", 3),
        ("/gzip-bomb.gif", "too large: more than 1000000 bytes", 1),
        ("/gzip-no.gif", "encoding: Error -3 while decompressing data: incorrect header check", 1),
        ("/brotli.gif", "encoding: br", 1),
        ("/to/self", "redirects: more than 10", 11),
        ("/to/ftp", "redirects: to 'ftp://127.0.0.1/x' (no url: ftp, where http, https or s3 is expected)", 1),
        ("/to/file", "redirects: to 'file:///etc/passwd' (no url: file, where http, https or s3 is expected)", 1),
        ("/to/bad", "redirects: Invalid URL in location header: Invalid port: ':1'.", 1),
        ("/to/odd", "redirects: A-label must not end with a hyphen", 1),
    ],
)
def test_bad_downloads_have_a_reason(
    tmp_path: Path,
    server: BadServer,
    settings: FetchParams,
    monkeypatch: pytest.MonkeyPatch,
    path: str,
    reason: str,
    asked: int,
) -> None:
    # on a crowded machine the server may be late with what it sends beyond the end
    if "two" in path:
        monkeypatch.setattr("vidpred.data.transfer.web._SURPLUS_SECONDS", 5.0)
    with pytest.raises(DownloadError) as error:
        fetched(server.url + path, tmp_path, settings)
    assert str(error.value) == reason
    assert error.value.code == reason.split(":")[0]
    assert server.count(path) == asked
    assert [p.suffix for p in tmp_path.iterdir()] == [".json"]


def test_a_note_that_a_killed_run_did_not_finish_is_swept(
    tmp_path: Path, server: BadServer, settings: FetchParams
) -> None:
    (tmp_path / ".7dd1d83f.json.123.part").write_text("{")
    fetched(f"{server.url}/good.gif", tmp_path, settings)
    assert not list(tmp_path.glob(".*"))


def test_a_stall_is_a_timeout_and_what_came_is_kept(tmp_path: Path, server: BadServer, settings: FetchParams) -> None:
    hurried = settings.model_copy(update={"timeout_seconds": 0.5})
    items = [Item(f"{server.url}/{name}.gif") for name in ("silent", "stalls")]
    told = [str(outcome) for outcome in download_all(items, tmp_path, hurried, pause_seconds=0.01)]
    assert told == ["timeout: nothing came for 0.5 s (3 tries)"] * 2
    (part,) = tmp_path.glob(".*.part")
    assert part.read_bytes() == MEDIA[:STEP]
    assert server.ranges("/stalls.gif")[1:] == [f"bytes={STEP}-"] * 2


@pytest.mark.parametrize("path", ["/drips.gif", "/drips-headers.gif", "/silent.gif"])
def test_a_download_that_takes_too_long_in_all_has_failed(
    tmp_path: Path, server: BadServer, settings: FetchParams, path: str
) -> None:
    hurried = settings.model_copy(update={"total_seconds": 1.0})
    begun = time.monotonic()
    with pytest.raises(DownloadError, match=r"^timeout: took longer than 1 s$"):
        fetched(server.url + path, tmp_path, hurried)
    assert time.monotonic() - begun < 15
    assert server.count(path) == 1


@pytest.mark.parametrize(("wait", "seconds"), [("1", 1.0), ("date", 1.0)])
def test_the_server_says_how_long_to_wait(
    tmp_path: Path, server: BadServer, settings: FetchParams, wait: str, seconds: float
) -> None:
    begun = time.monotonic()
    done = fetched(f"{server.url}/busy/{wait}.gif", tmp_path, settings)
    assert seconds <= time.monotonic() - begun < 15
    assert done.path.read_bytes() == MEDIA


def test_a_server_that_wants_a_wait_beyond_all_bounds_has_failed(
    tmp_path: Path, server: BadServer, settings: FetchParams
) -> None:
    with pytest.raises(DownloadError, match=r"^http 429: asks to wait 7200 s, more than fetch.total_seconds leaves$"):
        fetched(f"{server.url}/busy/7200.gif", tmp_path, settings)


def test_a_port_where_nobody_listens(tmp_path: Path, settings: FetchParams) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        with pytest.raises(DownloadError, match=r"^connection: .*refused \(3 tries\)$"):
            fetched(f"http://127.0.0.1:{closed.getsockname()[1]}/a.gif", tmp_path, settings)
    with pytest.raises(DownloadError, match=r"^connection: no address for nowhere.invalid \(3 tries\)$"):
        fetched("http://nowhere.invalid/a.gif", tmp_path, settings)


def test_a_connection_that_is_not_accepted(tmp_path: Path, settings: FetchParams) -> None:
    hurried = settings.model_copy(update={"connect_seconds": 0.3, "tries": 1})
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        others = [socket.socket() for _ in range(3)]
        for other in others:
            other.setblocking(False)
            other.connect_ex(full.getsockname())
        try:
            with pytest.raises(DownloadError, match=r"^timeout: no connection within 0\.3 s$"):
                fetched(f"http://127.0.0.1:{full.getsockname()[1]}/a.gif", tmp_path, hurried)
        finally:
            for other in others:
                other.close()


@pytest.mark.parametrize(
    "url",
    [
        "http://[::1",
        "https://host:99999999/a",
        "http://xn--a-/a",
        "http:///a",
        "file:///etc/passwd",
        "a.gif",
        "ftp://h/a",
    ],
)
def test_what_is_no_url(tmp_path: Path, settings: FetchParams, url: str) -> None:
    with pytest.raises(DownloadError, match=r"^no url: "):
        fetched(url, tmp_path, settings)


def test_suffixes(tmp_path: Path, server: BadServer, settings: FetchParams) -> None:
    def told(path: str, *, media: bool) -> str:
        (done,) = download_all([Item(f"{server.url}/good/{path}", media=media)], tmp_path, settings)
        assert isinstance(done, Download)
        return done.suffix

    assert told("clip.MP4?size=2", media=True) == ".mp4"
    assert told("clip", media=True) == ".gif"  # by its type
    assert told("clip.php", media=True) == ".gif"
    assert told("set.tar.GZ", media=False) == ".tar.gz"
    assert told("set.npy", media=False) == ".npy"
    assert told("set", media=False) == ""
    assert told("set.%2e%2e%2fx", media=False) == ""


def test_a_packed_file_stays_packed(tmp_path: Path, server: BadServer, settings: FetchParams) -> None:
    server.body = gzip.compress(MEDIA)
    packed = [Item(f"{server.url}/{name}/set.tar.gz", media=False) for name in ("good", "gzip")]
    plain, told = download_all(packed, tmp_path, settings, pause_seconds=0.01)
    assert isinstance(plain, Download)
    assert isinstance(told, Download)  # this server says Content-Encoding: gzip of it
    assert plain.path.read_bytes() == server.body
    assert gzip.decompress(told.path.read_bytes()) == MEDIA


def test_the_checksum(tmp_path: Path, server: BadServer, settings: FetchParams) -> None:
    right, wrong = hashlib.sha256(MEDIA).hexdigest(), hashlib.sha256(OTHER).hexdigest()
    good, bad = download_all(
        [Item(f"{server.url}/drops.gif", sha256=right.upper()), Item(f"{server.url}/good.gif", sha256=wrong)],
        tmp_path,
        settings,
        pause_seconds=0.01,
    )
    assert isinstance(good, Download)
    assert str(bad) == f"checksum: {right}, not {wrong}"
    assert server.count("/good.gif") == 1


def test_a_wrong_checksum_of_a_file_in_pieces_is_looked_at_twice(
    tmp_path: Path, server: BadServer, settings: FetchParams
) -> None:
    wanted = hashlib.sha256(OTHER).hexdigest()
    once = settings.model_copy(update={"tries": 1, "timeout_seconds": 1})
    (first,) = download_all([Item(f"{server.url}/stalls.gif", sha256=wanted)], tmp_path, once)
    assert isinstance(first, DownloadError)
    (part,) = tmp_path.glob(".*.part")
    server.body = OTHER
    key = key_of(Item(f"{server.url}/good.gif"))
    part.rename(part.with_name(f".{key}.part"))
    note = json.loads(next(tmp_path.glob("*.json")).read_text())
    note["partial"]["total"] = len(OTHER)
    (tmp_path / f"{key}.json").write_text(json.dumps(note))
    (done,) = download_all([Item(f"{server.url}/good.gif", sha256=wanted)], tmp_path, once)
    assert isinstance(done, Download)
    assert server.ranges("/good.gif") == [f"bytes={STEP}-", None]


def test_each_address_of_a_host_is_tried(
    tmp_path: Path, server: BadServer, settings: FetchParams, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = socket.getaddrinfo

    def two(host: Any, port: Any, *rest: Any, **more: Any) -> Any:
        if host != "two.example":
            return real(host, port, *rest, **more)
        return real("127.0.0.2", port, *rest, **more) + real("127.0.0.1", port, *rest, **more)

    monkeypatch.setattr(socket, "getaddrinfo", two)
    done = fetched(f"http://two.example:{server.port}/good.gif", tmp_path, settings.model_copy(update={"tries": 1}))
    assert done.path.read_bytes() == MEDIA
    assert server.count("/good.gif") == 1


def test_private_addresses_are_refused(tmp_path: Path, server: BadServer, settings: FetchParams) -> None:
    closed = settings.model_copy(update={"allow_private": False})
    hosts = (
        "127.0.0.1",
        "localhost",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "10.0.0.1",
        "169.254.169.254",
        "0.0.0.0",
        "2130706433",
        "0x7f.1",
    )
    items = [Item(f"http://{host}:{server.port}/good.gif") for host in hosts]
    for outcome in download_all(items, tmp_path, closed, pause_seconds=0.01):
        assert str(outcome) == "private address: fetch.allow_private is false"
    assert not server.connections


@pytest.mark.usefixtures("named")
def test_a_name_for_a_private_address_is_refused(tmp_path: Path, server: BadServer, settings: FetchParams) -> None:
    with pytest.raises(DownloadError, match=r"^private address: "):
        fetched(
            f"http://public.example:{server.port}/good.gif",
            tmp_path,
            settings.model_copy(update={"allow_private": False}),
        )
    assert not server.connections


def test_a_redirect_to_a_private_address_is_refused(
    tmp_path: Path, server: BadServer, settings: FetchParams, monkeypatch: pytest.MonkeyPatch
) -> None:
    # the server's own loopback address counts as public here, so that only the redirect's target is private
    public = addresses.public
    monkeypatch.setattr(addresses, "public", lambda address: address == "127.0.0.1" or public(address))
    with pytest.raises(DownloadError, match=r"^private address: "):
        fetched(f"{server.url}/to/inside", tmp_path, settings.model_copy(update={"allow_private": False}))
    assert server.connections == 1


@pytest.mark.usefixtures("named")
def test_a_redirect_decides_the_suffix(tmp_path: Path, server: BadServer, settings: FetchParams) -> None:
    assert fetched(f"{server.url}/to/other", tmp_path, settings).suffix == ".mp4"


class Proxy(BaseHTTPRequestHandler):
    """Answers for every host."""

    asked: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        self.asked.append(self.path)
        self.send_response(200)
        self.send_header("Content-Length", str(len(MEDIA)))
        self.end_headers()
        self.wfile.write(MEDIA)

    def log_message(self, *_: object) -> None:
        """Silent."""


@pytest.fixture
def proxy(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    running = ThreadingHTTPServer(("127.0.0.1", 0), Proxy)
    Proxy.asked.clear()
    thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    yield f"127.0.0.1:{running.server_address[1]}"
    running.shutdown()
    running.server_close()
    thread.join()


@pytest.mark.parametrize("variable", ["http_proxy", "ALL_PROXY"])
def test_proxy_variables_are_honoured(
    tmp_path: Path, server: BadServer, settings: FetchParams, proxy: str, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv(variable, proxy)
    monkeypatch.setenv("no_proxy", "localhost")
    closed = settings.model_copy(update={"allow_private": False})
    items = [Item(f"http://{host}/a.gif") for host in ("clips.example", "127.0.0.1", "10.1.2.3")]
    through, loopback, private = download_all(items, tmp_path, closed, pause_seconds=0.01)
    assert isinstance(through, Download)  # the name means something to the proxy alone
    assert through.path.read_bytes() == MEDIA
    assert [str(outcome).split(":")[0] for outcome in (loopback, private)] == ["private address"] * 2
    assert Proxy.asked == ["http://clips.example/a.gif"]
    past = f"http://localhost:{server.port}/good.gif"
    assert isinstance(download_all([Item(past)], tmp_path, settings)[0], Download)
    assert len(Proxy.asked) == 1


def test_a_proxy_that_cannot_be_used_is_one_line(
    tmp_path: Path, settings: FetchParams, proxy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", f"gopher://{proxy}")
    with pytest.raises(UserError, match="the proxy variables name gopher://"):
        fetched("http://clips.example/a.gif", tmp_path, settings)


def _certificate(folder: Path, name: str) -> Path:
    """A key and a certificate for one name, in one file."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = dt.datetime.now(dt.UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    path = folder / f"{name}.pem"
    path.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + signed.public_bytes(serialization.Encoding.PEM)
    )
    return path


@pytest.mark.usefixtures("named")
def test_certificates_are_checked_against_the_name(
    tmp_path: Path, settings: FetchParams, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate = _certificate(tmp_path, "safe.example")
    running = BadServer()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    running.socket = context.wrap_socket(running.socket, server_side=True)
    thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    try:
        names = ("safe.example", "other.example")
        items = [Item(f"https://{name}:{running.port}/drops.gif") for name in names]
        safe, other = download_all(items, tmp_path / "d", settings, pause_seconds=0.01)
        long = download_all(
            [Item(f"https://safe.example:{running.port}/long.gif")], tmp_path / "d", settings, pause_seconds=0.01
        )
    finally:
        running.stopped.set()
        running.shutdown()
        running.server_close()
        thread.join()
    assert isinstance(safe, Download)
    assert safe.path.read_bytes() == MEDIA
    assert str(other).startswith("connection: ")
    assert "certificate verify failed" in str(other)
    assert str(long[0]).startswith("length: ")


@pytest.mark.parametrize("host", ["127.1", "2130706433", "0x7f000001", "127.0.0.1.", "localhost."])
def test_what_a_proxy_would_take_for_this_machine_is_refused(
    tmp_path: Path, settings: FetchParams, monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    closed = settings.model_copy(update={"allow_private": False})
    (outcome,) = download_all([Item(f"http://{host}/a.gif")], tmp_path, closed, pause_seconds=0.01)
    assert str(outcome) == "private address: fetch.allow_private is false"


def test_public_addresses() -> None:
    for address in ("8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8"):
        assert addresses.public(address), address
    for address in (
        "100.64.0.1",
        "224.0.0.1",
        "ff02::1",
        "fe80::1%eth0",
        "fd00::1",
        "192.0.2.1",
        "::",
        "255.255.255.255",
        "64:ff9b::7f00:1",
        "2002:7f00:1::",
        "::127.0.0.1",
        "fec0::1",
    ):
        assert ipaddress.ip_address(address.split("%")[0])
        assert not addresses.public(address), address
