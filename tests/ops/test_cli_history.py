"""The commands that ask the history, as typed."""

import asyncio
from pathlib import Path

import pytest

from events.codec import Recorded, event_type
from tests.histories import two_versions_of_iris
from tests.ops.cli_runs import Shell


async def _events() -> tuple[Recorded, ...]:
    return await (await two_versions_of_iris()).read()


EVENTS = asyncio.run(_events())
HEAD = len(EVENTS)


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    return Shell(tmp_path, EVENTS)


def positions(kind: str) -> list[int]:
    return [each.position for each in EVENTS if event_type(each.event) == kind]


def test_events_prints_the_newest_oldest_first(shell: Shell) -> None:
    rows = shell.run("events -o json -n 5").rows
    assert [row["position"] for row in rows] == list(range(HEAD - 4, HEAD + 1))
    lines = shell.run("events -n 5").out.splitlines()
    assert len(lines) == 5 and "ReplicaReady" in lines[-1] and "by agent:node-a" in lines[-1]


def test_events_of_a_type_pattern_an_entity_by_name_or_an_actor(shell: Shell) -> None:
    rows = shell.run("events -o json -t 'Promotion*' -t ModelRegistered").rows
    assert {row["type"] for row in rows} == {"PromotionStarted", "PromotionCompleted", "ModelRegistered"}
    second = shell.run("deployments -o json").json[1]["deployment_id"]
    named = shell.run("events -o json --entity iris/deployment-2").rows
    assert named and all(second in row["entities"] for row in named)
    assert {row["actor"] for row in shell.run("events -o json --actor 'key:*'").rows} == {"key:ada"}


def test_events_after_a_position_come_in_pages(shell: Shell) -> None:
    assert [row["position"] for row in shell.run("events -o json --after 3 -n 2").rows] == [4, 5]


def test_events_since_a_time(shell: Shell) -> None:
    since = EVENTS[-3].meta.at.isoformat()
    assert [row["position"] for row in shell.run(f"events -o json --since {since}").rows] == [HEAD - 2, HEAD - 1, HEAD]


def test_rows_of_events_and_of_the_audit_trail_are_the_same(shell: Shell) -> None:
    assert shell.run("audit -o json -n 1000").rows == shell.run("events -o json -n 1000").rows
    table = shell.run("audit --entity iris/deployment-1 -t DeploymentPushed").out.splitlines()
    assert len(table) == 2 and "key:ada" in table[1] and "api key" in table[1]


def test_json_of_an_event_has_stable_keys(shell: Shell) -> None:
    assert list(shell.run("events -o json -n 1").rows[0]) == [
        "position", "at", "type", "category", "entity", "entities", "actor", "actor_how",
        "correlation_id", "causation_id", "command_id", "event_id", "body",
    ]  # fmt: skip


def test_a_misspelt_event_type_is_wrong_usage_with_a_suggestion(shell: Shell) -> None:
    answer = shell.run("events -t Promotion")
    assert answer.code == 2
    assert "there is no event type 'Promotion'" in answer.err
    assert "did you mean PromotionCancelled or PromotionCompleted" in answer.err


def test_the_routing_table_at_a_position(shell: Shell) -> None:
    (first, second) = positions("PromotionCompleted")
    before = shell.run(f"state routing --at {second - 1} -o json").json
    after = shell.run(f"state routing --at {second} -o json").json
    (model,) = before["state"]["models"]
    one, other = (each["state"]["models"][model]["environments"]["production"] for each in (before, after))
    assert one != other
    assert list(before) == ["what", "position", "at", "state"]
    assert shell.run(f"state routing --at {first - 1} -o json").json["state"]["models"][model]["environments"] == {
        "production": None
    }


def test_state_of_one_thing_by_its_name_reads_as_indented_lines(shell: Shell) -> None:
    answer = shell.run("state iris/deployment-1")
    assert "status: SCALED_TO_ZERO" in answer.out
    assert f"at position {HEAD}" in answer.err
    assert shell.run("state iris/deployment-2 --at 3").out == ""


def test_before_the_first_event_there_is_nothing_yet(shell: Shell) -> None:
    answer = shell.run("state routing --at 0")
    assert "# routing at position 0 (before the first event)" in answer.err and "models: {}" in answer.out
    assert "from position 0 to 1, " in shell.run("diff 0 1").err and "1 changes" not in shell.run("diff 0 1").err


def test_state_of_everything_has_every_view(shell: Shell) -> None:
    state = shell.run("state -o json").json["state"]
    assert set(state) == {"routing", "targets", "fleet", "deployments", "environments"}


def test_diff_is_one_line_a_change(shell: Shell) -> None:
    second = positions("PromotionCompleted")[1]
    lines = shell.run(f"diff {second - 1} {second} environments").out.splitlines()
    assert any(".production.current: " in line and " -> " in line for line in lines)
    changes = shell.run(f"diff {second - 1} {second} environments -o json").json
    assert (changes["before"], changes["after"], len(changes["changes"])) == (second - 1, second, len(lines))
    assert shell.run("diff now now").out == ""


def test_why_prints_the_chain_with_the_grounds_of_scale_decisions(shell: Shell) -> None:
    answer = shell.run("why iris/deployment-2")
    assert "began with" in answer.out and "rule parked request, parked 1" in answer.out
    steps = shell.run("why iris/deployment-2 -o json").json["steps"]
    assert steps[0]["how"] == "began" and steps[0]["grounds"]["parked"] == 1
    assert steps[-1]["type"] == "ReplicaReady"


def test_timeline_has_durations_and_causes(shell: Shell) -> None:
    lines = shell.run("timeline iris/deployment-1").out.splitlines()
    assert lines[0].split() == [
        "position",
        "time",
        "(UTC)",
        "since",
        "start",
        "+",
        "event",
        "what",
        "by",
        "because",
        "of",
    ]
    assert any("BuildSucceeded" in line and "250 ms" in line for line in lines)
    steps = shell.run("timeline iris/deployment-1 -o json").json["steps"]
    assert steps[1]["cause"] == steps[0]["position"]


@pytest.mark.parametrize(
    ("line", "code", "said"),
    [
        ("why irs", 1, "did you mean"),
        ("timeline nothing", 1, "there is no deployment 'nothing'"),
        ("state routingg", 1, "or one of routing, targets"),
        ("state routing --at 9999", 1, f"the log ends at position {HEAD}"),
        ("state routing --at yesterday", 2, "names no moment"),
        ("events --since yesterday", 2, "names no moment"),
        ("events --limit 0", 2, "--limit"),
        ("diff 1", 2, "Missing argument"),
        ("nonsense", 2, "nonsense"),
        ("events --type WebhookMoved", 0, f"no event matches; the log ends at position {HEAD}"),
    ],
)
def test_what_cannot_be_answered_says_why_on_one_line(shell: Shell, line: str, code: int, said: str) -> None:
    answer = shell.run(line)
    assert (answer.code, answer.out) == (code, "")
    assert said in answer.err


@pytest.mark.parametrize("line", ["", "events", "audit", "state", "diff", "why", "timeline", "env list", "key create"])
def test_every_command_has_help(shell: Shell, line: str) -> None:
    answer = shell.run(f"{line} --help")
    assert answer.code == 0 and "Usage" in answer.out
