"""A real JetStream store, damaged in every way: found, named by segment and position, brought back byte-equal."""

import asyncio
import random
import shutil
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path

import msgspec
import pytest

from events.base import ORIGIN, Position
from events.log import LogBroken
from events.log.jetstream_raw import JetStreamRaw
from events.log.raw import RawMessage
from events.log.segments import recorded_of, segment_of
from events.seal import LossAccepted
from ops.bench.history import history
from ops.integrity import Mark, Problem, verify
from ops.local.alone import nats_alone
from ops.wiring.archive import open_archive
from ops.wiring.parts import SEEN, open_log
from tests.ops.cli_runs import Shell
from tests.ops.sealed import EVENTS, SEGMENT, block, flip, live, now, plane, records, settings_of


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, tuple[RawMessage, ...]]:
    state = tmp_path_factory.mktemp("sound") / "state"
    return state, asyncio.run(live(settings_of(state)))


@pytest.fixture
def state(tmp_path: Path, sound: tuple[Path, tuple[RawMessage, ...]]) -> Iterator[Path]:
    shutil.copytree(sound[0], tmp_path / "state", ignore=shutil.ignore_patterns("*.lock"))
    yield tmp_path / "state"


def delete(data: bytes, position: int) -> bytes:
    begin, end = records(data)[position]
    return data[:begin] + data[end:]


def truncate(data: bytes, position: int) -> bytes:
    return data[: records(data)[position][0] + 20]


def test_a_sound_log_is_found_good_and_from_its_last_seal_on(state: Path) -> None:
    shell = Shell(state, None)
    whole = shell.run("log verify -o json")
    assert (whole.code, whole.json["problems"], whole.json["seals"]) == (0, [], 3)
    assert whole.json["head"] == EVENTS + 3
    assert whole.json["sealed"] == whole.json["archived"] == 3 * SEGMENT
    rest = shell.run("log verify --since-last -o json").json
    assert (rest["after"], rest["problems"], rest["seals"]) == (3 * SEGMENT, [], 0)


@pytest.mark.parametrize(
    ("damage", "position", "first", "last", "segment"),
    [
        (flip, 57, 57, 57, "41-80"),
        (delete, 57, 57, 57, "41-80"),
        (delete, 1, 1, 1, "1-40"),
        (truncate, 101, 101, 120, "81-120"),
        (flip, 140, 140, 140, "not sealed yet"),
    ],
)
def test_damage_is_named_and_undone(
    state: Path,
    sound: tuple[Path, tuple[RawMessage, ...]],
    damage: Callable[[bytes, int], bytes],
    position: int,
    first: int,
    last: int,
    segment: str,
) -> None:
    shell, file = Shell(state, None), block(state)
    file.write_bytes(damage(file.read_bytes(), position))
    found = shell.run("log verify -o json")
    assert found.code == 1
    named = [Problem(**each) for each in found.json["problems"]]
    assert (named[0].first, named[0].last, named[0].segment) == (first, last, segment), named
    assert f"segment {segment}" in shell.run("log verify").out

    before = sound[1]
    if position <= 3 * SEGMENT and damage is not truncate:
        done = shell.run("log restore -o json")
        assert done.code == 0, done.err
        assert (done.json["head"], done.json["lost"]) == (len(before), 0)
        assert asyncio.run(now(settings_of(state))) == before, "headers too"
    else:
        refused = shell.run("log restore")
        assert refused.code == 1 and "--accept-loss" in refused.err
        assert block(state).exists(), "nothing was touched"
        done = shell.run("log restore --accept-loss -o json")
        kept = 3 * SEGMENT if damage is truncate else position - 1
        assert (done.json["head"], done.json["lost"]) == (kept + 1, len(before) - kept)
        *back, accepted = asyncio.run(now(settings_of(state)))
        assert tuple(back) == before[:kept]
        assert recorded_of(accepted).event == LossAccepted(first=Position(kept + 1), last=Position(len(before)))
    assert Path(done.json["aside"]).is_dir()
    assert shell.run("log verify").code == 0


async def rewrite(state: Path, log: Sequence[RawMessage]) -> None:
    """The stream made anew, with valid checksums."""

    async def messages() -> AsyncIterator[RawMessage]:
        for each in log:
            yield each

    shutil.rmtree(block(state).parents[1])
    async with nats_alone(settings_of(state)) as url:
        await JetStreamRaw(url).write(messages())


def test_what_somebody_rewrote_is_seen_though_the_server_finds_it_sound(
    state: Path, sound: tuple[Path, tuple[RawMessage, ...]]
) -> None:
    """With valid checksums, in every place: only the seals know."""
    forged = list(sound[1])
    forged[65] = msgspec.structs.replace(forged[65], body=forged[65].body.replace(b'"at":"2026', b'"at":"2025'))
    assert forged[65] != sound[1][65]
    asyncio.run(rewrite(state, forged))
    shell = Shell(state, None)
    (problem,) = shell.run("log verify -o json").json["problems"]
    assert (problem["first"], problem["last"], problem["segment"]) == (66, 66, "41-80")
    (problem,) = shell.run(f"log verify --archive {state / 'run'} -o json").json["problems"]
    assert (problem["first"], problem["last"], problem["segment"]) == (41, 80, "41-80")
    assert shell.run("log restore").code == 0
    assert asyncio.run(now(settings_of(state))) == sound[1]


@pytest.mark.parametrize("what", ["changed", "missing"])
def test_a_damaged_archive_is_named_and_never_restored_from(state: Path, what: str) -> None:
    file = sorted((state / "archive").glob("*.gz"))[1]
    if what == "missing":
        file.unlink()
    else:
        data = bytearray(file.read_bytes())
        data[random.Random(1).randrange(20, len(data) - 8)] ^= 1
        file.chmod(0o600)
        file.write_bytes(data)
    shell = Shell(state, None)
    found = shell.run("log verify -o json")
    assert found.code == 1
    assert (found.json["problems"][0]["first"], found.json["problems"][0]["last"]) == (41, 80)
    refused = shell.run("log restore")
    assert refused.code == 1 and ("41" in refused.err or file.name in refused.err)
    assert block(state).exists()


@pytest.mark.parametrize("ends", [(41, 80, 120), (41, 79, 120), (81, 120)])
def test_an_archive_that_was_forged_as_a_whole_is_not_what_the_log_has_sealed(
    state: Path, sound: tuple[Path, tuple[RawMessage, ...]], ends: tuple[int, ...]
) -> None:
    """Every file of it is sound, and follows from the one before: only the log knows. `ends`: of its new files."""
    shell = Shell(state, None)
    assert shell.run("log verify").code == 0

    async def forge() -> None:
        async with open_archive(settings_of(state)) as archive:
            last, previous = ORIGIN, ""
            files = await archive.segments()
            for kept in files:
                segment, _ = await archive.read(kept)
                if kept.last < ends[0]:
                    last, previous = kept.last, segment.hash
                else:
                    (state / "archive" / kept.name).unlink()
            changed = [msgspec.structs.replace(each, subject=f"{each.subject}d") for each in sound[1]]
            for end in ends[1:]:
                messages = tuple(changed[last:end])
                forged = segment_of(messages, previous)
                await archive.keep(forged, messages)
                last, previous = forged.last, forged.hash

    asyncio.run(forge())
    for command in ("log verify", "log verify --since-last"):
        found = shell.run(f"{command} -o json")
        assert found.code == 1
        named = {(each["first"], each["last"]) for each in found.json["problems"]}
        assert (ends[-2] + 1 if len(ends) > 2 else ends[0], 120) in named, named
        assert all(each["archive"] for each in found.json["problems"])
        said = shell.run(command)
        assert "is not what the log has sealed" in said.out
        assert "from a copy" in said.err and "log restore" not in said.err


def test_an_archive_that_lacks_its_last_file_is_named_and_a_copy_may(state: Path, tmp_path: Path) -> None:
    (*_, file) = sorted((state / "archive").glob("*.gz"))
    file.unlink()
    shell = Shell(state, None)
    (problem,) = shell.run("log verify -o json").json["problems"]
    assert (problem["first"], problem["last"]) == (81, 120)
    assert shell.run(f"log verify --archive {state / 'archive'}").code == 0


def test_a_log_that_lost_what_was_found_good_is_not_good_from_there_on(
    state: Path, sound: tuple[Path, tuple[RawMessage, ...]]
) -> None:
    shell = Shell(state, None)
    assert shell.run("log verify").code == 0
    asyncio.run(rewrite(state, sound[1][:100]))
    found = shell.run("log verify --since-last -o json")
    assert found.code == 1
    assert [(each["first"], each["last"]) for each in found.json["problems"]] == [(101, 120)]


def test_a_log_that_ends_before_its_archive_is_refused_at_the_start(state: Path) -> None:
    settings = settings_of(state)
    shutil.rmtree(block(state).parents[1])
    (state / "run" / SEEN).unlink()

    async def start() -> None:
        async with nats_alone(settings) as url:
            with pytest.raises(LogBroken, match="missing"):
                async with open_log(settings.but(nats_url=url), may_create=True):
                    pass

    asyncio.run(start())
    restored = Shell(state, None).run("log restore -o json")
    assert restored.json["head"] == 3 * SEGMENT


def test_the_archive_answers_the_same_commands_without_a_broker(state: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(state / "archive", tmp_path / "copy")
    shell = Shell(tmp_path / "nothing", None)
    assert len(shell.run(f"--archive {copy} events -o json -n 1000").rows) == 3 * SEGMENT
    (model,) = shell.run(f"--archive {copy} events -o json -n 1").rows
    assert model["position"] == 3 * SEGMENT
    assert shell.run(f"--archive {copy} audit -t ModelRegistered -o json").rows
    assert shell.run(f"--archive {copy} state routing --at 30").code == 0
    assert shell.run(f"--archive {copy} state --at {3 * SEGMENT + 1}").code == 1
    assert shell.run(f"--archive {tmp_path} events").code == 1


async def test_two_notaries_write_each_seal_once(tmp_path: Path) -> None:
    settings = settings_of(tmp_path / "state")
    async with (
        nats_alone(settings) as url,
        plane(settings, url) as (log, first, seals),
        plane(settings, url) as (_, second, others),
    ):
        last: dict[object, Position] = {}
        for stream, draft in islice(history("twice"), 2 * SEGMENT):
            last[stream] = await log.append(stream, (draft,), last.get(stream, ORIGIN))
        for _ in range(2):
            head = await log.head()
            await asyncio.gather(seals.reached(head), others.reached(head))
            await asyncio.gather(first.seal(), second.seal())
        async with open_archive(settings) as archive:
            found = await verify(JetStreamRaw(url), archive)
            assert (found.problems, found.seals, found.sealed) == ((), 2, 2 * SEGMENT)
            assert len(await archive.segments()) == 2
            again = await verify(JetStreamRaw(url), archive, Mark(found.sealed, found.sealed_hash))
            assert (again.problems, again.seals) == ((), 0)
