"""What an archive does wherever it lies, in a folder or a bucket: the log verified, restored, and asked without it."""

import asyncio
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from events.base import ORIGIN, Position
from events.log import LogBroken, LogUnavailable
from events.log.jetstream_raw import JetStreamRaw
from events.log.raw import RawMessage
from events.log.segments import Segment, segment_of
from ops.config import load
from ops.local.alone import nats_alone
from ops.wiring.archive import open_archive
from ops.wiring.parts import SEEN, heed_archive, open_log, seen_position
from projections.stores.archive import Archive, ArchiveBroken
from projections.stores.objects import FolderObjects
from tests.ops.cli_runs import Shell
from tests.ops.sealed import EVENTS, SEGMENT, block, flip, live, now
from tests.weights.s3 import S3, s3

__all__ = ["s3"]


@pytest.fixture(params=["folder", "s3"])
def shell(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Shell]:
    """A plane whose archive lies there."""
    where: dict[str, str] = {}
    if request.param == "s3":
        store: S3 = request.getfixturevalue("s3")
        where = {"CAUSEWAY_ARCHIVE_STORE": f"s3://{asyncio.run(store.bucket())}/planes/one", **store.surroundings()}
    yield Shell(tmp_path / "state", None, **where)


def kept(shell: Shell) -> list[str]:
    async def names() -> list[str]:
        async with open_archive(shell.settings) as archive:
            return [each.name for each in await archive.segments()]

    return asyncio.run(names())


def test_sealed_verified_lost_restored_and_asked(shell: Shell) -> None:
    before = asyncio.run(live(shell.settings))
    assert kept(shell)[:2] == ["000000000001-000000000040.ndjson.gz", "000000000041-000000000080.ndjson.gz"]
    assert (shell.settings.archive_store is None) == bool(list(shell.settings.folder("archive").glob("*.gz")))
    whole = shell.run("log verify -o json")
    assert (whole.code, whole.json["problems"], whole.json["archived"]) == (0, [], 3 * SEGMENT)

    state = shell.settings.state
    file = block(state)
    file.write_bytes(flip(file.read_bytes(), 57))
    assert "segment 41-80" in shell.run("log verify").out
    done = shell.run("log restore -o json")
    assert (done.code, done.json["head"], done.json["lost"]) == (0, len(before), 0), done.err
    assert asyncio.run(now(shell.settings)) == before
    assert shell.run("log verify").code == 0

    place = shell.settings.archive_at
    assert len(shell.run(f"--archive {place} events -o json -n 1000").rows) == EVENTS + 3
    assert shell.run(f"--archive {place} state routing --at 30").code == 0
    missing = shell.run(f"--archive {place}/nothing events")
    assert missing.code == 1 and "there is no archive in" in missing.err


def test_a_machine_that_never_saw_the_log_learns_from_the_archive_how_far_it_must_reach(shell: Shell) -> None:
    asyncio.run(live(shell.settings))
    state = shell.settings.state
    shutil.rmtree(block(state).parents[1])
    (state / "run" / SEEN).unlink()

    async def start() -> None:
        async with nats_alone(shell.settings) as url:
            with pytest.raises(LogBroken, match="missing"):
                async with open_log(shell.settings.but(nats_url=url), may_create=True):
                    pass
            with pytest.raises(LogBroken, match="missing"):
                await JetStreamRaw(url).raw_head()

    asyncio.run(start())
    assert seen_position(shell.settings) == 3 * SEGMENT


async def test_a_bucket_out_of_reach_stops_a_first_start_and_no_other(tmp_path: Path) -> None:
    """Nobody makes a new log in place of one that may be there; who knows of the log goes on."""
    gone = {"AWS_ENDPOINT_URL": "http://127.0.0.1:9", "AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"}
    settings = load(
        {"CAUSEWAY_STATE": str(tmp_path), "PATH": "/usr/bin:/bin", "CAUSEWAY_ARCHIVE_STORE": "s3://a/b", **gone}
    )
    with pytest.raises(LogUnavailable, match="whether there was a log before"):
        await heed_archive(settings)
    (settings.folder("run") / SEEN).write_text("7")
    await heed_archive(settings)
    assert seen_position(settings) == 7


def segment(first: int, last: int, previous: str = "") -> tuple[Segment, tuple[RawMessage, ...]]:
    messages = tuple(RawMessage(Position(n), "evt.node.n.NodeLeft", "", b"{}") for n in range(first, last + 1))
    return segment_of(messages, previous), messages


async def test_what_is_missing_or_follows_from_something_else_is_named(tmp_path: Path) -> None:
    objects = FolderObjects(tmp_path)
    archive = Archive(objects, "here")
    assert (await archive.segments(), await archive.head()) == ([], ORIGIN)
    one, messages = segment(1, 3)
    await archive.keep(one, messages)
    await archive.keep(*segment(7, 8, "other"))
    with pytest.raises(ArchiveBroken, match="here: nothing has position 4; the next one is 000000000007-"):
        await read(archive)
    await archive.keep(*segment(4, 6, "other"))
    with pytest.raises(ArchiveBroken, match=r"here/000000000004-000000000006\.ndjson\.gz does not follow"):
        await read(archive)
    name = "000000000001-000000000003.ndjson.gz"
    content = await objects.read(name)
    for damaged in (content[:20], b"no gzip", content[:-9] + bytes([content[-9] ^ 1]) + content[-8:]):
        await objects.put(name, damaged)
        with pytest.raises(ArchiveBroken, match=f"here/{name} cannot be read"):
            await read(archive)


async def read(archive: Archive) -> list[Any]:
    return [each async for each in archive.chain()]
