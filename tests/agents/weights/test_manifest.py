"""A manifest: canonical, addressed by its content, and refused when following it would be unsafe."""

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.weights.manifest import (
    BadManifest,
    Chunk,
    File,
    Manifest,
    check_mounts,
    chunk_hash,
    chunk_key,
    decode,
    encode,
    manifest_key,
)
from events.weights import ChunkHash, ManifestId, Mount

BODY = b"weights of a model"
CHUNK = Chunk(chunk_hash(BODY), len(BODY))


def file(path: str, *chunks: Chunk, size: int | None = None, mode: int = 0o444) -> File:
    return File(path, sum(chunk.size for chunk in chunks) if size is None else size, mode, chunks)


def manifest(*files: File) -> Manifest:
    return Manifest(1, files)


def test_what_was_encoded_is_what_its_id_decodes_to() -> None:
    given_ = manifest(file("config.json", CHUNK), file("sub/model.safetensors", CHUNK, CHUNK), file("empty"))
    manifest_id, body = encode(given_)
    assert decode(manifest_id, body) == given_
    assert encode(given_) == (manifest_id, body)
    assert given_.bytes == 3 * len(BODY) and list(given_.chunks()) == [CHUNK]


def test_where_it_lies() -> None:
    manifest_id, _ = encode(manifest())
    assert manifest_key(manifest_id) == f"weights/manifests/{manifest_id}"
    assert chunk_key(CHUNK.hash) == f"weights/chunks/{CHUNK.hash[:2]}/{CHUNK.hash}"
    with pytest.raises(BadManifest, match="not a BLAKE3 hash"):
        chunk_key(ChunkHash("../../etc/passwd"))


@pytest.mark.parametrize(
    "path",
    ["", "/etc/passwd", "../up", "a/../b", "a//b", "./a", "a/", "a\\b", "a\nb", "a\0b", "x" * 300, "x/" * 2100 + "x"],
)
def test_a_path_that_leads_elsewhere_is_refused(path: str) -> None:
    with pytest.raises(BadManifest, match="path"):
        encode(manifest(file(path, CHUNK)))


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        (manifest(file("a", CHUNK), file("a", CHUNK)), "there twice"),
        (manifest(file("a/b/c", CHUNK), file("a", CHUNK)), "'a' is a file and the folder of 'a/b/c'"),
        (manifest(file("a", CHUNK, size=3)), "do not add up to 3 bytes"),
        (manifest(file("a", CHUNK, mode=0o4755)), "mode 4755"),
        (manifest(file("a", Chunk(CHUNK.hash, 0))), "a chunk of 0 bytes"),
        (manifest(file("a", Chunk(CHUNK.hash, (16 << 20) + 1))), "a chunk of 16777217 bytes"),
        (manifest(file("a", Chunk(ChunkHash("F" * 64), 1))), "not a BLAKE3 hash"),
        (manifest(file("a", CHUNK), file("b", Chunk(CHUNK.hash, 1))), "two sizes"),
        (Manifest(2, ()), "version 2"),
    ],
)
def test_what_does_not_hold_together_is_refused(bad: Manifest, why: str) -> None:
    with pytest.raises(BadManifest, match=why):
        encode(bad)
    body = msgspec.json.encode(bad)
    with pytest.raises(BadManifest, match=why):
        decode(ManifestId(str(chunk_hash(body))), body)


@settings(max_examples=50, deadline=None)
@given(st.data())
def test_no_flipped_byte_passes(data: st.DataObject) -> None:
    manifest_id, body = encode(manifest(file("a", CHUNK)))
    at = data.draw(st.integers(0, len(body) - 1))
    flipped = body[:at] + bytes([body[at] ^ data.draw(st.integers(1, 255))]) + body[at + 1 :]
    with pytest.raises(BadManifest, match="the bytes are those of"):
        decode(manifest_id, flipped)


def test_bytes_that_are_no_manifest_are_refused_though_their_hash_is_right() -> None:
    for body in (b"{}", b"[", b'{"version":1,"files":[],"more":1}'):
        with pytest.raises(BadManifest):
            decode(ManifestId(str(chunk_hash(body))), body)


def test_mounts_have_folders_of_their_own() -> None:
    one = ManifestId("1" * 64)
    check_mounts([Mount(one, "/weights/a"), Mount(one, "/weights/ab")])
    for bad, why in (
        ([Mount(one, "weights")], "must be an absolute path"),
        ([Mount(one, "/")], "without empty names"),
        ([Mount(one, "/weights/../etc")], "without empty names"),
        ([Mount(one, "/weights/a"), Mount(one, "/weights/a")], "lie within each other"),
        ([Mount(one, "/weights/a/b"), Mount(one, "/weights/a")], "lie within each other"),
        ([Mount(ManifestId("x"), "/weights/a")], "not a BLAKE3 hash"),
    ):
        with pytest.raises(BadManifest, match=why):
            check_mounts(bad)
