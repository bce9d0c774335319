"""Evil archives are refused by the name of the member, and nothing lands outside; good ones come out whole."""

import gzip
import io
import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from agents.effects.unpack import BadArchive, UnpackLimits, unpack


def entry(name: str, kind: bytes = tarfile.REGTYPE, *, link: str = "", size: int = 0) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname, member.size = kind, link, size
    return member


def tar_of(path: Path, *members: tuple[tarfile.TarInfo, bytes]) -> Path:
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as tar:
        for member, body in members:
            member.size = member.size or len(body)
            tar.addfile(member, io.BytesIO(body) if body else None)
    return path


def test_a_project_comes_out_as_it_went_in(tmp_path: Path) -> None:
    long = "model/" + "x" * 150 + ".py"
    script = entry("model/run.sh")
    script.mode = 0o755
    archive = tar_of(
        tmp_path / "a.tgz",
        (entry("config.yaml"), b"a: 1\n"),
        (entry(long), b"pass\n"),
        (script, b"#!/bin/sh\n"),
        (entry("data/latest", tarfile.SYMTYPE, link="../config.yaml"), b""),
        (entry("data/again", tarfile.LNKTYPE, link="config.yaml"), b""),
    )
    out = tmp_path / "out"
    assert unpack(archive, out).files == 4
    assert (out / "config.yaml").read_bytes() == (out / "data/latest").read_bytes() == b"a: 1\n"
    assert (out / long).exists() and os.access(out / "model/run.sh", os.X_OK)
    assert (out / "data/again").stat().st_nlink == 1

    zipped = tmp_path / "b.tgz"
    zipped.write_bytes(gzip.compress(archive.read_bytes()))
    assert unpack(zipped, tmp_path / "out2").files == 4


EVIL: dict[str, tuple[list[tuple[tarfile.TarInfo, bytes]], str, str]] = {
    "parent": ([(entry("../escaped"), b"x")], "../escaped", "leads out"),
    "buried parent": ([(entry("model/../../escaped"), b"x")], "model/../../escaped", "leads out"),
    "absolute": ([(entry("/escaped-by-a-test"), b"x")], "/escaped-by-a-test", "absolute"),
    "symlink out": ([(entry("l", tarfile.SYMTYPE, link="../../etc"), b"")], "l", "outside the project"),
    "absolute symlink": ([(entry("l", tarfile.SYMTYPE, link="/etc/passwd"), b"")], "l", "outside"),
    "write through a symlink": (
        [(entry("l", tarfile.SYMTYPE, link="../"), b""), (entry("l/escaped"), b"x")], "l", "linked",
    ),
    "link below a link": (
        [(entry("l", tarfile.SYMTYPE, link=".."), b""), (entry("l/escaped", tarfile.SYMTYPE, link="x"), b"")],
        "l/escaped", "below a link",
    ),
    "links that escape together": (
        [(entry("d/up", tarfile.SYMTYPE, link=".."), b""), (entry("d/l", tarfile.SYMTYPE, link="up/../x"), b"")],
        "d/l", "outside",
    ),
    "hard link out": ([(entry("h", tarfile.LNKTYPE, link="/etc/passwd"), b"")], "h", "no earlier file"),
    "hard link up": ([(entry("h", tarfile.LNKTYPE, link="../../x"), b"")], "h", "no earlier file"),
    "hard link to a symlink": (
        [(entry("s", tarfile.SYMTYPE, link="/etc/passwd"), b""), (entry("h", tarfile.LNKTYPE, link="s"), b"")],
        "h", "no earlier file",
    ),
    "device": ([(entry("null", tarfile.CHRTYPE), b"")], "null", "device"),
    "fifo": ([(entry("pipe", tarfile.FIFOTYPE), b"")], "pipe", "device, a pipe"),
    "twice": ([(entry("a"), b"1"), (entry("a"), b"2")], "a", "cannot be written"),
    "file as folder": ([(entry("a"), b"1"), (entry("a/b"), b"2")], "a/b", "cannot be written"),
    "name too long": ([(entry("n" * 300), b"1")], "n" * 300, "cannot be written"),
    "loop": ([(entry("l", tarfile.SYMTYPE, link="l"), b"")], "l", "outside"),
    "deep": ([(entry("d/" * 70 + "f"), b"1")], "d/" * 70 + "f", "deeper"),
}  # fmt: skip


@pytest.mark.parametrize("name", EVIL)
def test_an_evil_archive_is_refused_by_name_and_leaves_nothing_outside(tmp_path: Path, name: str) -> None:
    members, culprit, why = EVIL[name]
    home = tmp_path / "deep" / "home"
    home.mkdir(parents=True)
    before = sorted(path for path in tmp_path.rglob("*") if not path.is_relative_to(home))
    with pytest.raises(BadArchive, match=why) as refused:
        unpack(tar_of(home / "a.tgz", *members), home / "out")
    assert refused.value.member == culprit
    assert before == sorted(path for path in tmp_path.rglob("*") if not path.is_relative_to(home))
    assert not Path("/escaped-by-a-test").exists()


def test_too_many_too_much_and_bombs_end_early(tmp_path: Path) -> None:
    limits = UnpackLimits(members=3, bytes=10_000)
    many = tar_of(tmp_path / "many", *((entry(f"f{n}"), b"x") for n in range(4)))
    with pytest.raises(BadArchive, match="one more than the 3"):
        unpack(many, tmp_path / "o1", limits)
    big = tar_of(tmp_path / "big", (entry("a"), b"x" * 6000), (entry("b"), b"x" * 6000))
    with pytest.raises(BadArchive, match="over 10000 bytes") as refused:
        unpack(big, tmp_path / "o2", limits)
    assert refused.value.member == "b"
    bomb = tmp_path / "bomb"
    bomb.write_bytes(gzip.compress(tar_of(tmp_path / "t", (entry("z"), bytes(50_000_000))).read_bytes()))
    with pytest.raises(BadArchive, match="over 10000 bytes"):
        unpack(bomb, tmp_path / "o3", limits)


def test_a_header_cannot_claim_gigabytes_of_memory(tmp_path: Path) -> None:
    header = entry("long", tarfile.XHDTYPE, size=5_000_000_000).tobuf(tarfile.GNU_FORMAT)
    (tmp_path / "a").write_bytes(header + bytes(10_240))
    with pytest.raises(BadArchive, match="as a header"):
        unpack(tmp_path / "a", tmp_path / "out")


@pytest.mark.parametrize(
    "broken",
    [
        lambda body: b"",
        lambda body: b"this is no tar" * 100,
        lambda body: body[:700],
        lambda body: gzip.compress(body)[:-20],
        lambda body: b"\x1f\x8b" + body,
    ],
)
def test_a_torn_or_foreign_file_is_refused(tmp_path: Path, broken: Callable[[bytes], bytes]) -> None:
    whole = tar_of(tmp_path / "whole", (entry("a"), os.urandom(3000))).read_bytes()
    (tmp_path / "torn").write_bytes(broken(whole))
    with pytest.raises(BadArchive, match="cannot be read"):
        unpack(tmp_path / "torn", tmp_path / "out")
