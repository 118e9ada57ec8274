"""Tar archives in every dialect that is out there, and in none."""

from __future__ import annotations

import io
import os
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from swarmcore.errors import Invalid
from worker.images.tarstream import BLOCK, Damaged, Kind, Member, TarStream

_LONG = "d" * 90 + "/" + "e" * 120 + "/" + "f" * 200


def read(raw: bytes, *, seekable: bool = True) -> list[tuple[Member, bytes]]:
    stream = TarStream(io.BytesIO(raw) if seekable else Forward(raw))
    found = []
    while (member := stream.next()) is not None:
        content = bytearray(member.size)
        if member.kind is Kind.FILE:
            for offset, chunk in stream.content():
                content[offset : offset + len(chunk)] = chunk
        found.append((member, bytes(content)))
    return found


class Forward:
    """As what is decompressed on the way."""

    def __init__(self, raw: bytes) -> None:
        self._raw = io.BytesIO(raw)

    def read(self, size: int, /) -> bytes:
        return self._raw.read(min(size, 100))

    def seekable(self) -> bool:
        return False

    def seek(self, offset: int, whence: int, /) -> int:
        raise AssertionError


def header(name: bytes = b"x", *, size: int = 0, flag: bytes = b"0", **fields: bytes) -> bytes:
    """A header block by hand; `fields` are written at the offset in their name: at_257=b"ustar  "."""
    block = bytearray(BLOCK)
    block[0 : len(name)] = name
    block[100:108], block[108:116], block[116:124] = b"0000644\0", b"0000000\0", b"0000000\0"
    block[124:136], block[136:148] = b"%011o\0" % size, b"%011o\0" % 7
    block[156:157] = flag
    for key, value in fields.items():
        start = int(key.removeprefix("at_"))
        block[start : start + len(value)] = value
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def padded(content: bytes) -> bytes:
    return content + bytes(-len(content) % BLOCK)


def records(**pairs: bytes) -> bytes:
    return b"".join(record(key.replace("__", ".").encode(), value) for key, value in pairs.items())


def record(key: bytes, value: bytes) -> bytes:
    body = b" " + key + b"=" + value + b"\n"
    size = len(body) + 1
    while len(b"%d" % size) + len(body) != size:
        size += 1
    return b"%d" % size + body


def old_sparse(*pieces: tuple[int, int], stored: int, real: int = 512) -> bytes:
    """As GNU tar wrote files with holes before PAX."""
    spots = b"".join(b"%011o\0%011o\0" % piece for piece in pieces)
    return header(b"s", size=stored, flag=b"S", at_386=spots, at_483=b"%011o\0" % real)


def new_sparse(stored: bytes) -> bytes:
    """With the map in the content."""
    version = records(GNU__sparse__major=b"1", GNU__sparse__minor=b"0", GNU__sparse__realsize=b"1")
    return pax(version) + header(size=len(stored)) + stored


def pax(raw: bytes, flag: bytes = b"x") -> bytes:
    return header(b"pax", size=len(raw), flag=flag) + padded(raw)


# -- what is understood ----------------------------------------------------------------------------------
_NAMES = st.text(
    st.characters(blacklist_characters="/\0", blacklist_categories=["Cs"]), min_size=1, max_size=120
)


@st.composite
def _members(draw: st.DrawFn) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo("/".join(draw(st.lists(_NAMES, min_size=1, max_size=4))))
    info.type = draw(st.sampled_from([tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE]))
    content = draw(st.binary(max_size=1500)) if info.isreg() else b""
    info.size, info.mode = len(content), draw(st.integers(0, 0o7777))
    info.uid, info.gid = draw(st.integers(0, 1 << 31)), draw(st.integers(0, 1 << 31))
    info.mtime = draw(st.integers(0, 1 << 33))
    info.linkname = draw(_NAMES) if info.issym() or info.islnk() else ""
    return info, content


@given(
    st.lists(_members(), max_size=5), st.sampled_from([tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]), st.booleans()
)
def test_what_others_write_is_read_as_they_meant_it(
    members: list[tuple[tarfile.TarInfo, bytes]], dialect: int, seekable: bool
) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=dialect) as archive:
        for info, content in members:
            archive.addfile(info, io.BytesIO(content))
    found = read(buffer.getvalue(), seekable=seekable)
    assert [content for _, content in found] == [content for _, content in members]
    for (member, _), (info, _) in zip(found, members, strict=True):
        assert member.name.rstrip("/") == info.name
        assert member.kind is not None and member.kind.value == info.type
        assert (member.mode, member.uid, member.gid) == (info.mode, info.uid, info.gid)
        assert (member.mtime_ns, member.link) == (info.mtime * 10**9, info.linkname)


_HOLES = [("gnu",), ("posix", "0.0"), ("posix", "0.1"), ("posix", "1.0")]


@pytest.mark.parametrize("way", _HOLES, ids=" ".join)
@pytest.mark.parametrize("pieces", [0, 1, 3, 70])
def test_sparse_files_of_gnu_tar_are_read(tmp_path: Path, way: tuple[str, ...], pieces: int) -> None:
    file = tmp_path / "sparse"
    with file.open("wb") as out:
        for number in range(pieces):
            out.seek(number * 3 * 65536 + 65536)
            out.write(b"%07d\n" % number * 512)
        out.truncate(pieces * 3 * 65536 + 1_000_000)
    command = ["tar", "-C", str(tmp_path), "--format", way[0], *(f"--sparse-version={v}" for v in way[1:])]
    raw = subprocess.run([*command, "-cS", "sparse", "sparse"], check=True, stdout=subprocess.PIPE).stdout
    assert len(raw) < 1_000_000
    for member, content in read(raw)[:1]:
        assert member.name == "sparse"
        assert content == file.read_bytes()


def test_numbers_beyond_octal_are_binary() -> None:
    large = bytes([0x80]) + (1 << 40).to_bytes(11, "big")
    negative = b"\xff" * 12
    (member, _), (before, _) = read(
        header(at_136=large) + header(at_136=negative, at_108=b"\x80\0\0\0\x7f\xff\xff\xff")
    )
    assert member.mtime_ns == (1 << 40) * 10**9
    assert (before.mtime_ns, before.uid) == (-(10**9), 0x7FFFFFFF)


def test_pax_records_count_more_than_the_header() -> None:
    raw = records(
        path=_LONG.encode(), linkpath=b"to", uid=b"3000000000", gid=b"7", mtime=b"-1.5", size=b"4",
        SCHILY__xattr__user__x=b"a=\n\0\xff", comment=b"", vendor__key=b"ignored",
    )  # fmt: skip
    (member, content), (after, _) = read(pax(raw) + header(size=512) + padded(b"four") + header(b"after"))
    assert (member.name, member.link, member.uid, member.gid) == (_LONG, "to", 3_000_000_000, 7)
    assert (member.mtime_ns, member.xattrs, content) == (-1_500_000_000, {"user.x": b"a=\n\0\xff"}, b"four")
    assert (after.name, after.xattrs) == ("after", {})


def test_records_for_all_members_are_nobodys() -> None:
    """As in Docker; `git archive` writes a comment."""
    (member, _), _ = read(pax(records(path=b"all", uid=b"5"), b"g") + header(b"one") + header(b"two"))
    assert (member.name, member.uid) == ("one", 0)


def test_long_names_of_gnu_tar_count_most() -> None:
    long, link = header(b"l", size=len(_LONG) + 1, flag=b"L"), header(b"k", size=3, flag=b"K")
    raw = long + padded(_LONG.encode() + b"\0") + link + padded(b"to\0") + header(flag=b"2", at_157=b"short")
    ((member, _),) = read(raw)
    assert (member.name, member.link, member.kind) == (_LONG, "to", Kind.SYMLINK)


_STAR = header(b"b", at_257=b"ustar\x0000", at_345=b"star", at_476=b"00000000007 ", at_508=b"tar\0")


@pytest.mark.parametrize(
    ("block", "name", "kind"),
    [
        (header(b"old/", flag=b"\0"), "old/", Kind.DIRECTORY),
        (header(b"old", flag=b"\0"), "old", Kind.FILE),
        (header(b"seven", flag=b"7"), "seven", Kind.FILE),
        (header(b"b", at_257=b"ustar\x0000", at_345=b"a/long"), "a/long/b", Kind.FILE),
        (_STAR, "star/b", Kind.FILE),
        (header(b"b", at_257=b"ustar  \0", at_345=b"00000000007 "), "b", Kind.FILE),
        (header(b"\xff\xfe", flag=b"5"), os.fsdecode(b"\xff\xfe"), Kind.DIRECTORY),
        (header(b"volume", flag=b"V"), "volume", None),
        (header(b"x", at_257=b"junk", at_329=b"garbage!", at_337=b"garbage!"), "x", Kind.FILE),
    ],
    ids=["V7 directory", "V7 file", "contiguous", "ustar prefix", "star", "GNU", "no UTF-8", "unknown", "V7 junk"],
)  # fmt: skip
def test_dialects_are_told_apart(block: bytes, name: str, kind: Kind | None) -> None:
    ((member, _),) = read(block)
    assert (member.name, member.kind) == (name, kind)


def test_devices_have_their_numbers() -> None:
    ((member, _),) = read(header(flag=b"3", at_257=b"ustar\x0000", at_329=b"0000001\0", at_337=b"0000003\0"))
    assert (member.kind, member.major, member.minor) == (Kind.CHARACTER, 1, 3)


@pytest.mark.parametrize("flag", [b"1", b"2", b"3", b"5", b"6"])
def test_only_files_have_content_whatever_their_headers_say(flag: bytes) -> None:
    assert len(read(header(size=999, flag=flag) + header(b"next"))) == 2


@pytest.mark.parametrize("raw", [b"", bytes(512), bytes(1024), bytes(10240)])
def test_an_empty_archive_is_one(raw: bytes) -> None:
    assert read(raw) == []


def test_what_follows_the_end_is_not_read() -> None:
    assert len(read(header() + bytes(1024) + b"garbage" * 999)) == 1


# -- what is refused -------------------------------------------------------------------------------------
_HUGE = bytes([0x80]) + b"\xff" * 11
_ODDITIES: dict[str, bytes] = {
    "garbage": b"garbage" * 100,
    "a wrong checksum": header()[:-1] + b"x",
    "cut in a header": header()[:300],
    "cut in a file": header(size=1000) + b"x" * 512,
    "cut in the padding": header(size=3) + b"abc",
    "cut in a long name": header(size=9000, flag=b"L") + b"x" * 512,
    "a number that is none": header(at_124=b"12x45678901\0"),
    "a number with a nine": header(at_124=b"00000000009\0"),
    "a number with an underscore": header(at_124=b"0000_000001\0"),
    "a size beyond 64 bits": header(at_124=_HUGE),
    "a negative size": header(at_124=b"\xff" * 12),
    "a time beyond 64 bits": header(at_136=_HUGE),
    "an owner beyond 64 bits in text": pax(records(uid=b"9" * 30)) + header(),
    "a size of thousands of digits": pax(records(size=b"9" * 5000)) + header(),
    "a negative size in text": pax(records(size=b"-1")) + header(),
    "a time that is none": pax(records(mtime=b"1e9")) + header(),
    "a time of many decimals": pax(records(mtime=b"1." + b"0" * 5000)) + header(),
    "a record without end": pax(b"99 path=x\n") + header(),
    "a record of no length": pax(b"0 path=x\n") + header(),
    "a record without key": pax(b"5 =x\n") + header(),
    "a record without sign": pax(b"7 path\n") + header(),
    "records that are none": pax(b"\0" * 100) + header(),
    "digits without end": pax(b"1" * 100_000) + header(),
    "records for nobody": pax(records(path=b"x")),
    "a long name for nobody": header(size=2, flag=b"L") + padded(b"x\0") + bytes(1024),
    "headers without end": pax(records(path=b"x")) * 100 + header(),
    "a long name of a gigabyte": header(size=1 << 30, flag=b"L") + b"x" * 512,
    "records of a gigabyte": header(size=1 << 30, flag=b"x") + b"x" * 512,
    "sparse: overlapping": old_sparse((0, 10), (0, 10), stored=20),
    "sparse: beyond the end": old_sparse((4095, 10), stored=10),
    "sparse: more than stored": old_sparse((0, 10), stored=1),
    "sparse: a map cut short": header(b"s", flag=b"S", at_482=b"\x01") + b"x" * 100,
    "sparse: odd numbers": pax(records(GNU__sparse__map=b"1,2,3", GNU__sparse__size=b"9")) + header(),
    "sparse: no numbers": pax(records(GNU__sparse__map=b"a,b", GNU__sparse__size=b"9")) + header(),
    "sparse: no size": pax(records(GNU__sparse__map=b"0,0")) + header(),
    "sparse: a map in no content": new_sparse(b""),
    "sparse: a map of too many": new_sparse(padded(b"99999999\n")),
}


@pytest.mark.parametrize("raw", _ODDITIES.values(), ids=_ODDITIES.keys())
def test_oddities_are_refused_in_one_line(raw: bytes) -> None:
    for seekable in (True, False):
        with pytest.raises(Damaged) as failure:
            read(raw, seekable=seekable)
        assert len(str(failure.value)) < 300 and "\n" not in str(failure.value)


_SEEDS: tuple[Callable[[], bytes], ...] = (
    lambda: pax(records(path=b"x", size=b"3", SCHILY__xattr__user__a=b"b")) + header(size=3) + padded(b"abc"),
    lambda: old_sparse((8, 10), stored=10) + padded(b"y" * 10),
    lambda: (
        header(size=5, flag=b"L") + padded(b"name\0") + header(size=700) + padded(b"z" * 700) + bytes(1024)
    ),
)


def _mended(raw: bytearray) -> bytes:
    """With right checksums, so that what is wrong is found out later."""
    for start in range(0, len(raw) - BLOCK + 1, BLOCK):
        block = raw[start : start + BLOCK]
        if block[148:156].strip(b" \0").isdigit():
            block[148:156] = b" " * 8
            raw[start + 148 : start + 156] = b"%06o\0 " % sum(block)
    return bytes(raw)


@settings(max_examples=300)
@given(st.sampled_from(_SEEDS), st.integers(0, 1 << 32), st.integers(1, 12), st.booleans())
def test_damaged_archives_are_read_or_refused_and_nothing_else(
    seed: Callable[[], bytes], dice: int, count: int, mend: bool
) -> None:
    raw, random = bytearray(seed()), Random(dice)
    for _ in range(count):
        raw[random.randrange(len(raw))] = random.choice(
            [0, 0x20, 0x2C, 0x30, 0x37, 0x39, 0x3D, 0x7F, 0x80, 0xFF]
        )
    try:
        read(_mended(raw) if mend else bytes(raw))
    except Invalid as refused:
        assert len(str(refused)) < 400
    except MemoryError:
        raise AssertionError("no size is believed before its bytes are there") from None
