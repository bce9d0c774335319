"""Chunks: nothing lost, the same however the bytes come, cut at tensors, undisturbed by neighbours."""

from random import Random

import msgspec
import pytest

from agents.weights.chunks import MAX_BYTES, Cutter
from agents.weights.manifest import chunk_hash
from tests.agents.weights.goods import safetensors

RANDOM = Random(11)
TENSORS = [RANDOM.randbytes(size) for size in (3_000_000, 2_000, 100_000, 9_000_000, 2_000, 70_000, 5_000_000)]


def cut(body: bytes, path: str = "a.safetensors", step: int = 2 << 20) -> list[bytes]:
    cutter = Cutter(path)
    chunks = [chunk for at in range(0, len(body), step) for chunk in cutter.feed(body[at : at + step])]
    return [bytes(chunk) for chunk in chunks + cutter.rest()]


def new(before: list[bytes], after: list[bytes]) -> int:
    known = {chunk_hash(chunk) for chunk in before}
    return sum(len(chunk) for chunk in after if chunk_hash(chunk) not in known)


@pytest.mark.parametrize("path", ["a.safetensors", "a.bin"])
def test_nothing_is_lost_and_it_does_not_matter_how_the_bytes_come(path: str) -> None:
    body = safetensors(TENSORS)
    chunks = cut(body, path)
    assert b"".join(chunks) == body and max(map(len, chunks)) <= MAX_BYTES and min(map(len, chunks)) > 0
    for step in (100_003, 7_000_000, len(body)):
        assert cut(body, path, step) == chunks


def test_what_may_still_become_longer_is_held_and_no_more() -> None:
    """So memory is bound by a chunk, not by a file: what is not random has chunks of the largest size."""
    for body in (RANDOM.randbytes(24 << 20), bytes(24 << 20)):
        cutter, given = Cutter("a.bin"), 0
        for at in range(0, len(body), 2 << 20):
            given += sum(map(len, cutter.feed(body[at : at + (2 << 20)])))
            assert at + (2 << 20) - given <= MAX_BYTES
        assert given + sum(map(len, cutter.rest())) == len(body)


def test_who_goes_on_after_any_chunk_cuts_as_if_it_had_never_stopped() -> None:
    body = safetensors(TENSORS)
    chunks = cut(body)
    for stop in range(len(chunks)):
        cutter = Cutter("a.safetensors")
        for chunk in chunks[:stop]:
            cutter.past(chunk)
        rest = body[sum(map(len, chunks[:stop])) :]
        assert cutter.feed(rest) + cutter.rest() == chunks[stop:], stop


def test_a_changed_tensor_changes_its_own_chunks_only() -> None:
    before = cut(safetensors(TENSORS))
    changed = [RANDOM.randbytes(len(each)) if number == 3 else each for number, each in enumerate(TENSORS)]
    assert new(before, cut(safetensors(changed))) == len(TENSORS[3])


def test_tensors_that_move_keep_their_chunks() -> None:
    before = cut(safetensors(TENSORS))
    longer = safetensors(TENSORS, note="x" * 100)
    assert new(before, cut(longer)) < 1_000, "a longer header is a new header"
    parts = [safetensors(TENSORS[:3]), safetensors(TENSORS[3:])]
    assert sum(new(before, cut(part)) for part in parts) < 10_000
    assert new(before, cut(safetensors([*TENSORS, RANDOM.randbytes(1_000_000)]))) < 1_010_000


@pytest.mark.parametrize(
    "header",
    [
        b"",
        b"\x00" * 8,
        b"\xff" * 8,
        (4).to_bytes(8, "little") + b"null",
        (2).to_bytes(8, "little") + b"[]",
        (1 << 30).to_bytes(8, "little"),
        safetensors([])[:10],
    ],
)
def test_a_file_that_only_has_the_name_is_cut_by_its_content(header: bytes) -> None:
    body = header + RANDOM.randbytes(6_000_000) * bool(header)
    chunks = cut(body)
    assert b"".join(chunks) == body and max(map(len, chunks), default=0) <= MAX_BYTES


def test_tensors_that_overlap_do_not_make_crumbs() -> None:
    spans = {f"t{n}": {"data_offsets": [n, n + 70_000]} for n in range(10_000)}
    text = msgspec.json.encode(spans)
    assert len(cut(len(text).to_bytes(8, "little") + text + RANDOM.randbytes(2_000_000))) < 20
