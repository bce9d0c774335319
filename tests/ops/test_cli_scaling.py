"""The commands about starting and scaling, as typed."""

import asyncio
from datetime import timedelta
from pathlib import Path

import pytest

from events.codec import Recorded
from events.model import DeploymentPushed
from events.signals.load_history import LoadRecord, LoadSpan, MemoryLoadHistory
from tests.histories import START, two_versions_of_iris
from tests.ops.cli_runs import Shell


async def _events() -> tuple[Recorded, ...]:
    return await (await two_versions_of_iris()).read()


EVENTS = asyncio.run(_events())


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    return Shell(tmp_path, EVENTS)


def test_coldstart_prints_the_stages_and_marks_the_slowest(shell: Shell) -> None:
    answer = shell.run("coldstart iris/deployment-2")
    assert answer.code == 0
    (slowest,) = (line for line in answer.out.splitlines() if "slowest" in line)
    assert slowest.split()[0:2] == ["model", "loaded"]
    assert "2 starts" in answer.out
    assert shell.run("coldstart iris/deployment-2 -n 1 -o json").json["starts"] == 1
    assert shell.run("coldstart nothing").code != 0


def test_whatif_prints_both_sides_and_refuses_bad_settings(shell: Shell) -> None:
    second = next(each.event.deployment_id for each in reversed(EVENTS) if isinstance(each.event, DeploymentPushed))
    loads, now = MemoryLoadHistory(), START + timedelta(hours=2)
    for n in range(360):
        record = LoadRecord(second, 3.0, 4, 0, 3)
        asyncio.run(loads.keep(LoadSpan((START + timedelta(hours=1)).timestamp() + 10.0 * (n + 1), (record,))))
    shell.loads, shell.now = loads, now
    answer = shell.run("whatif iris/deployment-2 --from 1h --set max_replica=8 --set target_utilization=50 -o json")
    assert answer.code == 0, answer.err
    told = answer.json
    assert told["what_if"]["settings"]["target_utilization_percent"] == 50
    assert told["what_if"]["peak"] == 6 and told["as_set"]["peak"] == 1
    assert told["what_if"]["replica_hours"] > told["as_set"]["replica_hours"]
    table = shell.run("whatif iris/deployment-2 --from 1h --set max_replica=8")
    assert "replica-hours" in table.out and "360 records" in table.out
    for bad, said in [
        ("--set max_replicas=2", "max_replicas"),
        ("--set autoscaling_window=5", "from 10 to 3600, not 5"),
        ("--set max_replica", "name=value"),
        ("--from 1m --to 2m", "must be before"),
        ("--from 14d --to 13d", "no load"),
    ]:
        refused = shell.run(f"whatif iris/deployment-2 {bad}")
        assert refused.code != 0 and said in " ".join(refused.err.split()), (bad, refused)
