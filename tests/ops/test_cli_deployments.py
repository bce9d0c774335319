"""Commands about one deployment, as typed: what they ask the plane, and what they say of its answer."""

from pathlib import Path

import pytest

from tests.ops.api import Api
from tests.ops.cli_runs import Shell
from tests.ops.test_cli_models import EVENTS


@pytest.fixture
def shell(tmp_path: Path, api: Api) -> Shell:
    return Shell(tmp_path, EVENTS, CAUSEWAY_URL=api.url, CAUSEWAY_API_KEY="prefix.secret")


@pytest.mark.parametrize(
    ("typed", "method", "tail", "body", "said"),
    [
        ("activate iris/deployment-1", "POST", "/activate", None, "activated"),
        ("deactivate iris/deployment-1", "POST", "/deactivate", {"force": False}, "deactivated"),
        ("deactivate iris/deployment-1 --force", "POST", "/deactivate", {"force": True}, "deactivated"),
        ("retry iris/deployment-1", "POST", "/retry", None, "is tried again"),
        ("rename iris/deployment-1 winter", "PATCH", "", {"name": "winter"}, "is called winter now"),
        (
            "label iris/deployment-1 team=ml tier=2",
            "PATCH",
            "",
            {"labels": {"team": "ml", "tier": 2}},
            "has 2 labels now",
        ),
        ("label iris/deployment-1", "PATCH", "", {"labels": {}}, "has 0 labels now"),
        ("delete iris/deployment-1", "DELETE", "", None, "deleted"),
        ("terminate iris/deployment-1 r7", "DELETE", "/replicas/r7", None, "drains replica r7"),
    ],
)
def test_each_asks_for_its_deployment(
    shell: Shell, api: Api, typed: str, method: str, tail: str, body: object, said: str
) -> None:
    first = shell.run("deployments -o json").json[0]
    api.answer = (200, {"retried": True, "reason": None})
    answer = shell.run(f"deployment {typed}")
    assert answer.code == 0, answer.err
    path = f"/v1/models/{first['model_id']}/deployments/{first['deployment_id']}{tail}"
    assert api.asked == [(method, path, "Api-Key prefix.secret", body)]
    assert answer.out == f"iris/deployment-1 ({first['deployment_id']}) {said}\n"
    assert shell.run(f"deployment {typed} -o json").json == api.answer[1]


def test_what_cannot_be_retried_says_why(shell: Shell, api: Api) -> None:
    api.answer = (200, {"retried": False, "reason": "it is ACTIVE; only DEPLOY_FAILED can be retried"})
    answer = shell.run("deployment retry iris/deployment-2")
    assert answer.code == 1 and "it is ACTIVE" in answer.err


def test_a_deployment_that_nobody_knows_is_not_asked_for(shell: Shell, api: Api) -> None:
    answer = shell.run("deployment delete iris/deployment-9")
    assert (answer.code, api.asked) == (1, []) and "iris/deployment-1" in answer.err
