"""Archives: what is good comes out, what reaches outside does not; no damage, bomb or lie costs more than a line."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import io
import lzma
import random
import resource
import shutil
import stat
import struct
import subprocess
import tarfile
import time
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from vidpred.config import FetchParams
from vidpred.data.archives import ArchiveError, Member, MemberError, Refused, is_archive, members

GIF = b"GIF89a" + bytes(range(256)) * 40
UNPACKERS = ("unrar", "unar", "7z", "7zz", "bsdtar")


@dataclass
class Got:
    """What a caller has after an archive."""

    files: dict[str, bytes] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    ended: str = ""


def got(path: Path, wanted: Callable[[str], bool] = lambda name: name.endswith(".gif"), **limits: float) -> Got:
    """Takes all that an archive gives, as fetch does; every other error is a failure of the test."""
    result = Got()
    try:
        for found in members(path, FetchParams(source="x", **limits), wanted):
            if isinstance(found, Refused):
                assert found.name not in result.refused or found.reason == "duplicate name"
                result.refused[found.name] = found.reason
                continue
            try:
                with found.open() as stream:
                    data = b""
                    while block := stream.read(1 << 16):
                        data += block
                assert found.name not in result.files
                result.files[found.name] = data
            except MemberError as error:
                result.refused[found.name] = str(error)
    except ArchiveError as error:
        result.ended = str(error)
    for line in (*result.refused, *result.refused.values(), result.ended):
        assert "\n" not in line
        assert line.isprintable()
    return result


def zipped(path: Path, *entries: tuple[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, data in entries:
            info = zipfile.ZipInfo(name)
            info.compress_type = method
            archive.writestr(info, data)
    return path


def zip_link(path: Path, name: str, target: str, *after: tuple[str, bytes], mode: int = stat.S_IFLNK) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        info = zipfile.ZipInfo(name)
        info.external_attr = (mode | 0o777) << 16
        archive.writestr(info, target)
        for other, data in after:
            archive.writestr(other, data)
    return path


def entry(name: str, kind: bytes = tarfile.REGTYPE, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type = kind
    info.linkname = target
    return info


def tarred(path: Path, *entries: tuple[tarfile.TarInfo | str, bytes], mode: str = "w", **kind: int) -> Path:
    with tarfile.open(path, mode, **kind) as archive:
        for named, data in entries:
            info = entry(named) if isinstance(named, str) else named
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


@pytest.mark.parametrize("suffix", [".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz"])
def test_regular_members_come_out_in_order(tmp_path: Path, suffix: str) -> None:
    inside = [("./b/one.gif", GIF), ("a/empty.gif", b""), ("notes.txt", b"text"), ("a/two.gif", GIF[:1000])]
    path = tmp_path / f"clips{suffix}"
    if suffix == ".zip":
        zipped(path, ("b/", b""), *inside)
    else:
        kind = suffix.rpartition(".")[2].replace("tgz", "gz").replace("tar", "")
        tarred(path, (entry("b", tarfile.DIRTYPE), b""), *inside, mode=f"w:{kind}")
    assert is_archive(path.name)
    assert is_archive(path.name.upper())
    asked: list[str] = []
    result = got(path, lambda name: bool(asked.append(name)) or name.endswith(".gif"))
    assert result == Got({"b/one.gif": GIF, "a/empty.gif": b"", "a/two.gif": GIF[:1000]})
    assert list(result.files) == ["b/one.gif", "a/empty.gif", "a/two.gif"]
    assert asked == ["b/one.gif", "a/empty.gif", "notes.txt", "a/two.gif"]


def test_an_archive_is_what_its_bytes_are(tmp_path: Path) -> None:
    assert not is_archive("clip.gif")
    assert not is_archive("clip.gz")
    assert got(tarred(tmp_path / "a.zip", ("x.gif", GIF))).files == {"x.gif": GIF}
    assert got(zipped(tmp_path / "b.tar.gz", ("x.gif", GIF))).files == {"x.gif": GIF}
    for name, data in {
        "page.zip": b"<!DOCTYPE html><html>not found</html>" * 40,
        "text.rar": b"text",
        "empty.tar": b"",
        "clip.tar": GIF,
        "clip.tar.gz": gzip.compress(GIF),
    }.items():
        (tmp_path / name).write_bytes(data)
        ended = got(tmp_path / name).ended
        assert ended.startswith(f"no archive: {name}: no zip, tar or rar"), ended
    assert got(tmp_path / "nothing.zip").ended == "cannot be read: nothing.zip: No such file or directory"
    assert got(tmp_path).ended.startswith("cannot be read: ")


@pytest.mark.parametrize(
    ("name", "shown", "reason"),
    [
        ("../up.gif", "../up.gif", "climbs out: ../"),
        ("a/../../up.gif", "a/../../up.gif", "climbs out: ../"),
        ("a/../in.gif", "a/../in.gif", "climbs out: ../"),
        ("..\\up.gif", "../up.gif", "climbs out: ../"),
        ("a\\..\\..\\up.gif", "a/../../up.gif", "climbs out: ../"),
        ("..", "..", "climbs out: ../"),
        ("/etc/cron.d/x.gif", "/etc/cron.d/x.gif", "absolute name"),
        ("\\\\host\\share\\x.gif", "//host/share/x.gif", "absolute name"),
        ("C:\\x.gif", "C:/x.gif", "absolute name"),
        ("c:x.gif", "c:x.gif", "absolute name"),
        ("in/inner.zip", "in/inner.zip", "archive within an archive"),
        ("in/inner.TAR.GZ", "in/inner.TAR.GZ", "archive within an archive"),
    ],
)
def test_names_that_reach_outside_are_refused(tmp_path: Path, name: str, shown: str, reason: str) -> None:
    good = ("good.gif", GIF)
    for path in (zipped(tmp_path / "a.zip", (name, GIF), good), tarred(tmp_path / "a.tar.gz", (name, GIF), good)):
        assert got(path) == Got({"good.gif": GIF}, {shown: reason})
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.tar.gz", "a.zip"]


def test_links_and_what_lies_behind_them_are_refused(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    path = tarred(
        tmp_path / "a.tar",
        ("good.gif", GIF),
        (entry("way", tarfile.SYMTYPE, str(outside)), b""),
        ("way/through.gif", GIF),
        ("WAY/deeper/through.gif", GIF),
        (entry("way.gif", tarfile.SYMTYPE, "../x"), b""),
        ("way.gif", GIF),
        (entry("hard.gif", tarfile.LNKTYPE, "good.gif"), b""),
        (entry("null.gif", tarfile.CHRTYPE), b""),
        (entry("disk.gif", tarfile.BLKTYPE), b""),
        (entry("pipe.gif", tarfile.FIFOTYPE), b""),
        (entry("label.gif", b"V"), b""),
        ("last.gif", GIF),
    )
    result = got(path)
    assert result.files == {"good.gif": GIF, "last.gif": GIF}
    assert result.refused == {
        "way": "link",
        "way/through.gif": "through a link",
        "WAY/deeper/through.gif": "through a link",
        "way.gif": "duplicate name",
        "hard.gif": "hard link",
        "null.gif": "device",
        "disk.gif": "device",
        "pipe.gif": "device",
        "label.gif": "entry of type b'V'",
    }
    linked = zip_link(tmp_path / "a.zip", "way", str(outside), ("way/through.gif", GIF), ("good.gif", GIF))
    assert got(linked) == Got({"good.gif": GIF}, {"way": "link", "way/through.gif": "through a link"})
    device = zip_link(tmp_path / "b.zip", "null.gif", "", ("good.gif", GIF), mode=stat.S_IFCHR)
    assert got(device) == Got({"good.gif": GIF}, {"null.gif": "device"})
    assert list(outside.iterdir()) == []


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_of_two_members_that_a_file_system_may_take_for_one_the_second_is_refused(tmp_path: Path) -> None:
    names = ["a/cat.gif", "a/cat.gif", "A/Cat.gif", "a//./cat.gif", "a\\cat.gif", "caf\u00e9.gif", "cafe\u0301.gif"]
    entries = [(name, GIF + str(number).encode()) for number, name in enumerate(names)]
    for path in (zipped(tmp_path / "a.zip", *entries), tarred(tmp_path / "a.tar", *entries)):
        result = got(path)
        assert result.files == {"a/cat.gif": GIF + b"0", "caf\u00e9.gif": GIF + b"5"}
        assert result.refused == dict.fromkeys(("a/cat.gif", "A/Cat.gif", "cafe\u0301.gif"), "duplicate name")


def test_names_are_made_printable_and_stay_apart(tmp_path: Path) -> None:
    names = [
        "a\x1b[31m.gif",
        "line\nbreak.gif",
        "caf\udce9.gif",
        "caf\udce8.gif",
        "right\u202eto.gif",
        "x" * 2000 + ".gif",
    ]
    result = got(tarred(tmp_path / "a.tar", *((name, GIF) for name in names)))
    assert list(result.files) == ["a%1B[31m.gif", "line%0Abreak.gif", "caf%E9.gif", "caf%E8.gif", "right%202Eto.gif"]
    assert list(result.refused.values()) == ["unusable name: 2004 characters"]
    raw = zipped(tmp_path / "a.zip", ("safe.gif_evil.exe", GIF)).read_bytes()
    (tmp_path / "b.zip").write_bytes(raw.replace(b"safe.gif_evil", b"safe.gif\0evil"))
    assert got(tmp_path / "b.zip", lambda _: True).refused == {"safe.gif%00evil.exe": "unusable name: 17 characters"}


@pytest.mark.parametrize("suffix", ["zip", "tar.gz", "tar.bz2", "tar.xz"])
def test_a_thousandfold_bomb_ends_the_archive(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    zeros = io.BufferedReader(_Repeated(bytes(1 << 20), 64))
    if suffix == "zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("good.gif", GIF)
            with archive.open("zeros.gif", "w") as member:
                shutil.copyfileobj(zeros, member)
            archive.writestr("late.gif", GIF)
    else:
        kind = suffix[4:]
        with tarfile.open(path, f"w:{kind}", **({"preset": 0} if kind == "xz" else {})) as archive:
            for name, size in (("good.gif", len(GIF)), ("zeros.gif", 64 << 20), ("late.gif", len(GIF))):
                info = entry(name)
                info.size = size
                archive.addfile(info, zeros if name == "zeros.gif" else io.BytesIO(GIF))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    result = got(path)
    assert result == Got({"good.gif": GIF}, {}, result.ended)
    expected = f"bomb: a.{suffix}: zeros.gif unpacks to more than 200 times its packed size (fetch.max_ratio)"
    assert result.ended == expected
    # a member that is not wanted is unpacked all the same where it cannot be jumped over
    skipped = got(path, lambda name: name in ("good.gif", "late.gif"))
    assert skipped.ended == ("" if suffix == "zip" else expected)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss <= before + (30 << 10)


def test_a_well_packed_member_is_no_bomb(tmp_path: Path) -> None:
    frames = bytes(900_000)
    assert got(zipped(tmp_path / "a.zip", ("black.gif", frames))).files == {"black.gif": frames}
    assert got(tarred(tmp_path / "a.tar.gz", ("black.gif", frames), mode="w:gz")).files == {"black.gif": frames}


def test_limits(tmp_path: Path) -> None:
    entries = [(f"{n}.gif", GIF) for n in range(10)]
    for path in (zipped(tmp_path / "a.zip", *entries), tarred(tmp_path / "a.tar.gz", *entries, mode="w:gz")):
        assert len(got(path, max_members=10).files) == 10
        result = got(path, max_members=9)
        assert result.ended == f"too many members: {path.name}: more than 9 (fetch.max_members)"
        assert got(path, max_bytes=10_000).refused == {
            f"{n}.gif": "too large: more than 10000 bytes (fetch.max_bytes)" for n in range(10)
        }
        size = path.stat().st_size
        assert got(path, max_archive_bytes=size - 1).ended.startswith(f"too large: {path.name}: {size} bytes")
        result = got(path, max_archive_bytes=5 * len(GIF))
        assert result.ended.startswith(f"too large: {path.name}: ")
        assert "come out (fetch.max_archive_bytes)" in result.ended
        assert 2 <= len(result.files) <= 5


def test_a_list_of_members_too_long_for_memory(tmp_path: Path) -> None:
    entries = b"PK\x01\x02".ljust(46, b"\0") * 500_000
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 0, 0, len(entries), 4, 0)
    (tmp_path / "a.zip").write_bytes(b"PK\3\4" + entries + end)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert got(tmp_path / "a.zip", max_members=1000).ended.startswith("too many members: a.zip: more than 1000")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss <= before + (60 << 10)


def test_a_zip_whose_members_overlap_is_a_bomb(tmp_path: Path) -> None:
    """Many members of the list lead to the same packed bytes."""
    path = zipped(tmp_path / "a.zip", ("a.gif", bytes(10_000)), ("b.gif", bytes(10_000)))
    raw = bytearray(path.read_bytes())
    second = raw.rindex(b"PK\x01\x02")
    raw[second + 42 : second + 46] = struct.pack("<I", 0)
    path.write_bytes(raw)
    assert got(path).ended == "bomb: a.zip: a.gif and b.gif overlap"


def test_a_zip_with_members_quoted_in_members_is_a_bomb(tmp_path: Path) -> None:
    """Each member is a stored block that holds the next one's header, and then goes on into the next one's data."""
    kernel = zlib.compress(bytes(1 << 20), 9)[2:-4]
    count, blocks, offsets = 20, bytearray(), []
    heads = []
    for number in range(count):
        name = f"{number:02d}.gif".encode()
        heads.append(struct.pack("<4s5H3L2H", b"PK\3\4", 20, 0, 8, 0, 33, 0, 0, 0, len(name), 0) + name)
    for number, head in enumerate(heads):
        offsets.append(len(blocks))
        blocks += head
        if number + 1 < count:
            quoted = len(heads[number + 1])
            blocks += struct.pack("<BHH", 0, quoted, quoted ^ 0xFFFF)
    blocks += kernel
    listing = bytearray()
    for number, at in enumerate(offsets):
        name = f"{number:02d}.gif".encode()
        packed = len(blocks) - at - len(heads[number])
        listing += struct.pack(
            "<4s6H3L5H2L", b"PK\1\2", 20, 20, 0, 8, 0, 33, 0, packed, 2 << 20, len(name), 0, 0, 0, 0, 0, at
        )
        listing += name
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, count, count, len(listing), len(blocks), 0)
    (tmp_path / "quoted.zip").write_bytes(blocks + listing + end)
    result = got(tmp_path / "quoted.zip")
    assert result == Got(ended="bomb: quoted.zip: 00.gif and 01.gif overlap")


def test_a_zip_that_lies_about_sizes(tmp_path: Path) -> None:
    good = zipped(tmp_path / "a.zip", ("a.gif", bytes(50_000)), ("b.gif", GIF)).read_bytes()
    first = good.index(b"PK\x01\x02")
    for lie in (100, 2_000_000_000):
        raw = bytearray(good)
        raw[first + 24 : first + 28] = struct.pack("<I", lie)
        (tmp_path / "a.zip").write_bytes(raw)
        result = got(tmp_path / "a.zip")
        assert result.files.pop("b.gif") == GIF
        # less than there is: not what the checksum says; more than there is: it is what comes out that counts
        assert (result.refused, result.files) == (
            ({"a.gif": "damaged: Bad CRC-32 for file 'a.gif'"}, {}) if lie == 100 else ({}, {"a.gif": bytes(50_000)})
        )


def test_members_of_a_zip_that_cannot_be_read_cost_only_themselves(tmp_path: Path) -> None:
    raw = bytearray(zipped(tmp_path / "a.zip", ("a.gif", GIF), ("b.gif", GIF), ("c.gif", GIF)).read_bytes())
    raw[raw.index(b"b.gif") + 40] ^= 0xFF
    third = raw.rindex(b"PK\x01\x02")
    raw[third + 8] |= 1  # encrypted
    (tmp_path / "a.zip").write_bytes(raw)
    result = got(tmp_path / "a.zip")
    assert result.files == {"a.gif": GIF}
    assert result.refused.pop("b.gif").startswith("damaged: ")
    assert result.refused == {"c.gif": "encrypted"}
    packed = zipped(tmp_path / "b.zip", ("a.gif", GIF), method=zipfile.ZIP_BZIP2)
    assert got(packed).refused == {"a.gif": "packed by method 12: pack it again with deflate"}


def test_a_sparse_member_is_refused(tmp_path: Path) -> None:
    header = bytearray(entry("holes.gif").tobuf(tarfile.GNU_FORMAT))
    header[156:157] = tarfile.GNUTYPE_SPARSE
    header[386:410] = b"00000000000\0" + b"00000000000\0"
    header[483:495] = b"77777777777\0"  # 8 GiB of nothing
    header[148:156] = b"%06o\0 " % tarfile.calc_chksums(bytes(header))[0]
    (tmp_path / "a.tar").write_bytes(bytes(header) + entry("good.gif").tobuf() + bytes(1024))
    assert got(tmp_path / "a.tar") == Got({"good.gif": b""}, {"holes.gif": "sparse file"})


@pytest.mark.parametrize("kind", ["gz", "bz2", "xz", ""])
def test_a_tar_that_is_cut_short_or_changed_says_so(tmp_path: Path, kind: str) -> None:
    noise = random.Random(0).randbytes(200_000)
    path = tarred(tmp_path / "a.tar", ("a.gif", noise), ("b.gif", GIF), ("c.gif", noise), mode=f"w:{kind}")
    whole = path.read_bytes()
    assert got(path).files == {"a.gif": noise, "b.gif": GIF, "c.gif": noise}
    for share in (0.01, 0.3, 0.51, 0.9, 0.95):
        path.write_bytes(whole[: int(len(whole) * share)])
        assert got(path).ended.startswith(("damaged: a.tar: ", "no archive: a.tar: ")), share
    path.write_bytes(whole[:-9] + b"\xff" + whole[-8:])
    assert got(path).ended.startswith("damaged: a.tar: ")
    # tarfile takes a broken header for the end
    plain = bytearray(tarred(tmp_path / "b.tar", ("a.gif", noise), ("b.gif", GIF)).read_bytes())
    plain[plain.index(b"b.gif")] ^= 1
    path.write_bytes({"gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress, "": bytes}[kind](plain))
    result = got(path)
    assert result.files == {"a.gif": noise}
    assert "neither a member nor the end" in result.ended


def test_xz_of_several_streams_and_of_a_huge_dictionary(tmp_path: Path) -> None:
    plain = tarred(tmp_path / "a.tar", ("a.gif", GIF), ("b.gif", GIF)).read_bytes()
    (tmp_path / "a.tar.xz").write_bytes(lzma.compress(plain[:700]) + bytes(8) + lzma.compress(plain[700:]))
    assert got(tmp_path / "a.tar.xz").files == {"a.gif": GIF, "b.gif": GIF}
    packed = lzma.LZMACompressor(filters=[{"id": lzma.FILTER_LZMA2, "preset": 0, "dict_size": 4096}])
    raw = bytearray(packed.compress(plain) + packed.flush())
    raw[16] = 38  # the dictionary: 2 GiB
    raw[20:24] = struct.pack("<I", zlib.crc32(raw[12:20]) if raw[12] == 2 else 0)
    (tmp_path / "a.tar.xz").write_bytes(raw)
    assert "emory usage limit" in got(tmp_path / "a.tar.xz").ended


def test_headers_of_a_tar_that_never_end(tmp_path: Path) -> None:
    def header(kind: bytes, size: int) -> bytes:
        info = entry("x.gif", kind)
        info.size = size
        return info.tobuf(tarfile.GNU_FORMAT)

    digits = b"1" * (100 << 10)
    hostile = {
        "a name of 1 GB": header(tarfile.GNUTYPE_LONGNAME, 1 << 30) + bytes(1 << 20),
        "a header of 1 GB": header(tarfile.XHDTYPE, 1 << 30) + b"9 a=b\n" * 100_000,
        "many headers": (header(tarfile.XGLTYPE, 512) + b"9 a=b\n".ljust(512, b"\0")) * 3000,
        "names of names": (header(tarfile.GNUTYPE_LONGNAME, 1) + bytes(512)) * 3000,
        "digits": header(tarfile.XHDTYPE, len(digits)) + digits + header(tarfile.REGTYPE, 0),
        "goes back": header(tarfile.XHDTYPE, 18) + b"18 size=-99999999\n".ljust(512, b"\0") + header(b"0", 0) * 2,
        "stands still": header(tarfile.REGTYPE, 0).replace(b"00000000000\0", b"\xff" * 10 + b"\xfe\0", 1),
    }
    for name, data in hostile.items():
        (tmp_path / "a.tar").write_bytes(data + bytes(1024))
        began = time.monotonic()
        result = got(tmp_path / "a.tar")
        assert result.ended.startswith(("damaged: a.tar: ", "no archive: a.tar: ")), (name, result)
        assert time.monotonic() - began < 2, name


def test_members_are_read_once_and_in_order(tmp_path: Path) -> None:
    path = tarred(tmp_path / "a.tar.gz", ("a.gif", GIF), ("b.gif", GIF), mode="w:gz")
    first, second = (m for m in members(path, FetchParams(source="x"), lambda _: True) if isinstance(m, Member))
    with pytest.raises((ArchiveError, RuntimeError)):
        first.open().read()
    with pytest.raises((ArchiveError, RuntimeError)):
        second.open().read()
    # a caller may leave members, or the archive, unread
    given = members(path, FetchParams(source="x"), lambda _: True)
    next(given)
    last = next(given)
    assert isinstance(last, Member)
    assert last.open().read() == GIF
    given.close()


@pytest.mark.parametrize("suffix", ["zip", "tar", "tar.gz", "tar.bz2", "tar.xz"])
def test_flipped_bits_never_crash_nor_hang(tmp_path: Path, suffix: str) -> None:
    noise = random.Random(1).randbytes(3000)
    entries = [(f"cats/{n}.gif", noise[n * 100 :] + bytes(2000)) for n in range(8)]
    path = tmp_path / f"a.{suffix}"
    if suffix == "zip":
        zipped(path, *entries)
    else:
        tarred(path, *entries, mode=f"w:{suffix[4:]}", format=tarfile.PAX_FORMAT)
    whole, good = path.read_bytes(), {f"cats/{n}.gif": data for n, (_, data) in enumerate(entries)}
    assert got(path).files == good
    draw = random.Random(suffix)
    silent = 0
    for _ in range(200):
        raw = bytearray(whole)
        for _ in range(draw.choice((1, 1, 3, 20))):
            raw[draw.randrange(len(raw))] ^= 1 << draw.randrange(8)
        if draw.random() < 0.2:
            del raw[draw.randrange(len(raw)) :]
        path.write_bytes(raw)
        result = got(path)
        if suffix == "tar":  # it has no checksums but of headers
            continue
        silent += any(result.files.get(name, data) != data for name, data in good.items()) and not result.ended
        missing = good.keys() - result.files.keys() - result.refused.keys()
        assert not missing or result.ended or result.refused or result.files.keys() - good.keys(), result
    assert silent == 0


# rar: the format is its maker's, and so is what packs it; members that are only stored can be written by hand


def rar4(*entries: tuple[str, bytes], mode: int = 0o100644, main: int = 0, flags: int = 0, end: bool = True) -> bytes:
    """By the published description of RAR 4."""

    def block(kind: int, bits: int, rest: bytes) -> bytes:
        head = struct.pack("<BHH", kind, bits, 7 + len(rest)) + rest
        return struct.pack("<H", zlib.crc32(head) & 0xFFFF) + head

    out = b"Rar!\x1a\x07\x00" + block(0x73, main, bytes(6))
    for name, data in entries:
        raw = name.encode()
        sizes = struct.pack(
            "<IIBIIBBHI", len(data), len(data), 3, zlib.crc32(data), 0x5A215A21, 20, 0x30, len(raw), mode
        )
        out += block(0x74, 0x8000 | flags, sizes + raw) + data
    return out + block(0x7B, 0x4000, b"") * end


def rar5(*entries: tuple[str, bytes], link: str = "") -> bytes:
    """By the published description of RAR 5."""

    def number(value: int) -> bytes:
        return bytes([value]) if value < 128 else bytes([value % 128 + 128]) + number(value // 128)

    def block(kind: int, bits: int, *rest: bytes) -> bytes:
        body = number(kind) + number(bits) + b"".join(rest)
        body = number(len(body)) + body
        return struct.pack("<I", zlib.crc32(body)) + body

    out = b"Rar!\x1a\x07\x01\x00" + block(1, 0, number(0))
    if link:
        target = number(1) + number(0) + number(len(link)) + link.encode()
        extra = number(len(target) + 1) + number(5) + target
        tail = number(4) + number(0) + number(0o120777) + bytes(4) + number(0) + number(1) + number(3) + b"way"
        out += block(2, 3, number(len(extra)), number(0), tail, extra)
    for name, data in entries:
        raw = name.encode()
        fields = number(4) + number(len(data)) + number(0o100644) + struct.pack("<I", zlib.crc32(data))
        out += block(2, 2, number(len(data)), fields, number(0) + number(1) + number(len(raw)) + raw) + data
    return out + block(5, 0, number(0))


@pytest.fixture
def unpacker() -> str:
    found = next(filter(None, map(shutil.which, UNPACKERS)), None)
    if found is None:
        pytest.skip(f"none of {', '.join(UNPACKERS)} is installed here: rar is not read")
    return found


@pytest.mark.parametrize("write", [rar4, rar5])
def test_rar(tmp_path: Path, write: Callable[..., bytes], unpacker: str) -> None:
    entries = [
        ("a/one.gif", GIF),
        ("notes.txt", b"text"),
        ("-x.gif", GIF[:7]),
        ("@list[1]*.gif", b""),
        ("b.gif", GIF * 99),
    ]
    path = tmp_path / "a.rar"
    path.write_bytes(write(*entries))
    wanted = {name: data for name, data in entries if name.endswith(".gif")}
    assert got(path) == Got(wanted), unpacker
    assert got(path, lambda name: name == "b.gif").files == {"b.gif": GIF * 99}
    path.write_bytes(write(("../up.gif", GIF), ("/abs.gif", GIF), ("in.zip", b""), ("a.gif", GIF), ("A.gif", GIF)))
    assert got(path).refused == {
        "../up.gif": "climbs out: ../",
        "/abs.gif": "absolute name",
        "in.zip": "archive within an archive",
        "A.gif": "duplicate name",
    }
    path.write_bytes(write(("a.gif", GIF), ("b.gif", GIF)))
    assert got(path, max_members=1).ended == "too many members: a.rar: more than 1 (fetch.max_members)"
    assert got(path, max_bytes=9000).refused == dict.fromkeys(
        ("a.gif", "b.gif"), "too large: more than 9000 bytes (fetch.max_bytes)"
    )
    assert got(path, lambda _: False) == Got()
    kept = [found for found in members(path, FetchParams(source="x"), lambda _: True) if isinstance(found, Member)]
    with pytest.raises(RuntimeError):
        kept[0].open().read()


@pytest.mark.usefixtures("unpacker")
def test_rar_that_is_damaged_or_reaches_outside(tmp_path: Path) -> None:
    path = tmp_path / "a.rar"

    def ended(raw: bytes) -> str:
        path.write_bytes(raw)
        return got(path).ended

    whole = rar4(("a.gif", GIF), ("b.gif", GIF))
    assert ended(whole[:-7]) == "damaged: a.rar: it is cut short: there is no end mark"
    assert ended(whole[:9000]).startswith("damaged: a.rar: ")
    assert "a.gif: wrong checksum" in ended(whole[:5000] + b"?" + whole[5001:])
    assert "Header CRC error" in ended(whole.replace(b"b.gif", b"c.gif"))
    assert ended(rar4(("a.gif", GIF), flags=4)).startswith("encrypted: a.rar: ")
    assert ended(rar4(("a.gif", GIF), main=0x80)).startswith("encrypted: a.rar: ")
    assert ended(rar4(("a.gif", GIF), main=0x11, flags=2)).startswith("volumes: a.rar: ")
    assert ended(rar4(("a.gif", GIF), main=1, flags=1)).startswith("volumes: a.rar: ")
    path.write_bytes(rar5(("way/x.gif", GIF), ("good.gif", GIF), link="/etc"))
    assert got(path) == Got({"good.gif": GIF}, {"way": "link", "way/x.gif": "through a link"})
    path.write_bytes(rar4(("null.gif", b""), mode=0o020644))
    assert got(path).files in ({}, {"null.gif": b""})
    draw = random.Random(4)
    for write in (rar4, rar5):
        whole = write(("a.gif", GIF[:300]), ("b.gif", GIF[:300]))
        for _ in range(60):
            raw = bytearray(whole)
            raw[draw.randrange(8, len(raw))] ^= 1 << draw.randrange(8)
            path.write_bytes(raw)
            result = got(path)
            assert result.ended or result.files == {"a.gif": GIF[:300], "b.gif": GIF[:300]}


def test_rar_without_a_tool_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import rarfile

    (tmp_path / "a.rar").write_bytes(rar4(("a.gif", GIF)))
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(rarfile, "CURRENT_SETUP", None)
    ended = got(tmp_path / "a.rar").ended
    assert ended.startswith("no tool: a.rar: a rar needs unrar, unar, 7z or bsdtar: install one")


def test_a_silent_tool_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import rarfile

    tool = tmp_path / "bin" / "unrar"
    tool.parent.mkdir()
    tool.write_text(f'#!/bin/sh\n[ "$1" = p ] || exit 0\necho $$ > {tmp_path}/pid\nexec sleep 1000\n')
    tool.chmod(0o755)
    (tmp_path / "a.rar").write_bytes(rar4(("a.gif", GIF)))
    monkeypatch.setenv("PATH", f"{tool.parent}:/usr/bin:/bin")
    monkeypatch.setattr(rarfile, "CURRENT_SETUP", None)
    assert got(tmp_path / "a.rar", timeout_seconds=0.3).ended == "damaged: a.rar: a.gif: unrar is silent for 0.3 s"
    pid = int((tmp_path / "pid").read_text())
    assert subprocess.run(["/bin/kill", "-0", str(pid)], stderr=subprocess.DEVNULL, check=False).returncode
    monkeypatch.setattr(rarfile, "CURRENT_SETUP", None)


def test_a_large_archive_takes_no_more_memory_than_a_small_one(tmp_path: Path) -> None:
    """1,500 members of a tar.gz, and one of 24 MB."""
    noise = random.Random(3).randbytes(1 << 20)
    with tarfile.open(tmp_path / "a.tar.gz", "w:gz", compresslevel=1) as archive:
        for number in range(1500):
            info = entry(f"cats/{number:05d}/cat_0.gif")
            info.size = 100
            archive.addfile(info, io.BytesIO(noise[number : number + 100]))
        info = entry("long.gif")
        info.size = 24 << 20
        archive.addfile(info, io.BufferedReader(_Repeated(noise, 24)))  # type: ignore[arg-type]
    got(tmp_path / "a.tar.gz", lambda name: name.startswith("cats/0000"))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    count, seen = 0, hashlib.sha256()
    for found in members(tmp_path / "a.tar.gz", FetchParams(source="x"), lambda _: True):
        assert isinstance(found, Member)
        with found.open() as stream:
            while block := stream.read(1 << 18):
                count += len(block)
                seen.update(block)
    assert count == 150_000 + (24 << 20)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss <= before + (8 << 10)


class _Repeated(io.RawIOBase):
    def __init__(self, block: bytes, times: int) -> None:
        self._block, self._times, self._left = block, times, b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        if not self._left and self._times:
            self._left, self._times = self._block, self._times - 1
        data = self._left[: len(buffer)]
        self._left = self._left[len(data) :]
        buffer[: len(data)] = data
        return len(data)
