"""Looking at the plane as it was, as typed: blame and step (state and diff: test_cli_history)."""

from pathlib import Path

import pytest

from tests.ops.cli_runs import Shell
from tests.ops.test_cli_history import EVENTS, HEAD, positions


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    return Shell(tmp_path, EVENTS)


def test_blame_names_the_event_that_set_a_field(shell: Shell) -> None:
    first, second = positions("PromotionCompleted")
    (line,) = shell.run("blame iris/production.current").out.splitlines()[1:]
    assert f" {second} " in line and "PromotionCompleted" in line and "reactor:promote" in line
    (row,) = shell.run(f"blame iris/production.current --at {second - 1} -o json").rows
    assert (row["event"]["position"], row["before"], row["there"]) == (first, None, True)


def test_blame_of_an_entity_has_a_line_for_each_field(shell: Shell) -> None:
    rows = {row["field"]: row for row in shell.run("blame iris/deployment-2 -o json").rows}
    assert rows["target"]["event"]["type"] == "ReplicaTargetRaised"
    assert rows["status"]["value"] == "ACTIVE" and rows["status"]["event"]["type"] == "ReplicaReady"


def test_step_prints_each_event_and_what_it_changed(shell: Shell) -> None:
    (second,) = positions("PromotionCompleted")[1:]
    answer = shell.run(f"step routing --from {second} --to {second}")
    event, *changes = answer.out.splitlines()
    assert "PromotionCompleted" in event
    assert any(".environments.production: " in each and " -> " in each for each in changes)
    rows = shell.run("step -o json --from 1").rows
    assert [row["event"]["position"] for row in rows] == list(range(1, HEAD + 1))


def test_step_at_a_terminal_goes_by_keys(shell: Shell) -> None:
    answer = shell.run("step --from 1 --to 3", keys="nppnnnnxq")
    numbers = [line.split()[0] for line in answer.out.splitlines() if not line.startswith("        ")]
    assert numbers == ["1", "2", "1", "2", "3"]
    assert answer.err.splitlines() == [
        "# that was the first one", "# that was the last one", "# that was the last one",
        "# n: next, p: previous, q: end",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("line", "code", "said"),
    [
        ("blame iris/production.nothing", 1, "has no 'nothing'"),
        ("blame nobody.field", 1, "nothing is called 'nobody'"),
        ("step nobody", 1, "nothing is called 'nobody'"),
        ("step iris --from 0 --to 0", 0, "# nothing happened there"),
        ("state nobody --at 9999", 1, f"the log ends at position {HEAD}"),
        ("step --from 9 --to 5", 2, "--from 9 is after --to 5"),
        ("step --from 9999", 1, f"the log ends at position {HEAD}"),
        ("blame iris --at noon", 2, "names no moment"),
    ],
)
def test_what_cannot_be_answered_says_why(shell: Shell, line: str, code: int, said: str) -> None:
    answer = shell.run(line)
    assert (answer.code, answer.out) == (code, "")
    assert said in answer.err
