"""A bundle's tar depends on what is in it, and on nothing of when, where and by whom it was made."""

import os
import tarfile
from pathlib import Path

import pytest

from agents.effects.package import CannotPack, pack
from agents.effects.unpack import unpack


def bundle(folder: Path, names: list[str]) -> Path:
    (folder / "app").mkdir(parents=True)
    (folder / "packages").mkdir()
    (folder / "bundle.json").write_text("{}")
    for name in names:
        (folder / "app" / name).write_text(name)
    (folder / "app" / "link").symlink_to(names[0] if names[0] < names[-1] else names[-1])
    return folder


def test_the_same_contents_give_the_same_bytes(tmp_path: Path) -> None:
    first, second = bundle(tmp_path / "1", ["a", "b"]), bundle(tmp_path / "elsewhere" / "2", ["b", "a"])
    os.utime(second / "app" / "a", (1, 1))
    (second / "app" / "b").chmod(0o600)
    (second / "app" / "__pycache__").mkdir()
    (second / "app" / "__pycache__" / "a.pyc").write_text("with a time in it")
    assert pack(first, tmp_path / "1.tar") == pack(second, tmp_path / "2.tar")
    assert (tmp_path / "1.tar").read_bytes() == (tmp_path / "2.tar").read_bytes()
    (second / "app" / "a").chmod(0o755)
    pack(second, tmp_path / "3.tar")
    assert (tmp_path / "1.tar").read_bytes() != (tmp_path / "3.tar").read_bytes()


def test_what_was_packed_is_unpacked_by_our_own_rules(tmp_path: Path) -> None:
    pack(bundle(tmp_path / "b", ["a" * 120, "ünï"]), tmp_path / "b.tar")
    unpack(tmp_path / "b.tar", tmp_path / "out")
    assert (tmp_path / "out/app/ünï").read_text() == "ünï"
    assert (tmp_path / "out/app/link").resolve().name == "a" * 120
    assert (tmp_path / "out/packages").is_dir()
    with tarfile.open(tmp_path / "b.tar") as tar:
        assert {(member.mtime, member.uid, member.uname) for member in tar} == {(0, 0, "")}


def test_a_socket_in_the_bundle_is_named(tmp_path: Path) -> None:
    folder = bundle(tmp_path / "b", ["a", "b"])
    os.mkfifo(folder / "app" / "pipe")
    with pytest.raises(CannotPack, match="app/pipe is a device, a pipe"):
        pack(folder, tmp_path / "b.tar")
