"""A folder of blobs: content-addressed, whole or absent, healed by a rewrite."""

import asyncio
import hashlib
import io
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from events.base import BlobDigest
from projections.stores.blobs import BlobDamaged, BlobMissing, FolderBlobs

BODY = bytes(range(256)) * 9000  # A little over two chunks.


def digest_of(body: bytes) -> BlobDigest:
    return BlobDigest(f"sha256:{hashlib.sha256(body).hexdigest()}")


async def stream(body: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(body), 70_000):
        yield body[start : start + 70_000]


async def test_every_way_in_gives_the_same_digest_and_the_same_bytes(tmp_path: Path) -> None:
    blobs = FolderBlobs(tmp_path / "blobs")
    source = tmp_path / "source"
    source.write_bytes(BODY)
    for body in (BODY, source, io.BytesIO(BODY), stream(BODY)):
        assert await blobs.put(body) == digest_of(BODY)
    assert await blobs.read(digest_of(BODY)) == BODY
    assert blobs.size(digest_of(BODY)) == len(BODY)
    assert [path.name for path in (tmp_path / "blobs" / ".aside").iterdir()] == []


async def test_bytes_that_are_not_the_expected_ones_are_refused_and_leave_nothing(tmp_path: Path) -> None:
    blobs = FolderBlobs(tmp_path)
    with pytest.raises(BlobDamaged, match="send them again"):
        await blobs.put(b"other", expected=digest_of(b"this"))
    assert not blobs.exists(digest_of(b"other"))
    assert not any((tmp_path / ".aside").iterdir())


async def test_a_damaged_blob_is_healed_by_a_rewrite(tmp_path: Path) -> None:
    blobs = FolderBlobs(tmp_path)
    digest = await blobs.put(BODY)
    os.chmod(blobs.path(digest), 0o644)
    blobs.path(digest).write_bytes(BODY[:-1] + b"?")
    await blobs.put(BODY)
    assert await blobs.read(digest) == BODY


async def test_many_writers_of_the_same_content_agree(tmp_path: Path) -> None:
    blobs = FolderBlobs(tmp_path)
    digests = await asyncio.gather(*(blobs.put(stream(BODY)) for _ in range(8)))
    assert set(digests) == {digest_of(BODY)}
    assert await blobs.read(digests[0]) == BODY


@pytest.mark.parametrize("name", ["sha256:../../etc/passwd", "md5:00", "sha256:" + "A" * 64, ""])
def test_a_name_that_is_no_digest_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="not a blob digest"):
        FolderBlobs(tmp_path).path(BlobDigest(name))


async def test_a_missing_blob_says_so(tmp_path: Path) -> None:
    blobs = FolderBlobs(tmp_path)
    with pytest.raises(BlobMissing):
        blobs.open(digest_of(b"never"))
    with pytest.raises(BlobMissing):
        await blobs.read(digest_of(b"never"))


def test_only_old_drafts_are_swept(tmp_path: Path) -> None:
    blobs = FolderBlobs(tmp_path)
    old, new = blobs.aside(), blobs.aside()
    for draft in (old, new):
        draft.write_bytes(b"torn")
    os.utime(old, (0, 0))
    assert blobs.sweep() == 1
    assert new.exists() and not old.exists()
