"""What every store of objects does: a folder, and a bucket by aioboto3 (of moto; of Ceph in `make test-s3`)."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from random import Random

import pytest

from agents.effects.objects import open_objects
from agents.weights.holds import HOLDS, clearing, mirroring
from projections.stores.objects import FolderObjects, ObjectMissing, Objects, StoreUnavailable
from tests.weights.s3 import S3, s3

__all__ = ["s3"]
BODY = Random(1).randbytes(3_000_000)


@pytest.fixture(params=["folder", "s3"])
async def objects(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Objects]:
    if request.param == "folder":
        async with open_objects(str(tmp_path), {}) as opened:
            yield opened
        return
    store: S3 = request.getfixturevalue("s3")
    async with open_objects(f"s3://{await store.bucket()}/some/prefix", store.surroundings()) as opened:
        yield opened


async def test_what_was_put_is_read_whole_or_in_part(objects: Objects) -> None:
    await objects.put("weights/chunks/ab/abc", BODY)
    assert await objects.read("weights/chunks/ab/abc") == BODY
    assert await objects.read("weights/chunks/ab/abc", 7, 100) == BODY[7:107]
    assert await objects.read("weights/chunks/ab/abc", len(BODY) - 5) == BODY[-5:]
    assert await objects.read("weights/chunks/ab/abc", len(BODY) - 5, 100) == BODY[-5:]
    assert await objects.read("weights/chunks/ab/abc", len(BODY), 10) == b""
    assert await objects.read("weights/chunks/ab/abc", 5, 0) == b""
    assert await objects.size("weights/chunks/ab/abc") == len(BODY)


async def test_what_is_not_there_is_said_to_be_missing(objects: Objects) -> None:
    with pytest.raises(ObjectMissing, match="weights/none"):
        await objects.read("weights/none")
    assert await objects.size("weights/none") is None
    await objects.remove("weights/none")
    assert [each async for each in objects.list("weights/")] == []


async def test_listed_below_a_prefix(objects: Objects) -> None:
    for key in ("a/2", "a/b/1", "a/1", "ab/1", "c"):
        await objects.put(key, key.encode())
    found = [each async for each in objects.list("a/")]
    assert [(each.key, each.size) for each in found] == [("a/1", 3), ("a/2", 3), ("a/b/1", 5)]
    assert all(each.modified_s > 1_600_000_000 for each in found)
    await objects.remove("a/2")
    assert [each.key async for each in objects.list("a/")] == ["a/1", "a/b/1"]


async def test_everything_is_listed_below_no_prefix_and_nothing_that_is_on_its_way(objects: Objects) -> None:
    for key in ("000000000001-000000000002.gz", "b/c/d", "odd names/ä + b=c&d"):
        await objects.put(key, key.encode())
    found = [each.key async for each in objects.list("")]
    assert sorted(found) == ["000000000001-000000000002.gz", "b/c/d", "odd names/ä + b=c&d"]
    assert [await objects.read(each) for each in found] == [each.encode() for each in found]


async def test_many_writers_of_the_same_are_harmless(objects: Objects) -> None:
    await asyncio.gather(*(objects.put("a/same", BODY) for _ in range(8)))
    assert await objects.read("a/same") == BODY
    assert [each.key async for each in objects.list("a/")] == ["a/same"]


async def test_a_store_out_of_reach_says_so(tmp_path: Path) -> None:
    (tmp_path / "weights").write_text("a file where a folder must be")
    for store, surroundings in (
        (str(tmp_path), {}),
        (
            "s3://plane",
            {"AWS_ENDPOINT_URL": "http://127.0.0.1:9", "AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"},
        ),
    ):
        async with open_objects(store, surroundings) as objects:
            with pytest.raises(StoreUnavailable):
                await objects.put("weights/chunks/a", b"1")


async def test_a_bucket_that_is_not_there_says_so(s3: S3) -> None:
    async with open_objects("s3://nobody-has-made-this/a", s3.surroundings()) as objects:
        with pytest.raises(StoreUnavailable, match="NoSuchBucket"):
            await objects.put("a", b"1")
        with pytest.raises(StoreUnavailable, match="NoSuchBucket"):
            await objects.read("a")
        with pytest.raises(StoreUnavailable, match="NoSuchBucket"):
            [each async for each in objects.list("")]


def test_a_key_does_not_lead_out_of_the_folder(tmp_path: Path) -> None:
    for key in ("", "/etc/passwd", "../up", "a/../../b", "a//b", ".aside/x"):
        with pytest.raises(ValueError, match="is not a key"):
            FolderObjects(tmp_path).path(key)


async def test_who_clears_waits_for_who_mirrors_and_leaves_nothing(objects: Objects) -> None:
    waits, order = asyncio.Queue[str](), list[str]()

    async def clear() -> None:
        async with clearing(objects, waits.put_nowait):
            order.append("cleared")

    async with asyncio.timeout(60), asyncio.TaskGroup() as tasks:
        async with mirroring(objects, order.append) as hold:
            tasks.create_task(clear())
            assert await waits.get() == "weights are being mirrored"
            order.append("mirrored")
            hold.sure()
    assert order == ["mirrored", "cleared"]
    assert [each async for each in objects.list(HOLDS)] == []
