"""Nodes among themselves: who may ask, and what happens when one lies, stalls, dies or has rotten bytes on its disk."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import msgspec
import pytest
from aiohttp import web

from agents.effects.weights_node import WeightsOfNode
from agents.effects.weights_peer_client import PeerPatience
from agents.effects.weights_peer_wire import FROM, MORE, PROOF, Keyring, asking
from agents.weights.fetch import content_id
from agents.weights.owners import owners
from events.base import NodeId, ReplicaId
from events.weights import ChunkHash, ManifestId, Mount
from tests.agents.weights.goods import SECRET, Plane, file_of, flip, got, mirrored, plane, some_files

ME, OTHER = NodeId("n1"), NodeId("n2")
FILES = {"model": some_files()["model/part-1.safetensors"]}
CHUNKS = file_of("model", FILES["model"])[0].chunks
OTHERS = [chunk for chunk in CHUNKS if owners(chunk.hash, {ME, OTHER})[0] == OTHER]
IMPATIENT = PeerPatience(silent_s=0.3)
SMALL_BYTES = 8 << 10
LONG = {"model": FILES["model"][: 128 * SMALL_BYTES]}
"""Of so many chunks that they are asked for several at a time."""
LONG_CHUNKS = file_of("model", LONG["model"], chunk_bytes=SMALL_BYTES)[0].chunks
LONG_OTHERS = [chunk for chunk in LONG_CHUNKS if owners(chunk.hash, {ME, OTHER})[0] == OTHER]


@asynccontextmanager
async def impostor(here: Plane, answer: web.Application | None = None, **answers: bytes) -> AsyncIterator[Keyring]:
    """Something else at the address of the other node; it knows the secret."""
    keyring = Keyring(OTHER, SECRET)
    app = answer or web.Application()

    async def serve(request: web.Request) -> web.Response:
        body = answers.get(request.match_info["hash"], answers.get("any", b""))
        return web.Response(body=body, headers=keyring.answers(request.headers))

    if answer is None:
        app.router.add_get("/chunks/{hash}/{size}", serve)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    here.addresses[OTHER] = f"127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield keyring
    finally:
        await runner.cleanup()


async def node_at_work(here: Plane, patience: PeerPatience = IMPATIENT) -> tuple[WeightsOfNode, ManifestId]:
    return await here.node(ME, patience=patience), await mirrored(here.mirror, FILES)


def test_the_other_node_owns_some_of_it() -> None:
    assert 0 < len(OTHERS) < len(CHUNKS)


async def test_a_peer_that_lies_is_reported_and_passed_over(tmp_path: Path) -> None:
    async with plane(tmp_path) as here, impostor(here, any=bytes(1 << 20)):
        node, manifest_id = await node_at_work(here)
        assert await got(node, manifest_id) == FILES
        assert here.found and {(each.tier, each.source) for each in here.found} == {("peer", OTHER)}
        assert {each.chunk for each in here.found} <= {chunk.hash for chunk in OTHERS}


@pytest.mark.parametrize("body", [b"", b"short", bytes((1 << 20) + 1)], ids=["nothing", "too little", "too much"])
async def test_a_peer_that_sends_another_number_of_bytes(tmp_path: Path, body: bytes) -> None:
    async with plane(tmp_path) as here, impostor(here, any=body):
        node, manifest_id = await node_at_work(here)
        assert await got(node, manifest_id) == FILES


async def test_a_peer_that_hangs_or_breaks_off_is_passed_over(tmp_path: Path) -> None:
    released = asyncio.Event()
    app = web.Application()

    async def stall(request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse(headers=Keyring(OTHER, SECRET).answers(request.headers))
        answer.content_length = int(request.match_info["size"])
        await answer.prepare(request)
        await answer.write(bytes(1000))
        await released.wait()
        return answer

    app.router.add_get("/chunks/{hash}/{size}", stall)
    async with plane(tmp_path) as here, impostor(here, app):
        node, manifest_id = await node_at_work(here)
        assert await got(node, manifest_id) == FILES
        assert here.found == [], "slow is not wrong"
        released.set()


async def test_a_peer_that_is_dead_is_passed_over(tmp_path: Path) -> None:
    async with plane(tmp_path) as here:
        async with impostor(here):
            pass
        node, manifest_id = await node_at_work(here)
        assert await got(node, manifest_id) == FILES


async def test_who_cannot_prove_to_be_a_node_gets_nothing_and_is_believed_nothing(tmp_path: Path) -> None:
    async with plane(tmp_path) as here:
        stranger = await here.node(OTHER, secret=b"another plane's")
        node, manifest_id = await node_at_work(here)
        assert await got(node, manifest_id) == FILES
        assert await got(stranger, manifest_id) == FILES
        assert here.mirror.chunk_bytes == 2 * len(FILES["model"]), "neither took a byte from the other"
        url = f"http://{node.address}/chunks/{CHUNKS[0].hash}/{CHUNKS[0].size}"
        async with aiohttp.ClientSession() as session:
            for headers in (
                {},
                {FROM: OTHER, PROOF: "0" * 64},
                Keyring(OTHER, SECRET).asks(OTHER),
                Keyring(OTHER, b"x").asks(ME),
                {FROM: "né", PROOF: "é"},
            ):
                async with session.get(url, headers=headers) as answer:
                    assert answer.status == 403, headers
            good = Keyring(OTHER, SECRET).asks(ME)
            async with session.get(url, headers=good) as answer:
                assert answer.status == 200 and await answer.read() == FILES["model"][: 1 << 20]
            for path in (
                "/chunks/../3",
                "/chunks/abc/3",
                f"/chunks/{CHUNKS[0].hash}/0",
                f"/chunks/{'0' * 64}/99999999",
            ):
                async with session.get(f"http://{node.address}{path}", headers=good) as answer:
                    assert answer.status in (400, 404), path


async def test_a_chunk_that_nobody_has(tmp_path: Path) -> None:
    async with plane(tmp_path) as here:
        node = await here.node(ME)
        async with aiohttp.ClientSession() as session:
            url = f"http://{node.address}/chunks/{'0' * 64}/5"
            async with session.get(url, headers=Keyring(OTHER, SECRET).asks(ME)) as answer:
                assert answer.status == 503 and "lacks a chunk" in await answer.text()
        assert node.fetch.cache.shelf.used_bytes == 0 and not list((tmp_path / "n1/chunks").iterdir())


async def test_rotten_bytes_on_a_peers_disk_are_found_by_who_asks_and_mended_by_the_peer(tmp_path: Path) -> None:
    async with plane(tmp_path) as here:
        peer = await here.node(OTHER)
        manifest_id = await mirrored(here.mirror, FILES)
        assert await got(peer, manifest_id) == FILES
        path = tmp_path / OTHER / "files" / content_id(file_of("model", FILES["model"])[0])
        flip(path, at=CHUNKS.index(OTHERS[0]) * (1 << 20))
        node = await here.node(ME)
        assert await got(node, manifest_id) == FILES
        async with asyncio.timeout(60):
            while path.read_bytes() != FILES["model"]:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        assert {(each.tier, each.source, each.chunk) for each in here.found} == {
            ("peer", OTHER, OTHERS[0].hash),
            ("node", OTHER, OTHERS[0].hash),
        }


async def test_what_is_kept_for_others_only_is_checked_too(tmp_path: Path) -> None:
    async with plane(tmp_path) as here:
        peer, node = await here.node(OTHER), await here.node(ME)
        manifest_id = await mirrored(here.mirror, FILES)
        assert await got(node, manifest_id) == FILES
        kept = {path.name for path in (tmp_path / OTHER / "chunks").iterdir()}
        assert kept == {chunk.hash for chunk in OTHERS}, "an owner keeps what it was asked for"
        flip(tmp_path / OTHER / "chunks" / OTHERS[0].hash)
        assert await got(peer, manifest_id) == FILES
        assert [(each.tier, each.source) for each in here.found] == [("node", OTHER)]
        assert not list((tmp_path / OTHER / "chunks").iterdir()), "a file has it now"


async def test_an_owner_without_room_does_not_stop_anybody(tmp_path: Path) -> None:
    async with plane(tmp_path) as here:
        await here.node(OTHER, budget_bytes=1000)
        node, manifest_id = await node_at_work(here, PeerPatience())
        assert await got(node, manifest_id) == FILES
        assert here.mirror.chunk_bytes == len(FILES["model"])


# Several chunks with one question.


async def of_many_chunks(here: Plane) -> ManifestId:
    return await mirrored(here.mirror, LONG, chunk_bytes=SMALL_BYTES)


async def test_an_answer_has_as_many_of_the_first_as_are_there(tmp_path: Path) -> None:
    async with plane(tmp_path) as here:
        node, manifest_id = await here.node(ME), await of_many_chunks(here)
        assert await got(node, manifest_id) == LONG
        number = {chunk.hash: at for at, chunk in enumerate(LONG_CHUNKS)}
        wanted = [LONG_CHUNKS[at] for at in (3, 4, 5, 20, 2, 1)]
        unknown = msgspec.structs.replace(LONG_CHUNKS[0], hash=ChunkHash("0" * 64))
        good = Keyring(OTHER, SECRET).asks(ME)
        async with aiohttp.ClientSession() as session:
            url = f"http://{node.address}/chunks/{asking(wanted[0])}"
            for behind in ((), (unknown, LONG_CHUNKS[7])):
                asked = good | {MORE: " ".join(map(asking, (*wanted[1:], *behind)))}
                async with session.get(url, headers=asked) as answer:
                    places = (number[chunk.hash] * SMALL_BYTES for chunk in wanted)
                    assert await answer.read() == b"".join(LONG["model"][at : at + SMALL_BYTES] for at in places)
            for nonsense in ("x", f"{'0' * 64}/0", f"{'0' * 64}", f"../{'0' * 64}/5"):
                async with session.get(url, headers=good | {MORE: nonsense}) as answer:
                    assert answer.status == 400, nonsense


async def test_of_several_chunks_only_those_that_are_wrong_come_from_elsewhere(tmp_path: Path) -> None:
    async with plane(tmp_path) as here:
        peer, manifest_id = await here.node(OTHER), await of_many_chunks(here)
        assert await got(peer, manifest_id) == LONG
        before, rotten = here.mirror.chunk_bytes, LONG_OTHERS[3]
        large = file_of("model", LONG["model"], chunk_bytes=SMALL_BYTES)[0]
        flip(tmp_path / OTHER / "files" / content_id(large), at=LONG_CHUNKS.index(rotten) * SMALL_BYTES)
        node = await here.node(ME)
        assert await got(node, manifest_id) == LONG
        assert ("peer", OTHER, rotten.hash) in {(each.tier, each.source, each.chunk) for each in here.found}
        assert {each.chunk for each in here.found} == {rotten.hash}
        assert here.mirror.chunk_bytes > before


async def test_what_came_whole_counts_when_a_peer_breaks_off_behind_it(tmp_path: Path) -> None:
    app, asked_for = web.Application(), []

    async def break_off(request: web.Request) -> web.StreamResponse:
        digests = [request.match_info["hash"], *(each[:64] for each in request.headers.get(MORE, "").split())]
        asked_for.append(digests)
        at = {chunk.hash: number * SMALL_BYTES for number, chunk in enumerate(LONG_CHUNKS)}
        bodies = [LONG["model"][at[ChunkHash(each)] :][:SMALL_BYTES] for each in digests]
        answer = web.StreamResponse(headers=Keyring(OTHER, SECRET).answers(request.headers))
        answer.content_length = SMALL_BYTES * len(digests)
        await answer.prepare(request)
        await answer.write(b"".join(bodies)[: SMALL_BYTES * 3 // 2])
        assert request.transport is not None
        request.transport.close()
        return answer

    app.router.add_get("/chunks/{hash}/{size}", break_off)
    async with plane(tmp_path) as here, impostor(here, app):
        node, manifest_id = await here.node(ME), await of_many_chunks(here)
        fetched = await node.replicas.fetch(ReplicaId("r-1"), (Mount(manifest_id, "/weights"),))
        assert (Path(fetched.mounted[0].folder) / "model").read_bytes() == LONG["model"]
        assert max(map(len, asked_for)) > 1 and here.found == []
        assert 0 < fetched.tally.peer <= len(asked_for) * SMALL_BYTES
        assert here.mirror.chunk_bytes == len(LONG["model"]) - fetched.tally.peer
