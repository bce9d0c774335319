"""`causeway weights`: what is there, for whom, whether it is right, and what goes when nobody needs it."""

import asyncio
import os
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any

import pytest

from agents.effects.weights_peer_wire import Keyring
from agents.weights.manifest import PLANES, Chunk, File, Manifest, chunk_hash, chunk_key, encode, manifest_key
from agents.weights.store import Garbage, join, parts
from events.base import (
    Actor,
    BlobDigest,
    BuildId,
    CommandId,
    CorrelationId,
    DeploymentId,
    EventId,
    Metadata,
    ModelId,
    NodeId,
    Position,
    StreamName,
)
from events.build import BuildRequested, BuildStarted, BuildSucceeded
from events.codec import Recorded
from events.log import LogUnavailable
from events.model import DeploymentCopied, DeploymentDeleted, DeploymentPushed, ModelRegistered
from events.node import (
    NodeJoined,
    WeightsPrefetched,
    WeightsPrefetchFailed,
    WeightsPrefetchLate,
    WeightsPrefetchRequested,
)
from events.union import AnyEvent
from events.weights import ManifestId, Mount, WeightsDiscarded, WeightsMirrored, WeightsMirrorFailed, WeightsPinned
from handlers.dispatch import Dispatch
from ops.wiring.plane_name import plane_name
from projections.stores.objects import FolderObjects, Stored
from tests.histories import copied
from tests.ops.api import Api
from tests.ops.cli_runs import Shell

RANDOM = Random(2)
SHARED, BASE, TUNED, BUILDING, STRAY = (RANDOM.randbytes(10_000) for _ in range(5))
MODEL, FIRST, SECOND, THIRD = ModelId("m"), DeploymentId("d1"), DeploymentId("d2"), DeploymentId("d3")
COPY = DeploymentId("d4")
BLOB = BlobDigest("sha256:" + "0" * 64)


def manifest(*bodies: bytes) -> tuple[ManifestId, bytes]:
    files = [File(f"{n}.bin", len(b), 0o444, (Chunk(chunk_hash(b), len(b)),)) for n, b in enumerate(bodies)]
    return encode(Manifest(1, tuple(files)))


OF = {FIRST: (SHARED, BASE), SECOND: (SHARED, TUNED), THIRD: (SHARED, BUILDING)}
IDS = {each: manifest(*bodies)[0] for each, bodies in OF.items()}


def pushed(number: int, deployment_id: DeploymentId) -> DeploymentPushed:
    return DeploymentPushed(
        model_id=MODEL, deployment_id=deployment_id, number=number, name=f"deployment-{number}", is_development=False,
        source=BLOB, config=BLOB, raw_config=None, environment=None, scale_down_previous=True, cpu_millicores=1,
        memory_bytes=1, predict_concurrency=1, deploy_timeout_s=1, labels="{}", client="{}",
    )  # fmt: skip


def built(deployment_id: DeploymentId, done: bool = True) -> list[tuple[StreamName, AnyEvent]]:
    build = BuildId(f"b-{deployment_id}")
    events: list[AnyEvent] = [
        BuildRequested(build_id=build, model_id=MODEL, deployment_id=deployment_id, source=BLOB, config=BLOB),
        BuildStarted(build_id=build, deployment_id=deployment_id, builder=NodeId("n"), attempt=1),
        WeightsMirrored(
            build_id=build, deployment_id=deployment_id, source="hf://owner/model", mount_location="/weights",
            revision="c" * 40, manifest_id=IDS[deployment_id], files=2, bytes=20_000, chunks=2, bytes_read=20_000,
            bytes_stored=20_000, seconds=1.0,
        ),
    ]  # fmt: skip
    if done:
        events.append(
            BuildSucceeded(
                build_id=build, deployment_id=deployment_id, bundle=BLOB, environment=BLOB, python_version="3.11",
                truss_hash="", truss_signature=BLOB, seconds=1.0, weights=(Mount(IDS[deployment_id], "/weights"),),
            )
        )  # fmt: skip
    return [(StreamName("build", build), event) for event in events]


NODE, OTHER = StreamName("node", "n1"), StreamName("node", "n2")
WISH: dict[str, Any] = {"node_id": NodeId("n1"), "manifest_id": IDS[FIRST]}
GOT = WeightsPrefetched(**WISH, seconds=2.0, node_bytes=1, peer_bytes=20, mirror_bytes=3000)
GONE = WeightsPrefetchFailed(node_id=NodeId("n2"), manifest_id=IDS[FIRST], reason="no such manifest")


def history(*more: tuple[StreamName, AnyEvent]) -> tuple[Recorded, ...]:
    model = StreamName("model", MODEL)
    events: list[tuple[StreamName, AnyEvent]] = [
        (model, ModelRegistered(model_id=MODEL, name="llm", team="t")),
        *((model, pushed(number, each)) for number, each in enumerate(OF, 1)),
        *built(FIRST),
        *built(SECOND),
        *built(THIRD, done=False),
        (model, DeploymentDeleted(model_id=MODEL, deployment_id=SECOND)),
        *more,
    ]
    return tuple(
        Recorded(
            Position(n),
            stream,
            event,
            Metadata(
                id=EventId(f"e{n}"), command_id=CommandId(f"c{n}"), correlation_id=CorrelationId("r"),
                causation_id=None, actor=Actor("test", "internal"), at=datetime(2026, 1, 1, tzinfo=UTC),
            ),
        )
        for n, (stream, event) in enumerate(events, 1)
    )  # fmt: skip


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    shell = Shell(tmp_path, history())
    objects = FolderObjects(shell.settings.folder("blobs"))

    async def fill() -> None:
        for body in {SHARED, BASE, TUNED, BUILDING, STRAY}:
            await objects.put(chunk_key(chunk_hash(body)), body)
        for bodies in OF.values():
            await objects.put(manifest_key(manifest(*bodies)[0]), manifest(*bodies)[1])

    asyncio.run(fill())
    for path in objects.root.rglob("weights/**/*"):
        os.utime(path, (1_700_000_000, 1_700_000_000))  # Long ago.
    return shell


def discarded(shell: Shell) -> list[tuple[WeightsDiscarded, str]]:
    history = shell.history or ()
    return [(each.event, each.meta.actor.name) for each in history if isinstance(each.event, WeightsDiscarded)]


def stored(shell: Shell) -> set[bytes]:
    return {path.read_bytes() for path in shell.settings.folder("blobs").glob("weights/chunks/*/*")}


def test_ls_and_show(shell: Shell) -> None:
    rows = shell.run("weights ls -o json").json
    assert [(row["deployment"], row["source"], row["bytes"], row["status"]) for row in rows] == [
        ("llm/deployment-1", "hf://owner/model", 20_000, "mounted"),
        ("llm/deployment-3", "hf://owner/model", 20_000, "mirrored"),
    ]
    shown = shell.run(f"weights show {IDS[FIRST][:10]} -o json").json
    assert [file["path"] for file in shown["files"]] == ["0.bin", "1.bin"]
    assert "llm/deployment-1" in shell.run("weights ls").out and "10,000" in shell.run(f"weights show {IDS[FIRST]}").out
    assert "no manifest begins with 'zz'" in shell.run("weights show zz").err


def test_ls_tells_what_is_being_mirrored_and_what_could_not_be(tmp_path: Path) -> None:
    build: dict[str, Any] = {"build_id": BuildId("b"), "deployment_id": FIRST, "source": "hf://o/m"}
    begun = BuildStarted(build_id=BuildId("b"), deployment_id=FIRST, builder=NodeId("n"), attempt=1)
    pinned = WeightsPinned(**build, mount_location="/a", revision="c" * 40, files=1, bytes=7)
    failed = WeightsMirrorFailed(**build, mount_location="/b", kind="missing", reason="is not there", seconds=1.0)
    stream = StreamName("build", "b")
    shell = Shell(tmp_path, history((stream, begun), (stream, pinned), (stream, failed)))
    rows = {row["mount_location"]: row for row in shell.run("weights ls -o json").json}
    assert (rows["/a"]["status"], rows["/a"]["bytes"], rows["/a"]["manifest"]) == ("being mirrored", 7, None)
    assert (rows["/b"]["status"], rows["/b"]["reason"]) == ("failed", "is not there")
    assert "being mirrored" in shell.run("weights ls").out


def test_verify_reads_every_byte_that_is_needed(shell: Shell) -> None:
    assert "2 manifests: every byte is what it must be" in shell.run("weights verify").out
    path = FolderObjects(shell.settings.folder("blobs")).path(chunk_key(chunk_hash(BASE)))
    path.chmod(0o644)
    path.write_bytes(BASE[:-1] + bytes([BASE[-1] ^ 1]))
    answer = shell.run("weights verify")
    assert answer.code == 1 and f"chunk {chunk_hash(BASE)}: holds other bytes" in answer.out
    path.unlink()
    answer = shell.run(f"weights verify {IDS[FIRST]}")
    assert answer.code == 1 and f"chunk {chunk_hash(BASE)}: is missing" in answer.out
    assert shell.run(f"weights verify {IDS[THIRD]}").code == 0


def test_what_is_wrong_is_removed_so_that_the_next_push_mirrors_it_anew(shell: Shell) -> None:
    path = FolderObjects(shell.settings.folder("blobs")).path(chunk_key(chunk_hash(BASE)))
    path.chmod(0o644)
    path.write_bytes(bytes(len(BASE)))
    assert "`--remove` removes what is wrong" in shell.run("weights verify").err and path.exists()
    answer = shell.run("weights verify --remove -o json")
    assert answer.code == 1 and "push again what mounts hf://owner/model" in answer.err and not path.exists()
    (wrong,) = answer.json["wrong"]
    assert (wrong["chunk"], wrong["why"]) == (chunk_hash(BASE), "holds other bytes")
    assert stored(shell) == {SHARED, TUNED, BUILDING, STRAY}


def test_gc_removes_what_no_deployment_and_no_build_needs(shell: Shell) -> None:
    dry = shell.run("weights gc --dry-run")
    assert "1 manifest, 2 chunks" in dry.out and "would be removed; 3 chunks kept" in dry.out
    assert len(stored(shell)) == 5
    assert "2 chunks" in shell.run("weights gc").out
    assert stored(shell) == {SHARED, BASE, BUILDING}
    assert "no manifest begins with" in shell.run(f"weights show {IDS[SECOND]}").err
    assert "0 manifests, 0 chunks, 0 bytes were removed" in shell.run("weights gc").out
    assert "every byte is what it must be" in shell.run("weights verify").out


def test_gc_keeps_what_a_copy_will_run_though_the_original_was_deleted_before_it_was_brought_up(shell: Shell) -> None:
    copied_from = DeploymentCopied(model_id=MODEL, deployment_id=COPY, original=FIRST, reason="other instance type")
    deleted = DeploymentDeleted(model_id=MODEL, deployment_id=FIRST)
    model = StreamName("model", MODEL)
    shell.history = history((model, pushed(4, COPY)), (model, copied_from), (model, deleted))
    shell.run("weights gc")
    assert stored(shell) == {SHARED, BASE, BUILDING}
    mounted = [row["deployment"] for row in shell.run("weights ls -o json").json if row["status"] == "mounted"]
    assert mounted == ["llm/deployment-4"]


def test_what_gc_removes_is_on_record(shell: Shell) -> None:
    shell.run("weights gc --dry-run")
    assert discarded(shell) == []
    shell.run("weights gc")
    shell.run("weights gc")  # Nothing is left to go, so nothing is told.
    ((event, actor),) = discarded(shell)
    sizes = len(TUNED) + len(STRAY) + len(manifest(*OF[SECOND])[1])
    assert event == WeightsDiscarded(
        manifests=(IDS[SECOND],), chunks=2, bytes=sizes, older_than_h=24.0, needed_manifests=2
    )
    assert actor == "operator"
    for question in ("audit --type WeightsDiscarded", "events --entity mirror"):
        assert IDS[SECOND][:20] in shell.run(f"{question} -o json").out


def test_gc_that_cannot_write_to_the_log_removes_nothing(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    async def refuse(*_: object) -> None:
        raise LogUnavailable("no disk")

    monkeypatch.setattr(Dispatch, "__call__", refuse)
    answer = shell.run("weights gc")
    assert answer.code == 3 and "no disk" in answer.err and len(stored(shell)) == 5


def test_gc_goes_by_the_planes_own_log_only(shell: Shell, tmp_path: Path) -> None:
    """A capsule knows nothing of what has been pushed since."""
    file = tmp_path / "some.capsule"
    assert shell.run(f"capsule export {file}").code == 0
    answer = shell.run(f"--capsule {file} weights gc")
    assert answer.code == 1 and "a capsule holds no plane" in answer.err and len(stored(shell)) == 5


def test_many_manifests_go_in_parts_each_small_enough_for_an_event() -> None:
    some = tuple(Stored(f"weights/manifests/{n:064x}", 1, 0.0) for n in range(2_500))
    chunks = (Stored("weights/chunks/aa/aa", 7, 0.0),)
    cut = parts(Garbage(some, (), chunks, 3))
    assert [len(each.manifests) for each in cut] == [1000, 1000, 500]
    assert tuple(each for part in cut for each in part.manifests) == some
    assert [each.chunks for each in cut] == [(), (), chunks], "what names chunks goes first"
    assert parts(Garbage((), (), (), 0)) == (Garbage((), (), (), 0),)


def test_gc_of_a_store_that_another_plane_uses_too_removes_nothing(shell: Shell) -> None:
    objects = FolderObjects(shell.settings.folder("blobs"))

    async def shared() -> str:
        ours = await plane_name(await copied(history()))
        for plane in (ours, "other"):
            await join(objects, plane)
        return ours

    ours = asyncio.run(shared())
    for command in ("weights gc", "weights gc --dry-run"):
        answer = shell.run(command)
        assert answer.code == 1 and "1 other plane (other) keeps weights in" in answer.err, answer.err
        assert ours not in answer.err
    assert len(stored(shell)) == 5 and discarded(shell) == []
    objects.path(f"{PLANES}other").unlink()
    assert "2 chunks" in shell.run("weights gc").out


def test_gc_keeps_what_is_young(shell: Shell) -> None:
    for path in shell.settings.folder("blobs").rglob("weights/**/*"):
        os.utime(path)
    kept = shell.run("weights gc").out
    assert "0 manifests, 0 chunks" in kept and "1 manifest not needed, kept for being younger than 24 hours" in kept
    assert "1 manifest, 2 chunks" in shell.run("weights gc --older-than 0").out


def test_gc_removes_nothing_when_it_cannot_know_what_is_needed(shell: Shell) -> None:
    FolderObjects(shell.settings.folder("blobs")).path(manifest_key(IDS[FIRST])).unlink()
    answer = shell.run("weights gc")
    assert answer.code == 1 and "nothing was removed" in answer.err and len(stored(shell)) == 5


def test_prefetch_asks_for_a_manifest_or_a_deployment_and_says_what_came_of_it(tmp_path: Path, api: Api) -> None:
    before = len(history())
    late = WeightsPrefetchLate(**WISH, lack="room", reason="the disk is full")
    asked = [(NODE, WeightsPrefetchRequested(**WISH)), (OTHER, WeightsPrefetchRequested(**{**WISH, "node_id": "n2"}))]
    whole = history(*asked, (NODE, late), (NODE, GOT), (OTHER, GONE))
    shell = Shell(tmp_path, whole, CAUSEWAY_URL=api.url, CAUSEWAY_API_KEY="prefix.secret")
    wishes = [{"node_id": f"n{n}", "manifest_id": IDS[FIRST], "position": before + n, "waits": None} for n in (1, 2)]
    api.answer = (200, {"prefetches": wishes[:1]})
    got = shell.run(f"weights prefetch {IDS[FIRST][:9]} --node n1")
    assert got.code == 0 and "20 from peer" in got.out and "n1 waits: the disk is full" in got.err
    assert api.asked[-1][0::3] == ("POST", {"manifest_id": IDS[FIRST], "node_ids": ["n1"]})
    api.answer = (200, {"prefetches": wishes})
    both = shell.run("weights prefetch llm/deployment-1 -o json")
    assert both.code == 1 and [each["result"] for each in both.json] == ["here", "failed"]
    assert "1 of 2 wishes were not fulfilled" in both.err
    assert api.asked[-1][3] == {"deployment_id": FIRST}
    assert "wished for" in shell.run("weights prefetch llm/deployment-1 --no-wait").out
    assert "wished for" in shell.run("weights prefetches").out
    api.answer = (200, {"withdrawn": wishes})
    assert "2 wishes were withdrawn" in shell.run("weights prefetch llm/deployment-1 --withdraw").out
    assert api.asked[-1][1].endswith("/withdraw")
    assert "there is no deployment 'zz'" in shell.run("weights prefetch zz").err


def test_pointers_are_signed_links_to_a_node_that_is_up(shell: Shell) -> None:
    assert "no node gives weights now" in shell.run(f"weights pointers {IDS[FIRST]}").err
    joined = NodeJoined(
        node_id=NodeId("n1"), boot_id="1", host="h", cpu_millicores=1, memory_bytes=1, isolation="process",
        weights_address="10.0.0.1:4000",
    )  # fmt: skip
    up = Shell(shell.settings.state, history((NODE, joined)))
    made = up.run(f"weights pointers {IDS[FIRST][:9]} --for 2").json["pointers"]
    assert [(each["file_name"], each["size"]) for each in made] == [("0.bin", 10_000), ("1.bin", 10_000)]
    until_s = int(up.now.timestamp()) + 7200
    assert made[0]["resolution"]["expiration_timestamp"] == until_s
    url = made[1]["resolution"]["url"]
    assert url.startswith(f"http://10.0.0.1:4000/files/{IDS[FIRST]}/1?until={until_s}&proof=")
    secret = (up.settings.folder("run") / "peer-secret").read_bytes()
    assert Keyring(NodeId("n1"), secret).is_link(f"/files/{IDS[FIRST]}/1", str(until_s), url.rpartition("=")[2])
    assert "node n9 gives no weights now" in up.run(f"weights pointers {IDS[FIRST]} --node n9").err
