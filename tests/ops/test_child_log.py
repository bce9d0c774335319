"""A child's log: complete, bounded, and quotable."""

import asyncio
import os
from pathlib import Path

from ops.local.child_log import ChildLog


def test_a_log_is_rotated_at_its_size_and_only_so_many_are_kept(tmp_path: Path) -> None:
    log = ChildLog(tmp_path / "role.log", max_bytes=30, keep=2)
    for number in range(10):
        log.write(f"line number {number}\n".encode())
    log.close()
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["role.log", "role.log.1", "role.log.2"]
    assert (tmp_path / "role.log").read_text() == "line number 8\nline number 9\n"
    assert (tmp_path / "role.log.1").read_text().startswith("line number 6")
    assert log.tail(1) == "line number 9"


async def test_everything_a_child_wrote_before_it_died_is_in_the_log(tmp_path: Path) -> None:
    log = ChildLog(tmp_path / "role.log", max_bytes=10_000_000, keep=1)
    reading, writing = os.pipe()
    drain = log.follow(reading)
    os.write(writing, b"first\n")
    await asyncio.sleep(0)
    os.write(writing, b"last words\n")
    os.close(writing)
    drain()
    drain()
    assert (tmp_path / "role.log").read_text() == "first\nlast words\n"
    log.close()
