"""Asking for reasons, as typed: explain and bisect (why: test_cli_history)."""

from pathlib import Path

import pytest

from tests.ops.cli_runs import Shell
from tests.ops.test_cli_history import EVENTS, HEAD, positions


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    return Shell(tmp_path, EVENTS)


def test_bisect_prints_the_event_and_what_it_changed(shell: Shell) -> None:
    first, second = positions("PromotionCompleted")
    expression = "environment('iris/production').current == deployment('iris/deployment-1').deployment_id"
    answer = shell.run(f'bisect --good {first} "{expression}"')
    event, *changes = answer.out.splitlines()
    assert event.split()[0] == str(second) and "PromotionCompleted" in event
    assert any("environments.models." in line and ".production.current: " in line for line in changes)
    found = shell.run(f'bisect --good {first} "{expression}" -o json').json
    assert found["position"] == second and found["asked"] == second - first


def test_explain_by_the_headers_of_an_answer(shell: Shell) -> None:
    (_, second) = positions("PromotionCompleted")
    answer = shell.run(f"explain r-1 --position {second} --deployment iris/deployment-2")
    assert f"routed at position {second}" in answer.out and "why it was routed there:" in answer.out
    assert "began with" in answer.out and "DeploymentPushed" in answer.out


def test_why_latest(shell: Shell) -> None:
    steps = shell.run("why iris/deployment-1 --latest -o json").json["steps"]
    assert steps[-1]["type"] == "ScaledToZero" or steps[-1]["position"] <= HEAD


@pytest.mark.parametrize(
    ("line", "code", "said"),
    [
        ("explain r-1", 1, "a sample of 1%"),
        ("explain r-1", 1, "fix: give what the answer's headers say: --position (X-Causeway-Position)"),
        ("bisect", 2, "give either an expression or --script"),
        ("bisect 'plase'", 2, "there is no name 'plase' here; there are abs, all, any, deployment, deployments"),
        ("bisect --good 5 --bad 5 True", 2, "--good 5 is not before --bad 5"),
        ("bisect True", 1, "it holds after each of the"),
        ("bisect False", 1, "does not hold at 0 already"),
        ("bisect --script /nowhere", 2, "does not exist"),
        ("bisect 'deploymnt(\"iris\")'", 2, "did you mean deployment? there are"),
        (
            f"bisect --good {HEAD - 1} 'deployment(\"iris/deployment-1\").statsu'",
            2,
            "did you mean status? there are",
        ),
        (
            "bisect 'ready(\"iris/deploymnt-1\") > 0'",
            1,
            "nothing is called 'iris/deploymnt-1'; did you mean iris/deployment",
        ),
    ],
)
def test_what_cannot_be_answered_says_why(shell: Shell, line: str, code: int, said: str) -> None:
    answer = shell.run(line)
    assert (answer.code, answer.out) == (code, "")
    assert said in answer.err.replace("\n", " ")
