"""The commands about starting and scaling, as typed."""

import asyncio
import importlib.util
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from events.codec import Recorded
from events.model import DeploymentPushed
from events.signals.load_history import LoadRecord, LoadSpan, MemoryLoadHistory
from tests.histories import START, two_versions_of_iris
from tests.ops.api import Api
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


def test_a_plot_is_a_picture_and_without_matplotlib_says_how_to_get_it(
    shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shell.loads, shell.now = _busy(parked=0), START + timedelta(hours=2)
    file = tmp_path / "iris.png"
    asked = f"whatif iris/deployment-2 --from 1h --set max_replica=8 --plot {file}"
    if importlib.util.find_spec("matplotlib") is not None:
        assert shell.run(asked).code == 0
        assert file.read_bytes().startswith(b"\x89PNG") and len(file.read_bytes()) > 10_000
        file.unlink()
    for name in ("matplotlib", "matplotlib.figure"):
        monkeypatch.setitem(sys.modules, name, None)
    said = shell.run(asked)
    assert said.code == 1 and "requirements/plot.txt" in said.err and not file.exists()


def _busy(parked: int) -> MemoryLoadHistory:
    """Five requests at a time at deployment-2, up to START + 2 h."""
    loads, until = MemoryLoadHistory(), (START + timedelta(hours=2)).timestamp()
    for n in range(12):
        asyncio.run(loads.keep(LoadSpan(until - 10.0 * n, (LoadRecord(SECOND, 5.0, 5, parked, 5),))))
    return loads


SECOND = next(each.event.deployment_id for each in reversed(EVENTS) if isinstance(each.event, DeploymentPushed))


@pytest.mark.parametrize("line", ["deployments", "deployments iris", "why iris/deployment-2"])
def test_who_is_at_max_replica_while_work_waits_is_told_with_the_fix(shell: Shell, line: str) -> None:
    shell.loads, shell.now = _busy(parked=4), START + timedelta(hours=2)
    answer = shell.run(line)
    (note,) = (each for each in answer.out.splitlines() if "at max_replica" in each)
    assert note == (
        "iris/deployment-2 is at max_replica 1 with 4 requests waiting; "
        "raise it with `causeway scale iris/deployment-2 --set max_replica=8`"
    )
    shell.now += timedelta(minutes=5)
    assert "at max_replica" not in shell.run(line).out, "that was then"


def test_who_only_has_much_to_do_is_told_of_too_and_others_are_not(shell: Shell) -> None:
    shell.loads, shell.now = _busy(parked=0), START + timedelta(hours=2)
    assert "is at max_replica 1 with load for 8 replicas; raise it" in shell.run("deployments").out
    assert "is at max_replica" not in shell.run("why iris/deployment-1").out
    assert "is at max_replica" not in shell.run("deployments --at 9").out, "load is known of now only"
    assert {row["max_replica"] for row in shell.run("deployments -o json").json} == {1}
    shell.loads = MemoryLoadHistory()
    assert "is at max_replica" not in shell.run("deployments").out


def test_scale_asks_the_plane_with_names_and_values(tmp_path: Path, api: Api) -> None:
    shell = Shell(tmp_path, EVENTS, CAUSEWAY_URL=api.url, CAUSEWAY_API_KEY="prefix.secret")
    api.answer = (200, {"status": "ACCEPTED", "message": "the settings of environment production were changed"})
    answer = shell.run("scale iris/deployment-2 --set max_replica=4 --set target_utilization=50")
    assert answer.code == 0, answer.err
    assert answer.out == "iris/deployment-2: the settings of environment production were changed\n"
    ((method, path, _, body),) = api.asked
    assert method == "PATCH" and path.endswith(f"/deployments/{SECOND}/autoscaling_settings")
    assert body == {"max_replica": 4, "target_utilization_percentage": 50}
    assert shell.run("scale iris/deployment-2").code == 2
    assert "name=value" in shell.run("scale iris/deployment-2 --set max_replica").err
