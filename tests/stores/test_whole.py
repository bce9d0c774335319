"""A file is replaced whole or stays as it was, and nothing is left of an attempt that failed."""

import os
from pathlib import Path

import pytest

from projections.stores.whole import READ_ONLY, write_whole


def test_a_file_is_replaced_and_only_its_owner_may_read_it(tmp_path: Path) -> None:
    file = tmp_path / "new" / "folder" / "state"
    write_whole(file, b"old")
    write_whole(file, memoryview(b"new"))
    assert (file.read_bytes(), file.stat().st_mode & 0o777, os.listdir(file.parent)) == (b"new", 0o600, ["state"])


def test_what_cannot_be_written_leaves_the_old_content_and_nothing_beside_it(tmp_path: Path) -> None:
    file = tmp_path / "state"
    write_whole(file, b"old")
    with pytest.raises(TypeError):
        write_whole(file, "no bytes")  # type: ignore[arg-type]
    assert (file.read_bytes(), os.listdir(tmp_path)) == (b"old", ["state"])


def test_a_durable_file_may_be_written_in_another_folder_first(tmp_path: Path) -> None:
    aside = tmp_path / "aside"
    aside.mkdir()
    file = tmp_path / "there" / "blob"
    write_whole(file, b"content", mode=READ_ONLY, durable=True, aside=aside / "draft")
    assert (file.read_bytes(), file.stat().st_mode & 0o777, os.listdir(aside)) == (b"content", 0o444, [])
