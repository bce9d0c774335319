"""Commands about nodes, as typed."""

from pathlib import Path

import pytest

from tests.ops.api import Api
from tests.ops.cli_runs import Shell
from tests.ops.test_cli_models import EVENTS


@pytest.fixture
def shell(tmp_path: Path, api: Api) -> Shell:
    return Shell(tmp_path, EVENTS, CAUSEWAY_URL=api.url, CAUSEWAY_API_KEY="prefix.secret")


def test_nodes_are_listed_with_what_they_hold_at_any_moment(shell: Shell) -> None:
    (row,) = shell.run("node list").out.splitlines()[1:]
    assert row.split()[:3] == ["node-a", "up", "1"] and "1 of 8" in row and "0.5 of 16.0" in row
    assert shell.run("node list -o json").json[0]["node_id"] == "node-a"
    assert "no nodes yet" in "".join(shell.run("node list --at 0").out)


def test_draining_a_node_says_what_becomes_of_its_replicas(shell: Shell, api: Api) -> None:
    api.answer = 200, {"node_id": "node-a", "status": "draining", "replicas": ["r1", "r2"]}
    assert "its 2 replicas are drained as soon as others are ready" in shell.run("node drain node-a").out
    assert "its 2 replicas are drained, then it leaves" in shell.run("node drain node-a --now --reason disk").out
    path, key = "/v1/nodes/node-a/drain", "Api-Key prefix.secret"
    assert api.asked == [
        ("POST", path, key, {"reason": "asked for", "now": False}),
        ("POST", path, key, {"reason": "disk", "now": True}),
    ]
    api.answer = 200, {"node_id": "node-a", "status": "draining", "replicas": []}
    assert "it runs nothing, and leaves" in shell.run("node drain node-a").out
    assert shell.run("node drain node-a -o json").json == api.answer[1]
